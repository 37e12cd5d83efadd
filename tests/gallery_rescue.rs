//! One flipped bit in a stored crop, or a card that turned read-only, refused the whole gallery at the
//! next start, and recognised no one. What is sound is recognised, what is not is said, and who was
//! deleted does not come back from the last good copy, whatever is damaged.

#![allow(clippy::unwrap_used)]

mod gallery_people;

use doorward::face::Embedding;
use doorward::gallery::{Enrolment, FileState, Gallery, OpenError, SubjectChange};
use gallery_people::{Random, enrolment, open};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GALLERY: &str = "DOORWARD_TEST_GALLERY";

/// Somebody, and the bytes by which they are found in the file.
struct Person {
    id: String,
    face: Embedding,
    image: Vec<u8>,
}

impl Person {
    fn vector(&self) -> Vec<u8> {
        self.face.0.iter().flat_map(|element| element.to_le_bytes()).collect()
    }
}

fn people(count: usize) -> Vec<Person> {
    let mut random = Random(11);
    let person = |at| Person {
        id: format!("person-{at:03}"),
        face: random.embedding(),
        image: random.bytes(6000),
    };
    (0..count).map(person).collect()
}

fn enrol(gallery: &Gallery, person: &Person) {
    let image = Some(person.image.clone());
    gallery.enroll(Enrolment { image, ..enrolment(&person.id, person.face.clone()) }).unwrap();
}

fn filled(path: &Path, people: &[Person]) -> Gallery {
    let gallery = open(path).unwrap();
    people.iter().for_each(|person| enrol(&gallery, person));
    gallery
}

fn knows(gallery: &Gallery, person: &Person) -> bool {
    let found = gallery.search(&person.face, 1);
    found.first().is_some_and(|best| best.subject_id == person.id && best.cosine > 0.99)
}

fn known<'a>(gallery: &Gallery, people: &'a [Person]) -> Vec<&'a str> {
    people.iter().filter(|person| knows(gallery, person)).map(|person| &*person.id).collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

/// Flips a bit in the middle of these bytes, wherever they stand.
fn flip(path: &Path, bytes: &[u8]) {
    let mut file = fs::read(path).unwrap();
    let places: Vec<usize> = file
        .windows(bytes.len())
        .enumerate()
        .filter(|(_, window)| *window == bytes)
        .map(|(at, _)| at + bytes.len() / 2)
        .collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| file[at] ^= 4);
    fs::write(path, file).unwrap();
}

#[test]
fn a_flipped_bit_in_a_crop_costs_that_crop_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(40);
    drop(filled(&path, &people));
    fs::remove_file(beside(&path, "copy")).ok();
    flip(&path, &people[7].image);
    let gallery = open(&path).unwrap();
    assert_eq!(known(&gallery, &people).len(), 40);
    let crops = people.iter().filter(|person| {
        let template = gallery.search(&person.face, 1)[0].template;
        match gallery.image(template).unwrap() {
            Some(image) => {
                assert!(image == person.image, "{}", person.id);
                true
            }
            None => false,
        }
    });
    assert_eq!(crops.count(), 39);
    let health = gallery.health();
    assert_eq!(health.file, FileState::Writable);
    let left_out = health.left_out.unwrap();
    assert_eq!((left_out.subjects, left_out.templates, left_out.images), (0, 0, 1));
    // It is a gallery like any other, and goes on saying so until it was seen to.
    assert!(gallery.delete("person-003").unwrap());
    gallery.scrub().unwrap();
    drop(gallery);
    let gallery = open(&path).unwrap();
    assert_eq!(gallery.health().left_out, Some(left_out));
    assert_eq!(known(&gallery, &people).len(), 39);
    drop(gallery);
    fs::remove_file(beside(&path, "damaged")).unwrap();
    assert!(open(&path).unwrap().health().is_well());
}

/// The damaged file has got its second name, and the power fails before it loses its first: the next
/// start must not erase the one by the other.
#[test]
fn a_rescue_that_was_cut_off_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(10);
    drop(filled(&path, &people));
    flip(&path, &people[7].image);
    let damaged = fs::read(&path).unwrap();
    fs::hard_link(&path, beside(&path, "damaged")).unwrap();
    fs::write(beside(&path, "new"), &damaged[..10_000]).unwrap();
    assert_eq!(known(&open(&path).unwrap(), &people).len(), 10);
    assert!(fs::read(beside(&path, "damaged")).unwrap() == damaged);
}

#[test]
fn without_a_copy_a_damaged_page_costs_those_on_it_and_with_one_no_subject() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(200);
    let record = |person: &Person| person.id.as_bytes().to_vec();
    let table: [(&str, Vec<u8>); 3] = [
        ("a template", people[100].vector()),
        ("ids", record(&people[100])),
        ("meta", b"next_template".to_vec()),
    ];
    for (what, bytes) in table {
        for copied in [false, true] {
            fs::remove_dir_all(folder.path()).unwrap();
            fs::create_dir(folder.path()).unwrap();
            let gallery = filled(&path, &people);
            if copied {
                assert!(gallery.copy_if_due().unwrap());
            }
            drop(gallery);
            flip(&path, &bytes);
            let gallery = open(&path).unwrap();
            let known = known(&gallery, &people).len();
            let left_out = gallery.health().left_out;
            println!("{what}, copy {copied}: {known} of 200, {left_out:?}");
            match (what, copied) {
                ("meta", _) | (_, true) => assert_eq!(known, 200, "{what}"),
                _ => assert!((150..200).contains(&known), "{what}: {known}"),
            }
            // Ids are given once for ever.
            let new = Person { id: "new".into(), ..people_of_one() };
            enrol(&gallery, &new);
            let template = gallery.search(&new.face, 1)[0].template;
            let others = people.iter().filter_map(|person| gallery.search(&person.face, 1).pop());
            assert!(others.into_iter().all(|other| other.template != template));
            assert_eq!(gallery.image(template).unwrap().unwrap(), new.image);
        }
    }
}

fn people_of_one() -> Person {
    let mut random = Random(99);
    Person { id: String::new(), face: random.embedding(), image: random.bytes(100) }
}

/// The file is lost whole; the copy is there, as long as nothing was taken from anybody since.
#[test]
fn of_a_file_that_is_lost_the_copy_takes_the_place_and_not_if_somebody_was_deleted_since() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(30);
    let gallery = filled(&path, &people[..29]);
    gallery.copy_if_due().unwrap();
    enrol(&gallery, &people[29]);
    drop(gallery);
    let garbage = |path: &Path| {
        let bytes = Random(3).bytes(fs::metadata(path).unwrap().len() as usize);
        fs::write(path, bytes).unwrap();
    };
    let whole = fs::read(&path).unwrap();
    garbage(&path);
    let gallery = open(&path).unwrap();
    assert_eq!(known(&gallery, &people).len(), 29);
    assert_eq!(gallery.health().left_out.unwrap().from_copy, 58);
    drop(gallery);

    let time = 2e9;
    type Taking = (&'static str, fn(&Gallery, f64));
    let taken: [Taking; 4] = [
        ("deleted", |gallery, _| assert!(gallery.delete("person-004").unwrap())),
        ("disabled", |gallery, time| {
            let change = SubjectChange { enabled: Some(false), time, ..SubjectChange::default() };
            gallery.update("person-004", change).unwrap().unwrap();
        }),
        ("no group", |gallery, time| {
            let change = SubjectChange { groups: Some(vec![]), time, ..SubjectChange::default() };
            gallery.update("person-004", change).unwrap().unwrap();
        }),
        ("replaced", |gallery, _| {
            gallery.enroll(enrolment("person-004", Random(77).embedding())).unwrap();
        }),
    ];
    for (what, take) in taken {
        for suffix in ["damaged", "copy"] {
            fs::remove_file(beside(&path, suffix)).ok();
        }
        fs::write(&path, &whole).unwrap();
        let gallery = open(&path).unwrap();
        gallery.copy_if_due().unwrap();
        assert!(beside(&path, "copy").exists());
        take(&gallery, time);
        drop(gallery);
        assert!(!beside(&path, "copy").exists(), "{what}");
        garbage(&path);
        assert!(matches!(open(&path), Err(OpenError::Damaged { .. })), "{what}");
    }
}

/// Whichever bytes are damaged, and although an old copy of the file's pages and of the copy itself may
/// stand on the disk.
#[test]
fn who_was_deleted_comes_back_by_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(60);
    let gallery = filled(&path, &people);
    gallery.copy_if_due().unwrap();
    for gone in ["person-010", "person-011", "person-033"] {
        assert!(gallery.delete(gone).unwrap());
    }
    gallery.copy_if_due().unwrap();
    // Beyond the copy.
    assert!(gallery.delete("person-050").unwrap());
    drop(gallery);
    let gone = [10, 11, 33, 50];
    let bytes = fs::read(&path).unwrap();
    let mut random = Random(5);
    let (mut opened, mut refused) = (0, 0);
    for at in 0..250 {
        let mut damaged = bytes.clone();
        match at % 3 {
            // One bit; in the header more often than its size would have it.
            0 => damaged[random.below(320)] ^= 1 << random.below(8),
            1 => damaged[random.below(bytes.len())] ^= 1 << random.below(8),
            // A page is another page, as when a card mixes up its blocks.
            _ => {
                let pages = bytes.len() / 4096;
                let (from, to) = (random.below(pages) * 4096, random.below(pages) * 4096);
                damaged[to..to + 4096].copy_from_slice(&bytes[from..from + 4096]);
            }
        }
        fs::remove_file(beside(&path, "damaged")).ok();
        fs::write(&path, &damaged).unwrap();
        let Ok(gallery) = open(&path) else {
            refused += 1;
            continue;
        };
        opened += 1;
        for person in gone {
            assert!(!knows(&gallery, &people[person]), "{at}: {person} is back");
            assert!(!gallery.contains(&people[person].id), "{at}: {person} is back");
        }
    }
    println!("{opened} opened, {refused} refused");
    assert!(opened > 100);
}

#[test]
fn a_copy_of_another_file_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("gallery.redb"), folder.path().join("other.redb"));
    let people = people(20);
    let gallery = filled(&path, &people[..10]);
    gallery.copy_if_due().unwrap();
    drop((gallery, filled(&other, &people[10..])));
    // Somebody puts another gallery in its place, and that one is damaged.
    flip(&other, &people[15].vector());
    fs::rename(&other, &path).unwrap();
    let gallery = open(&path).unwrap();
    assert!(known(&gallery, &people[..10]).is_empty());
    assert!(!known(&gallery, &people[10..]).is_empty());
    drop(gallery);
    // Or moves it away to begin with an empty one.
    open(&path).unwrap().copy_if_due().unwrap();
    fs::remove_file(&path).unwrap();
    drop(open(&path).unwrap());
    assert!(!beside(&path, "copy").exists());
}

#[test]
fn part_no_space_for_the_rescue() {
    let Some(path) = std::env::var_os(GALLERY) else { return };
    let people = people(20);
    let gallery = open(path.as_ref()).unwrap();
    assert_eq!(known(&gallery, &people).len(), 20);
    let health = gallery.health();
    assert!(matches!(health.file, FileState::ReadOnly { .. }), "{health:?}");
    gallery.enroll(enrolment("new", Random(1).embedding())).unwrap_err();
    gallery.delete("person-002").unwrap_err();
    assert_eq!(known(&gallery, &people).len(), 19);
}

#[test]
fn what_is_sound_is_recognised_also_where_it_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(20);
    drop(filled(&path, &people));
    flip(&path, &people[7].image);
    let before = fs::read(&path).unwrap();
    // No file grows beyond its first bytes.
    let script = r#"trap '' XFSZ; ulimit -f 1; exec "$0" --exact "$1" --nocapture"#;
    run(Command::new("sh").args(["-c", script]), "part_no_space_for_the_rescue", &path);
    assert!(fs::read(&path).unwrap() == before, "the damaged file was changed");
    // With space again it is made good.
    let gallery = open(&path).unwrap();
    assert_eq!(gallery.health().file, FileState::Writable);
    assert_eq!(known(&gallery, &people).len(), 20);
}

#[test]
fn part_read_only() {
    let Some(path) = std::env::var_os(GALLERY) else { return };
    let people = people(20);
    let gallery = open(path.as_ref()).unwrap();
    let health = gallery.health();
    assert!(matches!(health.file, FileState::ReadOnly { .. }), "{health:?}");
    assert_eq!(known(&gallery, &people).len(), 20);
    let template = gallery.search(&people[3].face, 1)[0].template;
    assert!(gallery.image(template).unwrap().unwrap() == people[3].image);
    let error = gallery.enroll(enrolment("new", Random(1).embedding())).unwrap_err().to_string();
    assert!(error.contains("Read-only") || error.contains("denied"), "{error}");
    gallery.delete("person-002").unwrap_err();
    assert_eq!(known(&gallery, &people).len(), 19);
    assert_eq!(gallery.health().not_on_disk, 1);
    gallery.scrub().unwrap_err();
}

#[test]
fn a_read_only_card_is_read_and_refuses_what_would_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(20);
    let gallery = filled(&path, &people);
    // As a power cut leaves it: redb has to recover it, which it would write.
    let unclean = fs::read(&path).unwrap();
    drop(gallery);
    for (what, bytes) in [("clean", fs::read(&path).unwrap()), ("after a power cut", unclean)] {
        fs::write(&path, &bytes).unwrap();
        let script = r#"mount --bind "$2" "$2" && mount -o remount,bind,ro "$2" || exit 77
            exec "$0" --exact "$1" --nocapture"#;
        let mut read_only = Command::new("unshare");
        read_only.args(["--map-root-user", "--mount", "sh", "-c", script]);
        run(&mut read_only, "part_read_only", &path);
        assert!(fs::read(&path).unwrap() == bytes, "{what}: it was written");
    }
    assert!(open(&path).unwrap().health().is_well());
}

/// Runs one test of this program in a process of its own, started by a command.
fn run(command: &mut Command, test: &str, path: &Path) {
    let part = command
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .arg(path.parent().unwrap())
        .env(GALLERY, path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&part.stderr).into_owned();
    assert!(part.status.success(), "{told}{}", String::from_utf8_lossy(&part.stdout));
}

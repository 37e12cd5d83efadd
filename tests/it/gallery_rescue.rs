//! Tests the rescue of damaged galleries. One flipped bit in a stored crop or a read-only card must
//! not make the whole gallery unusable. The sound part is recognised, the damaged part is reported,
//! and the last good copy never restores a deleted subject, whatever is damaged.

use crate::support::gallery_people::{Random, enrolment, open};
use doorward::face::Embedding;
use doorward::gallery::{Enrolment, FileState, Gallery, OpenError, SubjectChange};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GALLERY: &str = "DOORWARD_TEST_GALLERY";

/// A person, and the bytes that identify the person in the file.
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

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

/// Flips a bit in the middle of each occurrence of these bytes.
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
fn flipped_bit_in_a_crop_loses_only_that_crop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(40);
    drop(filled(&path, &people));
    fs::remove_file(sibling(&path, "copy")).ok();
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
    // The gallery works normally and reports the damage until `.damaged` is removed.
    assert!(gallery.delete("person-003").unwrap());
    gallery.scrub().unwrap();
    drop(gallery);
    let gallery = open(&path).unwrap();
    assert_eq!(gallery.health().left_out, Some(left_out));
    assert_eq!(known(&gallery, &people).len(), 39);
    drop(gallery);
    fs::remove_file(sibling(&path, "damaged")).unwrap();
    assert!(open(&path).unwrap().health().is_well());
}

/// The power fails after the damaged file got its second name and before it lost its first one. The
/// next start must not overwrite the damaged file.
#[test]
fn interrupted_rescue_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(10);
    drop(filled(&path, &people));
    flip(&path, &people[7].image);
    let damaged = fs::read(&path).unwrap();
    fs::hard_link(&path, sibling(&path, "damaged")).unwrap();
    fs::write(sibling(&path, "new"), &damaged[..10_000]).unwrap();
    assert_eq!(known(&open(&path).unwrap(), &people).len(), 10);
    assert!(fs::read(sibling(&path, "damaged")).unwrap() == damaged);
}

#[test]
fn damaged_page_loses_its_subjects_only_without_a_copy() {
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
            // Ids are never reused.
            let new = Person { id: "new".into(), ..one_person() };
            enrol(&gallery, &new);
            let template = gallery.search(&new.face, 1)[0].template;
            let others = people.iter().filter_map(|person| gallery.search(&person.face, 1).pop());
            assert!(others.into_iter().all(|other| other.template != template));
            assert_eq!(gallery.image(template).unwrap().unwrap(), new.image);
        }
    }
}

fn one_person() -> Person {
    let mut random = Random(99);
    Person { id: String::new(), face: random.embedding(), image: random.bytes(100) }
}

/// The file is lost completely. The copy may be used only if nothing was removed since.
#[test]
fn copy_replaces_a_lost_file_unless_something_was_removed_since() {
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
            fs::remove_file(sibling(&path, suffix)).ok();
        }
        fs::write(&path, &whole).unwrap();
        let gallery = open(&path).unwrap();
        gallery.copy_if_due().unwrap();
        assert!(sibling(&path, "copy").exists());
        take(&gallery, time);
        drop(gallery);
        assert!(!sibling(&path, "copy").exists(), "{what}");
        garbage(&path);
        assert!(matches!(open(&path), Err(OpenError::Damaged { .. })), "{what}");
    }
}

/// Tests damage of any bytes, with old versions of the file's pages and of the copy itself on the
/// disk.
#[test]
fn no_damage_restores_a_deleted_subject() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(60);
    let gallery = filled(&path, &people);
    gallery.copy_if_due().unwrap();
    for gone in ["person-010", "person-011", "person-033"] {
        assert!(gallery.delete(gone).unwrap());
    }
    gallery.copy_if_due().unwrap();
    // After the copy was made.
    assert!(gallery.delete("person-050").unwrap());
    drop(gallery);
    let gone = [10, 11, 33, 50];
    let bytes = fs::read(&path).unwrap();
    let mut random = Random(5);
    let (mut opened, mut refused) = (0, 0);
    for at in 0..250 {
        let mut damaged = bytes.clone();
        match at % 3 {
            // Flips one bit, in the header more often than its size implies.
            0 => damaged[random.below(320)] ^= 1 << random.below(8),
            1 => damaged[random.below(bytes.len())] ^= 1 << random.below(8),
            // Replaces a page by another one, as when a card mixes up its blocks.
            _ => {
                let pages = bytes.len() / 4096;
                let (from, to) = (random.below(pages) * 4096, random.below(pages) * 4096);
                damaged[to..to + 4096].copy_from_slice(&bytes[from..from + 4096]);
            }
        }
        fs::remove_file(sibling(&path, "damaged")).ok();
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
fn copy_of_another_file_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("gallery.redb"), folder.path().join("other.redb"));
    let people = people(20);
    let gallery = filled(&path, &people[..10]);
    gallery.copy_if_due().unwrap();
    drop((gallery, filled(&other, &people[10..])));
    // Another gallery is put in its place, and that one is damaged.
    flip(&other, &people[15].vector());
    fs::rename(&other, &path).unwrap();
    let gallery = open(&path).unwrap();
    assert!(known(&gallery, &people[..10]).is_empty());
    assert!(!known(&gallery, &people[10..]).is_empty());
    drop(gallery);
    // The gallery is moved away, to start with an empty one.
    open(&path).unwrap().copy_if_due().unwrap();
    fs::remove_file(&path).unwrap();
    drop(open(&path).unwrap());
    assert!(!sibling(&path, "copy").exists());
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
fn sound_part_is_recognised_without_disk_space() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(20);
    drop(filled(&path, &people));
    flip(&path, &people[7].image);
    let before = fs::read(&path).unwrap();
    // No file grows beyond its first bytes.
    let script = r#"trap '' XFSZ; ulimit -f 1; exec "$0" --exact "$1" --nocapture"#;
    run(
        Command::new("sh").args(["-c", script]),
        "gallery_rescue::part_no_space_for_the_rescue",
        &path,
    );
    assert!(fs::read(&path).unwrap() == before, "the damaged file was changed");
    // With space again it is repaired.
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
fn read_only_card_is_read_and_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let people = people(20);
    let gallery = filled(&path, &people);
    // As after a power cut: redb must recover the file, which needs a write.
    let unclean = fs::read(&path).unwrap();
    drop(gallery);
    for (what, bytes) in [("clean", fs::read(&path).unwrap()), ("after a power cut", unclean)] {
        fs::write(&path, &bytes).unwrap();
        let script = r#"mount --bind "$2" "$2" && mount -o remount,bind,ro "$2" || exit 77
            exec "$0" --exact "$1" --nocapture"#;
        let mut read_only = Command::new("unshare");
        read_only.args(["--map-root-user", "--mount", "sh", "-c", script]);
        run(&mut read_only, "gallery_rescue::part_read_only", &path);
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was written");
    }
    assert!(open(&path).unwrap().health().is_well());
}

/// Runs one test of this program in a separate process, started by `command`.
fn run(command: &mut Command, test: &str, path: &Path) {
    let part = command
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .arg(path.parent().unwrap())
        .env(GALLERY, path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&part.stderr).into_owned();
    assert!(part.status.success(), "{stderr}{}", String::from_utf8_lossy(&part.stdout));
}

//! Tests damaged files and files that are not a gallery. A file without any trustworthy part is
//! refused with an error and left for repair; of any other file the sound part is used. No file may
//! cause a panic or open with data that it never had. redb reports a wrong magic number as an I/O
//! error, and older releases panicked on damaged pages (cberner/redb#1303, #1333).

use crate::support::gallery_people::{Random, enrolment, open};
use doorward::gallery::{Enrolment, OpenError, SubjectChange};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const SUBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("subjects");
const TEMPLATES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("templates");

fn fill(path: &Path) {
    let mut random = Random(2);
    let gallery = open(path).unwrap();
    for at in 0..30 {
        let image = Some(random.bytes(3000));
        gallery
            .enroll(Enrolment { image, ..enrolment(&format!("p{at}"), random.embedding()) })
            .unwrap();
    }
    let change = SubjectChange { groups: Some(vec!["staff".into()]), ..SubjectChange::default() };
    gallery.update("p3", change).unwrap();
    gallery.delete("p7").unwrap();
}

/// Lists what a caller can see: subjects, templates with their cosine, images, one line each.
fn contents(path: &Path) -> Result<BTreeSet<String>, OpenError> {
    let gallery = open(path)?;
    let mut seen = BTreeSet::new();
    for subject in gallery.subjects(1000, None).unwrap().subjects {
        seen.insert(format!("{:?}", doorward::gallery::Subject { templates: 0, ..subject }));
    }
    for found in gallery.search(&Random(99).embedding(), 1000) {
        seen.insert(format!("{found:?}"));
        // A subject that has lost its image has lost nothing else.
        if let Some(image) = gallery.image(found.template).unwrap() {
            seen.insert(format!("{} {image:?}", found.template));
        }
    }
    Ok(seen)
}

/// Removes the files that an open may have created next to the gallery.
fn remove_siblings(path: &Path) {
    for suffix in ["damaged", "copy", "new"] {
        let _ = fs::remove_file(format!("{}.{suffix}", path.display()));
    }
}

fn damaged(path: &Path) -> String {
    match open(path).err() {
        Some(error @ OpenError::Damaged { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn file_that_is_not_a_gallery_is_refused_and_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    let mut jpeg = vec![0xff, 0xd8, 0xff];
    jpeg.extend(Random(1).bytes(100_000));
    for bytes in [vec![], vec![0], b"[gallery]\n".to_vec(), vec![0; 1 << 20], jpeg] {
        fs::write(&path, &bytes).unwrap();
        println!("{}", damaged(&path));
        assert!(fs::read(&path).unwrap() == bytes);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Io { .. })));
}

#[test]
fn truncated_file_keeps_its_sound_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fill(&path);
    let whole = contents(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (mut refused, mut used) = (0, 0);
    for part in 1..40 {
        let cut = bytes.len() * part / 40;
        remove_siblings(&path);
        fs::write(&path, &bytes[..cut]).unwrap();
        match contents(&path) {
            Ok(seen) => {
                assert!(seen.is_subset(&whole) && seen.len() < whole.len(), "cut at {cut}");
                used += 1;
            }
            Err(error) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
                assert!(fs::read(&path).unwrap() == bytes[..cut], "the file was changed");
                refused += 1;
            }
        }
    }
    println!("{refused} refused, {used} used");
}

#[test]
fn flipped_bit_never_creates_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fill(&path);
    let whole = contents(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut random = Random(4);
    let (mut refused, mut lost) = (0, 0);
    // Every used byte of the first page, which controls everything, and a sample of the others.
    let places: Vec<usize> = (0..400).chain((0..600).map(|_| random.below(bytes.len()))).collect();
    for &place in &places {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << random.below(8);
        remove_siblings(&path);
        fs::write(&path, &flipped).unwrap();
        match catch_unwind(|| contents(&path)) {
            Ok(Ok(seen)) => {
                assert!(seen.is_subset(&whole), "byte {place} changed the gallery");
                lost += usize::from(seen.len() < whole.len());
            }
            Ok(Err(OpenError::Damaged { .. })) => refused += 1,
            Ok(Err(other)) => panic!("byte {place}: {other:?}"),
            Err(_) => panic!("byte {place}: panic"),
        }
    }
    println!("of {} {refused} refused, {lost} with a loss, the others whole", places.len());
    // Only a damaged header or root of the tables loses the whole file.
    assert!(refused < places.len() / 2 && lost > 20);
}

#[test]
fn newer_schema_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fill(&path);
    set_meta(&path, "schema", 3);
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::SchemaTooNew { found: 3, .. }));
    assert!(error.to_string().contains("newer doorward"));
    set_meta(&path, "schema", 0);
    damaged(&path);
}

#[test]
fn older_schema_is_read_and_upgraded_by_the_first_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fill(&path);
    let barred =
        |gallery: &doorward::gallery::Gallery| gallery.subject("p3").unwrap().unwrap().barred;
    let change =
        |enabled| SubjectChange { enabled: Some(enabled), by_admin: true, ..Default::default() };
    let gallery = open(&path).unwrap();
    gallery.update("p3", change(false)).unwrap();
    drop(gallery);
    set_meta(&path, "schema", 1);
    // The old schema does not record who disabled it: it may have been an administrator.
    let gallery = open(&path).unwrap();
    assert!(barred(&gallery));
    drop(gallery);
    assert_eq!(meta(&path, "schema"), 1);
    let gallery = open(&path).unwrap();
    gallery.update("p3", change(true)).unwrap();
    assert!(!barred(&gallery));
    gallery.update("p3", SubjectChange { by_admin: false, ..change(false) }).unwrap();
    drop(gallery);
    assert_eq!(meta(&path, "schema"), 2);
    assert!(!barred(&open(&path).unwrap()));
}

fn meta(path: &Path, name: &str) -> u64 {
    let database = Database::open(path).unwrap();
    let read = database.begin_read().unwrap();
    read.open_table(META).unwrap().get(name).unwrap().unwrap().value()
}

fn set_meta(path: &Path, name: &str, value: u64) {
    let database = Database::open(path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(META).unwrap().insert(name, value).unwrap();
    write.commit().unwrap();
}

#[test]
fn only_invalid_records_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    let mut template = vec![0; 8];
    template.extend(Random(1).embedding().0.iter().flat_map(|x| x.to_le_bytes()));
    template.extend(b"model-a");
    let mut infinite = template.clone();
    infinite[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let mut long = template.clone();
    long[8..12].copy_from_slice(&1e10f32.to_le_bytes());

    let write_template = |subject: &'static str, id: u64, value: Vec<u8>| {
        move |write: &redb::WriteTransaction| {
            let mut table = write.open_table(TEMPLATES).unwrap();
            table.insert((subject, id), value.as_slice()).unwrap();
        }
    };
    let write_subject = |value: &'static str| {
        move |write: &redb::WriteTransaction| {
            let mut table = write.open_table(SUBJECTS).unwrap();
            table.insert("p5", value.as_bytes()).unwrap();
        }
    };
    type Write = Box<dyn Fn(&redb::WriteTransaction)>;
    // The subject that is affected; none for a surplus template.
    let cases: Vec<(Option<&str>, Write)> = vec![
        (Some("p5"), Box::new(write_template("p5", 5, infinite))),
        (Some("p5"), Box::new(write_template("p5", 5, long))),
        (Some("p5"), Box::new(write_template("p5", 5, template[..519].to_vec()))),
        (Some("p5"), Box::new(write_template("p5", 5, vec![]))),
        (Some("p5"), Box::new(write_template("p5", 5, template[..520].to_vec()))),
        (None, Box::new(write_template("ghost", 7, template.clone()))),
        (None, Box::new(write_template("p6", 5, template.clone()))),
        (Some("p5"), Box::new(write_subject("{}"))),
        (Some("p5"), Box::new(write_subject("\u{0}"))),
    ];
    fill(&path);
    let whole = contents(&path).unwrap();
    for (lost, write) in cases {
        remove_siblings(&path);
        let _ = fs::remove_file(&path);
        fill(&path);
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        write(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let seen = contents(&path).unwrap();
        assert!(seen.is_subset(&whole));
        let of_lost = |line: &&String| lost.is_some_and(|id| line.contains(&format!("{id:?}")));
        let missing: Vec<_> = whole.difference(&seen).collect();
        assert!(missing.iter().filter(|line| !of_lost(line)).count() <= 1, "{missing:?}");
        assert_eq!(missing.iter().any(of_lost), lost.is_some());
        let health = open(&path).unwrap().health();
        let left_out = health.left_out.unwrap();
        assert!(left_out.subjects + left_out.templates > 0, "{health:?}");
    }
}

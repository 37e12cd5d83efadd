//! Files that are not, or no longer, a gallery: each is refused with an error that says so, and
//! is left for whoever may repair it. None may panic, and none may open as something it is not.
//! redb reports a wrong magic number as an I/O error, and older releases panicked on damaged
//! pages (cberner/redb#1303, #1333).

#![allow(clippy::unwrap_used)]

mod gallery_people;

use doorward::gallery::{Enrolment, OpenError, SubjectChange};
use gallery_people::{Random, enrolment, open};
use redb::{Database, TableDefinition};
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

/// Everything a caller can see.
fn contents(path: &Path) -> Result<String, OpenError> {
    let gallery = open(path)?;
    let subjects = gallery.subjects(1000, None).unwrap();
    let found = gallery.search(&Random(99).embedding(), 1000);
    let images: Vec<_> = found.iter().map(|found| gallery.image(found.template).unwrap()).collect();
    Ok(format!("{subjects:?} {found:?} {images:?}"))
}

fn damaged(path: &Path) -> String {
    match open(path).err() {
        Some(error @ OpenError::Damaged { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_gallery_is_refused_and_not_overwritten() {
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
fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fill(&path);
    let bytes = fs::read(&path).unwrap();
    for part in 1..40 {
        let cut = bytes.len() * part / 40;
        fs::write(&path, &bytes[..cut]).unwrap();
        println!("{}", damaged(&path));
        assert!(fs::read(&path).unwrap() == bytes[..cut], "was changed");
    }
}

#[test]
fn a_flipped_bit_is_refused_or_without_effect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fill(&path);
    let whole = contents(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut random = Random(4);
    let mut refused = 0;
    // The first page steers everything: each of its bytes that is in use. Of the rest, a sample.
    let places: Vec<usize> = (0..400).chain((0..600).map(|_| random.below(bytes.len()))).collect();
    for &place in &places {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << random.below(8);
        fs::write(&path, &flipped).unwrap();
        match catch_unwind(|| contents(&path)) {
            Ok(Ok(seen)) => assert!(seen == whole, "byte {place} changed the gallery"),
            Ok(Err(OpenError::Damaged { .. })) => refused += 1,
            Ok(Err(other)) => panic!("byte {place}: {other:?}"),
            Err(_) => panic!("byte {place}: panic"),
        }
    }
    println!("{refused} of {} refused, the others without effect", places.len());
    assert!(refused > 100);
}

#[test]
fn a_newer_schema_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    fill(&path);
    set_meta(&path, "schema", 2);
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::SchemaTooNew { found: 2, .. }));
    assert!(error.to_string().contains("newer doorward"));
    set_meta(&path, "schema", 0);
    damaged(&path);
    set_meta(&path, "schema", 1);
    open(&path).unwrap();
}

fn set_meta(path: &Path, name: &str, value: u64) {
    let database = Database::open(path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(META).unwrap().insert(name, value).unwrap();
    write.commit().unwrap();
}

#[test]
fn a_record_nobody_would_have_written_is_named() {
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
    let cases: Vec<(&str, Write)> = vec![
        ("template 5 of subject \"p5\"", Box::new(write_template("p5", 5, infinite))),
        ("template 5 of subject \"p5\"", Box::new(write_template("p5", 5, long))),
        ("too short", Box::new(write_template("p5", 5, template[..519].to_vec()))),
        ("too short", Box::new(write_template("p5", 5, vec![]))),
        ("names no model", Box::new(write_template("p5", 5, template[..520].to_vec()))),
        ("no subject", Box::new(write_template("ghost", 7, template.clone()))),
        ("another's id", Box::new(write_template("p5", 6, template.clone()))),
        ("another's id", Box::new(write_template("p5", 1000, template))),
        ("subject \"p5\"", Box::new(write_subject("{}"))),
        ("subject \"p5\"", Box::new(write_subject("\u{0}"))),
    ];
    for (expected, write) in cases {
        let _ = fs::remove_file(&path);
        fill(&path);
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        write(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let message = damaged(&path);
        assert!(message.contains(expected), "{message}");
    }
}

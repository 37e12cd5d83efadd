//! Tests temporary disk faults. After one error redb refuses all writes (`PreviousIo`), so the
//! gallery must open the file again: otherwise it refuses every deletion until a restart, although
//! the disk works again. A deletion must deny before it is on disk.
//!
//! The fault is real: the other process is this test program, run by a shell that ignores SIGXFSZ.
//! Its limit on file sizes (`prlimit`) makes every write and every growth fail.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use doorward::face::Embedding;
use doorward::gallery::{Enrolment, Gallery, SubjectChange};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::gallery_people::{Random, enrolment, open};

const GALLERY: &str = "DOORWARD_TEST_GALLERY";
/// A file that failed is not opened again for five seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one test of this program in a separate process, so that its files can be made to fail.
fn run_part(test: &str, gallery: &Path) {
    let part = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; exec "$0" --exact "$1" --nocapture"#])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(GALLERY, gallery)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&part.stderr).into_owned();
    assert!(part.status.success(), "{stderr}{}", String::from_utf8_lossy(&part.stdout));
}

fn gallery_of_part() -> Option<std::path::PathBuf> {
    std::env::var_os(GALLERY).map(Into::into)
}

/// Makes writes beyond a file's first bytes fail, or work again.
fn disk_fails(fails: bool) {
    let limit = if fails { "--fsize=512:" } else { "--fsize=unlimited:" };
    let pid = format!("--pid={}", std::process::id());
    let set = Command::new("prlimit").args([pid.as_str(), limit]).status().unwrap();
    assert!(set.success());
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(100));
    }
}

fn enrol(gallery: &Gallery, random: &mut Random, id: &str) -> Embedding {
    let face = random.embedding();
    gallery.enroll(enrolment(id, face.clone())).unwrap();
    face
}

fn finds(gallery: &Gallery, id: &str, face: &Embedding) -> bool {
    let found = gallery.search(face, 1).first().is_some_and(|best| best.subject_id == id);
    assert_eq!(found, gallery.verify(id, face).is_some(), "search and verify disagree about {id}");
    assert_eq!(found, gallery.contains(id));
    assert_eq!(found, gallery.subject(id).unwrap().is_some());
    found
}

#[test]
fn part_writes_work_again() {
    let Some(path) = gallery_of_part() else { return };
    let mut random = Random(1);
    let gallery = open(&path).unwrap();
    let anna = enrol(&gallery, &mut random, "anna");
    disk_fails(true);
    let face = random.embedding();
    gallery.enroll(enrolment("bert", face.clone())).unwrap_err();
    assert!(!finds(&gallery, "bert", &face));
    assert!(finds(&gallery, "anna", &anna), "no recognition while the disk fails");
    disk_fails(false);
    until("nothing is written again", || gallery.enroll(enrolment("bert", face.clone())).is_ok());
    assert!(finds(&gallery, "bert", &face));
    assert!(gallery.delete("anna").unwrap());
    drop(gallery);
    let gallery = open(&path).unwrap();
    assert!(!finds(&gallery, "anna", &anna));
    assert!(finds(&gallery, "bert", &face));
}

#[test]
fn writes_work_after_a_failed_one_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    run_part("part_writes_work_again", &folder.path().join("gallery.redb"));
}

/// A copy is put back while the gallery is open. The next changes must not go to the old file,
/// which has no name, and the next scrub must not overwrite the restored copy.
#[test]
fn file_replaced_while_open_is_noticed_and_gets_the_removals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let mut random = Random(3);
    let other = open(&folder.path().join("other.redb")).unwrap();
    let (anna, carl) = (enrol(&other, &mut random, "anna"), enrol(&other, &mut random, "carl"));
    drop(other);
    let gallery = open(&path).unwrap();
    gallery.enroll(enrolment("anna", anna.clone())).unwrap();
    std::fs::rename(folder.path().join("other.redb"), &path).unwrap();

    gallery.scrub().unwrap_err();
    gallery.delete("anna").unwrap_err();
    assert!(!finds(&gallery, "anna", &anna), "a deletion takes effect at once");
    assert!(!gallery.health().is_well());
    until("what was put back is not opened", || {
        gallery.tend();
        gallery.health().is_well()
    });
    assert!(finds(&gallery, "carl", &carl));
    assert!(!finds(&gallery, "anna", &anna));
    drop(gallery);
    let gallery = open(&path).unwrap();
    assert!(!finds(&gallery, "anna", &anna), "a deletion is on disk");

    std::fs::remove_file(&path).unwrap();
    gallery.tend();
    assert!(!gallery.health().is_well());
    assert!(finds(&gallery, "carl", &carl), "an enrolled subject is still recognised");
}

#[test]
fn part_deletion_denies() {
    let Some(path) = gallery_of_part() else { return };
    let mut random = Random(2);
    let gallery = open(&path).unwrap();
    let anna = enrol(&gallery, &mut random, "anna");
    let bert = enrol(&gallery, &mut random, "bert");
    let time = 1_700_000_000.0;
    let staff = vec!["staff".to_owned(), "night".to_owned()];
    let groups = SubjectChange { groups: Some(staff), time, ..SubjectChange::default() };
    gallery.update("bert", groups).unwrap().unwrap();
    disk_fails(true);

    gallery.delete("anna").unwrap_err();
    assert!(!finds(&gallery, "anna", &anna), "deleted, and still found");
    let disabled = SubjectChange { enabled: Some(false), time, ..SubjectChange::default() };
    gallery.update("bert", disabled).unwrap_err();
    assert!(!gallery.subject("bert").unwrap().unwrap().enabled, "disabled, and still enabled");
    // Removals take effect at once, additions wait for the disk.
    let moved = vec!["night".to_owned(), "board".to_owned()];
    let moved = SubjectChange { groups: Some(moved), time, ..SubjectChange::default() };
    gallery.update("bert", moved).unwrap_err();
    let enabled = SubjectChange { enabled: Some(true), time, ..SubjectChange::default() };
    gallery.update("bert", enabled).unwrap_err();
    let seen = gallery.subject("bert").unwrap().unwrap();
    assert_eq!((seen.enabled, seen.groups), (false, vec!["night".to_owned()]));
    assert_eq!(gallery.subjects(10, None).unwrap().subjects.len(), 1);
    assert_eq!(gallery.health().not_on_disk, 2);
    assert!(!gallery.health().is_well());

    disk_fails(false);
    until("what was taken away is not written", || {
        gallery.tend();
        gallery.health().not_on_disk == 0
    });
    assert!(gallery.health().is_well(), "{:?}", gallery.health());
    assert!(!finds(&gallery, "anna", &anna));
    drop(gallery);
    let gallery = open(&path).unwrap();
    assert!(!finds(&gallery, "anna", &anna));
    assert!(finds(&gallery, "bert", &bert));
    let seen = gallery.subject("bert").unwrap().unwrap();
    assert_eq!((seen.enabled, seen.groups), (false, vec!["night".to_owned()]));
}

#[test]
fn unwritten_removals_deny_at_once_and_are_written_later() {
    let folder = tempfile::tempdir().unwrap();
    run_part("part_deletion_denies", &folder.path().join("gallery.redb"));
}

#[test]
fn part_damaged_meanwhile() {
    let Some(path) = gallery_of_part() else { return };
    let mut random = Random(4);
    let gallery = open(&path).unwrap();
    let anna = enrol(&gallery, &mut random, "anna");
    let image = random.bytes(9000);
    let bert = random.embedding();
    let with_image = Enrolment { image: Some(image.clone()), ..enrolment("bert", bert.clone()) };
    gallery.enroll(with_image).unwrap();
    // A sector of the crop is damaged while the disk refuses writes.
    let bytes = std::fs::read(&path).unwrap();
    let places = bytes.windows(16).enumerate().filter(|(_, window)| *window == &image[500..516]);
    for (at, _) in places {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 16], at as u64).unwrap();
    }
    disk_fails(true);
    gallery.delete("anna").unwrap_err();
    disk_fails(false);
    until("the deletion is not written", || {
        gallery.tend();
        gallery.health().not_on_disk == 0
    });
    assert_eq!(gallery.health().left_out.map(|left_out| left_out.images), Some(1));
    assert!(finds(&gallery, "bert", &bert));
    drop(gallery);
    let gallery = open(&path).unwrap();
    assert!(!finds(&gallery, "anna", &anna) && finds(&gallery, "bert", &bert));
}

#[test]
fn file_damaged_before_reopening_is_repaired_and_the_deletion_written() {
    let folder = tempfile::tempdir().unwrap();
    run_part("part_damaged_meanwhile", &folder.path().join("gallery.redb"));
}

#[test]
fn part_restart_in_between() {
    let Some(path) = gallery_of_part() else { return };
    let mut random = Random(3);
    let gallery = open(&path).unwrap();
    let anna = enrol(&gallery, &mut random, "anna");
    disk_fails(true);
    let error = gallery.delete("anna").unwrap_err().to_string();
    assert!(error.contains("restart"), "{error}");
    drop(gallery);
    disk_fails(false);
    let gallery = open(&path).unwrap();
    assert!(finds(&gallery, "anna", &anna));
    assert!(gallery.delete("anna").unwrap());
}

#[test]
fn restart_forgets_unwritten_removals_as_the_error_says() {
    let folder = tempfile::tempdir().unwrap();
    run_part("part_restart_in_between", &folder.path().join("gallery.redb"));
}

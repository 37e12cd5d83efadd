//! Tests crashes and concurrent opens: every change acknowledged before SIGKILL is stored, an
//! unacknowledged change is stored completely or not at all, and two processes never share a file.
//!
//! The other process is this test program, running only one `part_` test. Without the environment
//! variable that names the gallery, a `part_` test does nothing.

use crate::support::gallery_people::{Random, enrolment, open};
use doorward::gallery::{Enrolment, OpenError};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const GALLERY: &str = "DOORWARD_TEST_GALLERY";

fn start(test: &str, gallery: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(GALLERY, gallery)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns the numbers that the child has acknowledged, one per line of its output.
fn acknowledged(child: &mut Child) -> impl Iterator<Item = usize> + use<> {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.map_while(|line| line.ok()?.strip_prefix("done ")?.parse().ok())
}

#[test]
fn part_enroll_until_killed() {
    let Some(path) = std::env::var_os(GALLERY) else {
        return;
    };
    let gallery = open(path.as_ref()).unwrap();
    let mut random = Random(5);
    let first = gallery.stats().unwrap().subjects as usize;
    for at in first.. {
        let image = Some(random.bytes(5000));
        gallery
            .enroll(Enrolment { image, ..enrolment(&format!("p{at:06}"), random.embedding()) })
            .unwrap();
        eprintln!("done {at}");
        if at % 7 == 6 {
            gallery.scrub().unwrap();
        }
    }
}

#[test]
fn part_open() {
    let Some(path) = std::env::var_os(GALLERY) else {
        return;
    };
    match open(path.as_ref()) {
        Ok(_) => eprintln!("done 0"),
        Err(OpenError::InUse { .. }) => eprintln!("done 1"),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn sigkill_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let mut expected = 0;
    let mut random = Random(9);
    for _ in 0..12 {
        let mut child = start("gallery_crash::part_enroll_until_killed", &path);
        let mut lines = acknowledged(&mut child);
        for _ in 0..1 + random.below(20) {
            assert_eq!(lines.next(), Some(expected));
            expected += 1;
        }
        std::thread::sleep(std::time::Duration::from_micros(random.below(9000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        // Acknowledged before the signal arrived.
        expected += lines.count();

        let gallery = open(&path).unwrap();
        let ids: Vec<_> = gallery.subjects(10_000, None).unwrap().subjects;
        assert!(ids.len() == expected || ids.len() == expected + 1, "{expected}");
        expected = ids.len();
        for (at, subject) in ids.iter().enumerate() {
            assert_eq!(subject.id, format!("p{at:06}"));
            assert_eq!(subject.templates, 1);
        }
        let found = gallery.search(&random.embedding(), 10_000);
        assert_eq!(found.len(), expected);
        for candidate in found {
            assert_eq!(gallery.image(candidate.template).unwrap().unwrap().len(), 5000);
        }
        assert!(!folder.path().join("gallery.redb.new").exists());
    }
}

#[test]
fn second_open_fails_with_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let gallery = open(&path).unwrap();
    let second = open(&path).err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }));
    assert!(second.to_string().contains("another doorward process"));
    let another_process = |expected| {
        let mut child = start("gallery_crash::part_open", &path);
        assert_eq!(acknowledged(&mut child).next(), Some(expected));
        child.wait().unwrap();
    };
    another_process(1);
    gallery.scrub().unwrap();
    another_process(1);
    drop(gallery);
    another_process(0);
    open(&path).unwrap();
}

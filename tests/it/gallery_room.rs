//! Tests that enrolments cannot fill the disk: a client that may only enrol must leave space for
//! deletions and events. Needs root, a loop device and e2fsprogs.

use crate::support::disk::Disk;
use crate::support::gallery_people::{Random, enrolment, open};
use doorward::gallery::GalleryError;
use std::fs;

#[test]
fn enrolments_leave_room_for_deletions() {
    let Some(disk) = Disk::mount("enrolments that fill the disk") else { return };
    let gallery = open(&disk.path().join("gallery")).unwrap();
    let mut random = Random(5);
    gallery.enroll(enrolment("anna", random.embedding())).unwrap();
    // Fills the disk as crops would, but faster.
    let filler = disk.path().join("filler");
    let stat = rustix::fs::statvfs(disk.path()).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    fs::write(&filler, vec![1; usize::try_from(free).unwrap() - (5 << 20)]).unwrap();
    let refused = gallery.enroll(enrolment("bob", random.embedding()));
    assert!(matches!(refused, Err(GalleryError::NoRoom { free: 3..=5, .. })), "{refused:?}");
    assert!(!gallery.contains("bob"));
    assert!(gallery.delete("anna").unwrap());
    fs::remove_file(&filler).unwrap();
    gallery.enroll(enrolment("bob", random.embedding())).unwrap();
}

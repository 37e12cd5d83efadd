//! Tests that deleted data are gone from the file's bytes. redb keeps the bytes of freed pages, so
//! a deletion alone hides a face but keeps it. The scrub must remove it from the file, from the
//! previous file, and from what an interrupted scrub left behind.

use crate::support::gallery_people::{Random, enrolment, open};
use doorward::gallery::{Enrolment, Gallery, SubjectChange};
use std::fs;
use std::path::Path;

/// Byte strings of a person that must not be found, each too long to match by chance.
struct Traces(Vec<Vec<u8>>);

impl Traces {
    fn found_in(&self, path: &Path) -> usize {
        let bytes = fs::read(path).unwrap();
        let found = |trace: &&Vec<u8>| bytes.windows(trace.len()).any(|window| window == **trace);
        self.0.iter().filter(found).count()
    }
}

fn enroll(gallery: &Gallery, random: &mut Random, id: &str) -> Traces {
    let embedding = random.embedding();
    let image = random.bytes(9000);
    // A piece from the middle of each: pages may split the data elsewhere.
    let vector: Vec<u8> = embedding.0[60..68].iter().flat_map(|x| x.to_le_bytes()).collect();
    let traces = vec![vector, image[..32].to_vec(), image[4000..4032].to_vec(), id.into()];
    gallery.enroll(Enrolment { image: Some(image), ..enrolment(id, embedding) }).unwrap();
    Traces(traces)
}

#[test]
fn scrub_leaves_no_trace_of_deleted_subjects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let mut random = Random(11);
    let gallery = open(&path).unwrap();
    let ids = (0..40).map(|at| format!("somebody-with-a-long-id-{at:02}"));
    let people: Vec<_> = ids.map(|id| (enroll(&gallery, &mut random, &id), id)).collect();
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for (at, (mut traces, id)) in people.into_iter().enumerate() {
        match at % 4 {
            0 => {
                gallery.delete(&id).unwrap();
                gone.push(traces);
            }
            1 => {
                // The id stays, the first face is replaced.
                kept.push(enroll(&gallery, &mut random, &id));
                traces.0.pop();
                gone.push(traces);
            }
            _ => kept.push(traces),
        }
    }
    let remnants = gallery.stats().unwrap().remnants;
    let renamed = SubjectChange {
        name: Some(Some("a former name of somebody".into())),
        ..SubjectChange::default()
    };
    gallery.update("somebody-with-a-long-id-02", renamed).unwrap();
    assert_eq!(gallery.stats().unwrap().remnants, remnants, "changed names rewrite nothing");
    let forgotten = SubjectChange { name: Some(None), ..SubjectChange::default() };
    gallery.update("somebody-with-a-long-id-02", forgotten).unwrap();
    gone.push(Traces(vec![b"a former name of somebody".to_vec()]));

    let before: usize = gone.iter().map(|traces| traces.found_in(&path)).sum();
    assert!(before > 0, "without a scrub the bytes must be found");
    assert!(gallery.stats().unwrap().remnants > 0);
    let old = folder.path().join("old");
    fs::hard_link(&path, &old).unwrap();
    let scrubbed = gallery.scrub().unwrap();
    println!("{before} traces before; {scrubbed:?}");

    let check = || {
        for traces in &gone {
            assert_eq!(traces.found_in(&path), 0);
        }
        for traces in &kept {
            assert_eq!(traces.found_in(&path), traces.0.len());
        }
    };
    check();
    assert!(fs::read(&old).unwrap().iter().all(|byte| *byte == 0));
    assert!(scrubbed.bytes_after < scrubbed.bytes_before);
    assert_eq!(gallery.stats().unwrap().remnants, 0);

    drop(gallery);
    check();
    let gallery = open(&path).unwrap();
    assert_eq!(gallery.stats().unwrap().subjects, 30);
    check();
}

#[test]
fn interrupted_scrub_keeps_the_gallery_and_its_copy_is_erased() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let gallery = open(&path).unwrap();
    enroll(&gallery, &mut Random(1), "anna");
    drop(gallery);
    let copy = folder.path().join("gallery.redb.new");
    let copied = folder.path().join("copied");
    fs::copy(&path, &copy).unwrap();
    fs::hard_link(&copy, &copied).unwrap();

    let gallery = open(&path).unwrap();
    assert!(gallery.contains("anna"));
    assert!(!copy.exists());
    assert!(fs::read(&copied).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn scrub_keeps_a_symbolic_link() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    let link = folder.path().join("link");
    drop(open(&real).unwrap());
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let gallery = open(&link).unwrap();
    enroll(&gallery, &mut Random(1), "anna");
    gallery.scrub().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    drop(gallery);
    assert!(open(&real).unwrap().contains("anna"));
}

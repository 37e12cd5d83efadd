//! Tests concurrent searches, enrolments, deletions and scrubs: a search sees only a state that the
//! file had, never a replaced face together with its replacement, never a partial change.

use crate::support::gallery_people::{Random, enrolment, open};
use doorward::gallery::{Enrolment, SubjectChange};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Two subjects always exist, each with one of two faces; others are enrolled and deleted.
#[test]
fn search_never_sees_a_state_the_file_never_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    let gallery = open(&path).unwrap();
    let mut random = Random(3);
    let faces: Vec<_> = (0..4).map(|_| random.embedding()).collect();
    gallery.enroll(enrolment("a", faces[0].clone())).unwrap();
    gallery.enroll(enrolment("b", faces[2].clone())).unwrap();
    let over = AtomicBool::new(false);
    let searches = AtomicUsize::new(0);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (gallery, faces, over, searches) = (&gallery, &faces, &over, &searches);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let found = gallery.search(&faces[reader], 100);
                    let of = |id: &str| found.iter().filter(|one| one.subject_id == id).count();
                    assert_eq!((of("a"), of("b")), (1, 1));
                    assert!(gallery.verify("a", &faces[reader]).is_some());
                    // The candidate may have been deleted: then there is no image, and no error.
                    for one in &found {
                        let image = gallery.image(one.template).unwrap();
                        assert!(image.is_none_or(|image| image.len() == 3000));
                    }
                    gallery.subjects(10, None).unwrap();
                    searches.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let writers: Vec<_> = (0..3)
            .map(|writer: usize| {
                let (gallery, faces) = (&gallery, &faces);
                scope.spawn(move || {
                    let mut random = Random(writer as u64 + 10);
                    for round in 0..80 {
                        match writer {
                            0 => {
                                let face = faces[round % 2].clone();
                                let enrolment = enrolment("a", face.clone());
                                gallery.enroll(enrolment).unwrap();
                                assert!(gallery.verify("a", &face).unwrap() > 0.9999);
                            }
                            1 => {
                                let id = format!("guest{}", round % 5);
                                let image = Some(random.bytes(3000));
                                let guest = enrolment(&id, random.embedding());
                                gallery.enroll(Enrolment { image, ..guest }).unwrap();
                                assert!(gallery.contains(&id));
                                gallery.delete(&id).unwrap();
                                assert!(!gallery.contains(&id));
                            }
                            _ if round % 10 == 0 => drop(gallery.scrub().unwrap()),
                            _ => drop(gallery.update("b", SubjectChange::default()).unwrap()),
                        }
                    }
                })
            })
            .collect();
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        over.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    println!("{} rounds of searches", searches.load(Ordering::Relaxed));
    let probe = random.embedding();
    let found = gallery.search(&probe, 100);
    assert_eq!(found.len(), 2);
    drop(gallery);
    assert_eq!(open(&path).unwrap().search(&probe, 100), found);
}

/// Groups are added while faces are replaced: no replacement may happen after the group is added.
#[test]
fn subject_that_got_a_group_keeps_its_face() {
    let folder = tempfile::tempdir().unwrap();
    let gallery = open(&folder.path().join("g")).unwrap();
    let mut random = Random(8);
    for round in 0..20 {
        let id = format!("p{round}");
        gallery.enroll(enrolment(&id, random.embedding())).unwrap();
        let (template, refused) = thread::scope(|scope| {
            let intruder = scope.spawn(|| {
                let mut random = Random(round + 100);
                while gallery.enroll(enrolment(&id, random.embedding())).is_ok() {}
            });
            let change =
                SubjectChange { groups: Some(vec!["staff".into()]), ..SubjectChange::default() };
            gallery.update(&id, change).unwrap();
            let template = gallery.search(&random.embedding(), 100);
            (template, intruder.join())
        });
        refused.unwrap();
        let owner = |found: &[doorward::gallery::Candidate]| {
            let one = found.iter().find(|one| one.subject_id == id);
            one.map(|one| one.template)
        };
        let later = gallery.search(&random.embedding(), 100);
        assert_eq!(owner(&template), owner(&later));
    }
}

//! Prints the times of a gallery of 10,000 subjects: `cargo test --release --test gallery_measure
//! -- --ignored --nocapture`. The asserted bounds are wide: they detect a change of the growth
//! order.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use doorward::gallery::Enrolment;
use std::time::{Duration, Instant};
use support::gallery_people::{Random, enrolment, open};

const SUBJECTS: usize = 10_000;
/// A stored crop of 320 px at most.
const IMAGE_BYTES: usize = 12_000;

fn timed<T>(what: &str, repeat: u32, mut run: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..repeat {
        std::hint::black_box(run());
    }
    let each = start.elapsed() / repeat;
    println!("{what}: {each:?}");
    each
}

#[test]
#[ignore = "takes a minute: 10,000 durable commits"]
fn ten_thousand_subjects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gallery.redb");
    let mut random = Random(1);
    let gallery = open(&path).unwrap();
    let mut enroll = |at: usize| {
        let image = Some(random.bytes(IMAGE_BYTES));
        let face = random.embedding();
        let subject = enrolment(&format!("person-{at:05}"), face);
        gallery.enroll(Enrolment { image, ..subject }).unwrap();
    };
    timed("10,000 enrolments", 1, || (0..SUBJECTS).for_each(&mut enroll));
    let mut at = SUBJECTS;
    timed("one enrolment at 10,000", 200, || {
        at += 1;
        enroll(at);
    });
    timed("one deletion at 10,000", 100, || {
        at -= 1;
        gallery.delete(&format!("person-{at:05}")).unwrap()
    });
    timed("stats", 5, || gallery.stats().unwrap());
    let probe = random.embedding();
    let search = timed("search, limit 1", 200, || gallery.search(&probe, 1));
    timed("search, limit 10", 200, || gallery.search(&probe, 10));
    timed("verify", 10_000, || gallery.verify("person-00042", &probe));
    println!("{:?}", gallery.stats().unwrap());
    timed("scrub", 1, || println!("{:?}", gallery.scrub().unwrap()));
    drop(gallery);
    let reopen = timed("open", 5, || open(&path).unwrap());
    assert!(search < Duration::from_millis(50));
    assert!(reopen < Duration::from_secs(5));
}

use super::*;
use crate::access::{Outcome, Reason, Zone};

const SIZE: (u32, u32) = (640, 480);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Returns a square face at horizontal position `x`.
fn face(x: f32, width: f32) -> Detection {
    let landmarks = [[0.0; 2]; 5];
    Detection { x, y: 0.0, width, height: width, landmarks, score: 0.9 }
}

fn decision(outcome: Outcome, subject: Option<&str>) -> Decision {
    Decision {
        outcome,
        reason: Reason::NoGroup,
        subject_id: subject.map(str::to_owned),
        also_enrolled_as: Vec::new(),
        similarity: None,
        liveness: None,
        card: None,
        liveness_off: false,
        looks: 3,
        took: Duration::ZERO,
        timings: serde_json::Value::Null,
    }
}

fn selection(settings: Settings) -> Selection {
    Selection::new(settings, Arc::default())
}

/// Returns the face of a person, unlike that of every other number.
fn of(person: usize) -> Embedding {
    Embedding(std::array::from_fn(|axis| if axis == person { 1.0 } else { 0.0 }))
}

/// Shows one face every 100 ms for 90 s, starting at `from`. Each time it is selected it gets
/// this decision. Returns the times of the decisions.
fn decided(
    selection: &mut Selection,
    from: u64,
    outcome: Outcome,
    subject: Option<&str>,
) -> Vec<u64> {
    let mut times = Vec::new();
    for at in (from..from + 90_000).step_by(100) {
        let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(at));
        let Some(track) = selection.next(&scene, None) else { continue };
        if selection.locked_out(ms(at)).is_none() {
            selection.settle(track.id, &decision(outcome, subject), &[of(0)], ms(at));
            times.push(at - from);
        }
    }
    times
}

#[test]
fn largest_face_that_is_large_enough_and_in_the_zone_is_next() {
    let zone: Zone = "0.5 0 1 1".parse().unwrap();
    let mut selection = selection(Settings { zone, ..Settings::default() });
    let (outside, small) = (face(0.0, 200.0), face(500.0, 63.0));
    let scene = selection.follow(&[outside, small], SIZE, ms(0));
    assert!(selection.next(&scene, None).is_none());
    let (larger, smaller) = (face(340.0, 100.0), face(500.0, 80.0));
    let scene = selection.follow(&[outside, larger, smaller], SIZE, ms(40));
    assert_eq!(selection.next(&scene, None).unwrap().face, larger);
}

#[test]
fn face_being_judged_keeps_its_turn_until_another_is_much_larger() {
    let mut selection = selection(Settings::default());
    let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(0));
    let judged = selection.next(&scene, None).unwrap().id;
    let scene = selection.follow(&[face(0.0, 100.0), face(300.0, 140.0)], SIZE, ms(40));
    assert_eq!(selection.next(&scene, Some(judged)).unwrap().id, judged);
    let scene = selection.follow(&[face(0.0, 100.0), face(300.0, 150.0)], SIZE, ms(80));
    assert_ne!(selection.next(&scene, Some(judged)).unwrap().id, judged);
    // Briefly out of view: no other face takes the turn until the track ends.
    let scene = selection.follow(&[face(300.0, 140.0)], SIZE, ms(120));
    assert!(selection.next(&scene, Some(judged)).is_none());
    let scene = selection.follow(&[face(300.0, 140.0)], SIZE, ms(2000));
    assert!(selection.next(&scene, Some(judged)).is_some());
}

#[test]
fn people_are_counted_by_faces_of_similar_size() {
    let mut selection = selection(Settings::default());
    let faces = [face(0.0, 100.0), face(200.0, 61.0), face(400.0, 59.0)];
    let scene = selection.follow(&faces, SIZE, ms(0));
    let judged = selection.next(&scene, None).unwrap();
    assert_eq!(selection.people(&scene, &judged), 2);
}

#[test]
fn cooldown_of_a_lingering_stranger_doubles_and_counts_once() {
    let settings = Settings { lockout_after: 2, ..Settings::default() };
    let mut selection = selection(settings);
    let times = decided(&mut selection, 0, Outcome::Unknown, None);
    assert_eq!(times, [0, 2000, 6000, 14_000, 30_000, 46_000, 62_000, 78_000]);
}

#[test]
fn temporary_refusals_are_judged_again_every_two_seconds() {
    for outcome in [Outcome::Denied, Outcome::Obscured, Outcome::PoorPicture, Outcome::NoColour] {
        let mut selection = selection(Settings { lockout_after: 1, ..Settings::default() });
        let times = decided(&mut selection, 0, outcome, None);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 2000), "{outcome:?} {times:?}");
        assert_eq!(times.len(), 45, "{outcome:?}");
    }
}

#[test]
fn repeat_interval_grows_for_a_subject_who_stays() {
    let mut selection = selection(Settings::default());
    let times = decided(&mut selection, 0, Outcome::Granted, Some("ada"));
    assert_eq!(times, [0, 5000, 15_000, 35_000, 75_000]);
}

#[test]
fn subject_is_not_granted_twice_by_two_tracks() {
    let mut selection = selection(Settings::default());
    let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(0));
    let first = selection.next(&scene, None).unwrap();
    assert!(!selection.repeats(first.id, "ada", None, ms(0)));
    selection.settle(first.id, &decision(Outcome::Granted, Some("ada")), &[of(0)], ms(0));
    let scene = selection.follow(&[face(300.0, 100.0)], SIZE, ms(1000));
    let second = selection.next(&scene, None).unwrap();
    assert!(!selection.repeats(second.id, "bob", None, ms(1000)));
    assert!(selection.repeats(second.id, "ada", None, ms(1000)));
    // The track stays in cooldown until the interval is over.
    let scene = selection.follow(&[face(300.0, 100.0)], SIZE, ms(4999));
    assert!(selection.next(&scene, None).is_none());
    let scene = selection.follow(&[face(300.0, 100.0)], SIZE, ms(5000));
    assert!(selection.next(&scene, None).is_some());
    assert!(!selection.repeats(second.id, "ada", None, ms(5000)));
}

#[test]
fn grant_that_did_not_open_does_not_count() {
    let mut selection = selection(Settings { repeat: ms(30_000), ..Settings::default() });
    let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(0));
    let track = selection.next(&scene, None).unwrap();
    selection.settle(track.id, &decision(Outcome::Granted, Some("ada")), &[of(0)], ms(0));
    selection.not_opened("ada", ms(0));
    let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(1900));
    assert!(selection.next(&scene, None).is_none());
    let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(2000));
    assert!(selection.next(&scene, None).is_some());
    assert!(!selection.repeats(track.id, "ada", None, ms(2000)));
}

/// Shows another stranger at each of these seconds.
fn strangers(selection: &mut Selection, seconds: std::ops::Range<u64>) {
    for second in seconds {
        let now = ms(1000 * second);
        let scene = selection.follow(&[face(60.0 * second as f32, 100.0)], SIZE, now);
        let track = selection.next(&scene, None).unwrap();
        selection.settle(track.id, &decision(Outcome::Spoof, None), &[of(second as usize)], now);
    }
}

#[test]
fn lock_out_is_reported_once_and_a_grant_resets_the_count() {
    let settings = Settings { lockout_after: 3, ..Settings::default() };
    let mut selection = selection(settings);
    strangers(&mut selection, 0..2);
    let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(1500));
    let resident = selection.next(&scene, None).unwrap();
    selection.settle(resident.id, &decision(Outcome::Granted, Some("ada")), &[of(100)], ms(1500));
    strangers(&mut selection, 2..5);
    let left = selection.locked_out(ms(4000));
    assert_eq!(left, Some(LockedOut { left: ms(5000), is_news: true }));
    let left = selection.locked_out(ms(8999));
    assert_eq!(left, Some(LockedOut { left: ms(1), is_news: false }));
    assert_eq!(selection.locked_out(ms(9000)), None);
}

#[test]
fn lock_out_outlives_a_judge_that_panicked() {
    let settings = Settings { lockout_after: 3, ..Settings::default() };
    let lockout = Arc::default();
    strangers(&mut Selection::new(settings.clone(), Arc::clone(&lockout)), 0..2);
    let poisoning = Arc::clone(&lockout);
    let panicked = std::thread::spawn(move || {
        let _held = poisoning.lock().unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let mut next = Selection::new(settings.clone(), Arc::clone(&lockout));
    let scene = next.follow(&[face(400.0, 100.0)], SIZE, ms(2000));
    let track = next.next(&scene, None).unwrap();
    next.settle(track.id, &decision(Outcome::Unknown, None), &[of(90)], ms(2000));
    let mut last = Selection::new(settings, lockout);
    let left = last.locked_out(ms(2000));
    assert_eq!(left, Some(LockedOut { left: ms(5000), is_news: true }));
}

/// Shows a face every 100 ms, a stranger each time. Returns the times at which it was judged.
fn shown(
    selection: &mut Selection,
    times: std::ops::Range<u64>,
    show: impl Fn(u64) -> (f32, usize),
) -> Vec<u64> {
    let mut judged = Vec::new();
    for at in times.step_by(100) {
        let (x, person) = show(at);
        let scene = selection.follow(&[face(x, 100.0)], SIZE, ms(at));
        let Some(track) = selection.next(&scene, None) else {
            if let Some(waiting) = selection.to_recheck(&scene) {
                selection.rechecked(waiting.id, Some(&of(person)), ms(at));
            }
            continue;
        };
        let is_out = selection.locked_out(ms(at)).is_some();
        if !is_out && !selection.is_in_cooldown(track.id, &of(person), ms(at)) {
            selection.settle(track.id, &decision(Outcome::Unknown, None), &[of(person)], ms(at));
            judged.push(at);
        }
    }
    judged
}

#[test]
fn successive_pictures_cause_a_lock_out_in_one_place_or_many() {
    for apart in [0.0, 40.0, 200.0] {
        let settings = Settings { lockout_after: 5, ..Settings::default() };
        let mut selection = selection(settings);
        // A new picture every two seconds.
        let show = |at: u64| ((at / 2000 % 3) as f32 * apart, (at / 2000) as usize);
        let judged = shown(&mut selection, 0..24_000, show);
        // Five attempts, then a lock-out of 5 s, one attempt, and a lock-out of 10 s.
        assert!((5..=7).contains(&judged.len()), "{apart}: {judged:?}");
        assert!(judged[5..].iter().all(|at| *at >= 13_000), "{apart}: {judged:?}");
    }
}

#[test]
fn cooldown_of_one_picture_doubles_in_every_place() {
    let mut selection = selection(Settings { lockout_after: 2, ..Settings::default() });
    let judged = shown(&mut selection, 0..40_000, |at| ((at / 1000 % 5) as f32 * 130.0, 1));
    assert!(judged.len() <= 5, "{judged:?}");
    let gaps: Vec<_> = judged.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().zip([2000, 4000, 8000, 16_000]).all(|(gap, least)| *gap >= least));
    assert_eq!(selection.locked_out(ms(40_000)), None);
}

#[test]
fn person_in_the_place_of_a_refused_stranger_does_not_wait() {
    let mut selection = selection(Settings::default());
    let show = |at: u64| (0.0, usize::from(at >= 20_000));
    let judged = shown(&mut selection, 0..21_000, show);
    assert_eq!(judged[..4], [0, 2000, 6000, 14_000]);
    let waited = judged[4] - 20_000;
    assert!(waited <= 700, "{judged:?}");
}

#[test]
fn repeat_interval_belongs_to_the_subject_and_doubles_over_tracks() {
    let mut selection = selection(Settings::default());
    let mut grants = Vec::new();
    // 2 s in view, 1.1 s out of view.
    for at in (0..240_000).step_by(100).filter(|at| at % 3100 < 2000) {
        let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(at));
        let Some(track) = selection.next(&scene, None) else { continue };
        if !selection.repeats(track.id, "ada", Some(&of(0)), ms(at)) {
            let granted = decision(Outcome::Granted, Some("ada"));
            selection.settle(track.id, &granted, &[of(0)], ms(at));
            grants.push(at);
        }
    }
    let gaps: Vec<_> = grants.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(grants.len() <= 7, "{grants:?}");
    let least = [5000, 10_000, 20_000, 40_000, 60_000, 60_000];
    assert!(gaps.iter().zip(least).all(|(gap, least)| *gap >= least), "{grants:?}");
    // A subject who returns after minutes is granted with the first interval again.
    let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(1_000_000));
    let track = selection.next(&scene, None).unwrap();
    selection.settle(track.id, &decision(Outcome::Granted, Some("ada")), &[of(0)], ms(1_000_000));
    assert!(selection.repeats(track.id, "ada", None, ms(1_004_900)));
    assert!(!selection.repeats(track.id, "ada", None, ms(1_005_000)));
}

use super::*;
use crate::face::Liveness;
use crate::gallery::Candidate;

const BARE: Coverings = Coverings { sunglasses: 0.1, mask: 0.1 };

/// A face that resembles no face of another axis.
fn axis(axis: usize) -> Embedding {
    Embedding(std::array::from_fn(|i| if i == axis { 1.0 } else { 0.0 }))
}

/// A look that finds these subjects at these cosines.
fn look(found: &[(&str, f32)], log_odds: f32) -> Usable {
    let candidate = |&(id, cosine): &(&str, f32)| Candidate::of(id, cosine);
    Usable {
        worn: BARE,
        liveness: Some(Liveness { log_odds, ..Liveness::default() }),
        embedding: axis(0),
        found: found.first().map(candidate),
        found_together: found.iter().map(candidate).collect(),
    }
}

/// A frame with one grey level.
fn frame(shade: u8) -> Picture {
    Picture::new(4, 4, vec![shade; 48]).unwrap()
}

const FACE: Detection =
    Detection { x: 0.0, y: 0.0, width: 4.0, height: 4.0, landmarks: [[0.0; 2]; 5], score: 0.9 };

const ADA: &[(&str, f32)] = &[("ada", 0.7), ("bob", 0.2)];
const STRANGER: &[(&str, f32)] = &[("ada", 0.2), ("bob", 0.1)];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Returns the verdict after these looks, one every 100 ms, with movement between frames.
fn after(looks: Vec<Usable>, settings: &Settings) -> Verdict {
    let mut attempt = Attempt::new(ms(0), Box::new(()));
    let mut verdict = Verdict::Undecided;
    for (index, look) in looks.into_iter().enumerate() {
        let now = ms(100 * index as u64);
        attempt.add(Look::Usable(Box::new(look)), (&frame(index as u8), &FACE), 1, now);
        verdict = attempt.verdict(settings, 82.0, 1, now);
        if verdict != Verdict::Undecided {
            return verdict;
        }
    }
    verdict
}

fn outcome(verdict: Verdict) -> Option<Outcome> {
    match verdict {
        Verdict::Failed(outcome, _) => Some(outcome),
        _ => None,
    }
}

#[test]
fn three_looks_that_agree_are_enough_and_two_are_not() {
    let settings = Settings::default();
    let looks = |count| vec![look(ADA, 2.0); count];
    assert_eq!(after(looks(2), &settings), Verdict::Undecided);
    assert_eq!(after(looks(3), &settings), Verdict::Recognised);
}

#[test]
fn one_bad_frame_never_denies() {
    let settings = Settings::default();
    let mut looks = vec![look(ADA, 2.0); 4];
    looks.insert(1, look(STRANGER, 2.0));
    assert_eq!(after(looks, &settings), Verdict::Recognised);
}

#[test]
fn looks_at_several_people_never_agree() {
    let other = |at: usize| Usable { embedding: axis(at % 2), ..look(ADA, 2.0) };
    assert_eq!(
        after((0..MOST_LOOKS).map(other).collect(), &Settings::default()),
        Verdict::Failed(Outcome::Unknown, Reason::NoAgreement)
    );
}

#[test]
fn stranger_is_unknown() {
    let stranger = after(vec![look(STRANGER, 2.0); MOST_LOOKS], &Settings::default());
    let Verdict::Failed(Outcome::Unknown, Reason::BelowThreshold { best, threshold }) = stranger
    else {
        panic!("{stranger:?}")
    };
    assert!(best < threshold && threshold == 82.0);
}

#[test]
fn empty_gallery_and_nan_scores_never_grant() {
    for found in [&[][..], &[("ada", f32::NAN)]] {
        let verdict = after(vec![look(found, 2.0); MOST_LOOKS], &Settings::default());
        assert_eq!(outcome(verdict), Some(Outcome::Unknown), "{found:?}");
    }
    let mut looks = vec![look(ADA, f32::NAN)];
    looks.extend(vec![look(ADA, 5.0); MOST_LOOKS - 1]);
    assert_eq!(outcome(after(looks, &Settings::default())), Some(Outcome::Spoof));
}

#[test]
fn spoof_is_refused_and_one_doubtful_frame_is_not() {
    let spoof = after(vec![look(ADA, -1.0); MOST_LOOKS], &Settings::default());
    assert_eq!(outcome(spoof), Some(Outcome::Spoof));
    let live = [2.0, -1.0, 2.0].map(|odds| look(ADA, odds)).to_vec();
    assert_eq!(after(live, &Settings::default()), Verdict::Recognised);
}

#[test]
fn picture_shown_after_a_living_face_is_a_spoof() {
    let mut looks = vec![look(STRANGER, 6.0); 5];
    looks.extend(vec![look(ADA, -2.0); 7]);
    assert_eq!(outcome(after(looks, &Settings::default())), Some(Outcome::Spoof));
}

#[test]
fn missing_liveness_never_grants_unless_liveness_is_off() {
    let blind = Usable { liveness: None, ..look(ADA, 0.0) };
    let verdict = after(vec![blind.clone(); MOST_LOOKS], &Settings::default());
    assert_eq!(outcome(verdict), Some(Outcome::Spoof));
    let off = Settings { liveness: LivenessPolicy::Off, ..Settings::default() };
    assert_eq!(after(vec![blind; 3], &off), Verdict::Recognised);
}

#[test]
fn face_without_any_movement_is_a_spoof() {
    let settings = Settings::default();
    let mut attempt = Attempt::new(ms(0), Box::new(()));
    for step in 0..12 {
        attempt.add(Look::Usable(Box::new(look(ADA, 5.0))), (&frame(0), &FACE), 1, ms(step));
    }
    let verdict = attempt.verdict(&settings, 82.0, 1, ms(12));
    assert_eq!(verdict, Verdict::Failed(Outcome::Spoof, Reason::Frozen));
}

#[test]
fn sunglasses_and_masks_are_refused_if_configured() {
    let settings = Settings::default();
    let wearing = |worn| vec![Usable { worn, ..look(ADA, 2.0) }; 3];
    for (worn, what) in [
        (Coverings { sunglasses: 0.5, ..BARE }, "sunglasses"),
        (Coverings { mask: f32::NAN, ..BARE }, "mask"),
    ] {
        let verdict = after(wearing(worn), &settings);
        assert_eq!(verdict, Verdict::Failed(Outcome::Obscured, Reason::Covered(what)));
    }
    let covered = Coverings { mask: 1.0, ..BARE };
    let lenient = Settings { refuse_covered: false, ..settings };
    assert_eq!(after(wearing(covered), &lenient), Verdict::Recognised);
}

#[test]
fn shown_faces_need_consecutive_looks() {
    let settings = Settings::default();
    let shown = |axes: &[usize]| {
        let mut attempt = Attempt::new(ms(0), Box::new(()));
        for (step, at) in axes.iter().enumerate() {
            let look = Usable { embedding: axis(*at), ..look(STRANGER, 2.0) };
            let seen = (&frame(step as u8), &FACE);
            attempt.add(Look::Usable(Box::new(look)), seen, 1, ms(step as u64));
        }
        attempt.shown(&settings).len()
    };
    assert_eq!(shown(&[]), 0);
    assert_eq!(shown(&[0, 0]), 1);
    assert_eq!(shown(&[0, 0, 0, 1, 1, 1]), 2);
    // No face was shown for long enough to pass: all looks count as one face.
    assert_eq!(shown(&[0, 1, 0, 1, 0, 1]), 1);
}

#[test]
fn dark_and_blurred_frames_fail_when_patience_ends() {
    let settings = Settings::default();
    let mut attempt = Attempt::new(ms(0), Box::new(()));
    attempt.add(Look::Dark, (&frame(0), &FACE), 1, ms(0));
    attempt.add(Look::Usable(Box::new(look(ADA, 2.0))), (&frame(1), &FACE), 1, ms(2000));
    attempt.add(Look::Blurred, (&frame(1), &FACE), 1, ms(2500));
    assert_eq!(attempt.verdict(&settings, 82.0, 1, ms(2999)), Verdict::Undecided);
    assert_eq!(
        attempt.verdict(&settings, 82.0, 1, ms(3000)),
        Verdict::Failed(Outcome::PoorPicture, Reason::Blur)
    );
}

/// A living resident before a gray camera is not called a spoof.
#[test]
fn gray_frames_fail_as_no_colour_when_patience_ends() {
    let settings = Settings::default();
    let mut attempt = Attempt::new(ms(0), Box::new(()));
    attempt.add(Look::Blurred, (&frame(0), &FACE), 1, ms(0));
    attempt.add(Look::Gray, (&frame(1), &FACE), 1, ms(2500));
    assert_eq!(attempt.verdict(&settings, 82.0, 1, ms(2999)), Verdict::Undecided);
    assert_eq!(
        attempt.verdict(&settings, 82.0, 1, ms(3000)),
        Verdict::Failed(Outcome::NoColour, Reason::NoColour)
    );
}

#[test]
fn second_person_is_refused_only_with_one_person() {
    let one = Settings { one_person: true, ..Settings::default() };
    let mut attempt = Attempt::new(ms(0), Box::new(()));
    for (step, people) in [1, 1, 2].into_iter().enumerate() {
        let seen = frame(step as u8);
        attempt.add(
            Look::Usable(Box::new(look(ADA, 2.0))),
            (&seen, &FACE),
            people,
            ms(step as u64),
        );
    }
    assert_eq!(attempt.verdict(&one, 82.0, 2, ms(2)), Verdict::Undecided);
    let any = attempt.verdict(&Settings::default(), 82.0, 2, ms(2));
    assert_eq!(any, Verdict::Recognised);
    for step in 3..5 {
        attempt.add(
            Look::Usable(Box::new(look(ADA, 2.0))),
            (&frame(step as u8), &FACE),
            2,
            ms(step),
        );
    }
    assert_eq!(outcome(attempt.verdict(&one, 82.0, 2, ms(5))), Some(Outcome::SeveralPeople));
}

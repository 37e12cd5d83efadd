//! Whose turn it is: which of the faces in view is judged next, and what a decision means for the
//! ones to come: rests, the repeat interval, the lock-out. It knows boxes and decisions, no pictures
//! and no networks.

use super::decision::Decision;
use super::lockout::Lockout;
use super::settings::Settings;
use super::track::{Track, TrackId, Tracks};
use crate::face::Detection;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The face under judgement stays so until another is more than this many times its area: two who
/// stand side by side do not take turns.
const MUCH_LARGER: f32 = 2.0;
/// A face at least this wide beside the judged one, as a share of its width, is a second person at
/// the door; a smaller one is somebody in the street.
const BESIDE: f32 = 0.6;
/// The longest while after which somebody who stays is let in again: they did not get through, or
/// they chat before a door that must not stay unlocked for it.
const LONGEST_REPEAT: Duration = Duration::from_secs(60);

/// Who was seen, judged and let in.
pub(super) struct Turns {
    settings: Settings,
    tracks: Tracks,
    rests: BTreeMap<TrackId, Rest>,
    /// When each subject was last let in.
    granted: BTreeMap<String, Duration>,
    lockout: Arc<Mutex<Lockout>>,
    /// Whether somebody was told of the present lock-out.
    told: bool,
}

/// A track that has had its decision.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    until: Duration,
    /// Decisions that each double the next rest: grants, or failed attempts.
    grants: u32,
    failures: u32,
}

/// The faces of one frame of this size.
pub(super) struct Scene {
    here: Vec<Track>,
    size: (u32, u32),
}

/// Nobody is judged.
#[derive(Debug, PartialEq)]
pub(super) struct LockedOut {
    /// For so long.
    pub left: Duration,
    /// Which is to be told, once a lock-out.
    pub is_news: bool,
}

/// A while, doubled so many times, up to the longest.
fn doubled(rest: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1u32.checked_shl(times).unwrap_or(u32::MAX);
    rest.saturating_mul(factor).min(longest.max(rest))
}

impl Turns {
    /// Nobody seen yet; what was tried before is in the lock-out.
    pub fn new(settings: Settings, lockout: Arc<Mutex<Lockout>>) -> Self {
        Self {
            settings,
            tracks: Tracks::default(),
            rests: BTreeMap::new(),
            granted: BTreeMap::new(),
            lockout,
            told: false,
        }
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        // Counts that a panic left are counts.
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the faces of the next frame, largest first.
    pub fn follow(&mut self, faces: &[Detection], size: (u32, u32), now: Duration) -> Scene {
        let here = self.tracks.follow(faces, now);
        self.rests.retain(|id, _| self.tracks.has(*id));
        let repeat = self.settings.repeat;
        self.granted.retain(|_, at| now.saturating_sub(*at) < repeat);
        Scene { here, size }
    }

    /// Whether this face has not left yet.
    pub fn has(&self, id: TrackId) -> bool {
        self.tracks.has(id)
    }

    /// The largest well-placed face that does not rest, or the one under judgement; nobody while
    /// that one is out of sight for a moment.
    pub fn next(&self, Scene { here, size }: &Scene, judged: Option<TrackId>) -> Option<Track> {
        let eligible = |track: &&Track| {
            track.face.width >= self.settings.smallest_face as f32
                && self.settings.zone.holds(&track.face, size.0, size.1)
                && self.rests.get(&track.id).is_none_or(|rest| rest.until <= track.seen)
        };
        let largest =
            here.iter().filter(eligible).max_by(|a, b| a.face.area().total_cmp(&b.face.area()))?;
        let seen = here.iter().any(|track| Some(track.id) == judged);
        if !seen && judged.is_some_and(|id| self.tracks.has(id)) {
            return None;
        }
        let present = here.iter().filter(eligible).find(|track| Some(track.id) == judged);
        match present {
            Some(track) if largest.face.area() <= MUCH_LARGER * track.face.area() => {
                Some(track.clone())
            }
            _ => Some(largest.clone()),
        }
    }

    /// How many people stand at the door, this face's included.
    pub fn people(&self, Scene { here, size }: &Scene, judged: &Track) -> usize {
        let beside = |other: &&Track| {
            other.face.width >= BESIDE * judged.face.width
                && self.settings.zone.holds(&other.face, size.0, size.1)
        };
        here.iter().filter(beside).count()
    }

    /// Whether nobody is judged at `now`, somebody being there.
    pub fn locked_out(&mut self, now: Duration) -> Option<LockedOut> {
        let remains = self.lockout().remains(&self.settings, now);
        let told = std::mem::replace(&mut self.told, remains.is_some());
        remains.map(|left| LockedOut { left, is_news: !told })
    }

    /// Whether this subject was let in too short a while ago; the face that is theirs then rests.
    pub fn repeats(&mut self, id: TrackId, subject: &str, now: Duration) -> bool {
        let granted = self.granted.get(subject);
        let again = granted.map(|at| at.saturating_add(self.settings.repeat));
        let Some(again) = again.filter(|again| *again > now) else { return false };
        self.rests.entry(id).or_default().until = again;
        true
    }

    /// Takes note of a decision. A stranger's face that stays is judged again after a while that
    /// doubles, and counts towards a lock-out once: a poster in view must not lock out those who
    /// come. Whoever was refused for something that may change in a moment waits no longer each time.
    pub fn settle(&mut self, track: &Track, decision: &Decision, now: Duration) {
        let Settings { retry, repeat, .. } = self.settings;
        let before = self.rests.get(&track.id).copied().unwrap_or_default();
        let rest = if decision.is_grant() {
            self.lockout().granted();
            if let Some(subject) = &decision.subject_id {
                self.granted.insert(subject.clone(), now);
            }
            let rests = doubled(repeat, before.grants, LONGEST_REPEAT);
            Rest { until: now.saturating_add(rests), grants: before.grants + 1, failures: 0 }
        } else if decision.is_failed_attempt() {
            let stays = before.failures > 0;
            self.lockout().failed(&self.settings, &track.face, stays, now);
            let rests = doubled(retry, before.failures, retry.saturating_mul(8));
            Rest { until: now.saturating_add(rests), failures: before.failures + 1, ..before }
        } else {
            Rest { until: now.saturating_add(retry), ..before }
        };
        self.rests.insert(track.id, rest);
    }

    /// The strike did not move for the subject just granted: whoever stands there is judged again
    /// soon, as if nothing had been.
    pub fn not_opened(&mut self, subject: &str, now: Duration) {
        self.granted.remove(subject);
        let soon = now.saturating_add(self.settings.retry);
        for rest in self.rests.values_mut().filter(|rest| rest.grants > 0) {
            rest.until = rest.until.min(soon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Outcome, Reason, Zone};

    const SIZE: (u32, u32) = (640, 480);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A square face, so far to the right, so wide.
    fn face(x: f32, width: f32) -> Detection {
        let landmarks = [[0.0; 2]; 5];
        Detection { x, y: 0.0, width, height: width, landmarks, score: 0.9 }
    }

    fn decision(outcome: Outcome, subject: Option<&str>) -> Decision {
        Decision {
            outcome,
            reason: Reason::NoGroup,
            subject_id: subject.map(str::to_owned),
            similarity: None,
            liveness: None,
            card: None,
            liveness_off: false,
            looks: 3,
            took: Duration::ZERO,
            timings: serde_json::Value::Null,
        }
    }

    fn turns(settings: Settings) -> Turns {
        Turns::new(settings, Arc::default())
    }

    /// One face stays from `from` on, seen every 100 ms up to a minute and a half; each time it is its
    /// turn it has this decision. The times of the decisions.
    fn decided(turns: &mut Turns, from: u64, outcome: Outcome, subject: Option<&str>) -> Vec<u64> {
        let mut times = Vec::new();
        for at in (from..from + 90_000).step_by(100) {
            let scene = turns.follow(&[face(0.0, 100.0)], SIZE, ms(at));
            let Some(track) = turns.next(&scene, None) else { continue };
            if turns.locked_out(ms(at)).is_none() {
                turns.settle(&track, &decision(outcome, subject), ms(at));
                times.push(at - from);
            }
        }
        times
    }

    #[test]
    fn the_largest_face_that_is_large_enough_and_in_the_zone_is_next() {
        let zone: Zone = "0.5 0 1 1".parse().unwrap();
        let mut turns = turns(Settings { zone, ..Settings::default() });
        let (outside, small) = (face(0.0, 200.0), face(500.0, 63.0));
        let scene = turns.follow(&[outside, small], SIZE, ms(0));
        assert!(turns.next(&scene, None).is_none());
        let (larger, smaller) = (face(340.0, 100.0), face(500.0, 80.0));
        let scene = turns.follow(&[outside, larger, smaller], SIZE, ms(40));
        assert_eq!(turns.next(&scene, None).unwrap().face, larger);
    }

    #[test]
    fn who_is_under_judgement_stays_so_until_another_is_much_larger() {
        let mut turns = turns(Settings::default());
        let scene = turns.follow(&[face(0.0, 100.0)], SIZE, ms(0));
        let judged = turns.next(&scene, None).unwrap().id;
        let scene = turns.follow(&[face(0.0, 100.0), face(300.0, 140.0)], SIZE, ms(40));
        assert_eq!(turns.next(&scene, Some(judged)).unwrap().id, judged);
        let scene = turns.follow(&[face(0.0, 100.0), face(300.0, 150.0)], SIZE, ms(80));
        assert_ne!(turns.next(&scene, Some(judged)).unwrap().id, judged);
        // Out of sight for a moment: nobody takes the place, until the track is gone.
        let scene = turns.follow(&[face(300.0, 140.0)], SIZE, ms(120));
        assert!(turns.next(&scene, Some(judged)).is_none());
        let scene = turns.follow(&[face(300.0, 140.0)], SIZE, ms(2000));
        assert!(turns.next(&scene, Some(judged)).is_some());
    }

    #[test]
    fn people_are_the_faces_about_as_large() {
        let mut turns = turns(Settings::default());
        let faces = [face(0.0, 100.0), face(200.0, 61.0), face(400.0, 59.0)];
        let scene = turns.follow(&faces, SIZE, ms(0));
        let judged = turns.next(&scene, None).unwrap();
        assert_eq!(turns.people(&scene, &judged), 2);
    }

    #[test]
    fn a_stranger_who_stays_rests_longer_each_time_and_counts_once() {
        let settings = Settings { lockout_after: 2, ..Settings::default() };
        let mut turns = turns(settings);
        let times = decided(&mut turns, 0, Outcome::Unknown, None);
        assert_eq!(times, [0, 2000, 6000, 14_000, 30_000, 46_000, 62_000, 78_000]);
    }

    #[test]
    fn who_was_refused_for_what_may_change_is_judged_every_two_seconds() {
        for outcome in [Outcome::Denied, Outcome::Obscured, Outcome::PoorPicture] {
            let mut turns = turns(Settings { lockout_after: 1, ..Settings::default() });
            let times = decided(&mut turns, 0, outcome, None);
            assert!(
                times.windows(2).all(|pair| pair[1] - pair[0] == 2000),
                "{outcome:?} {times:?}"
            );
            assert_eq!(times.len(), 45, "{outcome:?}");
        }
    }

    #[test]
    fn who_was_let_in_and_stays_is_let_in_again_ever_later() {
        let mut turns = turns(Settings::default());
        let times = decided(&mut turns, 0, Outcome::Granted, Some("ada"));
        assert_eq!(times, [0, 5000, 15_000, 35_000, 75_000]);
    }

    #[test]
    fn a_subject_is_not_let_in_twice_at_once_whichever_face_it_is_seen_by() {
        let mut turns = turns(Settings::default());
        let scene = turns.follow(&[face(0.0, 100.0)], SIZE, ms(0));
        let first = turns.next(&scene, None).unwrap();
        assert!(!turns.repeats(first.id, "ada", ms(0)));
        turns.settle(&first, &decision(Outcome::Granted, Some("ada")), ms(0));
        let scene = turns.follow(&[face(300.0, 100.0)], SIZE, ms(1000));
        let second = turns.next(&scene, None).unwrap();
        assert!(!turns.repeats(second.id, "bob", ms(1000)));
        assert!(turns.repeats(second.id, "ada", ms(1000)));
        // It rests until the interval is over.
        let scene = turns.follow(&[face(300.0, 100.0)], SIZE, ms(4999));
        assert!(turns.next(&scene, None).is_none());
        let scene = turns.follow(&[face(300.0, 100.0)], SIZE, ms(5000));
        assert!(turns.next(&scene, None).is_some());
        assert!(!turns.repeats(second.id, "ada", ms(5000)));
    }

    #[test]
    fn a_grant_that_did_not_open_is_no_grant() {
        let mut turns = turns(Settings { repeat: ms(30_000), ..Settings::default() });
        let scene = turns.follow(&[face(0.0, 100.0)], SIZE, ms(0));
        let track = turns.next(&scene, None).unwrap();
        turns.settle(&track, &decision(Outcome::Granted, Some("ada")), ms(0));
        turns.not_opened("ada", ms(0));
        let scene = turns.follow(&[face(0.0, 100.0)], SIZE, ms(1900));
        assert!(turns.next(&scene, None).is_none());
        let scene = turns.follow(&[face(0.0, 100.0)], SIZE, ms(2000));
        assert!(turns.next(&scene, None).is_some());
        assert!(!turns.repeats(track.id, "ada", ms(2000)));
    }

    /// A stranger at each of these seconds, each somewhere else.
    fn strangers(turns: &mut Turns, seconds: std::ops::Range<u64>) {
        for second in seconds {
            let now = ms(1000 * second);
            let scene = turns.follow(&[face(60.0 * second as f32, 100.0)], SIZE, now);
            let track = turns.next(&scene, None).unwrap();
            turns.settle(&track, &decision(Outcome::Spoof, None), now);
        }
    }

    #[test]
    fn a_lock_out_is_told_once_and_a_grant_before_it_forgives() {
        let settings = Settings { lockout_after: 3, ..Settings::default() };
        let mut turns = turns(settings);
        strangers(&mut turns, 0..2);
        let scene = turns.follow(&[face(0.0, 100.0)], SIZE, ms(1500));
        let resident = turns.next(&scene, None).unwrap();
        turns.settle(&resident, &decision(Outcome::Granted, Some("ada")), ms(1500));
        strangers(&mut turns, 2..5);
        let left = turns.locked_out(ms(4000));
        assert_eq!(left, Some(LockedOut { left: ms(5000), is_news: true }));
        let left = turns.locked_out(ms(8999));
        assert_eq!(left, Some(LockedOut { left: ms(1), is_news: false }));
        assert_eq!(turns.locked_out(ms(9000)), None);
    }

    #[test]
    fn a_lock_out_outlives_the_judge_also_one_that_panicked() {
        let settings = Settings { lockout_after: 3, ..Settings::default() };
        let lockout = Arc::default();
        strangers(&mut Turns::new(settings.clone(), Arc::clone(&lockout)), 0..2);
        let poisoning = Arc::clone(&lockout);
        let panicked = std::thread::spawn(move || {
            let _held = poisoning.lock().unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        let mut next = Turns::new(settings.clone(), Arc::clone(&lockout));
        let scene = next.follow(&[face(400.0, 100.0)], SIZE, ms(2000));
        let track = next.next(&scene, None).unwrap();
        next.settle(&track, &decision(Outcome::Unknown, None), ms(2000));
        let mut last = Turns::new(settings, lockout);
        let left = last.locked_out(ms(2000));
        assert_eq!(left, Some(LockedOut { left: ms(5000), is_news: true }));
    }
}

//! Whose turn it is: which of the faces in view is judged next, and what a decision means for the
//! ones to come: rests, the repeat interval, the lock-out. It knows boxes, embeddings and decisions, no
//! pictures and no networks.
//!
//! A rest belongs to a face, not to the place where it was seen: a face that rests is glanced at now and
//! then, and another one in its place is judged at once. The repeat interval belongs to a subject.

use super::decision::Decision;
use super::lockout::Lockout;
use super::refused::is_same;
use super::settings::Settings;
use super::track::{Track, TrackId, Tracks};
use crate::face::{Detection, Embedding};
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
/// In such a time after a grant one doubling of the repeat interval is forgotten.
const FORGIVES_ONE: Duration = LONGEST_REPEAT;
/// Doublings of the repeat interval that are counted.
const MOST_DOUBLINGS: u32 = 16;
/// How often a face that rests is glanced at: one embedding.
const GLANCE_EVERY: Duration = Duration::from_millis(500);
/// Glances in a row that see another face: one may be an error.
const STRANGE_GLANCES: u32 = 2;

/// Who was seen, judged and let in.
pub(super) struct Selection {
    settings: Settings,
    tracks: Tracks,
    rests: BTreeMap<TrackId, Cooldown>,
    /// Who was let in lately.
    granted: BTreeMap<String, Granted>,
    lockout: Arc<Mutex<Lockout>>,
    /// Whether somebody was told of the present lock-out.
    told: bool,
}

/// A track that is not judged for a while.
#[derive(Clone, Debug, Default)]
struct Cooldown {
    until: Duration,
    /// Whose rest it is, where that is known.
    face: Option<Embedding>,
    /// When it is glanced at next.
    glance: Duration,
    /// Glances in a row that saw another face.
    strange: u32,
    /// Whether it rests because it was let in.
    granted: bool,
}

/// A subject that was let in.
#[derive(Clone, Copy, Debug)]
struct Granted {
    at: Duration,
    /// Until when it is not let in again.
    until: Duration,
    /// Grants that each double the next interval.
    times: u32,
}

impl Granted {
    /// How many grants still count at `now`.
    fn times(&self, now: Duration) -> u32 {
        let forgiven = now.saturating_sub(self.at).as_secs() / FORGIVES_ONE.as_secs();
        self.times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
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
pub(super) fn doubled(rest: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1u32.checked_shl(times).unwrap_or(u32::MAX);
    rest.saturating_mul(factor).min(longest.max(rest))
}

impl Selection {
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
        self.granted.retain(|_, granted| granted.until > now || granted.times(now) > 0);
        Scene { here, size }
    }

    /// Whether this face has not left yet.
    pub fn has(&self, id: TrackId) -> bool {
        self.tracks.has(id)
    }

    /// The largest well-placed face that does not rest, or the one under judgement; nobody while
    /// that one is out of sight for a moment.
    pub fn next(&self, scene: &Scene, judged: Option<TrackId>) -> Option<Track> {
        let here = &scene.here;
        let eligible = |track: &&Track| {
            self.is_well_placed(track, scene)
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

    fn is_well_placed(&self, track: &Track, scene: &Scene) -> bool {
        track.face.width >= self.settings.smallest_face as f32
            && self.settings.zone.holds(&track.face, scene.size.0, scene.size.1)
    }

    /// The largest well-placed face that rests and is to be glanced at: somebody else may stand there.
    pub fn to_glance_at(&self, scene: &Scene) -> Option<Track> {
        let due = |track: &&Track| {
            let rest = self.rests.get(&track.id);
            let due = rest.is_some_and(|rest| rest.face.is_some() && rest.glance <= track.seen);
            due && self.is_well_placed(track, scene)
        };
        let largest = scene.here.iter().filter(due);
        largest.max_by(|a, b| a.face.area().total_cmp(&b.face.area())).cloned()
    }

    /// Takes note of a glance at a track that rests: another face there does not.
    pub fn glanced(&mut self, id: TrackId, seen: Option<&Embedding>, now: Duration) {
        let Some(rest) = self.rests.get_mut(&id) else { return };
        let another = match (&rest.face, seen) {
            (Some(face), Some(seen)) => !is_same(face, seen),
            _ => false,
        };
        (rest.strange, rest.glance) = match another {
            true => (rest.strange + 1, now),
            false => (0, now.saturating_add(GLANCE_EVERY)),
        };
        if rest.strange >= STRANGE_GLANCES {
            self.rests.remove(&id);
        }
    }

    fn rest(&mut self, id: TrackId, until: Duration, face: Option<&Embedding>, now: Duration) {
        let glance = now.saturating_add(GLANCE_EVERY);
        let rest = Cooldown { until, face: face.cloned(), glance, strange: 0, granted: false };
        self.rests.insert(id, rest);
    }

    /// Whether this face was refused a short while ago, here or elsewhere; the track then rests.
    pub fn still_rests(&mut self, id: TrackId, face: &Embedding, now: Duration) -> bool {
        let until = self.lockout().rests(face, now);
        if let Some(until) = until {
            self.rest(id, until, Some(face), now);
        }
        until.is_some()
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
    pub fn repeats(
        &mut self,
        id: TrackId,
        subject: &str,
        face: Option<&Embedding>,
        now: Duration,
    ) -> bool {
        let again = self.granted.get(subject).map(|granted| granted.until);
        let Some(again) = again.filter(|again| *again > now) else { return false };
        self.rest(id, again, face, now);
        true
    }

    /// Takes note of a decision on these faces, in the order in which they were shown. A face that is
    /// refused is judged again after a while that doubles, and counts towards a lock-out once: neither a
    /// poster in view nor somebody who lingers locks out those who come. Whoever was refused for something
    /// that may change in a moment waits no longer each time.
    pub fn settle(&mut self, id: TrackId, decision: &Decision, faces: &[Embedding], now: Duration) {
        let last = faces.last();
        let until = if decision.is_grant() {
            self.lockout().granted(last);
            decision.subject_id.as_deref().map_or(now, |subject| self.grant(subject, now))
        } else if decision.is_failed_attempt() {
            self.refused(faces, now)
        } else {
            now.saturating_add(self.settings.retry)
        };
        self.rest(id, until, last, now);
        if let Some(rest) = self.rests.get_mut(&id) {
            rest.granted = decision.is_grant();
        }
    }

    /// Takes note of faces that were not let in; until when they rest.
    pub fn refused(&mut self, faces: &[Embedding], now: Duration) -> Duration {
        self.lockout().refused(&self.settings, faces, now)
    }

    /// Until when the subject that is let in is not let in again.
    fn grant(&mut self, subject: &str, now: Duration) -> Duration {
        let before = self.granted.get(subject).map_or(0, |granted| granted.times(now));
        let until = now.saturating_add(doubled(self.settings.repeat, before, LONGEST_REPEAT));
        let granted = Granted { at: now, until, times: (before + 1).min(MOST_DOUBLINGS) };
        self.granted.insert(subject.to_owned(), granted);
        until
    }

    /// The strike did not move for the subject just granted: whoever stands there is judged again
    /// soon, as if nothing had been.
    pub fn not_opened(&mut self, subject: &str, now: Duration) {
        if let Some(granted) = self.granted.get_mut(subject) {
            granted.until = now;
            granted.times = granted.times.saturating_sub(1);
        }
        let soon = now.saturating_add(self.settings.retry);
        for rest in self.rests.values_mut().filter(|rest| rest.granted) {
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

    /// Somebody's face, unlike that of every other number.
    fn of(person: usize) -> Embedding {
        Embedding(std::array::from_fn(|axis| if axis == person { 1.0 } else { 0.0 }))
    }

    /// One face stays from `from` on, seen every 100 ms up to a minute and a half; each time it is its
    /// turn it has this decision. The times of the decisions.
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
    fn the_largest_face_that_is_large_enough_and_in_the_zone_is_next() {
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
    fn who_is_under_judgement_stays_so_until_another_is_much_larger() {
        let mut selection = selection(Settings::default());
        let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(0));
        let judged = selection.next(&scene, None).unwrap().id;
        let scene = selection.follow(&[face(0.0, 100.0), face(300.0, 140.0)], SIZE, ms(40));
        assert_eq!(selection.next(&scene, Some(judged)).unwrap().id, judged);
        let scene = selection.follow(&[face(0.0, 100.0), face(300.0, 150.0)], SIZE, ms(80));
        assert_ne!(selection.next(&scene, Some(judged)).unwrap().id, judged);
        // Out of sight for a moment: nobody takes the place, until the track is gone.
        let scene = selection.follow(&[face(300.0, 140.0)], SIZE, ms(120));
        assert!(selection.next(&scene, Some(judged)).is_none());
        let scene = selection.follow(&[face(300.0, 140.0)], SIZE, ms(2000));
        assert!(selection.next(&scene, Some(judged)).is_some());
    }

    #[test]
    fn people_are_the_faces_about_as_large() {
        let mut selection = selection(Settings::default());
        let faces = [face(0.0, 100.0), face(200.0, 61.0), face(400.0, 59.0)];
        let scene = selection.follow(&faces, SIZE, ms(0));
        let judged = selection.next(&scene, None).unwrap();
        assert_eq!(selection.people(&scene, &judged), 2);
    }

    #[test]
    fn a_stranger_who_stays_rests_longer_each_time_and_counts_once() {
        let settings = Settings { lockout_after: 2, ..Settings::default() };
        let mut selection = selection(settings);
        let times = decided(&mut selection, 0, Outcome::Unknown, None);
        assert_eq!(times, [0, 2000, 6000, 14_000, 30_000, 46_000, 62_000, 78_000]);
    }

    #[test]
    fn who_was_refused_for_what_may_change_is_judged_every_two_seconds() {
        for outcome in [Outcome::Denied, Outcome::Obscured, Outcome::PoorPicture] {
            let mut selection = selection(Settings { lockout_after: 1, ..Settings::default() });
            let times = decided(&mut selection, 0, outcome, None);
            assert!(
                times.windows(2).all(|pair| pair[1] - pair[0] == 2000),
                "{outcome:?} {times:?}"
            );
            assert_eq!(times.len(), 45, "{outcome:?}");
        }
    }

    #[test]
    fn who_was_let_in_and_stays_is_let_in_again_ever_later() {
        let mut selection = selection(Settings::default());
        let times = decided(&mut selection, 0, Outcome::Granted, Some("ada"));
        assert_eq!(times, [0, 5000, 15_000, 35_000, 75_000]);
    }

    #[test]
    fn a_subject_is_not_let_in_twice_at_once_whichever_face_it_is_seen_by() {
        let mut selection = selection(Settings::default());
        let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(0));
        let first = selection.next(&scene, None).unwrap();
        assert!(!selection.repeats(first.id, "ada", None, ms(0)));
        selection.settle(first.id, &decision(Outcome::Granted, Some("ada")), &[of(0)], ms(0));
        let scene = selection.follow(&[face(300.0, 100.0)], SIZE, ms(1000));
        let second = selection.next(&scene, None).unwrap();
        assert!(!selection.repeats(second.id, "bob", None, ms(1000)));
        assert!(selection.repeats(second.id, "ada", None, ms(1000)));
        // It rests until the interval is over.
        let scene = selection.follow(&[face(300.0, 100.0)], SIZE, ms(4999));
        assert!(selection.next(&scene, None).is_none());
        let scene = selection.follow(&[face(300.0, 100.0)], SIZE, ms(5000));
        assert!(selection.next(&scene, None).is_some());
        assert!(!selection.repeats(second.id, "ada", None, ms(5000)));
    }

    #[test]
    fn a_grant_that_did_not_open_is_no_grant() {
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

    /// A stranger at each of these seconds, each another one.
    fn strangers(selection: &mut Selection, seconds: std::ops::Range<u64>) {
        for second in seconds {
            let now = ms(1000 * second);
            let scene = selection.follow(&[face(60.0 * second as f32, 100.0)], SIZE, now);
            let track = selection.next(&scene, None).unwrap();
            selection.settle(
                track.id,
                &decision(Outcome::Spoof, None),
                &[of(second as usize)],
                now,
            );
        }
    }

    #[test]
    fn a_lock_out_is_told_once_and_a_grant_before_it_forgives() {
        let settings = Settings { lockout_after: 3, ..Settings::default() };
        let mut selection = selection(settings);
        strangers(&mut selection, 0..2);
        let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(1500));
        let resident = selection.next(&scene, None).unwrap();
        selection.settle(
            resident.id,
            &decision(Outcome::Granted, Some("ada")),
            &[of(100)],
            ms(1500),
        );
        strangers(&mut selection, 2..5);
        let left = selection.locked_out(ms(4000));
        assert_eq!(left, Some(LockedOut { left: ms(5000), is_news: true }));
        let left = selection.locked_out(ms(8999));
        assert_eq!(left, Some(LockedOut { left: ms(1), is_news: false }));
        assert_eq!(selection.locked_out(ms(9000)), None);
    }

    #[test]
    fn a_lock_out_outlives_the_judge_also_one_that_panicked() {
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

    /// Shows a face at a place every 100 ms; when each time it was judged, each time a stranger.
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
                if let Some(resting) = selection.to_glance_at(&scene) {
                    selection.glanced(resting.id, Some(&of(person)), ms(at));
                }
                continue;
            };
            let is_out = selection.locked_out(ms(at)).is_some();
            if !is_out && !selection.still_rests(track.id, &of(person), ms(at)) {
                selection.settle(
                    track.id,
                    &decision(Outcome::Unknown, None),
                    &[of(person)],
                    ms(at),
                );
                judged.push(at);
            }
        }
        judged
    }

    #[test]
    fn pictures_in_turn_are_locked_out_in_one_place_as_in_many() {
        for apart in [0.0, 40.0, 200.0] {
            let settings = Settings { lockout_after: 5, ..Settings::default() };
            let mut selection = selection(settings);
            // A picture every two seconds.
            let show = |at: u64| ((at / 2000 % 3) as f32 * apart, (at / 2000) as usize);
            let judged = shown(&mut selection, 0..24_000, show);
            // Five, then a lock-out of 5 s, one, and one of 10 s.
            assert!((5..=7).contains(&judged.len()), "{apart}: {judged:?}");
            assert!(judged[5..].iter().all(|at| *at >= 13_000), "{apart}: {judged:?}");
        }
    }

    #[test]
    fn one_picture_shown_all_over_waits_longer_each_time() {
        let mut selection = selection(Settings { lockout_after: 2, ..Settings::default() });
        let judged = shown(&mut selection, 0..40_000, |at| ((at / 1000 % 5) as f32 * 130.0, 1));
        assert!(judged.len() <= 5, "{judged:?}");
        let gaps: Vec<_> = judged.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().zip([2000, 4000, 8000, 16_000]).all(|(gap, least)| *gap >= least));
        assert_eq!(selection.locked_out(ms(40_000)), None);
    }

    #[test]
    fn who_steps_where_a_stranger_was_refused_does_not_wait() {
        let mut selection = selection(Settings::default());
        let show = |at: u64| (0.0, usize::from(at >= 20_000));
        let judged = shown(&mut selection, 0..21_000, show);
        assert_eq!(judged[..4], [0, 2000, 6000, 14_000]);
        let waited = judged[4] - 20_000;
        assert!(waited <= 700, "{judged:?}");
    }

    #[test]
    fn the_repeat_interval_is_the_subjects_and_doubles_whatever_track_it_is_seen_by() {
        let mut selection = selection(Settings::default());
        let mut grants = Vec::new();
        // 2 s in view, 1.1 s out.
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
        // Who comes back after minutes is let in as ever.
        let scene = selection.follow(&[face(0.0, 100.0)], SIZE, ms(1_000_000));
        let track = selection.next(&scene, None).unwrap();
        selection.settle(
            track.id,
            &decision(Outcome::Granted, Some("ada")),
            &[of(0)],
            ms(1_000_000),
        );
        assert!(selection.repeats(track.id, "ada", None, ms(1_004_900)));
        assert!(!selection.repeats(track.id, "ada", None, ms(1_005_000)));
    }
}

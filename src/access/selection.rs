//! Selects which face in view is judged next, and applies each decision to later attempts:
//! cooldowns, the repeat interval and the lock-out. It knows boxes, embeddings and decisions, but
//! no pictures and no networks.
//!
//! A cooldown belongs to a face, not to the place where the face was seen. A face in cooldown is
//! rechecked every [`RECHECK_EVERY`], and another face in its place is judged at once. The repeat
//! interval belongs to a subject.

use super::decision::Decision;
use super::lockout::Lockout;
use super::refused::is_same;
use super::settings::Settings;
use super::track::{Track, TrackId, Tracks};
use crate::face::{Detection, Embedding};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The face being judged keeps its turn until another face has more than this many times its area:
/// two people side by side do not alternate.
const MUCH_LARGER: f32 = 2.0;
/// A face at least this wide next to the judged face, as a share of its width, is a second person
/// at the door. A smaller face belongs to a person in the street.
const BESIDE: f32 = 0.6;
/// Longest repeat interval for a person who stays. Either they did not get through the door, or
/// they stand in front of a door that must not stay unlocked for that.
const LONGEST_REPEAT: Duration = Duration::from_secs(60);
/// One doubling of the repeat interval is forgotten each time this passes after a grant.
const FORGIVES_ONE: Duration = LONGEST_REPEAT;
/// Most doublings of the repeat interval that are counted.
const MOST_DOUBLINGS: u32 = 16;
/// How often a face in cooldown is rechecked, at the cost of one embedding.
const RECHECK_EVERY: Duration = Duration::from_millis(500);
/// Consecutive rechecks that must find another face, since one may be an error.
const MISMATCHES: u32 = 2;

/// Tracks, cooldowns and grants.
pub(super) struct Selection {
    settings: Settings,
    tracks: Tracks,
    cooldowns: BTreeMap<TrackId, Cooldown>,
    /// Subjects granted lately.
    granted: BTreeMap<String, Granted>,
    lockout: Arc<Mutex<Lockout>>,
    /// True if the present lock-out was reported.
    reported: bool,
}

/// A track in cooldown.
#[derive(Clone, Debug, Default)]
struct Cooldown {
    until: Duration,
    /// The face in cooldown, if known.
    face: Option<Embedding>,
    /// Time of the next recheck.
    recheck: Duration,
    /// Consecutive rechecks that found another face.
    mismatches: u32,
    /// True if the cooldown follows a grant.
    granted: bool,
}

/// A subject that was granted.
#[derive(Clone, Copy, Debug)]
struct Granted {
    at: Duration,
    /// End of the repeat interval.
    until: Duration,
    /// Number of grants; each doubles the next interval.
    times: u32,
}

impl Granted {
    /// Returns how many grants still count at `now`.
    fn times(&self, now: Duration) -> u32 {
        let forgiven = now.saturating_sub(self.at).as_secs() / FORGIVES_ONE.as_secs();
        self.times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

/// The faces of one frame, and the size of the frame.
pub(super) struct Scene {
    here: Vec<Track>,
    size: (u32, u32),
}

/// A lock-out: no face is judged.
#[derive(Debug, PartialEq)]
pub(super) struct LockedOut {
    /// Remaining time.
    pub left: Duration,
    /// True if the lock-out must be reported: once per lock-out.
    pub is_news: bool,
}

/// Returns a time doubled `times` times, at most `longest`.
pub(super) fn doubled(time: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1u32.checked_shl(times).unwrap_or(u32::MAX);
    time.saturating_mul(factor).min(longest.max(time))
}

impl Selection {
    /// Creates a selection that has seen no face. `lockout` holds earlier failed attempts.
    pub fn new(settings: Settings, lockout: Arc<Mutex<Lockout>>) -> Self {
        Self {
            settings,
            tracks: Tracks::default(),
            cooldowns: BTreeMap::new(),
            granted: BTreeMap::new(),
            lockout,
            reported: false,
        }
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        // Counts are valid after a panic too.
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the faces of the next frame, largest first.
    pub fn follow(&mut self, faces: &[Detection], size: (u32, u32), now: Duration) -> Scene {
        let here = self.tracks.follow(faces, now);
        self.cooldowns.retain(|id, _| self.tracks.has(*id));
        self.granted.retain(|_, granted| granted.until > now || granted.times(now) > 0);
        Scene { here, size }
    }

    /// Checks whether this track still exists.
    pub fn has(&self, id: TrackId) -> bool {
        self.tracks.has(id)
    }

    /// Returns the largest well-placed face that is not in cooldown, or the face being judged.
    /// `None` while the face being judged is briefly out of view.
    pub fn next(&self, scene: &Scene, judged: Option<TrackId>) -> Option<Track> {
        let here = &scene.here;
        let eligible = |track: &&Track| {
            self.is_well_placed(track, scene)
                && self.cooldowns.get(&track.id).is_none_or(|cooldown| cooldown.until <= track.seen)
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

    /// Returns the largest well-placed face in cooldown that is due for a recheck.
    pub fn to_recheck(&self, scene: &Scene) -> Option<Track> {
        let due = |track: &&Track| {
            let cooldown = self.cooldowns.get(&track.id);
            let due = cooldown
                .is_some_and(|cooldown| cooldown.face.is_some() && cooldown.recheck <= track.seen);
            due && self.is_well_placed(track, scene)
        };
        let largest = scene.here.iter().filter(due);
        largest.max_by(|a, b| a.face.area().total_cmp(&b.face.area())).cloned()
    }

    /// Notes the result of a recheck. The cooldown ends if another face is there.
    pub fn rechecked(&mut self, id: TrackId, seen: Option<&Embedding>, now: Duration) {
        let Some(cooldown) = self.cooldowns.get_mut(&id) else { return };
        let another = match (&cooldown.face, seen) {
            (Some(face), Some(seen)) => !is_same(face, seen),
            _ => false,
        };
        (cooldown.mismatches, cooldown.recheck) = match another {
            true => (cooldown.mismatches + 1, now),
            false => (0, now.saturating_add(RECHECK_EVERY)),
        };
        if cooldown.mismatches >= MISMATCHES {
            self.cooldowns.remove(&id);
        }
    }

    fn start_cooldown(
        &mut self,
        id: TrackId,
        until: Duration,
        face: Option<&Embedding>,
        now: Duration,
    ) {
        let recheck = now.saturating_add(RECHECK_EVERY);
        let cooldown =
            Cooldown { until, face: face.cloned(), recheck, mismatches: 0, granted: false };
        self.cooldowns.insert(id, cooldown);
    }

    /// Checks whether this face is in cooldown, here or elsewhere, and then starts the track's
    /// cooldown.
    pub fn is_in_cooldown(&mut self, id: TrackId, face: &Embedding, now: Duration) -> bool {
        let until = self.lockout().cooldown_until(face, now);
        if let Some(until) = until {
            self.start_cooldown(id, until, Some(face), now);
        }
        until.is_some()
    }

    /// Returns how many people stand at the door, including this face.
    pub fn people(&self, Scene { here, size }: &Scene, judged: &Track) -> usize {
        let beside = |other: &&Track| {
            other.face.width >= BESIDE * judged.face.width
                && self.settings.zone.holds(&other.face, size.0, size.1)
        };
        here.iter().filter(beside).count()
    }

    /// Returns the lock-out at `now`, when a face is in view.
    pub fn locked_out(&mut self, now: Duration) -> Option<LockedOut> {
        let remains = self.lockout().remains(&self.settings, now);
        let reported = std::mem::replace(&mut self.reported, remains.is_some());
        remains.map(|left| LockedOut { left, is_news: !reported })
    }

    /// Checks whether this subject is within its repeat interval, and then starts the face's
    /// cooldown.
    pub fn repeats(
        &mut self,
        id: TrackId,
        subject: &str,
        face: Option<&Embedding>,
        now: Duration,
    ) -> bool {
        let again = self.granted.get(subject).map(|granted| granted.until);
        let Some(again) = again.filter(|again| *again > now) else { return false };
        self.start_cooldown(id, again, face, now);
        true
    }

    /// Notes a decision on these faces, in the order shown. A refused face is judged again after a
    /// cooldown that doubles, and counts once towards a lock-out: neither a poster in view nor a
    /// person who lingers locks out others. After a refusal for a temporary reason the cooldown
    /// does not double.
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
        self.start_cooldown(id, until, last, now);
        if let Some(cooldown) = self.cooldowns.get_mut(&id) {
            cooldown.granted = decision.is_grant();
        }
    }

    /// Notes refused faces and returns the end of their cooldown.
    pub fn refused(&mut self, faces: &[Embedding], now: Duration) -> Duration {
        self.lockout().refused(&self.settings, faces, now)
    }

    /// Returns the end of the subject's repeat interval.
    fn grant(&mut self, subject: &str, now: Duration) -> Duration {
        let before = self.granted.get(subject).map_or(0, |granted| granted.times(now));
        let until = now.saturating_add(doubled(self.settings.repeat, before, LONGEST_REPEAT));
        let granted = Granted { at: now, until, times: (before + 1).min(MOST_DOUBLINGS) };
        self.granted.insert(subject.to_owned(), granted);
        until
    }

    /// Handles a grant for which the strike did not move: the face is judged again soon, as if
    /// there had been no grant.
    pub fn not_opened(&mut self, subject: &str, now: Duration) {
        if let Some(granted) = self.granted.get_mut(subject) {
            granted.until = now;
            granted.times = granted.times.saturating_sub(1);
        }
        let soon = now.saturating_add(self.settings.retry);
        for cooldown in self.cooldowns.values_mut().filter(|cooldown| cooldown.granted) {
            cooldown.until = cooldown.until.min(soon);
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
            selection.settle(
                track.id,
                &decision(Outcome::Spoof, None),
                &[of(second as usize)],
                now,
            );
        }
    }

    #[test]
    fn lock_out_is_reported_once_and_a_grant_resets_the_count() {
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

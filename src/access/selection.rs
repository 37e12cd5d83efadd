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
mod tests;

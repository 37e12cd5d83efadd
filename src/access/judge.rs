//! Frame after frame: who is to be judged, what the attempt has come to, what follows from it.

use super::Now;
use super::attempt::{Attempt, Verdict};
use super::decision::{Decision, Outcome, Reason};
use super::lockout::Lockout;
use super::look::Eyes;
use super::rules::permit;
use super::settings::{LivenessPolicy, Settings, Unarmed};
use super::track::{Track, TrackId, Tracks};
use crate::face::{Analyzer, Detection, FaceError};
use crate::gallery::{Gallery, Subject};
use crate::picture::Picture;
use crate::service::Times;
use crate::service::similarity::at_door;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// The face under judgement stays so until another is more than this many times its area: two who
/// stand side by side do not take turns.
const MUCH_LARGER: f32 = 2.0;
/// A face at least this wide beside the judged one, as a share of its width, is a second person at
/// the door; a smaller one is somebody in the street.
const BESIDE: f32 = 0.6;

/// A face at a place where one was refused, in a box that overlaps so much (intersection over union),
/// hangs there: nobody stands so still.
const STILL_THERE: f32 = 0.9;
/// For how long such a place is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// The longest while after which somebody who stays is let in again: they did not get through, or
/// they chat before a door that must not stay unlocked for it.
const LONGEST_REPEAT: Duration = Duration::from_secs(60);

/// Judges the frames of one camera.
pub struct Judge {
    analyzer: Arc<Analyzer>,
    gallery: Arc<Gallery>,
    settings: Settings,
    tracks: Tracks,
    attempt: Option<(TrackId, Attempt)>,
    rests: BTreeMap<TrackId, Rest>,
    /// When each subject was last let in.
    granted: BTreeMap<String, Duration>,
    lockout: Lockout,
    /// Whether somebody was told of the present lock-out.
    told: bool,
    /// Whether it was said that the threshold cannot reach its target.
    warned: bool,
    /// Where a failed attempt was counted, and when: a poster is one however often it is found anew.
    counted: Vec<(Detection, Duration)>,
}

/// A track that has had its decision.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    until: Duration,
    /// Decisions that each double the next rest: grants, or failed attempts.
    grants: u32,
    failures: u32,
}

/// A while, doubled so many times, up to the longest.
fn doubled(rest: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1u32.checked_shl(times).unwrap_or(u32::MAX);
    rest.saturating_mul(factor).min(longest.max(rest))
}

impl Judge {
    /// Nobody seen yet.
    pub fn new(analyzer: Arc<Analyzer>, gallery: Arc<Gallery>, settings: Settings) -> Self {
        let Settings { lockout_after, lockout_first, lockout_longest, .. } = settings;
        Self {
            analyzer,
            gallery,
            lockout: Lockout::new(lockout_after, lockout_first, lockout_longest),
            settings,
            tracks: Tracks::default(),
            attempt: None,
            rests: BTreeMap::new(),
            granted: BTreeMap::new(),
            told: false,
            warned: false,
            counted: Vec::new(),
        }
    }

    /// Judges a frame. `unarmed` says why the strike must not be armed, if it must not.
    ///
    /// # Errors
    /// The networks fail; the frame is lost, and nobody passes by it.
    pub fn judge(
        &mut self,
        frame: &Picture,
        now: Now,
        unarmed: Option<Unarmed>,
    ) -> Result<Option<Decision>, FaceError> {
        let faces = self.analyzer.faces_in_frame(frame)?;
        let here = self.tracks.follow(&faces, now.monotonic);
        self.forget(now.monotonic);
        let Some(track) = self.chosen(&here, frame) else {
            // Looked away for a moment, or gone: an attempt ends with its track.
            self.attempt.take_if(|(id, _)| !self.tracks.has(*id));
            return Ok(None);
        };
        let (width, height) = (frame.width(), frame.height());
        let beside = |other: &&Track| {
            other.face.width >= BESIDE * track.face.width
                && self.settings.zone.holds(&other.face, width, height)
        };
        let people = here.iter().filter(beside).count();
        if let Some(left) = self.lockout.remains(now.monotonic) {
            self.attempt = None;
            let told = std::mem::replace(&mut self.told, true);
            return Ok((!told).then(|| self.locked_out(left)));
        }
        self.told = false;

        let (id, mut attempt) = match self.attempt.take() {
            Some((id, attempt)) if id == track.id => (id, attempt),
            _ => (track.id, Attempt::new(now.monotonic)),
        };
        let eyes = Eyes {
            analyzer: &self.analyzer,
            gallery: &self.gallery,
            liveness: self.settings.liveness == LivenessPolicy::Required,
        };
        let look = eyes.look(frame, &track.face, &mut attempt.times)?;
        attempt.add(look, (frame, &track.face), people, now.monotonic);
        let threshold = self.threshold();
        match attempt.verdict(&self.settings, threshold, people, now.monotonic) {
            Verdict::Undecided => {
                self.attempt = Some((id, attempt));
                Ok(None)
            }
            Verdict::Failed(outcome, reason) => {
                let decision = self.decision(&attempt, outcome, reason, None, now);
                Ok(Some(self.settled(&track, decision, now)))
            }
            Verdict::Recognised(subject) => {
                if let Some(left) = self.repeats(&subject, now.monotonic) {
                    self.rests.entry(id).or_default().until = now.monotonic.saturating_add(left);
                    return Ok(None);
                }
                let decision = self.recognised(&attempt, &subject, now, unarmed);
                Ok(Some(self.settled(&track, decision, now)))
            }
        }
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

    /// Whether somebody is under judgement.
    pub fn is_looking(&self) -> bool {
        self.attempt.is_some()
    }

    fn forget(&mut self, now: Duration) {
        self.rests.retain(|id, _| self.tracks.has(*id));
        let repeat = self.settings.repeat;
        self.granted.retain(|_, at| now.saturating_sub(*at) < repeat);
        self.counted.retain(|(_, at)| now.saturating_sub(*at) < REMEMBERED);
    }

    /// The largest well-placed face that does not rest, or the one under judgement; nobody while
    /// that one is out of sight for a moment.
    fn chosen(&self, here: &[Track], frame: &Picture) -> Option<Track> {
        let (width, height) = (frame.width(), frame.height());
        let eligible = |track: &&Track| {
            track.face.width >= self.settings.smallest_face as f32
                && self.settings.zone.holds(&track.face, width, height)
                && self.rests.get(&track.id).is_none_or(|rest| rest.until <= track.seen)
        };
        let largest =
            here.iter().filter(eligible).max_by(|a, b| a.face.area().total_cmp(&b.face.area()))?;
        let judged = self.attempt.as_ref().map(|(id, _)| *id);
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

    /// What the door asks for at the present size of the gallery.
    fn threshold(&mut self) -> f64 {
        let templates = self.gallery.comparable_templates();
        let door = at_door(templates, self.settings.target_fpir);
        if !door.reaches_target && !self.warned {
            warn!(
                templates,
                target_fpir = self.settings.target_fpir,
                fpir = door.fpir,
                threshold = door.similarity,
                "the false-match rates are not known far enough for so many templates: the chance \
                 that a stranger is taken for somebody is above search.target_fpir"
            );
        }
        self.warned = !door.reaches_target;
        door.similarity
    }

    /// How long this subject is still not let in again.
    fn repeats(&self, subject: &str, now: Duration) -> Option<Duration> {
        let again = self.granted.get(subject)?.saturating_add(self.settings.repeat);
        again.checked_sub(now).filter(|left| !left.is_zero())
    }

    fn recognised(
        &self,
        attempt: &Attempt,
        id: &str,
        now: Now,
        unarmed: Option<Unarmed>,
    ) -> Decision {
        let (card, permitted) = match self.gallery.subject(id) {
            Ok(Some(subject)) => {
                let permitted = permit(&self.settings.groups, &subject, now, unarmed);
                let Subject { card, .. } = subject;
                (card, permitted)
            }
            // Deleted since the look.
            Ok(None) => (None, Err(Reason::NoGroup)),
            Err(error) => (None, Err(Reason::Gallery(error.to_string()))),
        };
        match permitted {
            Ok(group) => {
                let reason = Reason::Group { group };
                let granted = self.decision(attempt, Outcome::Granted, reason, Some(id), now);
                Decision { card, ..granted }
            }
            Err(reason) => self.decision(attempt, Outcome::Denied, reason, Some(id), now),
        }
    }

    fn decision(
        &self,
        attempt: &Attempt,
        outcome: Outcome,
        reason: Reason,
        subject: Option<&str>,
        now: Now,
    ) -> Decision {
        let took = attempt.took(now.monotonic);
        Decision {
            outcome,
            reason,
            subject_id: subject.map(str::to_owned),
            similarity: attempt.similarity(&self.settings),
            liveness: attempt.liveness(&self.settings),
            card: None,
            liveness_off: self.settings.liveness == LivenessPolicy::Off,
            looks: attempt.looks(),
            took,
            timings: attempt.times.block(),
        }
    }

    fn locked_out(&self, left: Duration) -> Decision {
        Decision {
            outcome: Outcome::LockedOut,
            reason: Reason::LockOut(left),
            subject_id: None,
            similarity: None,
            liveness: None,
            card: None,
            liveness_off: self.settings.liveness == LivenessPolicy::Off,
            looks: 0,
            took: Duration::ZERO,
            timings: Times::start().block(),
        }
    }

    /// Takes note of a decision. A stranger's face that stays is judged again after a while that
    /// doubles, and counts towards a lock-out once: a poster in view must not lock out those who
    /// come. Whoever was refused for something that may change in a moment waits no longer each time.
    fn settled(&mut self, track: &Track, decision: Decision, now: Now) -> Decision {
        let now = now.monotonic;
        let Settings { retry, repeat, .. } = self.settings;
        let before = self.rests.get(&track.id).copied().unwrap_or_default();
        let rest = if decision.is_grant() {
            self.lockout.granted();
            if let Some(subject) = &decision.subject_id {
                self.granted.insert(subject.clone(), now);
            }
            let rests = doubled(repeat, before.grants, LONGEST_REPEAT);
            Rest { until: now.saturating_add(rests), grants: before.grants + 1, failures: 0 }
        } else if decision.is_failed_attempt() {
            let known =
                |(face, _): &(Detection, Duration)| face.overlap(&track.face) >= STILL_THERE;
            if before.failures == 0 && !self.counted.iter().any(known) {
                self.lockout.failed(now);
            }
            self.counted.retain(|entry| !known(entry));
            self.counted.push((track.face, now));
            let rests = doubled(retry, before.failures, retry.saturating_mul(8));
            Rest { until: now.saturating_add(rests), failures: before.failures + 1, ..before }
        } else {
            Rest { until: now.saturating_add(retry), ..before }
        };
        self.rests.insert(track.id, rest);
        decision
    }
}

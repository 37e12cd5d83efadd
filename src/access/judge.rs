//! Frame after frame: who is to be judged, what the attempt has come to, what follows from it.

use super::Now;
use super::attempt::{Attempt, Verdict};
use super::decision::{Decision, Outcome, Reason};
use super::lockout::Lockout;
use super::look::Eyes;
use super::rules::permit;
use super::settings::{LivenessPolicy, Settings, Unarmed};
use super::track::TrackId;
use super::turns::{LockedOut, Turns};
use crate::face::{Analyzer, FaceError};
use crate::gallery::{Gallery, Subject};
use crate::picture::Picture;
use crate::service::Times;
use crate::service::similarity::at_door;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::warn;

/// Judges the frames of one camera.
pub struct Judge {
    analyzer: Arc<Analyzer>,
    gallery: Arc<Gallery>,
    settings: Settings,
    turns: Turns,
    attempt: Option<(TrackId, Attempt)>,
    /// Whether it was said that the threshold cannot reach its target.
    warned: bool,
}

impl Judge {
    /// Nobody seen yet; what was tried before is in `lockout`.
    pub fn new(
        analyzer: Arc<Analyzer>,
        gallery: Arc<Gallery>,
        settings: Settings,
        lockout: Arc<Mutex<Lockout>>,
    ) -> Self {
        let turns = Turns::new(settings.clone(), lockout);
        Self { analyzer, gallery, settings, turns, attempt: None, warned: false }
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
        let size = (frame.width(), frame.height());
        let scene = self.turns.follow(&faces, size, now.monotonic);
        let judged = self.attempt.as_ref().map(|(id, _)| *id);
        let Some(track) = self.turns.next(&scene, judged) else {
            // Looked away for a moment, or gone: an attempt ends with its track.
            self.attempt.take_if(|(id, _)| !self.turns.has(*id));
            return Ok(None);
        };
        if let Some(LockedOut { left, is_news }) = self.turns.locked_out(now.monotonic) {
            self.attempt = None;
            return Ok(is_news.then(|| self.locked_out(left)));
        }
        let people = self.turns.people(&scene, &track);

        let (id, mut attempt) = match self.attempt.take() {
            Some((id, attempt)) if id == track.id => (id, attempt),
            _ => (track.id, Attempt::new(now.monotonic)),
        };
        let eyes = Eyes {
            analyzer: &self.analyzer,
            gallery: &self.gallery,
            liveness: self.settings.liveness == LivenessPolicy::Required,
        };
        let before = attempt.before(&self.settings);
        let look = eyes.look(frame, &track.face, before, &mut attempt.times)?;
        attempt.add(look, (frame, &track.face), people, now.monotonic);
        let threshold = self.threshold();
        match attempt.verdict(&self.settings, threshold, people, now.monotonic) {
            Verdict::Undecided => {
                self.attempt = Some((id, attempt));
                Ok(None)
            }
            Verdict::Failed(outcome, reason) => {
                let decision = self.decision(&attempt, outcome, reason, None, now);
                self.turns.settle(&track, &decision, now.monotonic);
                Ok(Some(decision))
            }
            Verdict::Recognised(subject) => {
                if self.turns.repeats(id, &subject, now.monotonic) {
                    return Ok(None);
                }
                let decision = self.recognised(&attempt, &subject, now, unarmed);
                self.turns.settle(&track, &decision, now.monotonic);
                Ok(Some(decision))
            }
        }
    }

    /// The strike did not move for the subject just granted: whoever stands there is judged again
    /// soon, as if nothing had been.
    pub fn not_opened(&mut self, subject: &str, now: Duration) {
        self.turns.not_opened(subject, now);
    }

    /// Whether somebody is under judgement.
    pub fn is_looking(&self) -> bool {
        self.attempt.is_some()
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
}

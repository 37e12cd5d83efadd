//! Judges frame after frame: selects the face, continues its attempt and makes the decision.

use super::Now;
use super::attempt::{Attempt, Verdict};
use super::decision::{Decision, Outcome, Reason};
use super::lockout::Lockout;
use super::look::LookContext;
use super::person::{Identification, Person};
use super::rules::permit;
use super::selection::{LockedOut, Scene, Selection};
use super::settings::{LivenessPolicy, Settings, Unarmed};
use super::stopwatch::StartStopwatch;
use super::track::TrackId;
use crate::face::similarity::{at_door, similarity};
use crate::face::{Analyzer, FaceError};
use crate::gallery::Gallery;
use crate::picture::Picture;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::warn;

/// Most pairs of ids that are logged as one person's. A client that may enrol can create more.
const MOST_PAIRS: usize = 256;

/// Judges the frames of one camera.
pub struct Judge {
    analyzer: Arc<Analyzer>,
    gallery: Arc<Gallery>,
    settings: Settings,
    selection: Selection,
    attempt: Option<(TrackId, Attempt)>,
    /// Starts the stopwatch of an attempt.
    stopwatch: StartStopwatch,
    /// True if the log says that the threshold cannot reach its target.
    warned: bool,
    /// Pairs of ids that the log reported as one person's.
    reported: BTreeSet<(String, String)>,
}

impl Judge {
    /// Creates a judge that has seen no frame. `lockout` holds earlier failed attempts, `stopwatch`
    /// measures each attempt.
    pub fn new(
        analyzer: Arc<Analyzer>,
        gallery: Arc<Gallery>,
        settings: Settings,
        lockout: Arc<Mutex<Lockout>>,
        stopwatch: StartStopwatch,
    ) -> Self {
        let selection = Selection::new(settings.clone(), lockout);
        let reported = BTreeSet::new();
        Self {
            analyzer,
            gallery,
            settings,
            selection,
            attempt: None,
            stopwatch,
            warned: false,
            reported,
        }
    }

    /// Judges a frame. `unarmed` is the reason why the strike must not be armed, if there is one.
    ///
    /// # Errors
    /// The networks fail. The frame is lost and never leads to a grant.
    pub fn judge(
        &mut self,
        frame: &Picture,
        now: Now,
        unarmed: Option<Unarmed>,
    ) -> Result<Option<Decision>, FaceError> {
        let faces = self.analyzer.faces_in_frame(frame)?;
        let size = (frame.width(), frame.height());
        let scene = self.selection.follow(&faces, size, now.monotonic);
        let judged = self.attempt.as_ref().map(|(id, _)| *id);
        let threshold = self.threshold();
        let Some(track) = self.selection.next(&scene, judged) else {
            // The person looked away briefly or left: the attempt ends when its track ends.
            if let Some((_, left)) = self.attempt.take_if(|(id, _)| !self.selection.has(*id)) {
                self.abandoned(&left, threshold, now.monotonic);
            }
            if self.attempt.is_none() {
                self.recheck(frame, &scene, now.monotonic)?;
            }
            return Ok(None);
        };
        if let Some(LockedOut { left, is_news }) = self.selection.locked_out(now.monotonic) {
            self.attempt = None;
            return Ok(is_news.then(|| self.locked_out(left)));
        }
        let people = self.selection.people(&scene, &track);

        let mut attempt = match self.attempt.take() {
            Some((id, attempt)) if id == track.id => attempt,
            other => {
                if let Some((_, left)) = other {
                    self.abandoned(&left, threshold, now.monotonic);
                }
                Attempt::new(now.monotonic, (self.stopwatch)())
            }
        };
        let before = attempt.before(&self.settings, threshold);
        let look = self.context().look(frame, &track.face, before, &mut *attempt.times)?;
        let looks = attempt.looks();
        attempt.add(look, (frame, &track.face), people, now.monotonic);
        let is_known_by_now =
            attempt.looks() == self.settings.agreement && looks < self.settings.agreement;
        let shown = attempt.shown(&self.settings);
        if is_known_by_now
            && let Some(face) = shown.last()
            && self.selection.is_in_cooldown(track.id, face, now.monotonic)
        {
            return Ok(None);
        }
        let verdict = attempt.verdict(&self.settings, threshold, people, now.monotonic);
        let ended = match verdict {
            Verdict::Undecided => None,
            Verdict::Failed(outcome, reason) => {
                Some(self.decision(&attempt, outcome, reason, None, now))
            }
            Verdict::Recognised => match self.person(&attempt, threshold, now, unarmed) {
                Ok(person) => {
                    let repeats = |id: &String| {
                        self.selection.repeats(track.id, id, shown.last(), now.monotonic)
                    };
                    if std::iter::once(&person.id).chain(&person.also).any(repeats) {
                        return Ok(None);
                    }
                    self.report_same_person(&person);
                    Some(self.recognised(&attempt, person, now))
                }
                Err(reason) if attempt.is_over(&self.settings, now.monotonic) => {
                    Some(self.decision(&attempt, Outcome::Unknown, reason, None, now))
                }
                Err(_) => None,
            },
        };
        match &ended {
            Some(decision) => self.selection.settle(track.id, decision, &shown, now.monotonic),
            None => self.attempt = Some((track.id, attempt)),
        }
        Ok(ended)
    }

    fn context(&self) -> LookContext<'_> {
        LookContext {
            analyzer: &self.analyzer,
            gallery: &self.gallery,
            liveness: self.settings.liveness == LivenessPolicy::Required,
        }
    }

    /// Checks whether another person stands where a face is in cooldown.
    fn recheck(&mut self, frame: &Picture, scene: &Scene, now: Duration) -> Result<(), FaceError> {
        if let Some(track) = self.selection.to_recheck(scene) {
            let seen = self.context().embedding(frame, &track.face)?;
            self.selection.rechecked(track.id, seen.as_ref(), now);
        }
        Ok(())
    }

    /// Handles an attempt that ended without a decision. A picture of an enrolled person that was
    /// removed before it was refused counts as refused. Other faces do not count.
    fn abandoned(&mut self, attempt: &Attempt, threshold: f64, now: Duration) {
        if attempt.is_recognised(&self.settings, threshold) {
            self.selection.refused(&attempt.shown(&self.settings), now);
        }
    }

    /// Identifies the person by the looks so far.
    fn person(
        &self,
        attempt: &Attempt,
        threshold: f64,
        now: Now,
        unarmed: Option<Unarmed>,
    ) -> Result<Person, Reason> {
        let claim = attempt.claim(&self.settings).ok_or(Reason::NoAgreement)?;
        let (gallery, settings) = (&*self.gallery, &self.settings);
        let permit = |subject: &_| permit(&settings.groups, subject, now, unarmed);
        Identification { gallery, settings, threshold }.identify(&claim, permit)
    }

    /// Logs once per pair that two ids belong to one person.
    fn report_same_person(&mut self, person: &Person) {
        for other in &person.also {
            let pair = (person.id.clone(), other.clone());
            if self.reported.len() < MOST_PAIRS && self.reported.insert(pair) {
                let (subject_id, also_enrolled_as) = (&person.id, other);
                warn!(subject_id, also_enrolled_as, "one person is enrolled under two ids");
            }
        }
    }

    /// Handles a grant for which the strike did not move: the face is judged again soon, as if
    /// there had been no grant.
    pub fn not_opened(&mut self, subject: &str, now: Duration) {
        self.selection.not_opened(subject, now);
    }

    /// Checks whether an attempt is in progress.
    pub fn is_looking(&self) -> bool {
        self.attempt.is_some()
    }

    /// Returns the similarity that the door requires at the present size of the gallery. Templates
    /// without a group never lead to a grant, so they do not raise it: a client that enrols many
    /// subjects locks no resident out.
    fn threshold(&mut self) -> f64 {
        let templates = self.gallery.grouped_templates();
        let door = at_door(templates, self.settings.target_fpir);
        if !door.reaches_target && !self.warned {
            warn!(
                templates,
                target_fpir = self.settings.target_fpir,
                fpir = door.fpir,
                threshold = door.similarity,
                "the false-match rates are not known for this many templates: the chance that a \
                 stranger matches a subject is above search.target_fpir"
            );
        }
        self.warned = !door.reaches_target;
        door.similarity
    }

    fn recognised(&self, attempt: &Attempt, person: Person, now: Now) -> Decision {
        let Person { id, cosine, card, permitted, also } = person;
        let (outcome, reason, card) = match permitted {
            Ok(group) => (Outcome::Granted, Reason::Group { group }, card),
            Err(reason) => (Outcome::Denied, reason, None),
        };
        let decision = self.decision(attempt, outcome, reason, Some(&id), now);
        let similarity = Some(similarity(cosine));
        Decision { card, similarity, also_enrolled_as: also, ..decision }
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
            also_enrolled_as: Vec::new(),
            similarity: attempt.similarity(&self.settings),
            liveness: attempt.liveness(&self.settings),
            card: None,
            liveness_off: self.settings.liveness == LivenessPolicy::Off,
            looks: attempt.looks(),
            took,
            timings: attempt.times.milliseconds().into(),
        }
    }

    fn locked_out(&self, left: Duration) -> Decision {
        Decision {
            outcome: Outcome::LockedOut,
            reason: Reason::LockOut(left),
            subject_id: None,
            also_enrolled_as: Vec::new(),
            similarity: None,
            liveness: None,
            card: None,
            liveness_off: self.settings.liveness == LivenessPolicy::Off,
            looks: 0,
            took: Duration::ZERO,
            timings: (self.stopwatch)().milliseconds().into(),
        }
    }
}

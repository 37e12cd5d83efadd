//! The task of a request, after its checks have passed: what is enrolled, compared or searched.

use super::{DetectedPicture, Recognizer, Requester, crop};
use crate::contract::answer_fields::{Found, Match};
use crate::contract::{self, Failed, Mode, Refusal, Task};
use crate::face::similarity::{Level, similarity};
use crate::face::{Embedding, Portrait};
use crate::gallery::{Candidate, EnrolMode, Enrolment};
use crate::service::similarity::shown;
use crate::service::statistics::Times;
use crate::time::unix_time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Results that a task adds to the answer.
#[derive(Default)]
pub(super) struct Done {
    pub failed: Failed,
    pub found: Found,
    pub cosine: Option<f32>,
    /// True if the face is that of a subject that is not active, which the request does not accept.
    pub not_active: bool,
    /// The enrolment to store.
    pub enrolment: Option<Enrolment>,
}

impl Done {
    /// Refuses a verification that succeeded although the subject is not active, unless the request
    /// accepts that.
    fn accepted_if(mut self, include_inactive: bool) -> Self {
        let same = self.found.similarity_status == Some(true);
        if same && self.found.active == Some(false) && !include_inactive {
            self.not_active = true;
            self.found.similarity_status = Some(false);
        } else if !same {
            // A stranger does not learn whether the subject is active.
            self.found.active = None;
        }
        self
    }

    /// Checks whether the face was matched with one that is enrolled or sent, or is to be enrolled.
    pub fn is_success(&self) -> bool {
        let matched = self.found.matches.as_ref().is_some_and(|matches| !matches.is_empty());
        matched || self.found.similarity_status == Some(true) || self.enrolment.is_some()
    }
}

impl Recognizer {
    /// Performs the task of the request, after its checks have passed.
    pub(super) fn perform(
        &self,
        task: Task,
        by: &Requester,
        probe: &DetectedPicture,
        portrait: &Portrait,
        reference: Option<Embedding>,
        times: &mut Times,
    ) -> Result<Done, Refusal> {
        if task == Task::Liveness {
            return Ok(Done::default());
        }
        let seen = times.stage("embed", || match task {
            Task::Enroll { .. } => portrait.template(),
            _ => portrait.embedding(),
        });
        let embedding = seen.map_err(Refusal::internal)?;
        match task {
            Task::Liveness => Ok(Done::default()),
            Task::Enroll { subject_id, mode } => {
                self.enroll(subject_id, mode, by, probe, embedding)
            }
            Task::Verify { subject_id, level, include_inactive } => {
                // The subject was enrolled at validation: it can only have been deleted since, or
                // have no template of this model.
                let cosine = self
                    .gallery
                    .verify(&subject_id, &embedding)
                    .ok_or_else(|| Refusal::unknown_subject(&subject_id))?;
                let mut done = compared(cosine, level_of(level));
                done.found.active = self.inactive(&subject_id)?;
                done.found.subject_id = Some(subject_id);
                Ok(done.accepted_if(include_inactive))
            }
            Task::Search { limit, threshold, return_image, include_inactive } => {
                let found = times.stage("search", || match include_inactive {
                    true => self.gallery.search(&embedding, limit),
                    false => self.gallery.search_active(&embedding, limit, (self.clock)()),
                });
                self.matches(&found, threshold, return_image)
            }
            Task::Compare { level } => {
                let reference = reference
                    .ok_or_else(|| Refusal::internal("compare passed validation with one image"))?;
                Ok(compared(embedding.cosine(&reference), level_of(level)))
            }
        }
    }

    fn enroll(
        &self,
        subject_id: Option<String>,
        mode: Mode,
        by: &Requester,
        probe: &DetectedPicture,
        embedding: Embedding,
    ) -> Result<Done, Refusal> {
        let subject_id = subject_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let image = match self.settings.store_images {
            true => crop(probe.upright(), &probe.face),
            false => None,
        };
        let mut done = Done::default();
        done.found.subject_id = Some(subject_id.clone());
        done.enrolment = Some(Enrolment {
            subject_id,
            mode: match mode {
                Mode::Replace => EnrolMode::Replace,
                Mode::Add => EnrolMode::Add,
            },
            embedding,
            image,
            by_admin: by.admin,
            max_templates: self.settings.max_templates,
            time: unix_time(),
        });
        Ok(done)
    }

    /// Returns the answer's `active`: false for a subject that is not active, `None` for others.
    fn inactive(&self, subject_id: &str) -> Result<Option<bool>, Refusal> {
        let subject = self.gallery.subject(subject_id)?;
        // A subject that was deleted a moment ago is not active either.
        let active = subject.is_some_and(|subject| subject.is_active((self.clock)()));
        Ok((!active).then_some(false))
    }

    /// Returns the candidates at or above the threshold; an empty list means no match.
    fn matches(
        &self,
        found: &[Candidate],
        threshold: f64,
        return_image: bool,
    ) -> Result<Done, Refusal> {
        let mut matches = Vec::new();
        for candidate in found {
            let value = similarity(candidate.cosine);
            if value < threshold {
                break;
            }
            let image = match return_image {
                true => self.gallery.image(candidate.template).map_err(Refusal::internal)?,
                false => None,
            };
            matches.push(Match {
                subject_id: candidate.subject_id.to_string(),
                similarity: shown(value),
                active: self.inactive(&candidate.subject_id)?,
                image: image.map(|image| STANDARD.encode(image)),
            });
        }
        let mut done = Done { cosine: found.first().map(|best| best.cosine), ..Done::default() };
        done.found.matches = Some(matches);
        Ok(done)
    }
}

/// Converts the level to the scale of the model.
fn level_of(level: contract::Level) -> Level {
    match level {
        contract::Level::Basic => Level::Basic,
        contract::Level::Moderate => Level::Moderate,
        contract::Level::High => Level::High,
    }
}

/// Step 11: decides a comparison.
fn compared(cosine: f32, level: Level) -> Done {
    let value = similarity(cosine);
    let same = value >= level.similarity();
    let failed = Failed::default().and(Failed::SIMILARITY, !same);
    let similarity = Some(shown(value));
    let found = Found { similarity, similarity_status: Some(same), ..Found::default() };
    Done { failed, found, cosine: Some(cosine), ..Done::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_use_the_unrounded_similarity() {
        for level in [Level::Basic, Level::Moderate, Level::High] {
            let at = crate::face::similarity::cosine(level.similarity()) as f32;
            let above = compared(at + 1e-4, level);
            assert_eq!(above.found.similarity_status, Some(true));
            assert!(above.failed.none());
            let below = compared(at - 1e-6, level);
            assert_eq!(below.found.similarity_status, Some(false));
            assert_eq!(below.failed, Failed::SIMILARITY);
            assert!(below.found.similarity.unwrap() < level.similarity());
        }
    }
}

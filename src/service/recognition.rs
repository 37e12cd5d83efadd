//! The five operations on images, from the image's bytes to the answer: steps 8 to 11. Runs on a
//! worker thread, step by step, without waiting.

use super::advice::{Seen, advice_on};
use super::audit_trail::AuditTrail;
use super::check_results::{CheckResults, failed, scores};
use super::faces::{self, Disagreement, Facts};
use super::freshness::WallClock;
use super::geometry::{self, Turn};
use super::images::{Bytes, Given};
use super::settings::Settings;
use super::similarity::shown;
use super::statistics::Times;
use crate::camera::Frame;
use crate::contract::answer_fields::{self, Found, Match, Meta, Scores};
use crate::contract::{
    self, Checks, Failed, ImageField, Mode, Operation, Permission, Refusal, Reply, Sender, Task,
    advice, field,
};
use crate::face::similarity::{Level, similarity};
use crate::face::{Analyzer, Detection, Embedding, FaceError, Faces, Portrait, Quality};
use crate::gallery::{Candidate, EnrolMode, Enrolment, Gallery, GalleryError};
use crate::picture::{self, DecodeError, Picture};
use crate::time::unix_time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// JPEG quality of a stored crop: its artefacts are too small to change the embedding.
const CROP_QUALITY: u8 = 90;

/// The networks, the gallery and their settings.
pub(super) struct Recognizer {
    pub analyzer: Arc<Analyzer>,
    pub audit_trail: Arc<AuditTrail>,
    pub gallery: Arc<Gallery>,
    pub settings: Settings,
    /// Decides whether a subject is within its validity.
    pub clock: WallClock,
    /// Held while faces are compared with the enrolled ones and the gallery is changed accordingly.
    pub changes: Mutex<()>,
}

/// An operation to perform.
pub(super) struct Job {
    pub operation: Operation,
    /// The reference, if any, and the probe.
    pub images: Vec<Given>,
    pub checks: Checks,
    pub task: Task,
    pub by: Requester,
}

/// The sender of a request and its rights.
pub(super) struct Requester {
    pub sender: Sender,
    /// `None`: all permissions.
    pub permissions: Option<BTreeSet<Permission>>,
    /// True if it may give a new face to a subject that has groups or is disabled.
    pub admin: bool,
    /// True if it may be told which other subject has a face.
    pub may_search: bool,
}

/// A picture and the faces in it, at least one.
pub(super) struct DetectedPicture {
    pub picture: Picture,
    faces: Faces,
    /// The largest face.
    pub face: Detection,
}

impl DetectedPicture {
    /// Returns the picture that the detections refer to.
    fn upright(&self) -> &Picture {
        self.faces.turned.as_ref().unwrap_or(&self.picture)
    }

    fn turn(&self) -> Turn {
        let (width, height) = (self.picture.width(), self.picture.height());
        let reduction = self.picture.reduction();
        Turn { width, height, reduction, rotation: self.faces.rotation }
    }
}

/// Results that a task adds to the answer.
#[derive(Default)]
struct Done {
    failed: Failed,
    found: Found,
    cosine: Option<f32>,
    /// True if the face is that of a subject that is not active, which the request does not accept.
    not_active: bool,
    /// The enrolment to store.
    enrolment: Option<Enrolment>,
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
    fn is_success(&self) -> bool {
        let matched = self.found.matches.as_ref().is_some_and(|matches| !matches.is_empty());
        matched || self.found.similarity_status == Some(true) || self.enrolment.is_some()
    }
}

/// Outcome of a job.
pub(super) enum Outcome {
    /// The answer is complete.
    Answered(Reply),
    /// An enrolment; its answer is complete once it is stored. Threads that compute must not wait
    /// for a disk.
    ToStore(Box<ToStore>),
}

/// An enrolment and the answer so far.
pub(super) struct ToStore {
    enrolment: Enrolment,
    by: Requester,
    liveness: Option<f64>,
    reply: Reply,
    meta: Meta,
}

/// An image, decoded or already with its faces.
enum Opened {
    Picture(ImageField, Picture),
    DetectedPicture(Box<DetectedPicture>),
}

impl Recognizer {
    /// Does the job, except the part that needs a disk.
    pub fn answer(&self, job: Job, times: &mut Times) -> Result<Outcome, Refusal> {
        let mut images = job.images;
        let (Some(probe), reference) = (images.pop(), images.pop()) else {
            return Err(Refusal::internal("a request without an image passed validation"));
        };
        // One picture at a time in memory. Errors of both files take precedence over errors of
        // their content.
        let reference = reference.map(|image| self.reference(image, times)).transpose()?;
        let probe = self.opened(probe, times)?;
        let reference = reference.transpose()?;
        let probe = self.seen(probe, times)?;

        let portrait = self.portrait(&probe).map_err(Refusal::internal)?;
        let check_results =
            self.check_results(&job.checks, &portrait, times).map_err(Refusal::internal)?;
        let failed = failed(&job.checks, job.operation, &check_results, probe.faces.faces.len());
        let done = if failed.none() {
            self.perform(job.task, &job.by, &probe, &portrait, reference, times)?
        } else {
            Done { failed, ..Done::default() }
        };

        let turn = probe.turn();
        let seen = answer_fields::ProbeFace {
            rotation: turn.rotation,
            nface: probe.faces.faces.len(),
            bounding_box: turn.bounding_box(&probe.face),
            face_landmark: turn.face_landmark(&probe.face),
        };
        let reply = match done.not_active {
            true => Reply::subject_not_active(job.operation),
            false => Reply::checked(job.operation, done.failed),
        };
        let reply = reply.with(&check_results.blocks()).with(&seen).with(&done.found);
        let scores = scores(&probe.face, &check_results, done.cosine);
        let mut meta = self.meta(&job.checks, &probe, check_results.quality, scores);
        if done.is_success() && check_results.is_spoof() {
            meta.advice.push(advice::NOT_LIVE);
        }
        let Some(enrolment) = done.enrolment else {
            return Ok(Outcome::Answered(reply.with_meta(timed(meta, times))));
        };
        let liveness = check_results.liveness.map(|(_, probability)| f64::from(probability));
        Ok(Outcome::ToStore(Box::new(ToStore { enrolment, by: job.by, liveness, reply, meta })))
    }

    /// Stores an enrolment and records it; waits for the disk.
    pub fn stored(&self, to_store: ToStore, times: &Times) -> Result<Reply, Refusal> {
        let ToStore { enrolment, by, liveness, reply, meta } = to_store;
        let (subject_id, mode) = (enrolment.subject_id.clone(), enrolment.mode);
        // Held from the search for duplicates until the face is stored.
        let _changing = self.changing();
        let faces = std::slice::from_ref(&enrolment.embedding);
        let duplicate = self.duplicate(faces, &subject_id);
        self.refuse(duplicate.as_ref(), &by)?;
        let replaced = self.replaced(mode, faces, &subject_id);
        let enrolled = self.gallery.enroll(enrolment).map_err(not_enrolled)?;
        // Templates of another model were reported before.
        let disagreement = faces::disagreement(&self.gallery, &subject_id)
            .filter(|found| matches!(found, Disagreement::Unlike(_)));
        let facts = Facts {
            duplicate: duplicate.as_ref(),
            disagreement: disagreement.as_ref(),
            replaced,
            liveness,
        };
        self.audit_trail.enrolled(
            &by.sender,
            &subject_id,
            mode,
            &enrolled,
            facts,
            times.milliseconds(),
        );
        let mut meta = timed(meta, times);
        facts.add_to_meta(&by, &mut meta);
        Ok(reply.with_meta(meta))
    }

    /// Embeds the reference image of compare like an enrolment: verify gives the same similarity.
    /// The outer error concerns the file, the inner one its content.
    fn reference(
        &self,
        image: Given,
        times: &mut Times,
    ) -> Result<Result<Embedding, Refusal>, Refusal> {
        let opened = self.opened(image, times)?;
        Ok(self.seen(opened, times).and_then(|detected| {
            times.stage("embed", || self.portrait(&detected)?.template()).map_err(Refusal::internal)
        }))
    }

    fn opened(&self, image: Given, times: &mut Times) -> Result<Opened, Refusal> {
        Ok(match image {
            Given::Bytes(image) => {
                let picture = times.stage("decode", || self.decoded(&image))?;
                Opened::Picture(image.field, picture)
            }
            Given::DetectedPicture(detected) => Opened::DetectedPicture(detected),
        })
    }

    fn seen(&self, opened: Opened, times: &mut Times) -> Result<DetectedPicture, Refusal> {
        match opened {
            Opened::Picture(field, picture) => {
                times.stage("detect", || self.with_faces(field, picture))
            }
            Opened::DetectedPicture(detected) => Ok(*detected),
        }
    }

    /// Decodes the image: the part of step 8 that needs no network.
    fn decoded(&self, image: &Bytes) -> Result<Picture, Refusal> {
        picture::decode(&image.bytes, &self.settings.limits).map_err(|error| {
            let (field, why) = (image.field, error.to_string());
            match error {
                DecodeError::TooManyBytes { .. } => Refusal::ImageSize { field, why },
                DecodeError::NoMemory => Refusal::Busy,
                _ => Refusal::ImageFormat { field, why },
            }
        })
    }

    /// Step 9: detects the faces.
    fn with_faces(&self, field: ImageField, picture: Picture) -> Result<DetectedPicture, Refusal> {
        let faces = self.analyzer.detect(&picture).map_err(Refusal::internal)?;
        let face = *faces.faces.first().ok_or(Refusal::NoFace(Some(field)))?;
        Ok(DetectedPicture { picture, faces, face })
    }

    /// Returns the largest face of a camera frame and its quality; `None` if there is no face or no
    /// picture.
    pub fn look(&self, frame: &Frame) -> Result<Option<(DetectedPicture, Quality)>, Refusal> {
        let Ok(picture) = frame.picture() else { return Ok(None) };
        let faces = self.analyzer.faces_in_frame(&picture).map_err(Refusal::internal)?;
        let Some(&face) = faces.first() else { return Ok(None) };
        let portrait = self.analyzer.portrait(&picture, &face).map_err(Refusal::internal)?;
        let quality = portrait.quality();
        let faces = Faces { rotation: 0, turned: None, faces };
        Ok(Some((DetectedPicture { picture, faces, face }, quality)))
    }

    /// Performs the task of the request, after its checks have passed.
    fn perform(
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

    /// Runs the networks that the checks need.
    fn check_results(
        &self,
        checks: &Checks,
        portrait: &Portrait,
        times: &mut Times,
    ) -> Result<CheckResults, FaceError> {
        let mut check_results = CheckResults::default();
        if checks.is_quality {
            check_results.quality = Some(times.stage("quality", || portrait.quality()));
        }
        if checks.is_attribute {
            check_results.attributes = Some(times.stage("attributes", || portrait.attributes())?);
        }
        if checks.is_liveness {
            let liveness = times.stage("liveness", || portrait.liveness())?;
            let probability = liveness.probability(self.settings.liveness_operating_point);
            check_results.liveness = Some((liveness, probability));
        }
        Ok(check_results)
    }

    fn portrait<'a>(&'a self, detected: &'a DetectedPicture) -> Result<Portrait<'a>, FaceError> {
        self.analyzer.portrait(detected.upright(), &detected.face)
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

    fn meta(
        &self,
        checks: &Checks,
        probe: &DetectedPicture,
        quality: Option<Quality>,
        scores: Scores,
    ) -> Meta {
        let (picture, nface) = (probe.upright(), probe.faces.faces.len());
        let seen = Seen { picture, nface, face: &probe.face, quality };
        Meta {
            device_id: Some(self.settings.device_id.clone()),
            model_id: Some(self.analyzer.model_id().to_owned()),
            scores: Some(scores),
            advice: advice_on(checks, &seen),
            ..Meta::default()
        }
    }
}

/// Adds the timings, last, so that the total is complete.
fn timed(meta: Meta, times: &Times) -> Meta {
    Meta { timings_ms: Some(times.block()), ..meta }
}

/// Translates the gallery's error into the refusal for the sender.
pub(super) fn not_enrolled(error: GalleryError) -> Refusal {
    match error {
        GalleryError::Grouped(_) | GalleryError::Disabled(_) => {
            Refusal::Permission { why: error.to_string() }
        }
        GalleryError::TooManyTemplates { .. } => Refusal::field(field::MODE, error.to_string()),
        error => Refusal::from(error),
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

/// Crops the face as it is stored with its template: upright, box × 2, as JPEG.
pub(super) fn crop(picture: &Picture, face: &Detection) -> Option<Vec<u8>> {
    let [left, top, width, height] = geometry::crop_region(face, picture.width(), picture.height());
    let edge = |start: u32, length: u32| (i64::from(start), i64::from(start) + i64::from(length));
    let ((left, right), (top, bottom)) = (edge(left, width), edge(top, height));
    let crop = picture.cropped(left, top, right, bottom)?;
    let (width, height) = geometry::crop_size(crop.width(), crop.height());
    picture::to_jpeg(&crop.resized(width, height), CROP_QUALITY)
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

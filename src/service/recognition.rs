//! The five operations on images, from the image's bytes to the answer: steps 8 to 11. Runs on a
//! worker thread, step by step, without waiting.

mod task;

use self::task::Done;
use super::advice::{Seen, advice_on};
use super::audit_trail::AuditTrail;
use super::check_results::{CheckResults, failed, rounded, scores};
use super::faces::{self, Disagreement, Facts};
use super::freshness::WallClock;
use super::geometry::{self, Turn};
use super::images::{Bytes, Given};
use super::settings::Settings;
use super::statistics::Times;
use crate::camera::Frame;
use crate::contract::answer_fields::{self, FaceBlock, Meta, Scores};
use crate::contract::{
    Checks, ImageField, Operation, Permission, Refusal, Reply, Sender, Task, advice, field,
};
use crate::face::{Analyzer, Detection, Embedding, FaceError, Faces, Portrait, Quality};
use crate::gallery::{Enrolment, Gallery, GalleryError};
use crate::picture::{self, DecodeError, Picture};
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
    /// The most prominent face.
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
            face_landmark: turn.face_landmark(portrait.face()),
            faces: several(&probe.faces.faces, turn),
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

    /// Returns the most prominent face of a camera frame and its quality; `None` if there is no
    /// face or no picture.
    pub fn look(&self, frame: &Frame) -> Result<Option<(DetectedPicture, Quality)>, Refusal> {
        let Ok(picture) = frame.picture() else { return Ok(None) };
        let faces = self.analyzer.prominent_in_frame(&picture).map_err(Refusal::internal)?;
        let Some(&face) = faces.first() else { return Ok(None) };
        let portrait = self.analyzer.portrait(&picture, &face).map_err(Refusal::internal)?;
        let quality = portrait.quality();
        let faces = Faces { rotation: 0, turned: None, faces };
        Ok(Some((DetectedPicture { picture, faces, face }, quality)))
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

/// Returns box and score of every face; none if there is one face, which the answer describes.
fn several(faces: &[Detection], turn: Turn) -> Vec<FaceBlock> {
    let block = |face: &Detection| FaceBlock {
        bounding_box: turn.bounding_box(face),
        score: rounded(face.score),
    };
    if faces.len() > 1 { faces.iter().map(block).collect() } else { Vec::new() }
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

/// Crops the face as it is stored with its template: upright, box × 2, as JPEG.
pub(super) fn crop(picture: &Picture, face: &Detection) -> Option<Vec<u8>> {
    let [left, top, width, height] = geometry::crop_region(face, picture.width(), picture.height());
    let edge = |start: u32, length: u32| (i64::from(start), i64::from(start) + i64::from(length));
    let ((left, right), (top, bottom)) = (edge(left, width), edge(top, height));
    let crop = picture.cropped(left, top, right, bottom)?;
    let (width, height) = geometry::crop_size(crop.width(), crop.height());
    picture::to_jpeg(&crop.resized(width, height), CROP_QUALITY)
}

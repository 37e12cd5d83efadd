//! `enroll_mode`: several poses of one person in front of the camera, stored together or not at
//! all.
//!
//! A *pose* is a frame with exactly one face that is not cut off, large, sharp, well lit, and live
//! if that is requested. It is taken if its embedding differs enough from the poses before and
//! still clearly belongs to the same person. Another person who looks into the camera ends the
//! enrolment: no subject is enrolled with another person's face.

use super::advice::reaches_over;
use super::capture::{CaptureContext, NotTaken};
use super::check_results::{LIVE, liveness_block};
use super::faces::{self, Facts};
use super::recognition::{Recognizer, Requester, crop, not_enrolled};
use super::statistics::Times;
use crate::camera::Frame;
use crate::contract::answer_fields::{EnrolModeBlock, Meta};
use crate::contract::{Failed, Operation, PosesRequest, Refusal, Reply, advice};
use crate::face::{Embedding, similarity};
use crate::gallery::{self, EnrolMode, Enrolment};
use crate::time::unix_time;
use std::time::Instant;

/// Maximum number of poses: enough to cover every side from which doors see a person.
pub(super) const MOST: usize = 5;
/// A face narrower than this is enlarged for the embedder.
const SMALLEST: f32 = 80.0;
/// A view whose cosine with another is above this adds little to it. In two clips of people in
/// front of a camera, neighbouring frames are at 0.95 to 0.98 and frames between which the head
/// moved at 0.86 to 0.94; portraits of one person from different days are at 0.72 to 0.80.
const ANOTHER_VIEW: f32 = 0.9;
/// Lowest similarity of any two poses. A face that is less similar to all of them is another
/// person's: FMR 1e-3 for one pair, and within seconds hardly any pair of one person is below it.
const SAME_PERSON: similarity::Level = faces::ONE_PERSON;
/// This many frames of another person are not a detector error.
const OTHER_PERSON_FRAMES: usize = 2;

/// Result of one frame.
#[derive(Debug)]
pub(super) enum FrameVerdict {
    /// No face.
    NoFace,
    /// One or several faces that cannot be used.
    Rejected(Failed),
    /// A face that can be used.
    Accepted(Box<Pose>),
}

/// One view of a face.
#[derive(Debug)]
pub(super) struct Pose {
    embedding: Embedding,
    /// Crop as JPEG.
    image: Option<Vec<u8>>,
    /// Probability 0–100, if it was requested.
    liveness: Option<f32>,
}

/// The poses taken so far.
#[derive(Default)]
pub(super) struct Poses {
    taken: Vec<Pose>,
    /// Why the last frame with a face was rejected.
    rejected: Option<Failed>,
    other_person: usize,
}

impl Poses {
    /// Takes the face of a frame if it is another view of the same person.
    pub fn see(&mut self, verdict: FrameVerdict) {
        let pose = match verdict {
            FrameVerdict::NoFace => return,
            FrameVerdict::Rejected(failed) => {
                self.rejected = Some(failed);
                return;
            }
            FrameVerdict::Accepted(pose) => pose,
        };
        let cosines = self.taken.iter().map(|taken| taken.embedding.cosine(&pose.embedding));
        let (best, worst) = cosines.fold((-1.0, 1.0), |(best, worst): (f32, f32), cosine| {
            (best.max(cosine), worst.min(cosine))
        });
        let same = |cosine| similarity::similarity(cosine) >= SAME_PERSON.similarity();
        if self.taken.is_empty() || (same(worst) && best < ANOTHER_VIEW) {
            self.taken.push(*pose);
        } else if !same(best) {
            self.other_person += 1;
        }
    }

    /// Checks that no further frame can change the result.
    pub fn complete(&self) -> bool {
        self.taken.len() >= MOST || self.mixed()
    }

    fn mixed(&self) -> bool {
        self.other_person >= OTHER_PERSON_FRAMES
    }

    /// Returns the poses, at least one, or why there are none.
    pub fn end(self) -> Result<Vec<Pose>, Option<Failed>> {
        if self.mixed() {
            return Err(Some(Failed::NFACE));
        }
        if self.taken.is_empty() { Err(self.rejected) } else { Ok(self.taken) }
    }
}

/// Takes the poses and stores them.
pub(super) async fn enroll(
    request: PosesRequest,
    context: CaptureContext<'_>,
    by: Requester,
    times: &mut Times,
) -> Result<Reply, NotTaken> {
    // Refused before the person poses; the gallery checks it again.
    if let (Some(id), false) = (request.subject_id.clone(), by.admin) {
        let guarded = move |recognizer: &Recognizer| recognizer.is_guarded(&id);
        context.on_own_thread(guarded).await??;
    }
    let began = Instant::now();
    let mut capture = context.start(None, request.timeout)?;
    let mut poses = Poses::default();
    while !poses.complete()
        && let Some(frame) = capture.next().await?
    {
        let asked = (request.is_liveness, request.validate_liveness);
        let look = move |recognizer: &Recognizer| recognizer.verdict(&frame, asked);
        if let Some(verdict) = context.with_frame(look).await? {
            poses.see(verdict?);
        }
    }
    drop(capture);
    times.took("capture", began);
    let poses = match poses.end() {
        Ok(poses) => poses,
        Err(Some(failed)) => return Ok(Reply::checked(Operation::EnrollMode, failed)),
        Err(None) => return Err(Refusal::NoFace(None).into()),
    };
    let stages = times.clone();
    let subject_id = request.subject_id;
    let store = move |recognizer: &Recognizer| recognizer.store(subject_id, poses, &by, &stages);
    Ok(context.on_own_thread(store).await??)
}

impl Recognizer {
    /// Returns a refusal if the subject has groups or is disabled.
    fn is_guarded(&self, id: &str) -> Result<(), Refusal> {
        let subject = self.gallery.subject(id).map_err(Refusal::internal)?;
        match subject {
            Some(subject) if !subject.groups.is_empty() => {
                Err(not_enrolled(gallery::GalleryError::Grouped(id.to_owned())))
            }
            Some(subject) if !subject.enabled => {
                Err(not_enrolled(gallery::GalleryError::Disabled(id.to_owned())))
            }
            _ => Ok(()),
        }
    }

    /// Evaluates a frame; the pair is (is_liveness, validate_liveness) as requested.
    fn verdict(
        &self,
        frame: &Frame,
        (is, validate): (bool, bool),
    ) -> Result<FrameVerdict, Refusal> {
        let Ok(picture) = frame.picture() else { return Ok(FrameVerdict::NoFace) };
        let faces = self.analyzer.prominent_in_frame(&picture).map_err(Refusal::internal)?;
        let Some(face) = faces.first() else { return Ok(FrameVerdict::NoFace) };
        let portrait = self.analyzer.portrait(&picture, face).map_err(Refusal::internal)?;
        let quality = portrait.quality();
        let poor = quality.blur
            || quality.dark
            || quality.grayscale
            || face.width < SMALLEST
            || reaches_over(&picture, face);
        let mut failed =
            Failed::default().and(Failed::QUALITY, poor).and(Failed::NFACE, faces.len() > 1);
        let mut liveness = None;
        if is && failed.none() {
            let check_results = portrait.liveness().map_err(Refusal::internal)?;
            let probability = check_results.probability(self.settings.liveness_operating_point);
            failed = failed.and(Failed::LIVENESS, validate && probability < LIVE);
            liveness = Some(probability);
        }
        if !failed.none() {
            return Ok(FrameVerdict::Rejected(failed));
        }
        let embedding = portrait.template().map_err(Refusal::internal)?;
        let image = self.settings.store_images.then(|| crop(&picture, face)).flatten();
        Ok(FrameVerdict::Accepted(Box::new(Pose { embedding, image, liveness })))
    }

    /// Stores the poses in place of the subject's previous templates.
    fn store(
        &self,
        subject_id: Option<String>,
        poses: Vec<Pose>,
        by: &Requester,
        times: &Times,
    ) -> Result<Reply, Refusal> {
        let subject_id = subject_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let liveness = poses.iter().filter_map(|pose| pose.liveness).reduce(f32::min);
        let embeddings: Vec<Embedding> = poses.iter().map(|pose| pose.embedding.clone()).collect();
        let _changing = self.changing();
        let duplicate = self.duplicate(&embeddings, &subject_id);
        self.refuse(duplicate.as_ref(), by)?;
        let replaced = self.replaced(EnrolMode::Replace, &embeddings, &subject_id);
        let mut poses = poses.into_iter();
        let first = poses.next().ok_or_else(|| Refusal::internal("an enrolment of no pose"))?;
        let further =
            poses.map(|pose| gallery::Pose { embedding: pose.embedding, image: pose.image });
        let enrolment = Enrolment {
            subject_id: subject_id.clone(),
            mode: EnrolMode::Replace,
            embedding: first.embedding,
            image: first.image,
            by_admin: by.admin,
            max_templates: self.settings.max_templates,
            time: unix_time(),
        };
        let further = further.collect();
        let enrolled = self.gallery.enroll_poses(enrolment, further).map_err(not_enrolled)?;
        let milliseconds = times.milliseconds();
        let alive = liveness.map(f64::from);
        let mode = EnrolMode::Replace;
        let facts =
            Facts { duplicate: duplicate.as_ref(), disagreement: None, replaced, liveness: alive };
        self.audit_trail.enrolled(&by.sender, &subject_id, mode, &enrolled, facts, milliseconds);
        let posed = EnrolModeBlock {
            liveness: liveness.map(liveness_block),
            subject_id,
            templates: enrolled.templates,
        };
        let mut meta = Meta {
            device_id: Some(self.settings.device_id.clone()),
            model_id: Some(self.analyzer.model_id().to_owned()),
            timings_ms: Some(times.block()),
            ..Meta::default()
        };
        if liveness.is_some_and(|probability| probability < LIVE) {
            meta.advice.push(advice::NOT_LIVE);
        }
        facts.add_to_meta(by, &mut meta);
        Ok(Reply::of(Operation::EnrollMode, &posed).with_meta(meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::EMBEDDING_LEN;

    /// Makes a unit vector at an angle, in degrees, from the first axis towards the `axis`-th.
    fn pose(axis: usize, degrees: f32) -> FrameVerdict {
        let mut embedding = [0.0; EMBEDDING_LEN];
        let radians = degrees.to_radians();
        (embedding[0], embedding[axis]) = (radians.cos(), radians.sin());
        let embedding = Embedding(embedding);
        FrameVerdict::Accepted(Box::new(Pose { embedding, image: None, liveness: None }))
    }

    fn taken(verdicts: impl IntoIterator<Item = FrameVerdict>) -> Result<usize, Option<Failed>> {
        let mut poses = Poses::default();
        for verdict in verdicts {
            if poses.complete() {
                break;
            }
            poses.see(verdict);
        }
        poses.end().map(|poses| poses.len())
    }

    #[test]
    fn each_view_is_taken_once() {
        // 10° is the same view and 40° another one; 80° differs from the first, but too much.
        assert_eq!(taken([pose(1, 0.0), pose(1, 10.0), pose(1, 40.0), pose(1, 45.0)]), Ok(2));
        assert_eq!(taken([pose(1, 0.0), pose(1, 40.0), pose(1, 80.0)]), Ok(2));
        assert_eq!(taken((1..20).map(|axis| pose(axis, 40.0))), Ok(MOST));
    }

    #[test]
    fn another_person_ends_the_enrolment_and_no_subject_is_enrolled() {
        let two = [pose(1, 0.0), pose(1, 40.0), pose(2, 90.0), pose(3, 90.0)];
        assert_eq!(taken(two), Err(Some(Failed::NFACE)));
        // One frame may be a detector error.
        assert_eq!(taken([pose(1, 0.0), pose(2, 90.0), pose(1, 40.0)]), Ok(2));
    }

    #[test]
    fn the_last_rejection_is_reported_if_there_is_no_pose() {
        assert_eq!(taken([]), Err(None));
        assert_eq!(taken([FrameVerdict::NoFace]), Err(None));
        let rejected = |failed| FrameVerdict::Rejected(failed);
        assert_eq!(
            taken([rejected(Failed::NFACE), rejected(Failed::QUALITY), FrameVerdict::NoFace]),
            Err(Some(Failed::QUALITY))
        );
        assert_eq!(taken([rejected(Failed::QUALITY), pose(1, 0.0)]), Ok(1));
    }
}

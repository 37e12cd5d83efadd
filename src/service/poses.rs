//! `enroll_mode`: several poses of the one person before the camera, stored together or not at all.
//!
//! A *pose* is a frame with one face in it, whole, large, sharp and lit, live if that is asked for. It is
//! taken if its embedding is another view than those before, and surely the same person's. Another person
//! who looks into the camera ends it: no subject is enrolled with another person's face.

use super::advice::reaches_over;
use super::capture::{CaptureContext, NotTaken};
use super::check_results::{LIVE, liveness_block};
use super::faces::{self, Facts};
use super::recognition::{Recognizer, Requester, crop, not_enrolled};
use super::statistics::Times;
use crate::camera::Frame;
use crate::contract::blocks::{EnrolModeBlock, Meta};
use crate::contract::{Failed, Operation, PosesRequest, Refusal, Reply};
use crate::face::{Embedding, similarity};
use crate::gallery::{self, EnrolMode, Enrolment};
use crate::time::unix_time;
use std::time::Instant;

/// So many poses see a person from every side that doors see.
pub(super) const MOST: usize = 5;
/// A face narrower than this is enlarged for the embedder.
const SMALLEST: f32 = 80.0;
/// A view whose cosine with another is above this adds little to it. In two clips of people before a
/// camera neighbouring frames are at 0.95 to 0.98, frames between which the head moved at 0.86 to 0.94;
/// portraits of one person from different days at 0.72 to 0.80.
const ANOTHER_VIEW: f32 = 0.9;
/// Every two poses are at least so similar, and a face that is not so similar to any of them is somebody
/// else's: FMR 1e-3 of one pair, and of one person within seconds hardly any pair below it.
const SAME_PERSON: similarity::Level = faces::ONE_PERSON;
/// So many frames of somebody else are no error of the detector.
const SOMEBODY_ELSE_FRAMES: usize = 2;

/// What one frame shows.
#[derive(Debug)]
pub(super) enum FrameVerdict {
    /// No face.
    NoFace,
    /// A face, or several, that cannot be taken.
    Rejected(Failed),
    /// A face that can be.
    Accepted(Box<Pose>),
}

/// One view of a face.
#[derive(Debug)]
pub(super) struct Pose {
    embedding: Embedding,
    /// Crop as JPEG.
    image: Option<Vec<u8>>,
    /// Probability 0–100, if it was asked for.
    liveness: Option<f32>,
}

/// The poses taken so far.
#[derive(Default)]
pub(super) struct Poses {
    taken: Vec<Pose>,
    /// Why the last frame with a face was not fit.
    unfit: Option<Failed>,
    somebody_else: usize,
}

impl Poses {
    /// Takes what a frame shows, if it is another view of the same person.
    pub fn see(&mut self, verdict: FrameVerdict) {
        let pose = match verdict {
            FrameVerdict::NoFace => return,
            FrameVerdict::Rejected(failed) => {
                self.unfit = Some(failed);
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
            self.somebody_else += 1;
        }
    }

    /// Whether no further frame could change anything.
    pub fn complete(&self) -> bool {
        self.taken.len() >= MOST || self.mixed()
    }

    fn mixed(&self) -> bool {
        self.somebody_else >= SOMEBODY_ELSE_FRAMES
    }

    /// The poses, one at least, or why there are none.
    pub fn end(self) -> Result<Vec<Pose>, Option<Failed>> {
        if self.mixed() {
            return Err(Some(Failed::NFACE));
        }
        if self.taken.is_empty() { Err(self.unfit) } else { Ok(self.taken) }
    }
}

/// Takes the poses and stores them.
pub(super) async fn enroll(
    request: PosesRequest,
    context: CaptureContext<'_>,
    by: Requester,
    times: &mut Times,
) -> Result<Reply, NotTaken> {
    // Told before anybody poses; the gallery holds to it all the same.
    if let (Some(id), false) = (request.subject_id.clone(), by.admin) {
        let guarded = move |recognizer: &Recognizer| recognizer.is_guarded(&id);
        context.aside(guarded).await??;
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
    Ok(context.aside(store).await??)
}

impl Recognizer {
    /// A refusal, if the subject opens doors, or must not.
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

    /// What a frame shows; (is_liveness, validate_liveness) as asked.
    fn verdict(
        &self,
        frame: &Frame,
        (is, validate): (bool, bool),
    ) -> Result<FrameVerdict, Refusal> {
        let Ok(picture) = frame.picture() else { return Ok(FrameVerdict::NoFace) };
        let faces = self.analyzer.faces_in_frame(&picture).map_err(Refusal::internal)?;
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

    /// Stores the poses in the place of whatever the subject had.
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
        let facts = Facts { duplicate: duplicate.as_ref(), disagreement: None, liveness: alive };
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
        facts.tell(by, &mut meta);
        Ok(Reply::of(Operation::EnrollMode, &posed).with_meta(meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::EMBEDDING_LEN;

    /// A unit vector at an angle, in degrees, from the first axis towards the `axis`-th.
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
    fn views_are_taken_once_each() {
        // 10° is the same view, 40° another one; 80° is another one of the first, but too far from it.
        assert_eq!(taken([pose(1, 0.0), pose(1, 10.0), pose(1, 40.0), pose(1, 45.0)]), Ok(2));
        assert_eq!(taken([pose(1, 0.0), pose(1, 40.0), pose(1, 80.0)]), Ok(2));
        assert_eq!(taken((1..20).map(|axis| pose(axis, 40.0))), Ok(MOST));
    }

    #[test]
    fn somebody_else_ends_it_and_nobody_is_enrolled() {
        let two = [pose(1, 0.0), pose(1, 40.0), pose(2, 90.0), pose(3, 90.0)];
        assert_eq!(taken(two), Err(Some(Failed::NFACE)));
        // One frame may be an error.
        assert_eq!(taken([pose(1, 0.0), pose(2, 90.0), pose(1, 40.0)]), Ok(2));
    }

    #[test]
    fn why_there_is_no_pose() {
        assert_eq!(taken([]), Err(None));
        assert_eq!(taken([FrameVerdict::NoFace]), Err(None));
        let unfit = |failed| FrameVerdict::Rejected(failed);
        assert_eq!(
            taken([unfit(Failed::NFACE), unfit(Failed::QUALITY), FrameVerdict::NoFace]),
            Err(Some(Failed::QUALITY))
        );
        assert_eq!(taken([unfit(Failed::QUALITY), pose(1, 0.0)]), Ok(1));
    }
}

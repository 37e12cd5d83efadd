//! `camera:`: picks the best frame of the terminal's own camera within the time that the request
//! allows.
//!
//! Each frame is processed on a worker thread when its turn comes, so that clients that send
//! pictures at the same time wait for one frame, not for seconds. The capture ends at the first
//! frame that is clearly good.

use super::advice::reaches_over;
use super::recognition::{DetectedPicture, Recognizer};
use super::workers::{NotDone, Workers, expired};
use crate::camera::{Camera, Frame, Frames, State};
use crate::contract::{ImageField, Refusal};
use crate::face::{Detection, Quality};
use crate::picture::Picture;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of requests that use the camera at a time: each of them takes seconds.
pub(super) const AT_A_TIME: usize = 2;
/// Interval at which a request that waits for a frame checks the camera's state.
const STEP: Duration = Duration::from_millis(100);
/// Width of a face in the embedder's input, in pixels; a wider face gains little.
const WIDE_ENOUGH: f32 = 112.0;
/// Score from which on a frame is taken at once.
const GOOD: f32 = 0.75;
/// Factor on the score for each fault that the checks detect.
const FAULTY: f32 = 0.3;

/// Why a request got no frame.
pub(super) enum NotTaken {
    /// The request is refused.
    Refused(Refusal),
    /// The request was not done.
    NotDone(NotDone),
}

impl From<Refusal> for NotTaken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotDone> for NotTaken {
    fn from(not_done: NotDone) -> Self {
        Self::NotDone(not_done)
    }
}

/// Components that a capture uses.
#[derive(Clone, Copy)]
pub(super) struct CaptureContext<'a> {
    pub camera: Option<&'a Camera>,
    pub places: &'a Arc<Semaphore>,
    pub workers: &'a Workers,
    pub recognizer: &'a Arc<Recognizer>,
    /// When the request expires.
    pub expires: Option<Instant>,
}

impl CaptureContext<'_> {
    /// Returns the frame with the best face within `patience`.
    pub async fn best(
        self,
        field: ImageField,
        patience: Duration,
    ) -> Result<DetectedPicture, NotTaken> {
        let mut capture = self.start(Some(field), patience)?;
        let mut best: Option<(f32, DetectedPicture)> = None;
        let mut any_processed = false;
        while let Some(frame) = capture.next().await? {
            let look = move |recognizer: &Recognizer| recognizer.look(&frame);
            let Some(seen) = self.with_frame(look).await? else { continue };
            any_processed = true;
            let Some((detected, quality)) = seen? else { continue };
            let score = score(&detected.picture, &detected.face, quality);
            if best.as_ref().is_none_or(|(best, _)| score > *best) {
                best = Some((score, detected));
            }
            if score >= GOOD {
                break;
            }
        }
        match best {
            Some((_, detected)) => Ok(detected),
            None if any_processed => Err(Refusal::NoFace(Some(field)).into()),
            None => Err(NotDone::Busy.into()),
        }
    }

    /// Subscribes to the camera. `field` is the field to name in the refusal if there is none.
    pub fn start(self, field: Option<ImageField>, patience: Duration) -> Result<Capture, Refusal> {
        let camera = self.camera.ok_or_else(|| Refusal::Camera {
            field,
            why: match field {
                Some(_) => "no camera is configured; send the image itself".to_owned(),
                None => "no camera is configured; set camera.source".to_owned(),
            },
        })?;
        let place = Arc::clone(self.places).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let capture = Capture {
            field,
            camera: camera.clone(),
            frames: Some(camera.frames()),
            until: Instant::now() + patience,
            any: false,
            _place: place,
        };
        match capture.camera_fault() {
            Some(refusal) => Err(refusal),
            None => Ok(capture),
        }
    }

    /// Runs `work` on a worker thread; `None` if all threads are busy: another frame will come.
    pub async fn with_frame<T: Send + 'static>(
        self,
        work: impl FnOnce(&Recognizer) -> T + Send + 'static,
    ) -> Result<Option<T>, NotDone> {
        let recognizer = Arc::clone(self.recognizer);
        match self.workers.run(self.expires, move || work(&recognizer)).await {
            Ok(done) => Ok(Some(done)),
            Err(NotDone::Busy) => Ok(None),
            Err(not_done) => Err(not_done),
        }
    }

    /// Runs `work` that needs no pixels on a thread of its own: a person who has posed must not
    /// wait behind a queue of pictures.
    pub async fn on_own_thread<T: Send + 'static>(
        self,
        work: impl FnOnce(&Recognizer) -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        if expired(self.expires) {
            return Err(NotDone::Expired);
        }
        let recognizer = Arc::clone(self.recognizer);
        let done = tokio::task::spawn_blocking(move || work(&recognizer)).await;
        done.map_err(|_| NotDone::Panicked)
    }
}

/// A subscription to the camera for the time that a request may take.
pub(super) struct Capture {
    field: Option<ImageField>,
    camera: Camera,
    /// `None` only while waiting for a frame.
    frames: Option<Frames>,
    until: Instant,
    /// True once a frame has come.
    any: bool,
    _place: OwnedSemaphorePermit,
}

impl Capture {
    /// Returns the next frame; `None` when the time is over. Returns a refusal if no frame came at
    /// all.
    pub async fn next(&mut self) -> Result<Option<Frame>, Refusal> {
        loop {
            let left = self.until.duration_since(Instant::now());
            let Some(mut frames) = self.frames.take().filter(|_| !left.is_zero()) else {
                return match self.any {
                    true => Ok(None),
                    false => Err(self.unavailable("no frame came in time")),
                };
            };
            let waited = tokio::task::spawn_blocking(move || {
                let frame = frames.next(left.min(STEP));
                (frames, frame)
            });
            let (frames, frame) = waited.await.map_err(Refusal::internal)?;
            self.frames = Some(frames);
            if frame.is_some() {
                self.any = true;
                return Ok(frame);
            }
            match self.camera_fault() {
                // Frames seen before remain valid.
                Some(_) if self.any => return Ok(None),
                Some(refusal) => return Err(refusal),
                None => {}
            }
        }
    }

    /// Returns a refusal if the camera delivers no frames and it is unknown when it will.
    fn camera_fault(&self) -> Option<Refusal> {
        match &*self.camera.states().borrow() {
            State::Starting | State::Streaming => None,
            State::Lost { why } => Some(self.unavailable(why)),
            State::Ended => Some(self.unavailable("the replay is over")),
        }
    }

    fn unavailable(&self, why: &str) -> Refusal {
        Refusal::Camera { field: self.field, why: why.to_owned() }
    }
}

/// Scores a face for recognition, 0 to 1: it should be large, not cut off, frontal, sharp and well
/// lit.
pub(super) fn score(picture: &Picture, face: &Detection, quality: Quality) -> f32 {
    let size = (face.width / WIDE_ENOUGH).min(1.0);
    let whole = if reaches_over(picture, face) { FAULTY } else { 1.0 };
    let sharp = if quality.blur { FAULTY } else { 1.0 };
    let lit = if quality.dark { FAULTY } else { 1.0 };
    face.score * size * whole * sharp * lit * frontal(face)
}

/// Returns 1 if the nose is midway between the eyes, and less the nearer it is to one eye; never 0,
/// because a profile is better than no face.
fn frontal(face: &Detection) -> f32 {
    let [left, right, nose, ..] = face.landmarks;
    let half = ((right[0] - left[0]) / 2.0).abs().max(1.0);
    let aside = (nose[0] - (left[0] + right[0]) / 2.0).abs() / half;
    1.0 - 0.5 * aside.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(width: f32, nose: f32) -> Detection {
        let [x, y] = [200.0, 100.0];
        let at = |across: f32, down: f32| [x + across * width, y + down * width];
        let landmarks = [at(0.3, 0.4), at(0.7, 0.4), at(nose, 0.6), at(0.35, 0.8), at(0.65, 0.8)];
        Detection { x, y, width, height: width * 1.2, landmarks, score: 0.9 }
    }

    fn quality(blur: bool, dark: bool) -> Quality {
        let (sharpness, fineness, brightness, chroma) = (100.0, 1.0, 120.0, 40.0);
        Quality { blur, dark, grayscale: false, sharpness, fineness, brightness, chroma }
    }

    #[test]
    fn better_faces_score_higher() {
        let picture = Picture::new(640, 480, vec![90; 640 * 480 * 3]).unwrap();
        let of = |face: &Detection, blur, dark| score(&picture, face, quality(blur, dark));
        let good = of(&face(150.0, 0.5), false, false);
        assert!(good >= GOOD, "{good}");
        let small = of(&face(60.0, 0.5), false, false);
        let aside = of(&face(150.0, 0.68), false, false);
        let blurred = of(&face(150.0, 0.5), true, false);
        let dark = of(&face(150.0, 0.5), false, true);
        let cut = of(&Detection { x: 560.0, ..face(150.0, 0.5) }, false, false);
        for (what, score) in
            [("small", small), ("aside", aside), ("blurred", blurred), ("dark", dark), ("cut", cut)]
        {
            assert!(score > 0.0 && score < GOOD, "{what}: {score}");
        }
        // A network may put all landmarks in one point; this must not divide by zero.
        let odd = Detection { landmarks: [[0.0; 2]; 5], ..face(150.0, 0.5) };
        assert!(of(&odd, false, false).is_finite());
    }
}

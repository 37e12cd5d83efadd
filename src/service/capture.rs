//! `camera:`: the best frame of the terminal's own camera within the time that the request gives.
//!
//! Frames come to the request's task; each is looked at on a worker thread when its turn comes, so that
//! whoever sends pictures meanwhile waits for one frame and not for seconds. It ends at the first frame
//! that is clearly good.

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

/// Requests that may wait for the camera at a time: each looks at frames for seconds.
pub(super) const AT_A_TIME: usize = 2;
/// How often a request that waits for a frame looks at the camera's state.
const STEP: Duration = Duration::from_millis(100);
/// The embedder sees a face in about this many pixels; more gain little.
const WIDE_ENOUGH: f32 = 112.0;
/// From this worth on a frame is taken at once.
const GOOD: f32 = 0.75;
/// What a fault that the checks know leaves of a frame's worth.
const FAULTY: f32 = 0.3;

/// Why a request got no frame.
pub(super) enum NotTaken {
    /// It is answered so.
    Refused(Refusal),
    /// It was not done.
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

/// What a capture works with.
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
    /// The frame with the best face within `patience`.
    pub async fn best(
        self,
        field: ImageField,
        patience: Duration,
    ) -> Result<DetectedPicture, NotTaken> {
        let mut capture = self.start(Some(field), patience)?;
        let mut best: Option<(f32, DetectedPicture)> = None;
        let mut looked = false;
        while let Some(frame) = capture.next().await? {
            let look = move |recognizer: &Recognizer| recognizer.look(&frame);
            let Some(seen) = self.with_frame(look).await? else { continue };
            looked = true;
            let Some((sight, quality)) = seen? else { continue };
            let worth = worth(&sight.picture, &sight.face, quality);
            if best.as_ref().is_none_or(|(best, _)| worth > *best) {
                best = Some((worth, sight));
            }
            if worth >= GOOD {
                break;
            }
        }
        match best {
            Some((_, sight)) => Ok(sight),
            None if looked => Err(Refusal::NoFace(Some(field)).into()),
            None => Err(NotDone::Busy.into()),
        }
    }

    /// Subscribes to the camera. `field` is to blame where there is none.
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
        match capture.gone() {
            Some(refusal) => Err(refusal),
            None => Ok(capture),
        }
    }

    /// Does something with a frame on a worker thread; `None` when no thread has time for it: there will be
    /// another frame.
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

    /// Does something that takes no pixels, on a thread of its own: who has posed waits behind no queue of
    /// pictures.
    pub async fn aside<T: Send + 'static>(
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

/// A subscription to the camera for as long as a request may take.
pub(super) struct Capture {
    field: Option<ImageField>,
    camera: Camera,
    /// `None` only while a frame is waited for.
    frames: Option<Frames>,
    until: Instant,
    /// Whether a frame has come.
    any: bool,
    _place: OwnedSemaphorePermit,
}

impl Capture {
    /// The next frame; `None` when the time is over. A refusal, if there was none at all.
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
            match self.gone() {
                // What was seen before stays seen.
                Some(_) if self.any => return Ok(None),
                Some(refusal) => return Err(refusal),
                None => {}
            }
        }
    }

    /// The refusal, if the camera gives no frames and it is not known when it will.
    fn gone(&self) -> Option<Refusal> {
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

/// How good a face is for recognition, 0–1: large enough, whole, turned to the camera, sharp and lit.
pub(super) fn worth(picture: &Picture, face: &Detection, quality: Quality) -> f32 {
    let size = (face.width / WIDE_ENOUGH).min(1.0);
    let whole = if reaches_over(picture, face) { FAULTY } else { 1.0 };
    let sharp = if quality.blur { FAULTY } else { 1.0 };
    let lit = if quality.dark { FAULTY } else { 1.0 };
    face.score * size * whole * sharp * lit * frontal(face)
}

/// 1 with the nose in the middle between the eyes, less the nearer it is to one of them; never 0, for a
/// profile is better than nobody.
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
    fn better_faces_are_worth_more() {
        let picture = Picture::new(640, 480, vec![90; 640 * 480 * 3]).unwrap();
        let of = |face: &Detection, blur, dark| worth(&picture, face, quality(blur, dark));
        let good = of(&face(150.0, 0.5), false, false);
        assert!(good >= GOOD, "{good}");
        let small = of(&face(60.0, 0.5), false, false);
        let aside = of(&face(150.0, 0.68), false, false);
        let blurred = of(&face(150.0, 0.5), true, false);
        let dark = of(&face(150.0, 0.5), false, true);
        let cut = of(&Detection { x: 560.0, ..face(150.0, 0.5) }, false, false);
        for (what, worth) in
            [("small", small), ("aside", aside), ("blurred", blurred), ("dark", dark), ("cut", cut)]
        {
            assert!(worth > 0.0 && worth < GOOD, "{what}: {worth}");
        }
        // Landmarks in one point, as a network may give them, are no division by nothing.
        let odd = Detection { landmarks: [[0.0; 2]; 5], ..face(150.0, 0.5) };
        assert!(of(&odd, false, false).is_finite());
    }
}

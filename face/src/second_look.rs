//! A second look at one face: the detector on the face's own surroundings, turned upright.
//!
//! The detector was trained on upright faces and sees a large picture reduced: the landmarks of a
//! tilted face, and of a small one in a large picture, are visibly off, and all that is read from
//! the aligned crop suffers. The look shows the detector the face at the size and in the position
//! that it knows best. An upright face of usual size gets none.
//!
//! Terms. The *look* is the square that the detector sees. The *tilt* is the clockwise angle, in
//! radians, from the picture's horizontal to the face's.

use super::align::{template_to_picture, unaliased};
use super::{Detection, Detector, FaceError};
use crate::{Border, Picture};

/// A face whose landmarks have at least this tilt is looked at again …
const LEANING: f32 = 4.0 / 180.0 * std::f32::consts::PI;
/// … turned by this many times that tilt: the landmarks of a tilted face lean towards those of an
/// upright one (portraits turned by 30 and 45 degrees: 5 to 12 and 8 to 17 degrees).
const GAIN: f32 = 2.5;
/// A face of at least this tilt is tilted …
const TILTED: f32 = 8.0 / 180.0 * std::f32::consts::PI;
/// … if it has this score when turned upright: LFW turned by 35 degrees reaches 0.916. Covered
/// faces (niqab, mask), whose tilt the detector does not know, stay below it at every tilt.
const SURELY_TILTED: f32 = 0.91;
/// A face below this score may be tilted although its landmarks are upright: of upright faces (LFW)
/// 99 % reach it …
const SURELY_UPRIGHT: f32 = 0.9;
/// … so that it is looked at with these tilts too.
const TILTS: [f32; 3] = [-0.6, 0.0, 0.6];
/// A face narrower than this share of the picture's long side is small …
const SMALL: f32 = 0.08;
/// … unless the detector saw all of its pixels.
const SEEN_WHOLE: u32 = 640;
/// Pixels of the look's side.
const SIDE: u32 = 160;
/// Pixels of the face's side in the look.
const FACE_SIDE: f32 = 80.0;
/// Looks at most: the landmarks of a strongly tilted face give its tilt only roughly.
const MOST_LOOKS: usize = 3;
/// Below this tilt within the look, the face is upright there.
const UPRIGHT: f32 = 3.0 / 180.0 * std::f32::consts::PI;
/// Scores below are another face, or none.
const MIN_SCORE: f32 = 0.6;
/// The face found in the look and the one that was to be seen overlap by this much.
const OVERLAP: f32 = 0.25;
/// Side of the face in pixels of the upright picture that liveness is judged in: twice what the
/// networks take in.
const UPRIGHT_FACE: f32 = 160.0;
/// That picture extends this many sides of the face to each side, if the picture does: the networks
/// see at most 4.8 widths.
const SURROUNDINGS: f32 = 2.5;

/// The place of the look in the picture.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// The look's middle in the picture.
    centre: [f32; 2],
    /// Picture pixels per pixel of the look.
    scale: f32,
    tilt: f32,
}

impl Frame {
    /// Returns the frame around a face, turned by its landmarks.
    fn around(face: &Detection) -> Option<Self> {
        let scale = face.area().sqrt() / FACE_SIDE;
        let frame = Self { centre: face.centre(), scale, tilt: tilt(&face.landmarks)? };
        let values = [frame.centre[0], frame.centre[1], frame.scale, frame.tilt];
        (values.iter().all(|value| value.is_finite()) && scale > 0.0).then_some(frame)
    }

    /// Turns a vector of the look by the tilt.
    fn turned(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.tilt.sin_cos();
        [cos * x - sin * y, sin * x + cos * y]
    }

    /// Returns the matrix that maps a pixel of the look to a point of the picture.
    fn matrix(&self) -> [f32; 6] {
        let [[a, b], [c, d]] = [[self.scale, 0.0], [0.0, self.scale]].map(|axis| self.turned(axis));
        let middle = SIDE as f32 / 2.0;
        let [x, y] = self.centre;
        [a, c, x - (a + c) * middle, b, d, y - (b + d) * middle]
    }

    fn to_picture(self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [m0, m1, m2, m3, m4, m5] = self.matrix();
        [m0 * x + m1 * y + m2, m3 * x + m4 * y + m5]
    }
}

/// A face as a second look found it.
#[derive(Debug)]
pub(super) struct SecondLook {
    frame: Frame,
    /// The face in pixels of the look.
    seen: Detection,
}

impl SecondLook {
    /// Looks again at a face that is tilted, or small in a large picture; `None` for others, and if
    /// the look shows no face.
    pub fn at(
        detector: &Detector,
        picture: &Picture,
        face: &Detection,
    ) -> Result<Option<Self>, FaceError> {
        let Some(first) = Frame::around(face) else { return Ok(None) };
        let small = is_small(picture, face);
        let unsure = face.score < SURELY_UPRIGHT;
        if !small && !unsure && first.tilt.abs() < LEANING {
            return Ok(None);
        }
        let others = if unsure { &TILTS[..] } else { &[] };
        let mut best: Option<Self> = None;
        for tilt in std::iter::once(GAIN * first.tilt).chain(others.iter().copied()) {
            let Some(look) = Self::refined(detector, picture, Frame { tilt, ..first })? else {
                continue;
            };
            if best.as_ref().is_none_or(|best| look.seen.score > best.seen.score) {
                best = Some(look);
            }
        }
        // Of an upright face of usual size, the first look is the better one.
        Ok(best.filter(|look| match look.tilt().abs() >= TILTED {
            true => look.seen.score >= SURELY_TILTED,
            false => small,
        }))
    }

    /// Looks at a frame, and again with the tilt that is left, until the face is upright there.
    fn refined(
        detector: &Detector,
        picture: &Picture,
        mut frame: Frame,
    ) -> Result<Option<Self>, FaceError> {
        let mut best = None;
        for _ in 0..MOST_LOOKS {
            let look = unaliased(picture, &frame.matrix(), [SIDE, SIDE], 1.5, Border::Repeated);
            let Some(seen) = nearest(detector.detect(&look, MIN_SCORE)?) else { break };
            let left = tilt(&seen.landmarks).unwrap_or(0.0);
            best = Some(Self { frame, seen });
            if left.abs() < UPRIGHT {
                break;
            }
            let centre = frame.to_picture(seen.centre());
            frame = Frame { centre, tilt: frame.tilt + GAIN * left, ..frame };
        }
        Ok(best)
    }

    /// Returns the tilt of the face in the picture.
    fn tilt(&self) -> f32 {
        tilt(&self.landmarks()).unwrap_or(0.0)
    }

    /// Returns the landmarks in the picture.
    pub fn landmarks(&self) -> [[f32; 2]; 5] {
        self.seen.landmarks.map(|point| self.frame.to_picture(point))
    }

    /// Returns the picture turned about the face, and the face in it, which is upright; `None` for
    /// a face that is upright in the picture.
    pub fn upright(&self, picture: &Picture) -> Option<(Picture, Detection)> {
        let Frame { centre: [x, y], scale, tilt } = self.frame;
        if tilt.abs() < TILTED {
            return None;
        }
        // The part of the picture around the face, so that the border is as far away as it is.
        let reach = SURROUNDINGS * FACE_SIDE * scale;
        let step = (FACE_SIDE * scale / UPRIGHT_FACE).max(1.0);
        let span = |middle: f32, side: u32| {
            let (low, high) = ((middle - reach).max(0.0), (middle + reach).min(side as f32));
            (low, ((high - low) / step).max(1.0))
        };
        let ((left, width), (top, height)) = (span(x, picture.width()), span(y, picture.height()));
        let view = Frame { scale: step, ..self.frame };
        let [[a, b], [c, d]] = [[step, 0.0], [0.0, step]].map(|axis| view.turned(axis));
        let [dx, dy] = view.turned([left - x, top - y]);
        let matrix = [a, c, x + dx, b, d, y + dy];
        let size = [width, height].map(|side| side as u32);
        let turned = unaliased(picture, &matrix, size, 1.5, Border::Repeated);
        let place = |[px, py]: [f32; 2]| {
            let middle = SIDE as f32 / 2.0;
            [(x + (px - middle) * scale - left) / step, (y + (py - middle) * scale - top) / step]
        };
        let [box_x, box_y] = place([self.seen.x, self.seen.y]);
        let face = Detection {
            x: box_x,
            y: box_y,
            width: self.seen.width * scale / step,
            height: self.seen.height * scale / step,
            landmarks: self.seen.landmarks.map(place),
            score: self.seen.score,
        };
        Some((turned, face))
    }
}

/// Returns the tilt of a face by all its landmarks.
fn tilt(landmarks: &[[f32; 2]; 5]) -> Option<f32> {
    template_to_picture(landmarks).map(|matrix| matrix[3].atan2(matrix[0]))
}

fn is_small(picture: &Picture, face: &Detection) -> bool {
    let long_side = picture.width().max(picture.height());
    long_side > SEEN_WHOLE && face.width < SMALL * long_side as f32
}

/// Returns the face that the look was made for.
fn nearest(found: Vec<Detection>) -> Option<Detection> {
    let start = (SIDE as f32 - FACE_SIDE) / 2.0;
    let expected = Detection {
        x: start,
        y: start,
        width: FACE_SIDE,
        height: FACE_SIDE,
        landmarks: [[0.0; 2]; 5],
        score: 1.0,
    };
    let near = found.into_iter().filter(|face| face.overlap(&expected) >= OVERLAP);
    near.max_by(|a, b| a.overlap(&expected).total_cmp(&b.overlap(&expected)))
}

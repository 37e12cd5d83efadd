//! Which faces of a picture are beyond doubt, and which of them is judged. The largest is not
//! always the person: it may be a painting behind them, a ghost of the detector, or a bystander who
//! is out of focus. Must not drop a face for being blurred: a blurred person is a second person.
//!
//! The door does not use it: it follows every face, so that a second person always counts.

use super::align::smooth_crop;
use super::{Detection, Quality};
use crate::Picture;

/// A face is in doubt if its score is lower by more than this than that of another. Ghosts beside
/// sharp portraits reach 0.70; labelled people in groups are within 0.09 of the best.
const FAR_LESS_CERTAIN: f32 = 0.2;
/// A blurred face gives way to one that is this many times as sharp …
const FAR_SHARPER: f32 = 5.0;
/// … and whose score is not lower by more than this: ghosts in grain and at borders look sharp, at
/// scores of at most 0.74 (LFW).
const AS_CERTAIN: f32 = 0.1;
/// A face gives way only to one that is at least this share of its width: a passer-by in the
/// distance is never judged in place of a masked person in front of the camera.
const LEAST_SHARE: f32 = 1.0 / 3.0;
/// Most faces that are measured, the largest: the cost of a picture full of faces is bounded.
const MOST_MEASURED: usize = 8;

/// Removes the faces that are in doubt, and puts the one to be judged first. `faces` are those of
/// this picture, largest first, and the others keep that order.
pub(super) fn most_prominent_first(faces: &mut Vec<Detection>, picture: &Picture) {
    let seen = faces.clone();
    faces.retain(|face| !seen.iter().any(|other| casts_doubt_on(other, face)));
    if faces.len() < 2 {
        return;
    }
    let quality = |face: &Detection| Some(Quality::of_crop(&smooth_crop(picture, face)?, &[]));
    if let Some(at) = far_sharper(faces, quality) {
        faces[..=at].rotate_right(1);
    }
}

/// Returns true if `other` is far more certain than `face`.
fn casts_doubt_on(other: &Detection, face: &Detection) -> bool {
    may_replace(other, face) && face.score < other.score - FAR_LESS_CERTAIN
}

fn may_replace(other: &Detection, face: &Detection) -> bool {
    other.width >= LEAST_SHARE * face.width
}

/// Returns the largest face that is far sharper than the first one, if that is blurred.
fn far_sharper(
    faces: &[Detection],
    quality: impl Fn(&Detection) -> Option<Quality>,
) -> Option<usize> {
    let first = faces.first()?;
    let blurred = quality(first).filter(|quality| quality.blur)?;
    let sharper = |face: &Detection| {
        may_replace(face, first)
            && face.score >= first.score - AS_CERTAIN
            && quality(face).is_some_and(|quality| {
                !quality.blur && quality.sharpness >= FAR_SHARPER * blurred.sharpness
            })
    };
    (1..faces.len().min(MOST_MEASURED)).find(|&at| sharper(&faces[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(width: f32, score: f32) -> Detection {
        let landmarks = [[0.0; 2]; 5];
        Detection { x: 0.0, y: 0.0, width, height: width, landmarks, score }
    }

    /// Returns the widths of the faces that remain, in order.
    fn kept(faces: &[(f32, f32)]) -> Vec<f32> {
        let picture = Picture::new(8, 8, vec![90; 8 * 8 * 3]).unwrap();
        let mut faces: Vec<_> = faces.iter().map(|&(width, score)| face(width, score)).collect();
        most_prominent_first(&mut faces, &picture);
        faces.iter().map(|face| face.width).collect()
    }

    #[test]
    fn a_large_doubtful_face_gives_way_to_a_certain_one() {
        assert_eq!(kept(&[(143.0, 0.67), (116.0, 0.95)]), [116.0]);
        // Ghosts beside a person are no faces.
        assert_eq!(kept(&[(440.0, 0.94), (406.0, 0.70), (364.0, 0.67)]), [440.0]);
        // Two people are.
        assert_eq!(kept(&[(99.0, 0.94), (85.0, 0.85)]), [99.0, 85.0]);
        // Alone, a doubtful face is the face of the picture.
        assert_eq!(kept(&[(143.0, 0.62)]), [143.0]);
        assert_eq!(kept(&[]), [0.0; 0]);
    }

    #[test]
    fn a_face_in_the_distance_replaces_no_one() {
        assert_eq!(kept(&[(300.0, 0.70), (60.0, 0.93)]), [300.0, 60.0]);
        let quality =
            |face: &Detection| Some(measured(if face.width > 99.0 { 3.0 } else { 300.0 }));
        assert_eq!(far_sharper(&[face(300.0, 0.9), face(60.0, 0.9)], quality), None);
    }

    fn measured(sharpness: f32) -> Quality {
        let (dark, grayscale, fineness, brightness, chroma) = (false, false, 0.4, 120.0, 40.0);
        let blur = sharpness < 45.0;
        Quality { blur, dark, grayscale, sharpness, fineness, brightness, chroma }
    }

    #[test]
    fn a_blurred_face_gives_way_to_the_largest_that_is_far_sharper_and_as_certain() {
        let faces = [face(200.0, 0.9), face(150.0, 0.9), face(120.0, 0.75), face(110.0, 0.88)];
        let chosen = |sharpness: [f32; 4]| {
            let of = |face: &Detection| {
                let at = faces.iter().position(|other| other == face)?;
                Some(measured(sharpness[at]))
            };
            far_sharper(&faces, of)
        };
        assert_eq!(chosen([9.0, 44.0, 300.0, 200.0]), Some(3));
        assert_eq!(chosen([9.0, 60.0, 300.0, 200.0]), Some(1));
        // Not far sharper, or the largest is sharp itself.
        assert_eq!(chosen([30.0, 100.0, 300.0, 100.0]), None);
        assert_eq!(chosen([50.0, 900.0, 900.0, 900.0]), None);
    }
}

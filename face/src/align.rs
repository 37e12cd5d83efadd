//! Computes the similarity transform that maps five landmarks to the embedder's template.
//!
//! S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
//! 1991. In the plane and without reflection the least-squares similarity has the closed form
//! below.

use super::Detection;
use crate::{Border, Picture};

/// Side of the aligned crop in pixels.
pub const CROP: u32 = 112;

/// The part of the template's plane that a square crop shows.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Pixels of the crop's side.
    pub side: u32,
    /// Template pixels per crop pixel.
    pub scale: f32,
    /// The position of the crop's first pixel in the template; x, y.
    pub origin: [f32; 2],
}

/// The template itself, from the brows to the chin: the embedder's training crop.
pub const FACE: View = View { side: CROP, scale: 1.0, origin: [0.0, 0.0] };

/// Above this many picture pixels per crop pixel, the picture is shrunk before it is sampled;
/// otherwise fine structure would alias into the crop. Below it the embedder gets crops like those
/// it was trained on.
const MOST_SKIP: f32 = 2.0;

/// Returns the face rotated, scaled and shifted to the template: 112×112 pixels, black beyond the
/// picture's border. `None` when all landmarks are the same point.
pub fn aligned_crop(picture: &Picture, face: &Detection) -> Option<Picture> {
    crop(picture, face, FACE, MOST_SKIP, Border::Black)
}

/// Like [`aligned_crop`], with more or less of the face's surroundings.
pub fn aligned_view(picture: &Picture, face: &Detection, view: View) -> Option<Picture> {
    crop(picture, face, view, MOST_SKIP, Border::Black)
}

/// Like [`aligned_crop`], but never aliased and without black: its sharpness and brightness are
/// those of the face, whatever the resolution and wherever the picture ends.
pub(super) fn smooth_crop(picture: &Picture, face: &Detection) -> Option<Picture> {
    crop(picture, face, FACE, 1.0, Border::Repeated)
}

/// Returns for each pixel of the aligned crop, row by row, whether it lies within the picture's
/// border.
pub(super) fn shown(picture: &Picture, face: &Detection) -> Option<Vec<bool>> {
    let [m0, m1, m2, m3, m4, m5] = template_to_picture(&face.landmarks)?;
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let pixels = (0..CROP).flat_map(|y| (0..CROP).map(move |x| (x as f32, y as f32)));
    let inside = |(x, y)| {
        let (u, v) = (m0 * x + m1 * y + m2, m3 * x + m4 * y + m5);
        (0.0..width).contains(&u) && (0.0..height).contains(&v)
    };
    Some(pixels.map(inside).collect())
}

fn crop(
    picture: &Picture,
    face: &Detection,
    view: View,
    most_skip: f32,
    border: Border,
) -> Option<Picture> {
    let matrix = seen_through(view, template_to_picture(&face.landmarks)?);
    Some(unaliased(picture, &matrix, [view.side, view.side], most_skip, border))
}

/// Like [`Picture::warped`], but a picture with more than `most_skip` pixels per output pixel is
/// shrunk first.
pub(super) fn unaliased(
    picture: &Picture,
    matrix: &[f32; 6],
    [width, height]: [u32; 2],
    most_skip: f32,
    border: Border,
) -> Picture {
    let scale = matrix[0].hypot(matrix[1]);
    if scale <= most_skip {
        return picture.warped(matrix, width, height, border);
    }
    // Only the surroundings of the face are shrunk; the corners of the crop bound them.
    let [last_x, last_y] = [width, height].map(|side| side.saturating_sub(1) as f32);
    let corners = [[0.0, 0.0], [last_x, 0.0], [0.0, last_y], [last_x, last_y]].map(|[x, y]| {
        [matrix[0] * x + matrix[1] * y + matrix[2], matrix[3] * x + matrix[4] * y + matrix[5]]
    });
    let outermost = |axis: usize, pick: fn(f32, f32) -> f32, margin: f32| {
        (corners.iter().map(|c| c[axis]).reduce(pick).unwrap_or(0.0) + margin) as i64
    };
    // One pixel of the shrunk picture more than is sampled, and one for rounding.
    let margin = 2.0 * scale + 1.0;
    let (left, top) =
        (outermost(0, f32::min, -margin).max(0), outermost(1, f32::min, -margin).max(0));
    let (right, bottom) = (outermost(0, f32::max, margin), outermost(1, f32::max, margin));
    let Some(around) = picture.cropped(left, top, right, bottom) else {
        return picture.warped(matrix, width, height, border);
    };
    let shrunk = |length: u32| ((length as f32 / scale).round() as u32).max(1);
    let small = around.resized(shrunk(around.width()), shrunk(around.height()));
    let (fx, fy) = (
        small.width() as f32 / around.width() as f32,
        small.height() as f32 / around.height() as f32,
    );
    // Pixel centres are at whole numbers, so a shrunk picture is shifted by half a pixel.
    let shift = |at: f32, origin: i64, factor: f32| (at - origin as f32 + 0.5) * factor - 0.5;
    let matrix = [
        matrix[0] * fx,
        matrix[1] * fx,
        shift(matrix[2], left, fx),
        matrix[3] * fy,
        matrix[4] * fy,
        shift(matrix[5], top, fy),
    ];
    small.warped(&matrix, width, height, border)
}

/// The positions of an aligned face's landmarks in the crop (ArcFace's template), in the order of
/// [`super::Detection::landmarks`].
const TEMPLATE: [[f32; 2]; 5] = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];

/// Returns the matrix that maps a pixel of the template, which is a pixel of the aligned crop, to a
/// point of the picture: x' = m0·x + m1·y + m2, y' = m3·x + m4·y + m5. `None` when all landmarks
/// are the same point.
pub fn template_to_picture(landmarks: &[[f32; 2]; 5]) -> Option<[f32; 6]> {
    // The least-squares similarity from picture to crop, [a −b; b a] and a shift, inverted.
    let (from, to) = (centre(landmarks), centre(&TEMPLATE));
    let (mut along, mut across, mut spread) = (0f64, 0f64, 0f64);
    for (p, q) in landmarks.iter().zip(&TEMPLATE) {
        let (px, py) = (f64::from(p[0]) - from[0], f64::from(p[1]) - from[1]);
        let (qx, qy) = (f64::from(q[0]) - to[0], f64::from(q[1]) - to[1]);
        along += px * qx + py * qy;
        across += px * qy - py * qx;
        spread += px * px + py * py;
    }
    let (a, b) = (along / spread, across / spread);
    let scale = a * a + b * b;
    let (ia, ib) = (a / scale, b / scale);
    let matrix =
        [ia, ib, from[0] - ia * to[0] - ib * to[1], -ib, ia, from[1] + ib * to[0] - ia * to[1]]
            .map(|value| value as f32);
    matrix.iter().all(|value| value.is_finite()).then_some(matrix)
}

/// Returns the matrix that maps a pixel of the view to a point of the picture.
fn seen_through(view: View, [m0, m1, m2, m3, m4, m5]: [f32; 6]) -> [f32; 6] {
    let (scale, [x, y]) = (view.scale, view.origin);
    [m0 * scale, m1 * scale, m0 * x + m1 * y + m2, m3 * scale, m4 * scale, m3 * x + m4 * y + m5]
}

fn centre(points: &[[f32; 2]; 5]) -> [f64; 2] {
    [0, 1].map(|axis| points.iter().map(|p| f64::from(p[axis])).sum::<f64>() / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aligned_face_is_unchanged() {
        let matrix = template_to_picture(&TEMPLATE).unwrap();
        for (value, identity) in matrix.iter().zip([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]) {
            assert!((value - identity).abs() < 1e-4, "{matrix:?}");
        }
    }

    #[test]
    fn a_rotated_scaled_shifted_face_is_aligned() {
        let (sin, cos) = 0.7f32.sin_cos();
        let place = |[x, y]: [f32; 2]| {
            [3.0 * (cos * x - sin * y) + 200.0, 3.0 * (sin * x + cos * y) - 50.0]
        };
        let matrix = template_to_picture(&TEMPLATE.map(place)).unwrap();
        for point in [[0.0, 0.0], [111.0, 0.0], [56.0, 80.0]] {
            let expected = place(point);
            let x = matrix[0] * point[0] + matrix[1] * point[1] + matrix[2];
            let y = matrix[3] * point[0] + matrix[4] * point[1] + matrix[5];
            assert!((x - expected[0]).abs() < 1e-2 && (y - expected[1]).abs() < 1e-2);
        }
    }

    #[test]
    fn shrinking_adds_no_border() {
        let even = Picture::new(400, 400, vec![200; 400 * 400 * 3]).unwrap();
        for scale in [1.01, 1.2, 1.5, 1.99, 2.3, 3.0] {
            // Within the picture, and over its border on two sides.
            for [left, top] in [[20.3, 10.7], [-40.0, -30.0]] {
                let landmarks = TEMPLATE.map(|[x, y]| [scale * x + left, scale * y + top]);
                let face =
                    Detection { x: 0.0, y: 0.0, width: 1.0, height: 1.0, landmarks, score: 1.0 };
                let crop = smooth_crop(&even, &face).unwrap();
                assert!(crop.rgb().iter().all(|&value| value == 200), "at scale {scale}");
            }
        }
    }

    #[test]
    fn landmarks_in_one_point_are_refused() {
        assert_eq!(template_to_picture(&[[5.0, 5.0]; 5]), None);
    }
}

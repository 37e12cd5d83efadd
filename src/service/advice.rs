//! Decides which codes of `meta.advice` apply to a picture.

use crate::contract::{Checks, advice};
use crate::face::{Detection, Quality};
use crate::picture::Picture;

/// A face narrower than this is enlarged for the embedder, whose input is 112 pixels wide; a face
/// takes about 80 of them.
const SMALL: f32 = 80.0;
/// Share of its side by which a box must extend beyond the border to count as cut: detectors
/// overshoot by less.
const CUT: f32 = 0.02;
/// Allowed relative deviation of the aspect ratio from 4:3: covers a row of pixels cut by a codec.
const RATIO_TOLERANCE: f32 = 0.02;
/// Mean luma, 0–255, around a dark face from which on the light must come from behind.
const BRIGHT_SURROUND: f32 = 127.0;

/// The data that advice depends on.
pub(super) struct Seen<'a> {
    /// The upright picture in which the face was found.
    pub picture: &'a Picture,
    /// Number of faces.
    pub nface: usize,
    /// The face that was checked.
    pub face: &'a Detection,
    /// Its quality, if it was computed.
    pub quality: Option<Quality>,
}

/// Returns the codes that apply, in the order of the contract.
pub(super) fn advice_on(checks: &Checks, seen: &Seen) -> Vec<&'static str> {
    let codes = [
        (checks.is_liveness && !checks.validate_quality, advice::QUALITY_NOT_VALIDATED),
        (seen.nface > 1, advice::SEVERAL_FACES),
        (reaches_over(seen.picture, seen.face), advice::CUT_BY_BORDER),
        (!is_4_3(seen.picture), advice::ASPECT_NOT_4_3),
        (backlit(seen), advice::BACKLIT),
        (seen.face.width < SMALL, advice::TOO_SMALL),
    ];
    codes.into_iter().filter_map(|(applies, code)| applies.then_some(code)).collect()
}

/// Checks whether the picture's border cuts a face.
pub(super) fn reaches_over(picture: &Picture, face: &Detection) -> bool {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let over = (-face.x).max(face.x + face.width - width) / face.width;
    let under = (-face.y).max(face.y + face.height - height) / face.height;
    over > CUT || under > CUT
}

/// Checks for an aspect ratio of 4:3, landscape or portrait.
fn is_4_3(picture: &Picture) -> bool {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let ratio = width.max(height) / width.min(height);
    (ratio * 3.0 / 4.0 - 1.0).abs() <= RATIO_TOLERANCE
}

/// Checks for a face that is too dark in bright surroundings. A dark face alone says nothing about
/// the direction of the light, and a bright wall behind a well-lit face is no fault.
fn backlit(seen: &Seen) -> bool {
    seen.quality.is_some_and(|quality| quality.dark)
        && surround_luma(seen.picture, seen.face).is_some_and(|luma| luma >= BRIGHT_SURROUND)
}

/// Returns the mean luma (BT.601, 0–255) of the box × 2 without the box; `None` if that area is
/// empty.
fn surround_luma(picture: &Picture, face: &Detection) -> Option<f32> {
    let width = picture.width() as usize;
    let [left, top, crop_width, crop_height] =
        super::geometry::crop_region(face, picture.width(), picture.height())
            .map(|side| side as usize);
    let (mut sum, mut count) = (0.0f64, 0u32);
    for y in top..top + crop_height {
        let row = &picture.rgb()[(y * width + left) * 3..][..crop_width * 3];
        let row_in_face = (face.y..face.y + face.height).contains(&(y as f32 + 0.5));
        for (x, pixel) in (left..).zip(row.chunks_exact(3)) {
            if row_in_face && (face.x..face.x + face.width).contains(&(x as f32 + 0.5)) {
                continue;
            }
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f64::from);
            sum += 0.299 * r + 0.587 * g + 0.114 * b;
            count += 1;
        }
    }
    (count > 0).then(|| (sum / f64::from(count)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Checks = Checks {
        is_quality: true,
        is_attribute: true,
        is_liveness: false,
        validate_quality: false,
        validate_attribute: false,
        validate_liveness: false,
        validate_nface: false,
    };

    fn picture(width: u32, height: u32, level: u8) -> Picture {
        Picture::new(width, height, vec![level; (width * height * 3) as usize]).unwrap()
    }

    fn face(x: f32, y: f32, side: f32) -> Detection {
        Detection { x, y, width: side, height: side, landmarks: [[0.0; 2]; 5], score: 0.9 }
    }

    fn quality(dark: bool) -> Option<Quality> {
        let (sharpness, fineness, brightness, chroma) = (100.0, 1.0, 20.0, 10.0);
        Some(Quality {
            blur: false,
            dark,
            grayscale: false,
            sharpness,
            fineness,
            brightness,
            chroma,
        })
    }

    #[test]
    fn a_good_picture_gets_no_advice() {
        for (width, height) in [(640, 480), (480, 640)] {
            let picture = picture(width, height, 120);
            let face = face(100.0, 100.0, 200.0);
            let seen = Seen { picture: &picture, nface: 1, face: &face, quality: quality(false) };
            assert!(advice_on(&OFF, &seen).is_empty());
        }
    }

    #[test]
    fn each_code_has_its_cause() {
        let bright = picture(640, 480, 200);
        let dim = picture(640, 480, 60);
        let wide = picture(640, 360, 60);
        let good = face(100.0, 100.0, 200.0);
        let asked = Checks { is_liveness: true, ..OFF };
        let checked = Checks { validate_quality: true, ..asked };
        let seen =
            |picture, nface, face, dark| Seen { picture, nface, face, quality: quality(dark) };
        let (over, small) = (face(-20.0, 100.0, 200.0), face(100.0, 100.0, 79.0));
        let cases: &[(Checks, Seen, &[&str])] = &[
            (asked, seen(&dim, 1, &good, false), &["quality_not_validated_with_liveness"]),
            (checked, seen(&dim, 1, &good, false), &[]),
            (OFF, seen(&dim, 2, &good, false), &["several_faces"]),
            (OFF, seen(&dim, 1, &over, false), &["face_cut_by_border"]),
            (OFF, seen(&wide, 1, &good, false), &["aspect_not_4_3"]),
            (OFF, seen(&bright, 1, &good, true), &["backlit"]),
            (OFF, seen(&dim, 1, &good, true), &[]),
            (OFF, seen(&bright, 1, &good, false), &[]),
            (OFF, seen(&dim, 1, &small, false), &["face_too_small"]),
        ];
        for (checks, seen, expected) in cases {
            assert_eq!(advice_on(checks, seen), *expected);
        }
    }

    #[test]
    fn surround_luma_excludes_the_face() {
        let mut rgb = vec![200u8; 40 * 40 * 3];
        for y in 10..30 {
            rgb[(y * 40 + 10) * 3..(y * 40 + 30) * 3].fill(0);
        }
        let picture = Picture::new(40, 40, rgb).unwrap();
        let luma = surround_luma(&picture, &face(10.0, 10.0, 20.0)).unwrap();
        assert!((luma - 200.0).abs() < 0.5, "{luma}");
        assert_eq!(surround_luma(&picture, &face(-10.0, -10.0, 200.0)), None);
    }
}

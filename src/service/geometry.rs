//! Converts coordinates from the turned picture, in which a face was found, to the image as sent,
//! and computes the stored crop.
//!
//! Coordinates are continuous: 0 is the left or upper edge of the first pixel, `width` the right
//! edge of the last.

use crate::contract::answer_fields::{BoundingBox, Hundredths, Landmarks};
use crate::face::Detection;

/// Longest side of a stored crop, in pixels.
pub(super) const CROP_SIDE: u32 = 320;

/// A picture's size in pixels, and the turn with which the face was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    /// Width of the picture before it was turned.
    pub width: u32,
    /// Height of the picture before it was turned.
    pub height: u32,
    /// Pixels of the image as sent per pixel of the picture
    /// ([`crate::picture::Picture::reduction`]), along one side.
    pub reduction: u32,
    /// Clockwise turn in degrees (0, 90, 180, 270) that made the picture upright.
    pub rotation: u16,
}

impl Turn {
    /// Converts a point of the turned picture to the image as sent.
    pub fn point_as_sent(self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (width, height) = (self.width as f32, self.height as f32);
        let point = match self.rotation {
            90 => [y, height - x],
            180 => [width - x, height - y],
            270 => [width - y, x],
            _ => [x, y],
        };
        point.map(|value| value * self.reduction as f32)
    }

    /// Returns the upper left and lower right corner of a box of the turned picture, in the image
    /// as sent.
    pub fn box_as_sent(self, face: &Detection) -> [[f32; 2]; 2] {
        let [ax, ay] = self.point_as_sent([face.x, face.y]);
        let [bx, by] = self.point_as_sent([face.x + face.width, face.y + face.height]);
        [[ax.min(bx), ay.min(by)], [ax.max(bx), ay.max(by)]]
    }

    /// Returns the part of the box inside the image, so that clients can crop without checking
    /// bounds.
    pub fn bounding_box(self, face: &Detection) -> BoundingBox {
        let [[left, top], [right, bottom]] = self.box_as_sent(face);
        let inside =
            |value: f32, side: u32| hundredths(value.clamp(0.0, (side * self.reduction) as f32));
        let (left, right) = (inside(left, self.width), inside(right, self.width));
        let (top, bottom) = (inside(top, self.height), inside(bottom, self.height));
        BoundingBox {
            top_left_x: Hundredths(left),
            top_left_y: Hundredths(top),
            bottom_right_x: Hundredths(right),
            bottom_right_y: Hundredths(bottom),
            width: Hundredths(right - left),
            height: Hundredths(bottom - top),
        }
    }

    /// Returns the landmarks in the image as sent.
    pub fn face_landmark(self, face: &Detection) -> Landmarks {
        let sent = face.landmarks.map(|landmark| self.point_as_sent(landmark));
        let [left_eye, right_eye, nose, mouth_left, mouth_right] =
            sent.map(|point| point.map(|value| Hundredths(hundredths(value))));
        Landmarks {
            left_eye_x: left_eye[0],
            left_eye_y: left_eye[1],
            right_eye_x: right_eye[0],
            right_eye_y: right_eye[1],
            nose_x: nose[0],
            nose_y: nose[1],
            mouth_left_x: mouth_left[0],
            mouth_left_y: mouth_left[1],
            mouth_right_x: mouth_right[0],
            mouth_right_y: mouth_right[1],
        }
    }
}

/// Returns the region of the upright picture to store: the box × 2 around its centre, within the
/// picture; left, top, width, height in whole pixels.
pub(super) fn crop_region(face: &Detection, width: u32, height: u32) -> [u32; 4] {
    let span = |start: f32, length: f32, side: u32| {
        let low = (start - length / 2.0).floor().clamp(0.0, (side - 1) as f32) as u32;
        let high = (start + length * 1.5).ceil().clamp(0.0, side as f32) as u32;
        (low, high.max(low + 1) - low)
    };
    let (left, crop_width) = span(face.x, face.width, width);
    let (top, crop_height) = span(face.y, face.height, height);
    [left, top, crop_width, crop_height]
}

/// Returns the size of a crop whose longer side is reduced to [`CROP_SIDE`]; never enlarges.
pub(super) fn crop_size(width: u32, height: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= CROP_SIDE {
        return (width, height);
    }
    // At most CROP_SIDE, so it fits; rounded to the nearest pixel.
    let scaled = |side: u32| {
        let side =
            (u64::from(side) * u64::from(CROP_SIDE) + u64::from(longer / 2)) / u64::from(longer);
        (side as u32).max(1)
    };
    (scaled(width), scaled(height))
}

/// Converts to hundredths of a pixel.
fn hundredths(value: f32) -> i64 {
    (f64::from(value) * 100.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn shown(block: impl serde::Serialize) -> Value {
        serde_json::to_value(block).unwrap()
    }

    const ROTATIONS: [u16; 4] = [0, 90, 180, 270];

    fn face(x: f32, y: f32, width: f32, height: f32) -> Detection {
        let landmarks = [
            [x + width * 0.3, y + height * 0.4],
            [x + width * 0.7, y + height * 0.4],
            [x + width * 0.5, y + height * 0.6],
            [x + width * 0.35, y + height * 0.8],
            [x + width * 0.65, y + height * 0.8],
        ];
        Detection { x, y, width, height, landmarks, score: 0.9 }
    }

    /// Turns one pixel clockwise by 90 degrees: column x becomes row x, the lowest row becomes the
    /// left column.
    fn clockwise(x: u32, y: u32, height: u32) -> (u32, u32) {
        (height - 1 - y, x)
    }

    #[test]
    fn points_map_back_to_their_original_pixel() {
        let (width, height) = (7, 5);
        for quarter_turns in 0..4u16 {
            let turn = Turn { width, height, reduction: 1, rotation: quarter_turns * 90 };
            for y in 0..height {
                for x in 0..width {
                    let (mut tx, mut ty, mut sides) = (x, y, (width, height));
                    for _ in 0..quarter_turns {
                        (tx, ty) = clockwise(tx, ty, sides.1);
                        sides = (sides.1, sides.0);
                    }
                    let centre = [tx as f32 + 0.5, ty as f32 + 0.5];
                    let expected = [x as f32 + 0.5, y as f32 + 0.5];
                    assert_eq!(turn.point_as_sent(centre), expected, "{turn:?} {x} {y}");
                }
            }
        }
    }

    #[test]
    fn boxes_keep_their_size_and_contain_their_landmarks() {
        for rotation in ROTATIONS {
            let turn = Turn { width: 640, height: 480, reduction: 1, rotation };
            let face = face(100.0, 50.0, 80.0, 120.0);
            let [[left, top], [right, bottom]] = turn.box_as_sent(&face);
            let (width, height) = (right - left, bottom - top);
            let upright = matches!(rotation, 0 | 180);
            assert_eq!((width, height), if upright { (80.0, 120.0) } else { (120.0, 80.0) });
            for landmark in face.landmarks {
                let [x, y] = turn.point_as_sent(landmark);
                assert!(left < x && x < right && top < y && y < bottom, "{rotation}");
            }
        }
    }

    #[test]
    fn landmarks_of_a_face_on_its_side_map_back() {
        // A clockwise turn by 90 makes it upright: in the image as sent the top of the face points
        // left, so the viewer's left eye is below the right one.
        let turn = Turn { width: 640, height: 480, reduction: 1, rotation: 90 };
        let block = shown(turn.face_landmark(&face(100.0, 50.0, 100.0, 100.0)));
        let y = |name: &str| block[name].as_str().unwrap().parse::<f32>().unwrap();
        assert!(y("LeftEyeY") > y("RightEyeY"));
        assert_eq!(block["LeftEyeX"], block["RightEyeX"]);
        assert_eq!(block["NoseX"], "110.00");
        assert_eq!(block["NoseY"], "330.00");
    }

    #[test]
    fn blocks_have_the_contracts_names_in_order() {
        let turn = Turn { width: 1000, height: 800, reduction: 1, rotation: 0 };
        let face = face(512.784, 211.156, 261.186, 352.894);
        let block = shown(turn.bounding_box(&face));
        assert_eq!(
            block.to_string(),
            r#"{"TopLeftX":"512.78","TopLeftY":"211.16","BottomRightX":"773.97","BottomRightY":"564.05","Width":"261.19","Height":"352.89"}"#
        );
        let names: Vec<_> =
            shown(turn.face_landmark(&face)).as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            names,
            [
                "LeftEyeX",
                "LeftEyeY",
                "RightEyeX",
                "RightEyeY",
                "NoseX",
                "NoseY",
                "MouthLeftX",
                "MouthLeftY",
                "MouthRightX",
                "MouthRightY"
            ]
        );
    }

    #[test]
    fn a_box_beyond_the_border_is_clipped() {
        let turn = Turn { width: 100, height: 100, reduction: 1, rotation: 0 };
        let block = shown(turn.bounding_box(&face(-10.0, 60.0, 50.0, 60.5)));
        assert_eq!(block["TopLeftX"], "0.00");
        assert_eq!(block["Width"], "40.00");
        assert_eq!(block["BottomRightY"], "100.00");
        assert_eq!(block["Height"], "40.00");
    }

    #[test]
    fn coordinates_of_a_reduced_picture_refer_to_the_image_as_sent() {
        let turn = Turn { width: 100, height: 80, reduction: 2, rotation: 90 };
        let block = shown(turn.bounding_box(&face(-10.0, 20.0, 50.0, 30.0)));
        assert_eq!(
            (&block["TopLeftX"], &block["BottomRightX"]),
            (&"40.00".into(), &"100.00".into())
        );
        assert_eq!(
            (&block["TopLeftY"], &block["BottomRightY"]),
            (&"80.00".into(), &"160.00".into())
        );
    }

    #[test]
    fn crops_stay_inside_and_are_never_empty() {
        assert_eq!(crop_region(&face(100.0, 100.0, 50.0, 60.0), 640, 480), [75, 70, 100, 120]);
        assert_eq!(crop_region(&face(-10.0, 5.0, 40.0, 40.0), 60, 30), [0, 0, 50, 30]);
        for (x, y) in [(-500.0, -500.0), (900.0, 900.0), (639.9, 479.9)] {
            let [left, top, width, height] = crop_region(&face(x, y, 3.0, 3.0), 640, 480);
            assert!(width >= 1 && height >= 1);
            assert!(left + width <= 640 && top + height <= 480, "{x} {y}");
        }
    }

    #[test]
    fn large_crops_are_reduced_and_small_ones_unchanged() {
        assert_eq!(crop_size(100, 120), (100, 120));
        assert_eq!(crop_size(320, 10), (320, 10));
        assert_eq!(crop_size(640, 480), (320, 240));
        assert_eq!(crop_size(480, 640), (240, 320));
        assert_eq!(crop_size(40_000, 1), (320, 1));
    }
}

//! One face found by the detector.

/// A face in pixels of the picture it was found in. The box may extend beyond the picture's border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, above 0.
    pub width: f32,
    /// Height, above 0.
    pub height: f32,
    /// Viewer's left eye, viewer's right eye, nose tip, viewer's left and right mouth corners; x,
    /// y.
    pub landmarks: [[f32; 2]; 5],
    /// √(class score · object score), 0–1.
    pub score: f32,
}

impl Detection {
    /// Returns the area of the box in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// Returns the middle of the box; x, y.
    pub fn centre(&self) -> [f32; 2] {
        [self.x + self.width / 2.0, self.y + self.height / 2.0]
    }

    /// Returns the intersection over union of the two boxes, 0–1.
    pub fn overlap(&self, other: &Self) -> f32 {
        let span = |a: f32, a_len: f32, b: f32, b_len: f32| {
            ((a + a_len).min(b + b_len) - a.max(b)).max(0.0)
        };
        let shared = span(self.x, self.width, other.x, other.width)
            * span(self.y, self.height, other.y, other.height);
        shared / (self.area() + other.area() - shared)
    }

    /// Returns this face with the mean place of these faces, weighted by their scores.
    pub(super) fn at_mean_of<'a>(&self, faces: impl Iterator<Item = &'a Self>) -> Self {
        let (mut sum, mut weight) = ([0.0; 14], 0.0);
        for face in faces {
            weight += face.score;
            for (sum, value) in sum.iter_mut().zip(face.place()) {
                *sum += face.score * value;
            }
        }
        let [x, y, width, height, landmarks @ ..] = sum.map(|sum| sum / weight);
        let landmarks = std::array::from_fn(|i| [landmarks[2 * i], landmarks[2 * i + 1]]);
        Self { x, y, width, height, landmarks, score: self.score }
    }

    /// Box and landmarks.
    fn place(&self) -> impl Iterator<Item = f32> {
        let corner_and_size = [self.x, self.y, self.width, self.height];
        corner_and_size.into_iter().chain(self.landmarks.into_iter().flatten())
    }

    /// Returns the same face in a picture larger by these factors.
    pub fn scaled(&self, horizontal: f32, vertical: f32) -> Self {
        Self {
            x: self.x * horizontal,
            y: self.y * vertical,
            width: self.width * horizontal,
            height: self.height * vertical,
            landmarks: self.landmarks.map(|[x, y]| [x * horizontal, y * vertical]),
            score: self.score,
        }
    }

    /// Returns the same face in a box wider by this factor about its middle.
    pub fn widened(&self, times: f32) -> Self {
        let width = self.width * times;
        Self { x: self.x - (width - self.width) / 2.0, width, ..*self }
    }

    /// Returns true if every number is finite: whatever the input, a network must not return NaN or
    /// ∞.
    pub(super) fn is_finite(&self) -> bool {
        self.place().chain([self.score]).all(f32::is_finite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, y: f32, width: f32, height: f32) -> Detection {
        Detection { x, y, width, height, landmarks: [[0.0; 2]; 5], score: 0.9 }
    }

    #[test]
    fn overlap_is_intersection_over_union() {
        let a = face(0.0, 0.0, 10.0, 10.0);
        assert_eq!(a.overlap(&a), 1.0);
        assert_eq!(a.overlap(&face(5.0, 0.0, 10.0, 10.0)), 50.0 / 150.0);
        assert_eq!(a.overlap(&face(10.0, 0.0, 10.0, 10.0)), 0.0);
        assert_eq!(a.overlap(&face(20.0, 20.0, 1.0, 1.0)), 0.0);
    }

    #[test]
    fn a_widened_box_keeps_its_middle() {
        let widened = face(10.0, 2.0, 20.0, 4.0).widened(1.5);
        assert_eq!((widened.x, widened.width, widened.centre()), (5.0, 30.0, [20.0, 4.0]));
        assert_eq!((widened.y, widened.height), (2.0, 4.0));
    }

    #[test]
    fn scaling_moves_box_and_landmarks() {
        let scaled =
            Detection { landmarks: [[1.0, 2.0]; 5], ..face(1.0, 2.0, 3.0, 4.0) }.scaled(2.0, 3.0);
        assert_eq!((scaled.x, scaled.y, scaled.width, scaled.height), (2.0, 6.0, 6.0, 12.0));
        assert_eq!(scaled.landmarks[4], [2.0, 6.0]);
    }
}

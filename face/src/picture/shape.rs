//! Geometric operations on pixels: rotate, crop, resize, warp.
//!
//! Coordinates are pixels from the top left corner. All results are new pictures.

use super::Picture;
use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;

const CHANNELS: usize = 3;

/// The pixels beyond a picture's border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Black.
    Black,
    /// The outermost pixels, repeated.
    Repeated,
}

impl Picture {
    /// Returns the picture rotated clockwise by 0, 90, 180 or 270 degrees, pixel by pixel. Any
    /// other angle counts as the quarter turn below it, modulo 360.
    pub fn turned(&self, degrees_clockwise: u16) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        let pixel = |x: usize, y: usize| (y * width + x) * CHANNELS;
        let mut rgb = Vec::with_capacity(self.rgb.len());
        let mut take = |at: usize| rgb.extend_from_slice(&self.rgb[at..at + CHANNELS]);
        let quarter = degrees_clockwise / 90 % 4;
        match quarter {
            0 => return self.clone(),
            1 => (0..width).for_each(|x| (0..height).rev().for_each(|y| take(pixel(x, y)))),
            2 => (0..width * height).rev().for_each(|i| take(i * CHANNELS)),
            _ => (0..width).rev().for_each(|x| (0..height).for_each(|y| take(pixel(x, y)))),
        }
        let (width, height) =
            if quarter == 2 { (self.width, self.height) } else { (self.height, self.width) };
        Self { width, height, rgb, ..*self }
    }

    /// Returns the mirror image: left and right are swapped.
    pub fn mirrored(&self) -> Self {
        let mut rgb = self.rgb.clone();
        let rows = rgb.chunks_exact_mut(self.width as usize * CHANNELS);
        rows.for_each(|row| row.as_chunks_mut::<CHANNELS>().0.reverse());
        Self { rgb, ..*self }
    }

    /// Returns the part from `(x0, y0)` up to, not including, `(x1, y1)`, as far as it lies within
    /// the picture; `None` if no pixel of it does.
    pub fn cropped(&self, x0: i64, y0: i64, x1: i64, y1: i64) -> Option<Self> {
        let x0 = x0.clamp(0, self.width.into()) as usize;
        let x1 = x1.clamp(0, self.width.into()) as usize;
        let y0 = y0.clamp(0, self.height.into()) as usize;
        let y1 = y1.clamp(0, self.height.into()) as usize;
        if x0 >= x1 || y0 >= y1 {
            return None;
        }
        let stride = self.width as usize * CHANNELS;
        let rows = self.rgb.chunks_exact(stride).skip(y0).take(y1 - y0);
        // Row by row: an iterator of bytes takes milliseconds, and every aligned crop starts with
        // this.
        let mut rgb = Vec::with_capacity((x1 - x0) * (y1 - y0) * CHANNELS);
        rows.for_each(|row| rgb.extend_from_slice(&row[x0 * CHANNELS..x1 * CHANNELS]));
        Self::new((x1 - x0) as u32, (y1 - y0) as u32, rgb)
    }

    /// Returns the picture scaled to `width` x `height` (a side of 0 counts as 1) with a triangle
    /// filter that grows with the reduction, so that fine structure is averaged and does not alias.
    pub fn resized(&self, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let mut rgb = vec![0; width as usize * height as usize * CHANNELS];
        let options = fir::ResizeOptions::new()
            .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
        // By pixel type: the untyped call compiles every pixel type into this crate.
        let source = TypedImageRef::<U8x3>::from_buffer(self.width, self.height, &self.rgb);
        let scaled = TypedImage::<U8x3>::from_buffer(width, height, &mut rgb);
        // The lengths match and nothing is cropped: no error is possible.
        let done = source.ok().zip(scaled.ok()).and_then(|(source, mut scaled)| {
            fir::Resizer::new().resize_typed(&source, &mut scaled, &options).ok()
        });
        debug_assert!(done.is_some());
        Self { width, height, rgb, reduction: 1 }
    }

    /// Returns the part of the picture that starts at `left`, `top`, resized to `to_width` x
    /// `to_height` by interpolating between four neighbours, however far apart the samples are.
    /// Fine structure aliases, as in OpenCV's `resize` with `INTER_LINEAR`; the results agree to
    /// within one level. Beyond its border the part continues with its outermost pixels. `None` if
    /// a side is 0 or the part does not lie within the picture.
    pub fn sampled(
        &self,
        [left, top, width, height]: [u32; 4],
        to_width: u32,
        to_height: u32,
    ) -> Option<Self> {
        let inside = |from: u32, length: u32, whole: u32| {
            length > 0 && from.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !inside(left, width, self.width) || !inside(top, height, self.height) {
            return None;
        }
        let columns = neighbours(left, width, to_width);
        let rows = neighbours(top, height, to_height);
        let mut rgb = Vec::with_capacity(columns.len() * rows.len() * CHANNELS);
        let stride = self.width as usize * CHANNELS;
        for &(upper, lower, down) in &rows {
            for &(left, right, across) in &columns {
                for channel in 0..CHANNELS {
                    let value = |row: usize, column: usize| {
                        f32::from(self.rgb[row * stride + column * CHANNELS + channel])
                    };
                    let between = |a: f32, b: f32, share: f32| a + (b - a) * share;
                    let above = between(value(upper, left), value(upper, right), across);
                    let below = between(value(lower, left), value(lower, right), across);
                    rgb.push(nearest(between(above, below, down)));
                }
            }
        }
        Self::new(to_width, to_height, rgb)
    }

    /// Returns the picture warped by an affine map: output pixel (x, y) shows the source at
    /// `(m0 x + m1 y + m2, m3 x + m4 y + m5)`, interpolated between its four neighbours. Pixel
    /// centres are at whole numbers. Agrees to within one level with OpenCV's `warpAffine` with
    /// `INTER_LINEAR | WARP_INVERSE_MAP` and a constant border of 0 or a replicated one. A side of
    /// 0 counts as 1.
    pub fn warped(&self, matrix: &[f32; 6], width: u32, height: u32, border: Border) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let [m0, m1, m2, m3, m4, m5] = *matrix;
        let mut rgb = Vec::with_capacity(width as usize * height as usize * CHANNELS);
        for y in 0..height {
            for x in 0..width {
                let (x, y) = (x as f32, y as f32);
                let (mut u, mut v) = (m0 * x + m1 * y + m2, m3 * x + m4 * y + m5);
                if border == Border::Repeated {
                    u = u.clamp(0.0, self.width as f32 - 1.0);
                    v = v.clamp(0.0, self.height as f32 - 1.0);
                }
                rgb.extend_from_slice(&self.sample(u, v));
            }
        }
        Self { width, height, rgb, reduction: 1 }
    }

    /// Returns the colour at a position between pixels.
    fn sample(&self, x: f32, y: f32) -> [u8; CHANNELS] {
        let (left, top) = (x.floor(), y.floor());
        let (right_share, lower_share) = (x - left, y - top);
        let mut sum = [0.0; CHANNELS];
        let (last_column, last_row) = (self.width as f32 - 1.0, self.height as f32 - 1.0);
        if left >= 0.0 && top >= 0.0 && left < last_column && top < last_row {
            // All four lie in the picture.
            let stride = self.width as usize * CHANNELS;
            let upper = &self.rgb[top as usize * stride + left as usize * CHANNELS..];
            for (row, row_share) in [(upper, 1.0 - lower_share), (&upper[stride..], lower_share)] {
                let shares = [1.0 - right_share, right_share].map(|share| row_share * share);
                for (channel, sum) in sum.iter_mut().enumerate() {
                    *sum += shares[0] * f32::from(row[channel]);
                    *sum += shares[1] * f32::from(row[CHANNELS + channel]);
                }
            }
            return sum.map(nearest);
        }
        for (row, row_share) in [(top, 1.0 - lower_share), (top + 1.0, lower_share)] {
            for (column, share) in [(left, 1.0 - right_share), (left + 1.0, right_share)] {
                if let Some(pixel) = self.tap(column, row) {
                    for (sum, &value) in sum.iter_mut().zip(pixel) {
                        *sum += row_share * share * f32::from(value);
                    }
                }
            }
        }
        // A position that is NaN has no taps and stays black.
        sum.map(nearest)
    }

    /// Returns the pixel at whole-numbered coordinates, if it lies in the picture.
    fn tap(&self, x: f32, y: f32) -> Option<&[u8]> {
        if !(x >= 0.0 && y >= 0.0 && x < self.width as f32 && y < self.height as f32) {
            return None;
        }
        let at = (y as usize * self.width as usize + x as usize) * CHANNELS;
        self.rgb.get(at..at + CHANNELS)
    }
}

/// Returns the nearest byte to a value that is not below 0; saturates. `f32::round` calls the
/// system's library on processors that may lack the instruction.
fn nearest(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// Returns for each of `to` samples spread over `length` pixels from `from`: the pixels before and
/// after it, and its position between them as a fraction.
fn neighbours(from: u32, length: u32, to: u32) -> Vec<(usize, usize, f32)> {
    let step = length as f32 / to as f32;
    (0..to)
        .map(|sample| {
            let at = ((sample as f32 + 0.5) * step - 0.5).clamp(0.0, (length - 1) as f32);
            let before = at as u32;
            let after = (before + 1).min(length - 1);
            ((from + before) as usize, (from + after) as usize, at.fract())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pixel encodes its place: R is x, G is y.
    fn places(width: u32, height: u32) -> Picture {
        let rgb =
            (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 7])).collect();
        Picture::new(width, height, rgb).unwrap()
    }

    fn at(picture: &Picture, x: u32, y: u32) -> [u8; 2] {
        let i = (y * picture.width() + x) as usize * 3;
        [picture.rgb()[i], picture.rgb()[i + 1]]
    }

    #[test]
    fn a_quarter_turn_clockwise_brings_the_lower_left_corner_to_the_top_left() {
        let picture = places(3, 2);
        let turned = picture.turned(90);
        assert_eq!((turned.width(), turned.height()), (2, 3));
        assert_eq!(at(&turned, 0, 0), [0, 1]);
        assert_eq!(at(&turned, 1, 0), [0, 0]);
        assert_eq!(at(&turned, 1, 2), [2, 0]);
        assert_eq!(at(&picture.turned(180), 0, 0), [2, 1]);
        assert_eq!(at(&picture.turned(270), 0, 0), [2, 0]);
    }

    #[test]
    fn turns_add_up() {
        let picture = places(5, 3);
        assert_eq!(picture.turned(90).turned(90), picture.turned(180));
        assert_eq!(picture.turned(180).turned(90), picture.turned(270));
        assert_eq!(picture.turned(270).turned(90), picture);
        assert_eq!(picture.turned(360), picture);
    }

    #[test]
    fn a_crop_is_clipped_to_the_picture() {
        let picture = places(4, 3);
        let crop = picture.cropped(-5, 1, 2, 100).unwrap();
        assert_eq!((crop.width(), crop.height()), (2, 2));
        assert_eq!(at(&crop, 1, 1), [1, 2]);
        assert_eq!(picture.cropped(i64::MIN, i64::MIN, i64::MAX, i64::MAX), Some(picture.clone()));
        assert_eq!(picture.cropped(4, 0, 9, 3), None);
        assert_eq!(picture.cropped(2, 2, 1, 3), None);
    }

    #[test]
    fn halving_averages() {
        let rgb = [0, 100].into_iter().cycle().take(64).flat_map(|v| [v, 50, 200]).collect();
        let half = Picture::new(16, 4, rgb).unwrap().resized(8, 2);
        let pixel = &half.rgb()[4 * 3..5 * 3];
        assert!(pixel[0].abs_diff(50) <= 1, "{pixel:?}");
        assert_eq!(pixel[1..], [50, 200]);
    }

    #[test]
    fn resizing_to_the_same_size_or_to_zero() {
        let picture = places(7, 5);
        assert_eq!(picture.resized(7, 5), picture);
        assert_eq!(picture.resized(0, 3).width(), 1);
    }

    #[test]
    fn sampling_worked_by_hand() {
        // R of the source: 9, then 10 20 30 40 50 60.
        let rgb = [9, 10, 20, 30, 40, 50, 60].into_iter().flat_map(|v| [v, 0, 255]).collect();
        let source = Picture::new(7, 1, rgb).unwrap();
        let red = |width: u32, to: u32| -> Vec<u8> {
            let part = source.sampled([1, 0, width, 1], to, 1).unwrap();
            part.rgb().iter().copied().step_by(3).collect()
        };
        // A third: samples 1 and 4 of 0..6 alone, nothing is averaged.
        assert_eq!(red(6, 2), [20, 50]);
        // Doubled: the outermost samples lie a quarter of a pixel outside.
        assert_eq!(red(2, 4), [10, 13, 18, 20]);
        assert_eq!(source.sampled([1, 0, 7, 1], 2, 1), None);
        assert_eq!(source.sampled([1, 0, 0, 1], 2, 1), None);
        assert_eq!(source.sampled([0, 0, 7, 1], 0, 1), None);
    }

    #[test]
    fn a_warp_worked_by_hand() {
        // R of the source: 10 20 / 30 40. Half a pixel right and a quarter down.
        let source =
            Picture::new(2, 2, [10, 20, 30, 40].into_iter().flat_map(|v| [v, 0, 255]).collect())
                .unwrap();
        let warped = source.warped(&[1.0, 0.0, 0.5, 0.0, 1.0, 0.25], 2, 2, Border::Black);
        let red: Vec<u8> = warped.rgb().iter().copied().step_by(3).collect();
        // (0,0): 3/4 (10+20)/2 + 1/4 (30+40)/2 = 20. (1,0): the right taps are outside:
        // 3/4 · 20/2 + 1/4 · 40/2 = 12.5, rounded up. (0,1): 3/4 · 35 = 26.25. (1,1): 3/4 · 20 = 15.
        assert_eq!(red, [20, 13, 26, 15]);
        assert_eq!(warped.rgb()[2], 255);
    }

    #[test]
    fn a_warp_with_the_matrix_of_a_turn_is_the_turn() {
        let picture = places(5, 3);
        // Output (x, y) of a clockwise quarter turn shows source (y, height - 1 - x).
        let warped = picture.warped(&[0.0, 1.0, 0.0, -1.0, 0.0, 2.0], 3, 5, Border::Black);
        assert_eq!(warped, picture.turned(90));
    }

    #[test]
    fn a_hostile_matrix_gives_black() {
        let picture = places(5, 3);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30] {
            let warped = picture.warped(&[value; 6], 4, 4, Border::Black);
            assert!(warped.rgb().iter().all(|&v| v == 0), "{value}");
        }
    }
}

//! Judges whether the face is sharp, lit and in colour. Classical measures on the aligned crop, so
//! that they do not depend on the picture's resolution or on its background.

use super::align::CROP;
use crate::Picture;
use std::ops::Range;

/// A face is blurred when it is below this sharpness …
const BLUR_BELOW: f32 = 45.0;
/// … and below this fineness, so that skin and light of little contrast do not count as blurred.
/// Sharp photographs of LFW have at least 72 and 0.47. Of mildly soft ones nine in ten are below
/// both; of all photographs one in ten, whether dark or light skin.
const COARSE_BELOW: f32 = 0.45;
/// Below this sharpness alone a face is blurred: so little structure is left that rounding to whole
/// gray levels counts as fine. Lit dark skin starts at 8.9 in LFW.
const STRUCTURELESS_BELOW: f32 = 8.0;
/// Below this brightness a face is dark. Well-lit dark skin starts at 52 in LFW; faces in dark
/// rooms in front of a webcam end at 43.
const DARK_BELOW: f32 = 47.0;
/// The same in a picture without colour, which shows the luma: skin's brightest channel, red, is
/// brighter. In gray, well-lit dark skin starts at 41.6 and faces in dark rooms end at 36.7.
const DARK_BELOW_IN_GRAY: f32 = 39.0;
/// Below this chroma, as a share of the brightness, there is no colour at all. Darkness makes
/// colours faint: in dark rooms the share is 0.176 and more; in gray photographs it is 0.03 and
/// less.
const WITHOUT_COLOUR_BELOW: f32 = 0.1;
/// Below this chroma a face has no colour. Grayscale photographs of LFW reach 4.2 through the noise
/// of JPEG; colour ones start at 18.
const GRAYSCALE_BELOW: f32 = 8.0;

/// Columns and rows of the aligned crop from brow to mouth: only skin, without hair and background.
const SKIN: (Range<usize>, Range<usize>) = (29..84, 36..100);
/// Standard deviation in pixels of the blur that [`Quality::fineness`] compares with.
const COARSE_SIGMA: f32 = 3.0;

/// Quality of one face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// The face is not sharp.
    pub blur: bool,
    /// The face is not lit.
    pub dark: bool,
    /// The picture of the face has no colour.
    pub grayscale: bool,
    /// Variance of the Laplacian of the luma: higher is sharper.
    pub sharpness: f32,
    /// The same divided by the variance of what a Gaussian of 3 pixels removes: the fine share of
    /// the face's structure. Does not change with brightness or contrast.
    pub fineness: f32,
    /// Lightness of the skin, 0–255: the cube root of the brightest channel, averaged and cubed.
    /// The brightest channel, because skin of every tone reflects red; the cube root, because the
    /// eye averages a face lit from one side in this way.
    pub brightness: f32,
    /// Mean of the largest minus the smallest channel, 0–255: 0 is gray.
    pub chroma: f32,
}

impl Quality {
    /// Measures an aligned crop; `shown` marks the pixels that belong to the picture.
    pub(super) fn of_crop(crop: &Picture, shown: &[bool]) -> Self {
        let luma: Vec<f32> = crop.rgb().chunks_exact(3).map(luma).collect();
        let coarse = blurred(&luma);
        let fine: Vec<f32> = luma.iter().zip(&coarse).map(|(a, b)| a - b).collect();
        let sharpness = variance(&laplacian(&luma));
        // One gray level of noise does not count as structure.
        let fineness = sharpness / variance(&fine).max(1.0);
        let (brightness, chroma) = (brightness(crop, shown), chroma(crop));
        let grayscale = chroma < GRAYSCALE_BELOW;
        let quality = Self {
            blur: sharpness < STRUCTURELESS_BELOW
                || (sharpness < BLUR_BELOW && fineness < COARSE_BELOW),
            dark: brightness < DARK_BELOW,
            grayscale,
            sharpness,
            fineness,
            brightness,
            chroma,
        };
        let dark = brightness < DARK_BELOW_IN_GRAY;
        if quality.is_without_colour() { Self { dark, ..quality } } else { quality }
    }

    /// Returns true if the camera saw no colour, not only too little light for it.
    pub fn is_without_colour(&self) -> bool {
        self.grayscale && self.chroma < WITHOUT_COLOUR_BELOW * self.brightness
    }
}

/// ITU-R BT.601 luma, 0–255.
fn luma(rgb: &[u8]) -> f32 {
    0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2])
}

fn brightness(crop: &Picture, shown: &[bool]) -> f32 {
    let (columns, rows) = SKIN;
    let width = crop.width() as usize;
    let lightness: Vec<f32> = rows
        .flat_map(|y| columns.clone().map(move |x| y * width + x))
        .filter(|&at| shown.get(at).is_none_or(|shown| *shown))
        .map(|at| &crop.rgb()[3 * at..3 * at + 3])
        .map(|rgb| f32::from(rgb.iter().copied().max().unwrap_or(0)).cbrt())
        .collect();
    // Without visible skin the face counts as dark.
    (lightness.iter().sum::<f32>() / lightness.len().max(1) as f32).powi(3)
}

fn chroma(crop: &Picture) -> f32 {
    let spread = |rgb: &[u8]| {
        let (low, high) = (rgb.iter().min(), rgb.iter().max());
        f32::from(high.unwrap_or(&0) - low.unwrap_or(&0))
    };
    let pixels = crop.rgb().chunks_exact(3);
    let count = pixels.len() as f32;
    pixels.map(spread).sum::<f32>() / count
}

const SIDE: usize = CROP as usize;

/// The 4-neighbour Laplacian of all pixels except the border's.
fn laplacian(luma: &[f32]) -> Vec<f32> {
    let inner = 1..SIDE - 1;
    inner
        .clone()
        .flat_map(|y| inner.clone().map(move |x| y * SIDE + x))
        .map(|at| {
            let around = luma[at - 1] + luma[at + 1] + luma[at - SIDE] + luma[at + SIDE];
            around - 4.0 * luma[at]
        })
        .collect()
}

/// Applies a Gaussian blur; the border's pixels repeat beyond it.
fn blurred(luma: &[f32]) -> Vec<f32> {
    let radius = (3.0 * COARSE_SIGMA) as usize;
    let away = |tap: usize| (tap as f32 - radius as f32) / COARSE_SIGMA;
    let weights: Vec<f32> = (0..=2 * radius).map(|tap| (-0.5 * away(tap).powi(2)).exp()).collect();
    let total: f32 = weights.iter().sum();
    // Along the columns; the result is transposed.
    let pass = |from: &[f32]| -> Vec<f32> {
        let mut sums = vec![0.0; SIDE * SIDE];
        for (column, sums) in sums.chunks_exact_mut(SIDE).enumerate() {
            let at = |i: usize| i.saturating_sub(radius).min(SIDE - 1) * SIDE + column;
            let line: Vec<f32> = (0..SIDE + 2 * radius).map(|i| from[at(i)]).collect();
            for (tap, weight) in weights.iter().enumerate() {
                sums.iter_mut().zip(&line[tap..]).for_each(|(sum, value)| *sum += weight * value);
            }
            sums.iter_mut().for_each(|sum| *sum /= total);
        }
        sums
    };
    pass(&pass(luma))
}

fn variance(values: &[f32]) -> f32 {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crop(pixel: impl Fn(usize, usize) -> [u8; 3]) -> Picture {
        let rgb = (0..SIDE * SIDE).flat_map(|i| pixel(i % SIDE, i / SIDE)).collect();
        Picture::new(CROP, CROP, rgb).unwrap()
    }

    #[test]
    fn the_blur_is_the_gaussian_and_keeps_the_picture_upright() {
        let mut luma = vec![0f32; SIDE * SIDE];
        luma[40 * SIDE + 70] = 1000.0;
        let blurred = blurred(&luma);
        let gaussian =
            |d: f32| (-0.5 * (d / 3.0).powi(2)).exp() / (3.0 * (2.0 * std::f32::consts::PI).sqrt());
        for (x, y) in [(70, 40), (73, 40), (70, 46), (67, 43)] {
            let expected = 1000.0 * gaussian(x as f32 - 70.0) * gaussian(y as f32 - 40.0);
            let found = blurred[y * SIDE + x];
            assert!(
                (found - expected).abs() < 0.02 * expected + 0.01,
                "{x},{y}: {found} {expected}"
            );
        }
        assert!(blurred.iter().all(|v| *v >= 0.0));
    }

    #[test]
    fn fineness_does_not_change_with_contrast() {
        let wave =
            |x: usize, y: usize| ((x as f32 * 1.1).sin() + (y as f32 * 0.7).cos()) * 0.25 + 0.5;
        let full = Quality::of_crop(&crop(|x, y| [(wave(x, y) * 200.0) as u8; 3]), &[]);
        let faint = Quality::of_crop(&crop(|x, y| [(wave(x, y) * 60.0) as u8; 3]), &[]);
        assert!(faint.sharpness < 0.2 * full.sharpness);
        assert!((faint.fineness / full.fineness - 1.0).abs() < 0.1, "{faint:?} {full:?}");
    }

    #[test]
    fn brightness_is_the_brightest_channel_and_ignores_the_surroundings() {
        let (columns, rows) = SKIN;
        for around in [0, 255] {
            let face = crop(|x, y| match columns.contains(&x) && rows.contains(&y) {
                true => [90, 60, 40],
                false => [around; 3],
            });
            assert!((Quality::of_crop(&face, &[]).brightness - 90.0).abs() < 0.1);
        }
    }

    #[test]
    fn faint_colour_in_a_dark_room_is_colour_and_gray_has_a_lower_bound_for_darkness() {
        let of = |rgb: [u8; 3]| {
            let quality = Quality::of_crop(&crop(|_, _| rgb), &[]);
            (quality.dark, quality.grayscale, quality.is_without_colour())
        };
        assert_eq!(of([45, 40, 38]), (true, true, false));
        assert_eq!(of([45; 3]), (false, true, true));
        assert_eq!(of([38; 3]), (true, true, true));
        assert_eq!(of([90, 60, 50]), (false, false, false));
    }
}

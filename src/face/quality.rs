//! Is the face sharp, lit and in colour? Classical measures on the aligned crop, so that they do not
//! depend on the picture's resolution or on its background.

use crate::picture::Picture;

/// Below this sharpness a face is blurred. Sharp photographs of LFW start at 86, mildly soft ones
/// have 10 to 64.
const BLUR_BELOW: f32 = 25.0;
/// Below this brightness a face is dark. Well-lit dark skin starts at 78 in LFW; nine of ten
/// webcam frames from dark rooms lie below 81.
const DARK_BELOW: f32 = 75.0;
/// Below this chroma a face has no colour. Grayscale photographs of LFW reach 4.2 by the noise of
/// JPEG, colour ones start at 18.
const GRAYSCALE_BELOW: f32 = 8.0;

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
    /// 90th percentile of the luma, 0–255: light skin or dark, a lit face has highlights.
    pub brightness: f32,
    /// Mean of the largest minus the smallest channel, 0–255: 0 is gray.
    pub chroma: f32,
}

impl Quality {
    /// Measures an aligned crop.
    pub(super) fn of_crop(crop: &Picture) -> Self {
        let (width, height) = (crop.width() as usize, crop.height() as usize);
        let luma: Vec<f32> = crop.rgb().chunks_exact(3).map(luma).collect();
        let chroma = crop
            .rgb()
            .chunks_exact(3)
            .map(|rgb| {
                let (low, high) = (rgb.iter().min(), rgb.iter().max());
                f32::from(high.unwrap_or(&0) - low.unwrap_or(&0))
            })
            .sum::<f32>()
            / luma.len() as f32;
        let mut sorted = luma.clone();
        sorted.sort_by(f32::total_cmp);
        let brightness = sorted[sorted.len() * 9 / 10];
        let mut laplacian = Vec::with_capacity(luma.len());
        for y in 1..height - 1 {
            for x in 1..width - 1 {
                let at = y * width + x;
                let around = luma[at - 1] + luma[at + 1] + luma[at - width] + luma[at + width];
                laplacian.push(around - 4.0 * luma[at]);
            }
        }
        let mean = laplacian.iter().sum::<f32>() / laplacian.len() as f32;
        let sharpness =
            laplacian.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / laplacian.len() as f32;
        Self {
            blur: sharpness < BLUR_BELOW,
            dark: brightness < DARK_BELOW,
            grayscale: chroma < GRAYSCALE_BELOW,
            sharpness,
            brightness,
            chroma,
        }
    }
}

/// ITU-R BT.601 luma, 0–255.
fn luma(rgb: &[u8]) -> f32 {
    0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2])
}

//! Untrusted image bytes in, RGB pixels out.
//!
//! [`source`] tells what the `image` field of a request stands for, [`fetch`] gets the bytes behind a URL
//! within the bounds of [`allow`], [`mod@decode`] makes pixels of bytes as far as [`limits`] allow, [`yuv`] those of a camera's raw frames,
//! and [`shape`] moves them. Nothing here
//! trusts what comes from outside, and no pixel is ever written to a log.

pub mod allow;
pub mod decode;
mod exif;
pub mod fetch;
mod jpeg;
pub mod limits;
mod png;
mod raster;
pub mod shape;
pub mod source;
pub mod yuv;

pub use decode::{DecodeError, decode};
pub use fetch::{FetchError, Fetcher};
pub use jpeg::length as jpeg_length;
pub use limits::Limits;
pub use shape::Border;
pub use source::Source;

/// An upright-by-EXIF picture: 8-bit RGB, rows top to bottom, no padding between rows.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
    reduction: u32,
}

impl Picture {
    /// Takes `width * height * 3` bytes in R, G, B order; `None` if the length differs or a side is 0.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
        (width > 0 && height > 0 && rgb.len() == expected).then_some(Self {
            width,
            height,
            rgb,
            reduction: 1,
        })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How many pixels of the file's sides one pixel here stands for: 1, or more where the decoder has made
    /// a large picture smaller.
    pub fn reduction(&self) -> u32 {
        self.reduction
    }

    fn reduced_by(self, reduction: u32) -> Self {
        Self { reduction, ..self }
    }

    /// The pixels: R, G, B, 0–255, row after row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The picture as a JPEG file of `quality` 1–100, without metadata. `None` beyond the 65,535 pixels a
    /// side that JPEG can state.
    pub fn to_jpeg(&self, quality: u8) -> Option<Vec<u8>> {
        let mut file = Vec::new();
        let colour = image::ExtendedColorType::Rgb8;
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100))
            .encode(&self.rgb, self.width, self.height, colour)
            .ok()?;
        Some(file)
    }
}

impl std::fmt::Debug for Picture {
    /// The size alone: pixels of faces do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_must_match() {
        assert!(Picture::new(2, 2, vec![0; 12]).is_some());
        assert!(Picture::new(2, 2, vec![0; 11]).is_none());
        assert!(Picture::new(0, 2, vec![]).is_none());
        assert!(Picture::new(u32::MAX, u32::MAX, vec![0; 12]).is_none());
    }

    #[test]
    fn a_jpeg_comes_back() {
        let rgb =
            (0..40 * 30).flat_map(|i| [(i % 40 * 6) as u8, (i / 40 * 8) as u8, 128]).collect();
        let picture = Picture::new(40, 30, rgb).unwrap();
        let back = decode(&picture.to_jpeg(95).unwrap(), &Limits::default()).unwrap();
        assert_eq!((back.width(), back.height()), (40, 30));
        let worst =
            picture.rgb().iter().zip(back.rgb()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst < 24, "{worst}");
    }

    #[test]
    fn a_picture_too_long_for_jpeg_gives_none() {
        assert!(Picture::new(65_536, 1, vec![0; 65_536 * 3]).unwrap().to_jpeg(80).is_none());
    }
}

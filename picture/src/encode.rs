//! Encodes pixels as a file.

use crate::Picture;

/// Returns the picture as a JPEG file of `quality` 1–100, without metadata. `None` above the 65,535
/// pixels per side that JPEG can state.
pub fn to_jpeg(picture: &Picture, quality: u8) -> Option<Vec<u8>> {
    let mut file = Vec::new();
    let colour = image::ExtendedColorType::Rgb8;
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100))
        .encode(picture.rgb(), picture.width(), picture.height(), colour)
        .ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, decode};

    #[test]
    fn a_jpeg_comes_back() {
        let rgb =
            (0..40 * 30).flat_map(|i| [(i % 40 * 6) as u8, (i / 40 * 8) as u8, 128]).collect();
        let picture = Picture::new(40, 30, rgb).unwrap();
        let back = decode(&to_jpeg(&picture, 95).unwrap(), &Limits::default()).unwrap();
        assert_eq!((back.width(), back.height()), (40, 30));
        let worst =
            picture.rgb().iter().zip(back.rgb()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst < 24, "{worst}");
    }

    #[test]
    fn a_picture_too_long_for_jpeg_gives_none() {
        let picture = Picture::new(65_536, 1, vec![0; 65_536 * 3]).unwrap();
        assert!(to_jpeg(&picture, 80).is_none());
    }
}

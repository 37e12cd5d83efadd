//! Untrusted bytes in, upright RGB pixels out.
//!
//! JPEG and PNG, told apart by their first bytes. The container is walked by `jpeg` or
//! `png`; sizes are checked before anything is allocated; only then the pixels are decoded.
//! Whatever a file holds, [`decode`] returns: it does not panic, and it is bounded in memory and time by
//! [`Limits`].
//!
//! What comes out is what Pillow's `exif_transpose(image).convert("RGB")` gives, but for 16-bit gray,
//! which is scaled to 8 bits here and clipped there. So: transparency is ignored and the colours are taken
//! as stored; colour profiles and gamma are ignored; CMYK is inverted as Adobe writes it; of an animation
//! the still picture is seen. A JPEG that ends before its end marker is refused, since decoders fill the
//! missing part with gray; bit errors within the data pass as in every viewer.

use super::{Picture, jpeg, png};
use image::codecs::{jpeg::JpegDecoder, png::PngDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How large a picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the file.
    pub max_bytes: usize,
    /// Most pixels, width times height. Decoding takes up to about ten bytes a pixel for a moment.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 5 MiB, as the contract says, and 40 megapixels: more than phones store in 5 MiB.
    fn default() -> Self {
        Self { max_bytes: 5 << 20, max_pixels: 40_000_000 }
    }
}

/// Why bytes did not become a picture. The message is meant for whoever sent them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file is larger than [`Limits::max_bytes`].
    #[error(
        "the picture has {bytes} bytes, the limit is {limit}: save it smaller or with a lower quality"
    )]
    TooManyBytes {
        /// Length of the file.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The picture has more pixels than [`Limits::max_pixels`], or would not fit into the memory they take.
    #[error(
        "the picture has {width} x {height} pixels, the limit is {limit} in all: scale it down"
    )]
    TooManyPixels {
        /// Width that the file states.
        width: u32,
        /// Height that the file states.
        height: u32,
        /// The limit.
        limit: u64,
    },
    /// The first bytes are those of another format, or of none.
    #[error("the picture is neither JPEG nor PNG but {0}: convert it to JPEG")]
    NotJpegOrPng(&'static str),
    /// The file is cut off, contradicts itself, or uses a coding that cameras do not.
    #[error("the picture cannot be decoded, {0}: send it again or save it anew as JPEG")]
    Damaged(String),
}

/// The part of a file that its pixels need, and what was learned on the way to it.
pub(super) struct Essence {
    pub(super) format: ImageFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Option<Orientation>,
    pub(super) bytes: Vec<u8>,
}

/// Decodes a JPEG or PNG file and turns it upright as its EXIF says.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, DecodeError> {
    if bytes.len() > limits.max_bytes {
        return Err(DecodeError::TooManyBytes { bytes: bytes.len(), limit: limits.max_bytes });
    }
    let essence = if bytes.starts_with(jpeg::MAGIC) {
        jpeg::essence(bytes)?
    } else if bytes.starts_with(png::MAGIC) {
        png::essence(bytes)?
    } else {
        return Err(DecodeError::NotJpegOrPng(likely_format(bytes)));
    };
    let (width, height) = (essence.width, essence.height);
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(DecodeError::TooManyPixels { width, height, limit: limits.max_pixels });
    }
    // The decoders are foreign code that is fed by strangers, and overflow checks are on: an assertion
    // that fails in there is a damaged file, not the end of a worker.
    catch_unwind(AssertUnwindSafe(|| pixels(&essence, limits)))
        .unwrap_or_else(|_| Err(DecodeError::Damaged("its data contradict each other".to_owned())))
}

/// Decodes the pixels and turns them upright.
fn pixels(essence: &Essence, limits: &Limits) -> Result<Picture, DecodeError> {
    let (width, height) = (essence.width, essence.height);
    // Four bytes a pixel hold every 8-bit picture; 16 bits a channel make the limit accordingly smaller.
    let max_alloc = limits.max_pixels.saturating_mul(4);
    let mut decoder_limits = image::Limits::default();
    decoder_limits.max_image_width = Some(width);
    decoder_limits.max_image_height = Some(height);
    decoder_limits.max_alloc = Some(max_alloc);

    let damaged = |error: image::ImageError| match error {
        image::ImageError::Limits(_) => {
            DecodeError::TooManyPixels { width, height, limit: limits.max_pixels }
        }
        error => DecodeError::Damaged(error.to_string()),
    };
    let reader = Cursor::new(&essence.bytes);
    let mut decoder: Box<dyn ImageDecoder + '_> = match essence.format {
        ImageFormat::Png => {
            Box::new(PngDecoder::with_limits(reader, decoder_limits.clone()).map_err(damaged)?)
        }
        _ => Box::new(JpegDecoder::new(reader).map_err(damaged)?),
    };
    decoder.set_limits(decoder_limits).map_err(damaged)?;
    if decoder.dimensions() != (width, height) {
        return Err(DecodeError::Damaged("it states two sizes".to_owned()));
    }
    if decoder.total_bytes() > max_alloc {
        return Err(DecodeError::TooManyPixels { width, height, limit: limits.max_pixels });
    }
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let mut image = DynamicImage::ImageRgb8(image.into_rgb8());
    image.apply_orientation(essence.orientation.unwrap_or(Orientation::NoTransforms));
    Picture::new(image.width(), image.height(), image.into_bytes())
        .ok_or_else(|| DecodeError::Damaged("it has no pixels".to_owned()))
}

/// What the bytes seem to be, for the message.
fn likely_format(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "empty",
        [b'G', b'I', b'F', b'8', ..] => "GIF",
        [b'B', b'M', ..] => "BMP",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "TIFF",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "WebP",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "HEIC, AVIF or a video",
        [b'%', b'P', b'D', b'F', ..] => "PDF",
        [b'<', ..] => "SVG or HTML",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

    fn png(width: u32, height: u32, colour: ExtendedColorType, pixels: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PngEncoder::new(&mut out).write_image(pixels, width, height, colour).unwrap();
        out
    }

    fn rgb(bytes: &[u8]) -> Vec<u8> {
        decode(bytes, &Limits::default()).unwrap().rgb().to_vec()
    }

    #[test]
    fn every_depth_becomes_rgb8() {
        assert_eq!(rgb(&png(2, 1, ExtendedColorType::L8, &[0, 200])), [0, 0, 0, 200, 200, 200]);
        assert_eq!(rgb(&png(1, 1, ExtendedColorType::Rgb8, &[1, 2, 3])), [1, 2, 3]);
        let sixteen: Vec<u8> =
            [0x0102_u16, 0x8080, 0xFFFF].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(rgb(&png(1, 1, ExtendedColorType::Rgb16, &sixteen)), [1, 128, 255]);
    }

    #[test]
    fn transparency_is_ignored() {
        assert_eq!(rgb(&png(1, 1, ExtendedColorType::Rgba8, &[10, 20, 30, 0])), [10, 20, 30]);
        assert_eq!(rgb(&png(1, 1, ExtendedColorType::La8, &[77, 0])), [77, 77, 77]);
    }

    #[test]
    fn limits_hold_before_decoding() {
        let bytes = png(20, 10, ExtendedColorType::L8, &[0; 200]);
        let enough = Limits { max_bytes: bytes.len(), max_pixels: 200 };
        assert!(decode(&bytes, &enough).is_ok());
        assert_eq!(
            decode(&bytes, &Limits { max_pixels: 199, ..enough }),
            Err(DecodeError::TooManyPixels { width: 20, height: 10, limit: 199 })
        );
        assert_eq!(
            decode(&bytes, &Limits { max_bytes: bytes.len() - 1, ..enough }),
            Err(DecodeError::TooManyBytes { bytes: bytes.len(), limit: bytes.len() - 1 })
        );
    }

    #[test]
    fn other_formats_are_named() {
        for (bytes, name) in [
            (&b"GIF89a"[..], "GIF"),
            (b"RIFF\0\0\0\0WEBP", "WebP"),
            (b"", "empty"),
            (b"\xFF\xD8", "something else"),
        ] {
            assert_eq!(decode(bytes, &Limits::default()), Err(DecodeError::NotJpegOrPng(name)));
        }
    }
}

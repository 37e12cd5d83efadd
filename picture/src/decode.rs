//! Decodes untrusted bytes to upright RGB pixels.
//!
//! Formats are JPEG and PNG, detected by their first bytes. `jpeg` or `png` walks the container;
//! sizes are checked against the table of [`limits`] before anything is allocated; only then
//! `raster` decodes the pixels. Whatever a file holds, [`decode`] returns: it does not panic, and
//! is bounded in memory and time.
//!
//! The result equals Pillow's `exif_transpose(image).convert("RGB")`, except for 16-bit gray, which
//! is scaled to 8 bits here and clipped there. So transparency is ignored and the colours are used
//! as stored; colour profiles and gamma are ignored; CMYK is inverted as Adobe writes it; an
//! animation shows its still picture. A JPEG that lacks pixels is refused, because decoders fill
//! the missing part with gray; one that lacks only its end marker is decoded. Bit errors within the
//! data pass as in every viewer.

use super::limits::{self, Bound, Limits, NoMemory};
use super::{Picture, jpeg, png, raster};
use image::ImageFormat;
use image::metadata::Orientation;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why bytes could not be decoded. The message is for the client that sent them.
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
    /// The picture has more pixels than its format may have, or than the available memory can hold.
    #[error(
        "the picture has {width} x {height} pixels, a {} may have {} megapixels: {}",
        bound.format, bound.megapixels, bound.instead
    )]
    TooManyPixels {
        /// Width that the file states.
        width: u32,
        /// Height that the file states.
        height: u32,
        /// The limits of its format.
        bound: &'static Bound,
    },
    /// A side is longer than [`limits::MAX_SIDE`], or more than [`limits::MAX_RATIO`] times the
    /// other.
    #[error(
        "the picture has {width} x {height} pixels, a side may have {} and be {} times as long as the other: \
         crop it, or scale it down",
        limits::MAX_SIDE,
        limits::MAX_RATIO
    )]
    TooLong {
        /// Width that the file states.
        width: u32,
        /// Height that the file states.
        height: u32,
    },
    /// The system has no memory for the picture.
    #[error("the terminal has no memory for the picture: send it again later, or smaller")]
    NoMemory,
    /// The first bytes are those of another format, or of no known format.
    #[error("the picture is neither JPEG nor PNG but {0}: convert it to JPEG")]
    NotJpegOrPng(&'static str),
    /// The file is cut off, contradicts itself, or uses a coding that cameras do not use.
    #[error("the picture cannot be decoded, {0}: send it again or save it again as JPEG")]
    Damaged(String),
}

impl From<NoMemory> for DecodeError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// The part of a file that its pixels need, and the data read on the way.
pub(super) struct ImageData {
    pub(super) format: ImageFormat,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Option<Orientation>,
    pub(super) bytes: Vec<u8>,
    /// The bounds of this kind of file.
    pub(super) bound: &'static Bound,
    /// True if the file ends before its end marker: its pixels may be incomplete.
    pub(super) is_unfinished: bool,
}

/// Decodes a JPEG or PNG file and rotates it upright according to its EXIF orientation.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, DecodeError> {
    if bytes.len() > limits.max_bytes {
        return Err(DecodeError::TooManyBytes { bytes: bytes.len(), limit: limits.max_bytes });
    }
    let data = if bytes.starts_with(jpeg::MAGIC) {
        jpeg::image_data(bytes)?
    } else if bytes.starts_with(png::MAGIC) {
        png::image_data(bytes)?
    } else {
        return Err(DecodeError::NotJpegOrPng(likely_format(bytes)));
    };
    let (width, height, bound) = (data.width, data.height, data.bound);
    if !limits::sides_allowed(width, height) {
        return Err(DecodeError::TooLong { width, height });
    }
    if u64::from(width) * u64::from(height) > bound.pixels() {
        return Err(DecodeError::TooManyPixels { width, height, bound });
    }
    // The decoders are foreign code with untrusted input, and overflow checks are enabled: a failed
    // assertion in them means a damaged file, and must not end the worker.
    catch_unwind(AssertUnwindSafe(|| {
        if data.is_unfinished { complete(&data) } else { raster::picture(&data) }
    }))
    .unwrap_or_else(|_| Err(DecodeError::Damaged("its data contradict each other".to_owned())))
}

/// Decodes a JPEG without an end marker, if all its pixels are there: then they do not depend on
/// what follows. Decoders fill missing ones from it.
fn complete(data: &ImageData) -> Result<Picture, DecodeError> {
    let digest = |picture: &Picture| {
        let mut hasher = DefaultHasher::new();
        picture.rgb().hash(&mut hasher);
        hasher.finish()
    };
    // One picture at a time: a large one takes much memory.
    let expected = digest(&raster::picture(&jpeg::followed_by_noise(data))?);
    let picture = raster::picture(data)?;
    match digest(&picture) == expected {
        true => Ok(picture),
        false => Err(jpeg::cut_off()),
    }
}

/// Names the likely format of the bytes, for the message.
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
        assert!(decode(&bytes, &Limits { max_bytes: bytes.len() }).is_ok());
        assert_eq!(
            decode(&bytes, &Limits { max_bytes: bytes.len() - 1 }),
            Err(DecodeError::TooManyBytes { bytes: bytes.len(), limit: bytes.len() - 1 })
        );
    }

    /// Files that clients sent: `tests/cases/README.md`.
    #[test]
    fn cases_from_the_field() {
        let decoded = |bytes: &[u8]| decode(bytes, &Limits::default());
        let turned = include_bytes!("../../tests/cases/exif-orientation-long.jpg");
        let raw = image::load_from_memory(turned).unwrap();
        let picture = decoded(turned).unwrap();
        // The file stores the portrait on its side, and says so in a LONG.
        assert_eq!((picture.width(), picture.height()), (raw.height(), raw.width()));
        assert_ne!(picture.width(), picture.height());

        let padded = include_bytes!("../../tests/cases/jpeg-no-eoi-zero-padded.jpg");
        let end = padded.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let with_end = [&padded[..end], &[0xFF, 0xD9]].concat();
        let whole = decoded(&with_end).unwrap();
        assert_eq!(decoded(padded), Ok(whole.clone()));
        assert_eq!(decoded(&padded[..end]), Ok(whole));
        for lost in [50, 500, 5_000, 50_000, 100_000] {
            let cut = &padded[..end - lost];
            assert!(matches!(decoded(cut), Err(DecodeError::Damaged(_))), "{lost}");
            let filled = [cut, &vec![0; lost + 4096][..]].concat();
            assert!(matches!(decoded(&filled), Err(DecodeError::Damaged(_))), "{lost}, filled");
        }

        let long = include_bytes!("../../tests/cases/png-40000000x1.png");
        let (width, height) = (40_000_000, 1);
        assert_eq!(decoded(long), Err(DecodeError::TooLong { width, height }));
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

//! One frame from a camera, and the memory layout of its bytes.
//!
//! A frame is decoded only when its pixels are needed: most frames of a day show no person.

use crate::picture::{self, DecodeError, Limits, Picture, yuv};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use strum::IntoStaticStr;

/// How the pixels of a frame are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum PixelFormat {
    /// A plane of luma and a plane of chroma at half the resolution.
    Nv12,
    /// Luma and chroma interleaved, chroma at half the width.
    Yuyv,
    /// One JPEG per frame, often without Huffman tables.
    Mjpg,
    /// Only luma. The face lacks the colour that distinguishes skin from a print.
    Grey,
    /// A JPEG or PNG file of a replay.
    #[strum(serialize = "file")]
    File,
}

impl PixelFormat {
    /// Formats that are requested from cameras, best first: an uncompressed format is the cheapest
    /// to decode and has no artefacts.
    pub const OF_CAMERAS: [PixelFormat; 4] = [Self::Nv12, Self::Yuyv, Self::Mjpg, Self::Grey];

    /// Returns the name in the configuration, which is V4L2's code of four characters.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The memory layout of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub format: PixelFormat,
    /// Width in pixels; 0 if only the frame itself states it.
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next, at least one row; unused for compressed frames.
    pub stride: u32,
}

impl Layout {
    /// Returns the part of `bytes` that is the frame; `None` if the frame is not whole.
    ///
    /// A compressed frame ends at its own end marker: some drivers report the whole buffer as used.
    pub fn whole<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let Self { format, width, height, stride } = *self;
        let length = match format {
            PixelFormat::Nv12 => yuv::nv12_bytes(width, height, stride)?,
            PixelFormat::Yuyv => yuv::yuyv_bytes(width, height, stride)?,
            PixelFormat::Grey => yuv::grey_bytes(width, height, stride)?,
            PixelFormat::Mjpg => picture::jpeg_length(bytes)?,
            PixelFormat::File => bytes.len(),
        };
        bytes.get(..length).filter(|whole| !whole.is_empty())
    }

    fn picture(&self, bytes: &[u8]) -> Result<Picture, FrameError> {
        let Self { format, width, height, stride } = *self;
        let short = || FrameError::Short { bytes: bytes.len(), width, height };
        match format {
            PixelFormat::Nv12 => yuv::nv12(width, height, stride, bytes).ok_or_else(short),
            PixelFormat::Yuyv => yuv::yuyv(width, height, stride, bytes).ok_or_else(short),
            PixelFormat::Grey => yuv::grey(width, height, stride, bytes).ok_or_else(short),
            PixelFormat::Mjpg | PixelFormat::File => {
                Ok(picture::decode(bytes, &Limits::default())?)
            }
        }
    }
}

/// Why a frame has no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The compressed frame cannot be decoded.
    #[error(
        "a frame cannot be decoded ({0}); if this goes on, check the cable or set camera.format"
    )]
    Damaged(#[from] DecodeError),
    /// The frame has fewer bytes than its size needs.
    #[error("a frame of {width}x{height} has only {bytes} bytes; check the cable")]
    Short {
        /// Number of bytes.
        bytes: usize,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// One frame from the camera, decoded on request. Cloning it copies no pixels.
#[derive(Clone)]
pub struct Frame {
    pub(super) taken: Instant,
    pub(super) sequence: u64,
    pub(super) layout: Layout,
    pub(super) rotate: u16,
    pub(super) bytes: Arc<[u8]>,
}

impl Frame {
    /// Returns the time of exposure by the monotonic clock, or of arrival if the driver does not
    /// state it.
    pub fn taken(&self) -> Instant {
        self.taken
    }

    /// Returns the number of the frame, which rises by one since the start of the daemon. A gap
    /// counts the lost frames: damaged, or dropped by the driver or by a slow reader.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Decodes its pixels to RGB, rotated as `camera.rotate` says. Takes milliseconds on every
    /// call.
    pub fn picture(&self) -> Result<Picture, FrameError> {
        let picture = self.layout.picture(&self.bytes)?;
        Ok(if self.rotate == 0 { picture } else { picture.turned(self.rotate) })
    }
}

impl fmt::Debug for Frame {
    /// Prints only number and size: pictures of faces do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}, {} bytes)", self.sequence, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let rgb = vec![90; (width * height * 3) as usize];
        picture::to_jpeg(&Picture::new(width, height, rgb).unwrap(), 90).unwrap()
    }

    fn frame(layout: Layout, rotate: u16, bytes: &[u8]) -> Frame {
        Frame { taken: Instant::now(), sequence: 0, layout, rotate, bytes: bytes.into() }
    }

    /// Returns the file without its Huffman tables, as USB cameras send it.
    fn without_tables(jpeg: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (jpeg[..2].to_vec(), 2);
        while jpeg[at + 1] != 0xDA {
            let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] != 0xC4 {
                out.extend_from_slice(&jpeg[at..at + length]);
            }
            at += length;
        }
        out.extend_from_slice(&jpeg[at..]);
        out
    }

    #[test]
    fn camera_jpeg_without_tables_and_with_trailing_bytes_is_read() {
        let layout = Layout { format: PixelFormat::Mjpg, width: 32, height: 16, stride: 0 };
        let bare = without_tables(&jpeg(32, 16));
        assert!(bare.len() + 400 < jpeg(32, 16).len(), "the encoder wrote no tables");
        let buffer = [&bare[..], &[0xFF, 0xD8, 0xFF, 0xD9], &[0; 500]].concat();
        let whole = layout.whole(&buffer).unwrap();
        assert_eq!(whole.len(), bare.len());
        let picture = frame(layout, 90, whole).picture().unwrap();
        assert_eq!((picture.width(), picture.height()), (16, 32));
        assert!(picture.rgb().iter().all(|&value| value.abs_diff(90) <= 2));
        // Truncated, or missing.
        assert_eq!(layout.whole(&buffer[..bare.len() - 1]), None);
        assert_eq!(layout.whole(&[0; 500]), None);
        assert_eq!(layout.whole(&[]), None);
    }

    #[test]
    fn raw_frames_need_their_bytes_and_ignore_padding() {
        let whole = |format, bytes: usize| {
            let layout = Layout { format, width: 4, height: 2, stride: 12 };
            layout.whole(&vec![0; bytes]).map(<[u8]>::len)
        };
        assert_eq!(whole(PixelFormat::Yuyv, 19), None);
        assert_eq!(whole(PixelFormat::Yuyv, 24), Some(20));
        assert_eq!(whole(PixelFormat::Nv12, 27), None);
        assert_eq!(whole(PixelFormat::Nv12, 36), Some(28));
        assert_eq!(whole(PixelFormat::Grey, 16), Some(16));
    }

    #[test]
    fn inconsistent_frames_have_no_picture() {
        let layout = Layout { format: PixelFormat::Yuyv, width: 4, height: 2, stride: 8 };
        assert!(matches!(frame(layout, 0, &[0; 15]).picture(), Err(FrameError::Short { .. })));
        let layout = Layout { format: PixelFormat::File, width: 0, height: 0, stride: 0 };
        assert!(matches!(frame(layout, 0, b"GIF89a").picture(), Err(FrameError::Damaged(_))));
    }
}

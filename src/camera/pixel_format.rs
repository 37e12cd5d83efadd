//! The pixel formats of cameras, and the memory layout of a frame in each.
//!
//! A new format is a variant here, its code in `v4l2.rs`, and its conversion in the package
//! `picture`.

use crate::picture::{self, DecodeError, Limits, Picture, yuv};
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

    /// Decodes the bytes of a frame to RGB.
    pub fn picture(&self, bytes: &[u8]) -> Result<Picture, FrameError> {
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

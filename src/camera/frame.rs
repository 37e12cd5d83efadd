//! One frame from a camera.
//!
//! A frame is decoded only when its pixels are needed: most frames of a day show no person.

use super::pixel_format::{FrameError, Layout};
use crate::picture::Picture;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

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
    use crate::camera::pixel_format::PixelFormat;
    use crate::picture;

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

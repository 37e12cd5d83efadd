//! The one thing EXIF is read for: which way up the picture is.

use image::metadata::Orientation;

/// What stands before the TIFF header in JPEG, and by mistake in some PNG files.
pub(super) const PREFIX: &[u8] = b"Exif\0\0";

/// The orientation that an EXIF block asks for, with or without [`PREFIX`]; `None` if it is broken or does
/// not say, which is no reason to refuse a picture.
pub(super) fn orientation(block: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(block.strip_prefix(PREFIX).unwrap_or(block))
}

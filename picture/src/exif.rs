//! Reads the orientation from EXIF, and nothing else.

use image::metadata::Orientation;

/// The bytes before the TIFF header in JPEG, and by mistake in some PNG files.
pub(super) const PREFIX: &[u8] = b"Exif\0\0";

/// Returns the orientation in an EXIF block, with or without [`PREFIX`]; `None` if the block is
/// broken or has none, which is not a reason to refuse a picture.
pub(super) fn orientation(block: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(block.strip_prefix(PREFIX).unwrap_or(block))
}

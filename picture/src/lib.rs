//! Untrusted image bytes in, bounded RGB pixels out.
//!
//! [`source`] tells what the `image` field of a request stands for, [`mod@decode`] makes pixels of a file as
//! far as [`limits`] allow, [`yuv`] of a camera's raw frames, and [`to_jpeg`] writes a file. Nothing here
//! trusts what comes from outside, looks for faces, or asks the network or the disk; and no pixel is ever
//! written to a log.

// What must be unsafe is in `doorward-nn`.
#![forbid(unsafe_code)]

pub mod decode;
mod encode;
mod exif;
mod jpeg;
pub mod limits;
mod png;
mod raster;
pub mod source;
pub mod yuv;

pub use decode::{DecodeError, decode};
/// What bytes become.
pub use doorward_face::Picture;
pub use encode::to_jpeg;
pub use jpeg::length as jpeg_length;
pub use limits::Limits;
pub use source::Source;

//! Decodes untrusted image bytes to bounded RGB pixels.
//!
//! [`source`] parses the `image` field of a request, [`mod@decode`] decodes files within
//! [`limits`], [`yuv`] converts a camera's raw frames, and [`to_jpeg`] writes a file. This crate
//! trusts no input, does not look for faces, and does not access the network or the disk; it must
//! never write a pixel to a log.

// All unsafe code is in `doorward-nn`.
#![forbid(unsafe_code)]

pub mod decode;
mod encode;
mod exif;
mod jpeg;
pub mod limits;
mod png;
mod raster;
pub mod source;
mod text_orientation;
pub mod yuv;

pub use decode::{DecodeError, decode};
/// The decoded picture.
pub use doorward_face::Picture;
pub use encode::to_jpeg;
pub use jpeg::length as jpeg_length;
pub use limits::Limits;
pub use source::Source;

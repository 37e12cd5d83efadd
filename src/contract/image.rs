//! The sources of a request's pictures (step 3); nothing is copied or decoded before all steps have
//! passed.

use super::field::ImageField;
use super::payload::Payload;
use super::refusal::Refusal;
use crate::picture::source::TooLarge;
use crate::picture::{self, Limits};
use std::fmt;
use std::time::Duration;

/// The source of an image's bytes, and its field.
#[derive(Debug, PartialEq)]
pub(crate) struct Image {
    pub field: ImageField,
    pub source: Source,
}

/// The source of an image's bytes.
#[derive(PartialEq)]
pub(crate) enum Source {
    /// The bytes were sent.
    Bytes(Vec<u8>),
    /// The bytes were sent and are too many: refused in step 8, after all other faults of the
    /// payload.
    TooLarge(TooLarge),
    /// The bytes must be fetched from this URL.
    Url(String),
    /// The camera must take the picture, within this time.
    Camera(Duration),
}

impl fmt::Debug for Source {
    /// Shows kind and length: pictures of faces and logins in URLs do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Source::TooLarge(error) => write!(f, "TooLarge({})", error.bytes),
            Source::Url(_) => f.write_str("Url"),
            Source::Camera(_) => f.write_str("Camera"),
        }
    }
}

/// An image as sent in the payload.
pub(crate) struct Sent<'r> {
    field: ImageField,
    form: Form<'r>,
}

enum Form<'r> {
    /// The payload itself.
    Bytes(&'r [u8]),
    /// A field.
    Text(picture::Source<'r>),
}

impl Sent<'_> {
    /// Takes the image out of the payload, unless it exceeds the limit.
    pub fn owned(self, limits: &Limits, patience: Duration) -> Image {
        let limit = limits.max_bytes;
        let source = match self.form {
            Form::Bytes(bytes) if bytes.len() > limit => {
                Source::TooLarge(TooLarge { bytes: bytes.len(), limit })
            }
            Form::Bytes(bytes) => Source::Bytes(bytes.to_vec()),
            Form::Text(picture::Source::Base64(base64)) => match base64.decode(limit) {
                Ok(bytes) => Source::Bytes(bytes),
                Err(error) => Source::TooLarge(error),
            },
            Form::Text(picture::Source::Url(url)) => Source::Url(url.to_owned()),
            Form::Text(picture::Source::Camera) => Source::Camera(patience),
        };
        Image { field: self.field, source }
    }
}

impl Payload<'_> {
    /// Checks step 3: the form of an image. Nothing is copied or decoded before all steps have
    /// passed.
    pub(super) fn image(&self, field: ImageField) -> Result<Sent<'_>, Refusal> {
        if let (ImageField::Image, Some(bytes)) = (field, self.raw.image) {
            return Ok(Sent { field, form: Form::Bytes(bytes) });
        }
        let text = self.text(field.name()).ok_or(Refusal::ImageAbsent(field))?;
        let source = picture::Source::parse(text)
            .map_err(|error| Refusal::ImageMissing { field, why: error.to_string() })?;
        Ok(Sent { field, form: Form::Text(source) })
    }
}

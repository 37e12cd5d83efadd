//! Where a request says that its pictures are (step 3); nothing is copied or decoded before all
//! steps have passed.

use super::field::ImageField;
use super::payload::Payload;
use super::refusal::Refusal;
use crate::picture::source::TooLarge;
use crate::picture::{self, Limits};
use std::fmt;
use std::time::Duration;

/// Where an image's bytes are, and the field that says so.
#[derive(Debug, PartialEq)]
pub(crate) struct Image {
    pub field: ImageField,
    pub source: Source,
}

/// Where an image's bytes are.
#[derive(PartialEq)]
pub(crate) enum Source {
    /// They were sent.
    Bytes(Vec<u8>),
    /// They were sent and are too many: told in step 8, behind the faults of all other payload.
    TooLarge(TooLarge),
    /// They are to be fetched.
    Url(String),
    /// They are to be taken, within this time.
    Camera(Duration),
}

impl fmt::Debug for Source {
    /// Kind and length: pictures of faces do not belong in logs, nor do the logins in URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Source::TooLarge(error) => write!(f, "TooLarge({})", error.bytes),
            Source::Url(_) => f.write_str("Url"),
            Source::Camera(_) => f.write_str("Camera"),
        }
    }
}

/// An image as it stands in the payload.
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
    /// Takes the image out of the payload; more than the limit is not taken.
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
    /// Step 3: the form of an image; nothing is copied or decoded before all steps have passed.
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

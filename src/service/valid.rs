//! The valid request: what the fields mean, each checked, in the order of the contract's section
//! 3 (steps 2 to 6). [`validate`] is the one function between it and the [`Raw`] request.

use super::administration::Administration;
use super::audit::Look;
use super::failure::{Failure, ImageField, Validation};
use super::operation::Operation;
use super::payload::{Payload, payload};
use super::poses::PosesRequest;
use super::raw::{Given, Raw};
use super::reindex::Portion;
use crate::face::similarity::Level;
use crate::gallery::{EnrolMode, SubjectChange};
use crate::picture::source::TooLarge;
use crate::picture::{self, Limits};
use std::fmt;
use std::time::Duration;

/// Longest `subject_id` and group, in characters.
const MAX_ID: usize = 128;
/// Longest `reason` of an unlock, in characters.
const MAX_REASON: usize = 500;
/// What an id is, for a message.
pub(super) const ID: &str = "must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ - : @";

/// A request that can be done.
#[derive(Debug, PartialEq)]
pub(super) enum Valid {
    /// One of the five operations on images.
    Face(FaceRequest),
    /// Several poses of whoever is before the camera.
    Poses(PosesRequest),
    /// At most `limit` subjects after `cursor`.
    SubjectList { limit: usize, cursor: Option<String> },
    /// One subject.
    SubjectGet { id: String },
    /// The time of the change is set when it is done.
    SubjectUpdate { id: String, change: SubjectChange, accept_faces: bool },
    /// Remove a subject.
    SubjectDelete { id: String },
    /// Pulse the strike; why is for the log, and when it was meant decides whether it counts.
    Unlock { reason: String, issued_at: Option<f64> },
    /// Counts and timings.
    Stats,
    /// Versions and states.
    Health,
    /// Who may ask.
    Administration(Administration),
    /// What was done.
    Audit(Look),
    /// Templates of other models, embedded anew.
    Reindex(Portion),
}

/// What the five operations on images have in common: a probe, checks, and a task.
#[derive(Debug, PartialEq)]
pub(super) struct FaceRequest {
    /// compare: the image that the probe is compared with.
    pub reference: Option<Image>,
    pub probe: Image,
    pub checks: Checks,
    pub task: Task,
}

/// Where an image's bytes are, and the field that says so.
#[derive(Debug, PartialEq)]
pub(super) struct Image {
    pub field: ImageField,
    pub source: Source,
}

/// Where an image's bytes are.
#[derive(PartialEq)]
pub(super) enum Source {
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

/// What is computed of a face, and what it is refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checks {
    pub is_quality: bool,
    pub is_attribute: bool,
    pub is_liveness: bool,
    pub validate_quality: bool,
    pub validate_attribute: bool,
    pub validate_liveness: bool,
    pub validate_nface: bool,
}

/// What the face is for.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    Enroll {
        subject_id: Option<String>,
        mode: EnrolMode,
    },
    Verify {
        subject_id: String,
        level: Level,
    },
    Search {
        limit: usize,
        threshold: f64,
        return_image: bool,
    },
    Compare {
        level: Level,
    },
    /// The checks alone.
    Liveness,
}

/// What validation asks about the world outside the payload.
pub(super) struct World<'a> {
    /// Whether a subject is enrolled.
    pub enrolled: &'a dyn Fn(&str) -> bool,
    /// Bounds of a picture.
    pub limits: &'a Limits,
}

/// Judges a raw request; the first step that fails answers.
pub(super) fn validate(operation: Operation, raw: &Raw, world: &World) -> Result<Valid, Failure> {
    let payload = payload(operation, raw)?;
    match operation {
        Operation::Enroll
        | Operation::Verify
        | Operation::Search
        | Operation::Liveness
        | Operation::Compare => payload.face(world).map(Valid::Face),
        Operation::EnrollMode => payload.poses().map(Valid::Poses),
        Operation::SubjectList => {
            let limit = payload.limit(100)?;
            Ok(Valid::SubjectList { limit, cursor: payload.filled("cursor") })
        }
        Operation::SubjectGet => Ok(Valid::SubjectGet { id: payload.subject(world)? }),
        Operation::SubjectDelete => Ok(Valid::SubjectDelete { id: payload.subject(world)? }),
        Operation::SubjectUpdate => {
            let change = payload.change()?;
            let accept_faces = payload.bool("accept_faces");
            Ok(Valid::SubjectUpdate { id: payload.subject(world)?, change, accept_faces })
        }
        Operation::Unlock => {
            let needed = || Failure::field("reason", "`reason` must say why, for the log");
            let reason = payload.filled("reason").ok_or_else(needed)?;
            let characters = reason.chars().count();
            if characters > MAX_REASON {
                let why =
                    format!("`reason` must be at most {MAX_REASON} characters, not {characters}");
                return Err(Failure::field("reason", why));
            }
            Ok(Valid::Unlock { reason, issued_at: payload.number("issued_at") })
        }
        Operation::Stats => Ok(Valid::Stats),
        Operation::Health => Ok(Valid::Health),
        Operation::AppCreate | Operation::AppList | Operation::AppRevoke | Operation::AppRotate => {
            payload.administration().map(Valid::Administration)
        }
        Operation::AuditVerify | Operation::AuditList => payload.look().map(Valid::Audit),
        Operation::GalleryReindex => Ok(Valid::Reindex(Portion {
            limit: payload.limit(100)?,
            cursor: payload.filled("cursor"),
            dry_run: payload.bool("dry_run"),
        })),
    }
}

impl Payload<'_> {
    /// Steps 3 to 6 of the operations on images.
    fn face(&self, world: &World) -> Result<FaceRequest, Failure> {
        let (reference, probe) = match self.operation {
            Operation::Compare => (Some(self.image(ImageField::Image1)?), ImageField::Image2),
            _ => (None, ImageField::Image),
        };
        let probe = self.image(probe)?;
        let subject_id = match self.operation {
            Operation::Enroll => self.optional_subject()?,
            Operation::Verify => Some(self.subject(world)?),
            _ => None,
        };
        let checks = self.checks()?;
        let task = match (self.operation, subject_id) {
            (Operation::Enroll, subject_id) => Task::Enroll { subject_id, mode: self.mode()? },
            (Operation::Verify, Some(subject_id)) => {
                Task::Verify { subject_id, level: self.level()? }
            }
            (Operation::Compare, _) => Task::Compare { level: self.level()? },
            (Operation::Search, _) => Task::Search {
                threshold: self.threshold()?,
                limit: self.limit(10)?,
                return_image: self.bool("return_image"),
            },
            _ => Task::Liveness,
        };
        let patience = self.milliseconds("capture_timeout_ms");
        Ok(FaceRequest {
            reference: reference.map(|image| image.owned(world.limits, patience)),
            probe: probe.owned(world.limits, patience),
            checks,
            task,
        })
    }

    /// Steps 4 and 5 of `enroll_mode`.
    fn poses(&self) -> Result<PosesRequest, Failure> {
        let subject_id = self.optional_subject()?;
        let Checks { is_liveness, validate_liveness, .. } = self.checks()?;
        let timeout = self.milliseconds("timeout_ms");
        Ok(PosesRequest { subject_id, timeout, is_liveness, validate_liveness })
    }

    /// Step 3: the form of an image; nothing is copied or decoded before all steps have passed.
    fn image(&self, field: ImageField) -> Result<Sent<'_>, Failure> {
        if let (ImageField::Image, Some(bytes)) = (field, self.raw.image) {
            return Ok(Sent { field, form: Form::Bytes(bytes) });
        }
        let text = self.text(field.name()).ok_or(Failure::ImageAbsent(field))?;
        let source = picture::Source::parse(text)
            .map_err(|error| Failure::ImageMissing { field, why: error.to_string() })?;
        Ok(Sent { field, form: Form::Text(source) })
    }

    /// Step 4 where a subject is needed.
    fn subject(&self, world: &World) -> Result<String, Failure> {
        let given = self.raw.get("subject_id").ok_or(Failure::SubjectAbsent)?;
        let id = match given {
            Given::Text(id) if !id.is_empty() => well_formed(id)?,
            _ => return Err(Failure::SubjectMissing),
        };
        if (world.enrolled)(id) { Ok(id.to_owned()) } else { Err(Failure::unknown_subject(id)) }
    }

    /// Step 4 of enroll and enroll_mode, which make an id when there is none.
    fn optional_subject(&self) -> Result<Option<String>, Failure> {
        match self.text("subject_id") {
            None => Ok(None),
            Some("") => Err(Failure::SubjectMissing),
            Some(id) => well_formed(id).map(|id| Some(id.to_owned())),
        }
    }

    /// Step 5.
    fn checks(&self) -> Result<Checks, Failure> {
        for validation in Validation::ALL {
            if self.bool(validation.validate()) && !self.bool(validation.is()) {
                return Err(Failure::Dependency(validation));
            }
        }
        Ok(Checks {
            is_quality: self.bool("is_quality"),
            is_attribute: self.bool("is_attribute"),
            // Not a field of the operation that is about nothing else.
            is_liveness: self.operation == Operation::Liveness || self.bool("is_liveness"),
            validate_quality: self.bool("validate_quality"),
            validate_attribute: self.bool("validate_attribute"),
            validate_liveness: self.bool("validate_liveness"),
            validate_nface: self.bool("validate_nface"),
        })
    }

    /// Step 6 of verify and compare.
    fn level(&self) -> Result<Level, Failure> {
        self.text("threshold").and_then(Level::named).ok_or(Failure::Level)
    }

    /// Step 6 of search.
    fn threshold(&self) -> Result<f64, Failure> {
        self.number("threshold")
            .filter(|threshold| (0.0..=100.0).contains(threshold))
            .ok_or(Failure::Threshold)
    }

    /// Step 6: a whole number from 1 to `max`.
    fn limit(&self, max: u32) -> Result<usize, Failure> {
        self.number("limit")
            .filter(|limit| limit.fract() == 0.0 && (1.0..=f64::from(max)).contains(limit))
            .map(|limit| limit as usize)
            .ok_or(Failure::Limit(max))
    }
}

/// An image as it stands in the payload.
struct Sent<'r> {
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
    fn owned(self, limits: &Limits, patience: Duration) -> Image {
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

/// Whether a text is fit to name a subject or a group.
pub(super) fn is_id(text: &str) -> bool {
    let allowed =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':' | b'@');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(allowed)
}

fn well_formed(id: &str) -> Result<&str, Failure> {
    if is_id(id) { Ok(id) } else { Err(Failure::Subject { why: format!("`subject_id` {ID}") }) }
}

#[cfg(test)]
mod tests;

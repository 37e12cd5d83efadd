//! Refusals: every code of the contract other than `FAIL_ON_n`, with its status, its `message` and
//! what the sender can do about it.

use super::envelope::Envelope;
use super::field;
use super::field::ImageField;
use super::operation::Operation;
use super::quota::QuotaKind;
use super::raw::shortened;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// The code of a 401 in logs and statistics; the contract gives it no `error_code`.
pub(crate) const UNAUTHORIZED: &str = "UNAUTHORIZED";

/// When to send a request again that found the queue full: on a slow terminal, the pictures before
/// it take about this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A `validate_x` that needs its `is_x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Validation {
    /// `validate_quality`.
    Quality,
    /// `validate_attribute`.
    Attribute,
    /// `validate_liveness`.
    Liveness,
}

impl Validation {
    /// All three, in the order in which they are checked.
    pub const ALL: &[Validation] = Validation::VARIANTS;

    /// Returns the validated property, as in the field names.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns `validate_x`.
    pub fn validate(self) -> &'static str {
        match self {
            Validation::Quality => field::VALIDATE_QUALITY,
            Validation::Attribute => field::VALIDATE_ATTRIBUTE,
            Validation::Liveness => field::VALIDATE_LIVENESS,
        }
    }

    /// Returns `is_x`.
    pub fn is(self) -> &'static str {
        match self {
            Validation::Quality => field::IS_QUALITY,
            Validation::Attribute => field::IS_ATTRIBUTE,
            Validation::Liveness => field::IS_LIVENESS,
        }
    }
}

/// Why the service refuses or fails; [`Display`](fmt::Display) is the answer's `message`.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The payload does not fit the operation.
    #[error("Invalid Payload")]
    Payload { why: String, field: Option<String> },
    /// The image is absent or null.
    #[error("Missing payload: {0}")]
    ImageAbsent(ImageField),
    /// The image is empty, or a text that is not an image.
    #[error("Invalid payload: {field} holds no image")]
    ImageMissing { field: ImageField, why: String },
    /// The URL did not deliver in time.
    #[error("Invalid payload: {0} could not be fetched in time")]
    ImageTimeout(ImageField),
    /// Too many bytes.
    #[error("Invalid payload: {field} is too large")]
    ImageSize { field: ImageField, why: String },
    /// The bytes cannot be decoded as a picture.
    #[error("Invalid payload: {field} cannot be read as a picture")]
    ImageFormat { field: ImageField, why: String },
    /// There is no camera to take the image from.
    #[error("Camera unavailable")]
    Camera {
        /// The image field, if the operation has one.
        field: Option<ImageField>,
        /// The fault of the camera, and what to do about it.
        why: String,
    },
    /// verify and the subject operations: no subject_id.
    #[error("Missing payload: subject_id")]
    SubjectAbsent,
    /// `""`, or null where it is needed.
    #[error("Invalid payload: subject_id is empty")]
    SubjectMissing,
    /// Not an id, or the id of no subject.
    #[error("Invalid payload: subject_id")]
    Subject { why: String },
    /// A `validate_x` without its `is_x`.
    #[error("Invalid payload: {} needs {}", .0.validate(), .0.is())]
    Dependency(Validation),
    /// verify, compare: a threshold that is not a level.
    #[error("Invalid payload: threshold must be basic, moderate or high")]
    Level,
    /// search: a threshold off the scale.
    #[error("Invalid payload: threshold must be between 0 and 100")]
    Threshold,
    /// A limit out of range or with a fraction.
    #[error("Invalid payload: limit must be a whole number from 1 to {0}")]
    Limit(u32),
    /// The detector found no face.
    #[error("Face not detected in image")]
    NoFace(Option<ImageField>),
    /// No application has this App-ID and API-Key.
    #[error("Authorization failed")]
    Unauthorized,
    /// An application in testing mode has used up its quota.
    #[error("Insufficient {} quota", .0.name())]
    Quota(QuotaKind),
    /// The client has no permission for that.
    #[error("Permission denied")]
    Permission { why: String },
    /// A change was requested over a broker that strangers could reach.
    #[error("Insecure broker")]
    InsecureBroker { why: String },
    /// Another subject is enrolled with this face, and duplicates are refused.
    #[error("Face already enrolled")]
    Duplicate { why: String },
    /// The templates of a subject may not be of one person.
    #[error("Faces disagree")]
    Faces { why: String },
    /// The command is not known to be recent.
    #[error("Command not fresh")]
    Stale { why: String },
    /// The door did not unlock.
    #[error("Door did not unlock")]
    Door { why: String },
    /// A bug, a damaged file, a full disk.
    #[error("Internal server error")]
    Internal {
        /// Only for the log, never for the client.
        why: String,
    },
    /// A file cannot be written.
    #[error("Internal server error")]
    Unwritten {
        /// The effect on the request.
        told: &'static str,
        /// Only for the log, never for the client.
        why: String,
    },
    /// The queue is full.
    #[error("Busy")]
    Busy,
    /// The message around the request is faulty.
    #[error("{0}")]
    Envelope(Envelope),
}

impl Refusal {
    /// Makes an `INVALID_PAYLOAD` for one field.
    pub fn field(field: &str, why: impl Into<String>) -> Self {
        Refusal::Payload { why: why.into(), field: Some(field.to_owned()) }
    }

    /// Makes an `INVALID_PAYLOAD` for the payload as a whole.
    pub fn payload(why: impl Into<String>) -> Self {
        Refusal::Payload { why: why.into(), field: None }
    }

    /// Makes an error that is not the client's fault.
    pub fn internal(error: impl fmt::Display) -> Self {
        Refusal::Internal { why: error.to_string() }
    }

    /// Makes an `INVALID_PAYLOAD` for an operation that does not exist.
    pub fn unknown_operation(name: &str) -> Self {
        let public = Operation::ALL.into_iter().filter(|operation| !operation.is_local());
        let names: Vec<_> = public.map(Operation::name).collect();
        let (name, names) = (shortened(name), names.join(", "));
        Refusal::payload(format!("this version has no operation `{name}`; it has {names}"))
    }

    /// Makes a refusal for a subject that is not enrolled.
    pub fn unknown_subject(id: &str) -> Self {
        Refusal::Subject { why: format!("no subject is enrolled as {id}") }
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Unauthorized => 401,
            Refusal::Permission { .. }
            | Refusal::InsecureBroker { .. }
            | Refusal::Stale { .. }
            | Refusal::Quota(_) => 403,
            Refusal::Duplicate { .. } | Refusal::Faces { .. } => 409,
            Refusal::Internal { .. } | Refusal::Unwritten { .. } => 500,
            Refusal::Envelope(fault) => fault.status(),
            Refusal::Busy | Refusal::Camera { .. } | Refusal::Door { .. } => 503,
            _ => 400,
        }
    }

    /// Returns the `error_code`; for [`Refusal::Unauthorized`], which has none, the code in
    /// statistics.
    pub fn code(&self) -> String {
        let image = |field: &ImageField, what: &str| {
            format!("INVALID_PAYLOAD_{}_{what}", field.name().to_ascii_uppercase())
        };
        match self {
            Refusal::Payload { .. } => "INVALID_PAYLOAD".into(),
            Refusal::ImageAbsent(field) => {
                format!("MISSING_PAYLOAD_{}", field.name().to_ascii_uppercase())
            }
            Refusal::ImageMissing { field, .. } => image(field, "MISSING"),
            Refusal::ImageTimeout(field) => image(field, "TIMEOUT"),
            Refusal::ImageSize { field, .. } => image(field, "SIZE"),
            Refusal::ImageFormat { field, .. } => image(field, "FORMAT"),
            Refusal::Camera { .. } => "CAMERA_UNAVAILABLE".into(),
            Refusal::SubjectAbsent => "MISSING_PAYLOAD_SUBJECT_ID".into(),
            Refusal::SubjectMissing => "INVALID_PAYLOAD_SUBJECT_ID_MISSING".into(),
            Refusal::Subject { .. } => "INVALID_PAYLOAD_SUBJECT_ID".into(),
            Refusal::Dependency(validation) => format!(
                "INVALID_PAYLOAD_{}_VALIDATION_DEPENDENCY",
                validation.name().to_ascii_uppercase()
            ),
            Refusal::Level => "INVALID_PAYLOAD_THRESHOLD_MISSING".into(),
            Refusal::Threshold => "INVALID_PAYLOAD_THRESHOLD".into(),
            Refusal::Limit(_) => "INVALID_PAYLOAD_LIMIT".into(),
            Refusal::NoFace(_) => "FACE_NOT_DETECTED".into(),
            Refusal::Unauthorized => UNAUTHORIZED.into(),
            Refusal::Quota(kind) => {
                format!("INSUFFICIENT_QUOTA_{}", kind.name().to_ascii_uppercase())
            }
            Refusal::Permission { .. } => "PERMISSION_DENIED".into(),
            Refusal::InsecureBroker { .. } => "INSECURE_BROKER".into(),
            Refusal::Duplicate { .. } => "FACE_ALREADY_ENROLLED".into(),
            Refusal::Faces { .. } => "FACES_DISAGREE".into(),
            Refusal::Stale { .. } => "COMMAND_NOT_FRESH".into(),
            Refusal::Door { .. } => "DOOR_UNAVAILABLE".into(),
            Refusal::Internal { .. } | Refusal::Unwritten { .. } => "INTERNAL_SERVER_ERROR".into(),
            Refusal::Busy => "BUSY".into(),
            Refusal::Envelope(fault) => fault.code().into(),
        }
    }

    /// Returns the `error_field`, if one field is at fault.
    pub fn error_field(&self) -> Option<&str> {
        match self {
            Refusal::Payload { field, .. } => field.as_deref(),
            Refusal::ImageAbsent(field)
            | Refusal::ImageTimeout(field)
            | Refusal::ImageMissing { field, .. }
            | Refusal::ImageSize { field, .. }
            | Refusal::ImageFormat { field, .. } => Some(field.name()),
            Refusal::Camera { field, .. } | Refusal::NoFace(field) => field.map(ImageField::name),
            Refusal::SubjectAbsent | Refusal::SubjectMissing | Refusal::Subject { .. } => {
                Some(field::SUBJECT_ID)
            }
            Refusal::Dependency(validation) => Some(validation.validate()),
            Refusal::Faces { .. } => Some(field::GROUPS),
            Refusal::Level | Refusal::Threshold => Some(field::THRESHOLD),
            Refusal::Limit(_) => Some(field::LIMIT),
            Refusal::Unauthorized
            | Refusal::Quota(_)
            | Refusal::Permission { .. }
            | Refusal::InsecureBroker { .. }
            | Refusal::Duplicate { .. }
            | Refusal::Stale { .. }
            | Refusal::Door { .. }
            | Refusal::Internal { .. }
            | Refusal::Unwritten { .. }
            | Refusal::Busy
            | Refusal::Envelope(_) => None,
        }
    }

    /// Returns `data.message`: the reason, if the code alone does not give it.
    pub fn reason(&self) -> Option<Cow<'_, str>> {
        let why = match self {
            Refusal::Envelope(fault) => return Some(fault.reason().into()),
            Refusal::Payload { why, .. }
            | Refusal::ImageMissing { why, .. }
            | Refusal::ImageSize { why, .. }
            | Refusal::ImageFormat { why, .. }
            | Refusal::Subject { why }
            | Refusal::Duplicate { why }
            | Refusal::Faces { why }
            | Refusal::Door { why }
            | Refusal::Stale { why }
            | Refusal::Camera { why, .. }
            | Refusal::InsecureBroker { why }
            | Refusal::Permission { why } => Some(why.as_str()),
            Refusal::Unwritten { told, .. } => Some(*told),
            Refusal::Busy => Some("too many requests wait; send this one again later"),
            _ => None,
        };
        why.map(Cow::Borrowed)
    }

    /// Returns after what time the same request may succeed, if it may.
    pub fn retry_after(&self) -> Option<Duration> {
        (*self == Refusal::Busy).then_some(RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests;

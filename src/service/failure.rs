//! Why a request is answered with something other than 200: every code of the contract that is
//! not a `FAIL_ON_n`, with its status, its `message` and what the sender can do about it.

use super::applications::{ApplicationsError, Kind};
use crate::gallery::GalleryError;
use std::fmt;

/// What logs and counts know a 401 by; the contract gives it no `error_code`.
pub(super) const UNAUTHORIZED: &str = "UNAUTHORIZED";

/// Which image field is meant; compare has two, and its codes carry their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageField {
    /// The only image.
    Image,
    /// compare: the reference.
    Image1,
    /// compare: the probe.
    Image2,
}

impl ImageField {
    /// The field's name.
    pub fn name(self) -> &'static str {
        match self {
            ImageField::Image => "image",
            ImageField::Image1 => "image_1",
            ImageField::Image2 => "image_2",
        }
    }
}

impl fmt::Display for ImageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A `validate_x` that needs its `is_x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validation {
    /// `validate_quality`.
    Quality,
    /// `validate_attribute`.
    Attribute,
    /// `validate_liveness`.
    Liveness,
}

impl Validation {
    /// The three, in the order in which they are looked at.
    pub const ALL: [Validation; 3] =
        [Validation::Quality, Validation::Attribute, Validation::Liveness];

    /// What is validated, as in the field names.
    pub fn name(self) -> &'static str {
        match self {
            Validation::Quality => "quality",
            Validation::Attribute => "attribute",
            Validation::Liveness => "liveness",
        }
    }

    /// `validate_x`.
    pub fn validate(self) -> &'static str {
        match self {
            Validation::Quality => "validate_quality",
            Validation::Attribute => "validate_attribute",
            Validation::Liveness => "validate_liveness",
        }
    }

    /// `is_x`.
    pub fn is(self) -> &'static str {
        match self {
            Validation::Quality => "is_quality",
            Validation::Attribute => "is_attribute",
            Validation::Liveness => "is_liveness",
        }
    }
}

/// Why the service refuses or fails; [`Display`](fmt::Display) is the answer's `message`.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    /// The payload is not what the operation takes.
    #[error("Invalid Payload")]
    Payload { why: String, field: Option<String> },
    /// The image is absent or null.
    #[error("Missing payload: {0}")]
    ImageAbsent(ImageField),
    /// The image is empty, or a text that is no image.
    #[error("Invalid payload: {field} holds no image")]
    ImageMissing { field: ImageField, why: String },
    /// The URL did not deliver in time.
    #[error("Invalid payload: {0} could not be fetched in time")]
    ImageTimeout(ImageField),
    /// Too many bytes.
    #[error("Invalid payload: {field} is too large")]
    ImageSize { field: ImageField, why: String },
    /// No picture comes out of it.
    #[error("Invalid payload: {field} cannot be read as a picture")]
    ImageFormat { field: ImageField, why: String },
    /// There is no camera to take the image from.
    #[error("Camera unavailable")]
    Camera {
        /// Of an operation that has one.
        field: Option<ImageField>,
        /// What is wrong with the camera, and what to do about it.
        why: String,
    },
    /// verify and the subject operations: no subject_id.
    #[error("Missing payload: subject_id")]
    SubjectAbsent,
    /// `""`, or null where it is needed.
    #[error("Invalid payload: subject_id is empty")]
    SubjectMissing,
    /// Not an id, or nobody's.
    #[error("Invalid payload: subject_id")]
    Subject { why: String },
    /// A `validate_x` without its `is_x`.
    #[error("Invalid payload: {} needs {}", .0.validate(), .0.is())]
    Dependency(Validation),
    /// verify, compare: a threshold that is no level.
    #[error("Invalid payload: threshold must be basic, moderate or high")]
    Level,
    /// search: a threshold off the scale.
    #[error("Invalid payload: threshold must be between 0 and 100")]
    Threshold,
    /// A limit out of range or with a fraction.
    #[error("Invalid payload: limit must be a whole number from 1 to {0}")]
    Limit(u32),
    /// The detector found none.
    #[error("Face not detected in image")]
    NoFace(Option<ImageField>),
    /// No application has this App-ID and API-Key.
    #[error("Authorization failed")]
    Unauthorized,
    /// An application in testing mode has used up what it had.
    #[error("Insufficient {} quota", .0.name())]
    Quota(Kind),
    /// This client may not do that.
    #[error("Permission denied")]
    Permission { why: String },
    /// Somebody else is enrolled with this face, where that is refused.
    #[error("Face already enrolled")]
    Duplicate { why: String },
    /// The templates of a subject are not plainly of one person.
    #[error("Faces disagree")]
    Faces { why: String },
    /// Nobody knows that the command was meant just now.
    #[error("Command not fresh")]
    Stale { why: String },
    /// The door did not unlock.
    #[error("Door did not unlock")]
    Door { why: String },
    /// A bug, a damaged file, a full disk.
    #[error("Internal server error")]
    Internal {
        /// For the log, never for the client.
        why: String,
    },
    /// A file is not written.
    #[error("Internal server error")]
    Unwritten {
        /// What that means for what was asked.
        told: &'static str,
        /// For the log, never for the client.
        why: String,
    },
    /// The queue is full.
    #[error("Busy")]
    Busy,
}

/// Of what takes away.
const COUNTS: &str = "it counts from here on and is not on disk: it is written as soon as the disk takes \
                      it, and a restart before that forgets it; see health";

impl From<ApplicationsError> for Failure {
    fn from(error: ApplicationsError) -> Self {
        let told = match &error {
            ApplicationsError::NotOnDisk { .. } => COUNTS,
            ApplicationsError::NotWritten(_) | ApplicationsError::Storage(_) => {
                "the applications cannot be written at present; ask again, and see health"
            }
            _ => return Failure::internal(error),
        };
        Failure::Unwritten { told, why: error.to_string() }
    }
}

impl From<GalleryError> for Failure {
    fn from(error: GalleryError) -> Self {
        let told = match &error {
            GalleryError::NotOnDisk { .. } => COUNTS,
            GalleryError::NoRoom { .. } => "no room for enrolments; nothing was changed",
            GalleryError::NotWritten(_) | GalleryError::Storage(_) => {
                "the gallery cannot be written at present; ask again, and see health"
            }
            _ => return Failure::internal(error),
        };
        Failure::Unwritten { told, why: error.to_string() }
    }
}

impl Failure {
    /// `INVALID_PAYLOAD` that blames one field.
    pub fn field(field: &str, why: impl Into<String>) -> Self {
        Failure::Payload { why: why.into(), field: Some(field.to_owned()) }
    }

    /// `INVALID_PAYLOAD` that blames the payload as a whole.
    pub fn payload(why: impl Into<String>) -> Self {
        Failure::Payload { why: why.into(), field: None }
    }

    /// An error that is not the client's.
    pub fn internal(error: impl fmt::Display) -> Self {
        Failure::Internal { why: error.to_string() }
    }

    /// A subject that is not enrolled.
    pub fn unknown_subject(id: &str) -> Self {
        Failure::Subject { why: format!("no subject is enrolled as {id}") }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Failure::Unauthorized => 401,
            Failure::Permission { .. } | Failure::Stale { .. } | Failure::Quota(_) => 403,
            Failure::Duplicate { .. } | Failure::Faces { .. } => 409,
            Failure::Internal { .. } | Failure::Unwritten { .. } => 500,
            Failure::Busy | Failure::Camera { .. } | Failure::Door { .. } => 503,
            _ => 400,
        }
    }

    /// The `error_code`; of [`Failure::Unauthorized`], which has none, what the counts know it by.
    pub fn code(&self) -> String {
        let image = |field: &ImageField, what: &str| {
            format!("INVALID_PAYLOAD_{}_{what}", field.name().to_ascii_uppercase())
        };
        match self {
            Failure::Payload { .. } => "INVALID_PAYLOAD".into(),
            Failure::ImageAbsent(field) => {
                format!("MISSING_PAYLOAD_{}", field.name().to_ascii_uppercase())
            }
            Failure::ImageMissing { field, .. } => image(field, "MISSING"),
            Failure::ImageTimeout(field) => image(field, "TIMEOUT"),
            Failure::ImageSize { field, .. } => image(field, "SIZE"),
            Failure::ImageFormat { field, .. } => image(field, "FORMAT"),
            Failure::Camera { .. } => "CAMERA_UNAVAILABLE".into(),
            Failure::SubjectAbsent => "MISSING_PAYLOAD_SUBJECT_ID".into(),
            Failure::SubjectMissing => "INVALID_PAYLOAD_SUBJECT_ID_MISSING".into(),
            Failure::Subject { .. } => "INVALID_PAYLOAD_SUBJECT_ID".into(),
            Failure::Dependency(validation) => format!(
                "INVALID_PAYLOAD_{}_VALIDATION_DEPENDENCY",
                validation.name().to_ascii_uppercase()
            ),
            Failure::Level => "INVALID_PAYLOAD_THRESHOLD_MISSING".into(),
            Failure::Threshold => "INVALID_PAYLOAD_THRESHOLD".into(),
            Failure::Limit(_) => "INVALID_PAYLOAD_LIMIT".into(),
            Failure::NoFace(_) => "FACE_NOT_DETECTED".into(),
            Failure::Unauthorized => UNAUTHORIZED.into(),
            Failure::Quota(kind) => {
                format!("INSUFFICIENT_QUOTA_{}", kind.name().to_ascii_uppercase())
            }
            Failure::Permission { .. } => "PERMISSION_DENIED".into(),
            Failure::Duplicate { .. } => "FACE_ALREADY_ENROLLED".into(),
            Failure::Faces { .. } => "FACES_DISAGREE".into(),
            Failure::Stale { .. } => "COMMAND_NOT_FRESH".into(),
            Failure::Door { .. } => "DOOR_UNAVAILABLE".into(),
            Failure::Internal { .. } | Failure::Unwritten { .. } => "INTERNAL_SERVER_ERROR".into(),
            Failure::Busy => "BUSY".into(),
        }
    }

    /// The `error_field`, when one field is to blame.
    pub fn error_field(&self) -> Option<&str> {
        match self {
            Failure::Payload { field, .. } => field.as_deref(),
            Failure::ImageAbsent(field)
            | Failure::ImageTimeout(field)
            | Failure::ImageMissing { field, .. }
            | Failure::ImageSize { field, .. }
            | Failure::ImageFormat { field, .. } => Some(field.name()),
            Failure::Camera { field, .. } | Failure::NoFace(field) => field.map(ImageField::name),
            Failure::SubjectAbsent | Failure::SubjectMissing | Failure::Subject { .. } => {
                Some("subject_id")
            }
            Failure::Dependency(validation) => Some(validation.validate()),
            Failure::Faces { .. } => Some("groups"),
            Failure::Level | Failure::Threshold => Some("threshold"),
            Failure::Limit(_) => Some("limit"),
            Failure::Unauthorized
            | Failure::Quota(_)
            | Failure::Permission { .. }
            | Failure::Duplicate { .. }
            | Failure::Stale { .. }
            | Failure::Door { .. }
            | Failure::Internal { .. }
            | Failure::Unwritten { .. }
            | Failure::Busy => None,
        }
    }

    /// `data.message`: the reason, where the code alone does not give it.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Failure::Payload { why, .. }
            | Failure::ImageMissing { why, .. }
            | Failure::ImageSize { why, .. }
            | Failure::ImageFormat { why, .. }
            | Failure::Subject { why }
            | Failure::Duplicate { why }
            | Failure::Faces { why }
            | Failure::Door { why }
            | Failure::Stale { why }
            | Failure::Camera { why, .. }
            | Failure::Permission { why } => Some(why),
            Failure::Unwritten { told, .. } => Some(told),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_compare_carry_the_number() {
        let why = String::new;
        let failure = Failure::ImageMissing { field: ImageField::Image1, why: why() };
        assert_eq!(failure.code(), "INVALID_PAYLOAD_IMAGE_1_MISSING");
        assert_eq!(failure.error_field(), Some("image_1"));
        let failure = Failure::ImageAbsent(ImageField::Image2);
        assert_eq!(failure.code(), "MISSING_PAYLOAD_IMAGE_2");
        assert_eq!(failure.to_string(), "Missing payload: image_2");
        let failure = Failure::ImageSize { field: ImageField::Image, why: why() };
        assert_eq!(failure.code(), "INVALID_PAYLOAD_IMAGE_SIZE");
    }

    #[test]
    fn codes_and_statuses_of_the_contract() {
        let cases: [(Failure, u16, &str, &str); 20] = [
            (
                Failure::Duplicate { why: "x".into() },
                409,
                "FACE_ALREADY_ENROLLED",
                "Face already enrolled",
            ),
            (Failure::Faces { why: "x".into() }, 409, "FACES_DISAGREE", "Faces disagree"),
            (Failure::payload("x"), 400, "INVALID_PAYLOAD", "Invalid Payload"),
            (
                Failure::NoFace(Some(ImageField::Image)),
                400,
                "FACE_NOT_DETECTED",
                "Face not detected in image",
            ),
            (
                Failure::Dependency(Validation::Attribute),
                400,
                "INVALID_PAYLOAD_ATTRIBUTE_VALIDATION_DEPENDENCY",
                "Invalid payload: validate_attribute needs is_attribute",
            ),
            (Failure::internal("x"), 500, "INTERNAL_SERVER_ERROR", "Internal server error"),
            (Failure::Busy, 503, "BUSY", "Busy"),
            (
                Failure::Camera { field: None, why: "x".into() },
                503,
                "CAMERA_UNAVAILABLE",
                "Camera unavailable",
            ),
            (Failure::Unauthorized, 401, "UNAUTHORIZED", "Authorization failed"),
            (
                Failure::Quota(Kind::Enroll),
                403,
                "INSUFFICIENT_QUOTA_ENROLL",
                "Insufficient enroll quota",
            ),
            (
                Failure::Quota(Kind::Verify),
                403,
                "INSUFFICIENT_QUOTA_VERIFY",
                "Insufficient verify quota",
            ),
            (
                Failure::Quota(Kind::Search),
                403,
                "INSUFFICIENT_QUOTA_SEARCH",
                "Insufficient search quota",
            ),
            (
                Failure::Quota(Kind::Liveness),
                403,
                "INSUFFICIENT_QUOTA_LIVENESS",
                "Insufficient liveness quota",
            ),
            (
                Failure::Permission { why: "x".into() },
                403,
                "PERMISSION_DENIED",
                "Permission denied",
            ),
            (Failure::Stale { why: "x".into() }, 403, "COMMAND_NOT_FRESH", "Command not fresh"),
            (
                Failure::SubjectAbsent,
                400,
                "MISSING_PAYLOAD_SUBJECT_ID",
                "Missing payload: subject_id",
            ),
            (
                Failure::SubjectMissing,
                400,
                "INVALID_PAYLOAD_SUBJECT_ID_MISSING",
                "Invalid payload: subject_id is empty",
            ),
            (
                Failure::Level,
                400,
                "INVALID_PAYLOAD_THRESHOLD_MISSING",
                "Invalid payload: threshold must be basic, moderate or high",
            ),
            (
                Failure::Threshold,
                400,
                "INVALID_PAYLOAD_THRESHOLD",
                "Invalid payload: threshold must be between 0 and 100",
            ),
            (
                Failure::Limit(10),
                400,
                "INVALID_PAYLOAD_LIMIT",
                "Invalid payload: limit must be a whole number from 1 to 10",
            ),
        ];
        for (failure, status, code, message) in cases {
            assert_eq!(failure.status(), status, "{code}");
            assert_eq!(failure.code(), code);
            assert_eq!(failure.to_string(), message);
        }
    }

    #[test]
    fn what_went_wrong_inside_stays_inside() {
        let failure = Failure::internal("/secret/path is full");
        assert_eq!(failure.reason(), None);
        assert!(!failure.to_string().contains("secret"));
    }
}

//! The names of request fields, for all code that writes, reads or refuses a request.

use std::fmt;

/// Echoed in the answer.
pub const REQUEST_ID: &str = "request_id";
/// The application's id.
pub const APP_ID: &str = "app_id";
/// The application's key; in an answer, its new key.
pub const API_KEY: &str = "api_key";
/// The picture: base64, a URL or `camera:`.
pub const IMAGE: &str = "image";
/// The reference of compare.
pub const IMAGE_1: &str = "image_1";
/// The probe of compare.
pub const IMAGE_2: &str = "image_2";
/// Maximum time for `camera:` to wait for a face.
pub const CAPTURE_TIMEOUT_MS: &str = "capture_timeout_ms";
/// Maximum time of `enroll_mode`.
pub const TIMEOUT_MS: &str = "timeout_ms";
/// Id of the subject.
pub const SUBJECT_ID: &str = "subject_id";
/// Compute quality.
pub const IS_QUALITY: &str = "is_quality";
/// Compute attributes.
pub const IS_ATTRIBUTE: &str = "is_attribute";
/// Compute liveness.
pub const IS_LIVENESS: &str = "is_liveness";
/// Refuse poor quality.
pub const VALIDATE_QUALITY: &str = "validate_quality";
/// Refuse sunglasses and masks.
pub const VALIDATE_ATTRIBUTE: &str = "validate_attribute";
/// Refuse a spoof.
pub const VALIDATE_LIVENESS: &str = "validate_liveness";
/// Refuse several faces.
pub const VALIDATE_NFACE: &str = "validate_nface";
/// Replace or keep the subject's present templates.
pub const MODE: &str = "mode";
/// The lowest similarity, or its level.
pub const THRESHOLD: &str = "threshold";
/// Maximum number of entries of an answer.
pub const LIMIT: &str = "limit";
/// Include the stored crops in the answer.
pub const RETURN_IMAGE: &str = "return_image";
/// Also match subjects that are disabled or outside their validity.
pub const INCLUDE_INACTIVE: &str = "include_inactive";
/// The end of the previous page.
pub const CURSOR: &str = "cursor";
/// Display name of a subject or an application.
pub const NAME: &str = "name";
/// All groups of a subject.
pub const GROUPS: &str = "groups";
/// The number of a card.
pub const CARD: &str = "card";
/// True if a subject may enter at all.
pub const ENABLED: &str = "enabled";
/// Unix seconds.
pub const VALID_FROM: &str = "valid_from";
/// Unix seconds.
pub const VALID_UNTIL: &str = "valid_until";
/// Add a group although the faces disagree.
pub const ACCEPT_FACES: &str = "accept_faces";
/// Why the door is unlocked.
pub const REASON: &str = "reason";
/// Time at which a command was issued, Unix seconds.
pub const ISSUED_AT: &str = "issued_at";
/// True for an application with quotas.
pub const TESTING: &str = "testing";
/// Number of requests of each kind.
pub const QUOTA: &str = "quota";
/// Permissions of an application.
pub const ALLOW: &str = "allow";
/// Id or name of an application.
pub const APP: &str = "app";
/// Seconds that the old key of an application stays valid.
pub const GRACE_SECONDS: &str = "grace_seconds";
/// Number of a line of the audit log.
pub const LINE: &str = "line";
/// Number of the last line that the client has.
pub const AFTER: &str = "after";
/// The kind of a line of the audit log.
pub const KIND: &str = "kind";
/// Hash that the line had.
pub const HASH: &str = "hash";
/// Unix seconds.
pub const SINCE: &str = "since";
/// Do everything except the change.
pub const DRY_RUN: &str = "dry_run";

/// An image field; compare has two, and its codes carry their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageField {
    /// The only image.
    Image,
    /// compare: the reference.
    Image1,
    /// compare: the probe.
    Image2,
}

impl ImageField {
    /// Every image field.
    pub const ALL: [ImageField; 3] = [ImageField::Image, ImageField::Image1, ImageField::Image2];

    /// Returns the field's name.
    pub fn name(self) -> &'static str {
        match self {
            ImageField::Image => IMAGE,
            ImageField::Image1 => IMAGE_1,
            ImageField::Image2 => IMAGE_2,
        }
    }
}

impl fmt::Display for ImageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! The fields of the answers, operation by operation, in the order of the contract. New fields of
//! an answer belong here.

use super::permission::Permission;
use super::quota::QuotaKind;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeSet;

/// Geometry of the probe's face.
#[derive(Debug, Serialize)]
pub(crate) struct ProbeFace {
    /// Clockwise turn in degrees that made the face upright.
    pub rotation: u16,
    /// Number of faces.
    pub nface: usize,
    pub bounding_box: BoundingBox,
    pub face_landmark: Landmarks,
    /// Every face, the judged one first; empty if there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faces: Vec<FaceBlock>,
}

/// One of several faces.
#[derive(Debug, Serialize)]
pub(crate) struct FaceBlock {
    pub bounding_box: BoundingBox,
    /// The detector's score, 0–1.
    pub score: f64,
}

/// The computed results: only those that were requested.
#[derive(Debug, Default, Serialize)]
pub(crate) struct CheckBlocks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_quality: Option<ImageQuality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessBlock>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ImageQuality {
    pub blur: bool,
    pub dark: bool,
    pub grayscale: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Attributes {
    pub sunglasses_on: bool,
    pub mask_on: bool,
    pub veil_on: bool,
    pub hat_on: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct LivenessBlock {
    /// True if the face is live.
    pub status: bool,
    /// 0–100, with two decimals.
    pub probability: String,
}

/// A length in the image as sent, in hundredths of a pixel; shown as a decimal string. An integer,
/// so that differences of shown values are exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hundredths(pub i64);

impl Serialize for Hundredths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100);
        serializer.collect_str(&format_args!("{sign}{whole}.{rest:02}"))
    }
}

/// The part of a face's box that lies inside the image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BoundingBox {
    pub top_left_x: Hundredths,
    pub top_left_y: Hundredths,
    pub bottom_right_x: Hundredths,
    pub bottom_right_y: Hundredths,
    /// The difference of the shown values.
    pub width: Hundredths,
    /// The difference of the shown values.
    pub height: Hundredths,
}

/// Left and right are the viewer's, in the upright face. A landmark may be outside the image if the
/// border cuts the face.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Landmarks {
    pub left_eye_x: Hundredths,
    pub left_eye_y: Hundredths,
    pub right_eye_x: Hundredths,
    pub right_eye_y: Hundredths,
    pub nose_x: Hundredths,
    pub nose_y: Hundredths,
    pub mouth_left_x: Hundredths,
    pub mouth_left_y: Hundredths,
    pub mouth_right_x: Hundredths,
    pub mouth_right_y: Hundredths,
}

/// Results of the operations on images.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Found {
    /// verify, compare: 0–100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// verify, compare: true if it is the same person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity_status: Option<bool>,
    /// verify: false if the subject is not active, otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// enroll, verify.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<String>,
    /// search: an empty list means that no subject is similar enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<Match>>,
}

/// A subject that search found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Match {
    /// Its id.
    pub subject_id: String,
    /// 0–100.
    pub similarity: f64,
    /// False if the subject is not active, otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The stored crop, base64, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Result of `enroll_mode`.
#[derive(Debug, Serialize)]
pub(crate) struct EnrolModeBlock {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessBlock>,
    pub subject_id: String,
    pub templates: usize,
}

/// The block `meta`: details of how the answer was made.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    /// Duration of each stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings_ms: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    pub advice: Vec<&'static str>,
    /// The other subject that is enrolled with the face.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<DuplicateOf>,
}

/// Another subject that is enrolled with the face.
#[derive(Debug, Serialize, Deserialize)]
pub struct DuplicateOf {
    /// Its id.
    pub subject_id: String,
    /// 0–100.
    pub similarity: f64,
}

/// The raw scores, for tuning.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Scores {
    pub detection: f64,
    #[serde(flatten)]
    pub quality: Option<QualityScores>,
    #[serde(flatten)]
    pub attributes: Option<AttributeScores>,
    #[serde(flatten)]
    pub liveness: Option<LivenessScores>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct QualityScores {
    pub sharpness: f64,
    pub fineness: f64,
    pub brightness: f64,
    pub chroma: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct AttributeScores {
    pub sunglasses: f64,
    pub mask: f64,
    pub veil: f64,
    pub hat: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct LivenessScores {
    pub liveness: f64,
    pub liveness_raw: f64,
}

/// A subject; absent properties are omitted. Times are Unix seconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct SubjectBlock {
    /// Its id.
    pub subject_id: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its groups, which open doors.
    pub groups: Vec<String>,
    /// Number of its card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// False for a disabled subject.
    pub enabled: bool,
    /// Present only for a subject that an administrator disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub barred: bool,
    /// Start of its validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<f64>,
    /// End of its validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<f64>,
    /// Time of its first enrolment.
    pub created: f64,
    /// Time of its last change.
    pub updated: f64,
    /// Number of its templates.
    pub templates: usize,
}

/// A page of subjects.
#[derive(Debug, Serialize, Deserialize)]
pub struct SubjectPage {
    /// The subjects, by id.
    pub subjects: Vec<SubjectBlock>,
    /// Start of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A deleted subject.
#[derive(Debug, Serialize)]
pub(crate) struct SubjectGone<'a> {
    pub subject_id: &'a str,
}

/// An application; times are Unix seconds, the last use to the day.
#[derive(Debug, Serialize)]
pub(crate) struct ApplicationBlock<'a> {
    pub app_id: &'a str,
    /// Only in the answers to `application/create` and `application/rotate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<&'a str>,
    pub name: &'a str,
    /// `testing` or `live`.
    pub mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaBlock>,
    /// Requests that were done, in both modes.
    pub usage: UsageBlock,
    pub allow: &'a BTreeSet<Permission>,
    pub created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<u64>,
    /// Until when the key before the present one is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_key_until: Option<u64>,
}

/// The usage of a quota, kind by kind.
#[derive(Debug)]
pub(crate) struct QuotaBlock(pub Vec<(QuotaKind, Used)>);

impl Serialize for QuotaBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(kind, used)| (kind.name(), used)))
    }
}

/// A number of requests for each kind.
#[derive(Debug)]
pub(crate) struct UsageBlock(pub Vec<(QuotaKind, u64)>);

impl Serialize for UsageBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(kind, number)| (kind.name(), number)))
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Used {
    pub quota: u64,
    pub used: u64,
    pub left: u64,
}

/// Every application.
#[derive(Debug, Serialize)]
pub(crate) struct ApplicationList<'a> {
    pub applications: Vec<ApplicationBlock<'a>>,
}

/// A revoked application.
#[derive(Debug, Serialize)]
pub(crate) struct ApplicationGone<'a> {
    pub app_id: &'a str,
    pub name: &'a str,
}

/// An unchanged audit log.
#[derive(Debug, Serialize)]
pub(crate) struct AuditWhole {
    pub lines: u64,
    pub first: u64,
    pub last: u64,
    pub head: String,
}

/// The first line of the audit log that was changed.
#[derive(Debug, Serialize)]
pub(crate) struct AuditBroken {
    error_code: &'static str,
    line: u64,
    why: String,
}

impl AuditBroken {
    pub fn new(line: u64, why: String) -> Self {
        Self { error_code: "AUDIT_BROKEN", line, why }
    }
}

/// The state of the door.
#[derive(Debug, Serialize)]
pub(crate) struct DoorBlock {
    pub door: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredths_are_decimal_strings() {
        let shown = |value| serde_json::to_value(Hundredths(value)).unwrap();
        assert_eq!(shown(-5), "-0.05");
        assert_eq!(shown(-250), "-2.50");
        assert_eq!(shown(26_119), "261.19");
    }
}

//! The table of request fields: their operations, types and defaults.
//!
//! It is used to read a request, to refuse unknown fields and wrong types, and to convert the text
//! properties sent with an image's bytes.

use super::field;
use super::mode::Mode;
use super::operation::Operation::{self, *};

/// One field, for some operations.
pub(crate) struct Field {
    /// Its name in the payload.
    pub name: &'static str,
    /// Its type and default.
    pub kind: Kind,
    /// The operations that know it in this form.
    of: &'static [Operation],
}

/// The JSON type of a field and its default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// true or false.
    Bool(Option<bool>),
    /// A number.
    Number(Option<f64>),
    /// A string.
    Text(Option<&'static str>),
    /// A list of strings.
    Texts,
}

impl Kind {
    /// Returns the type in words, as in "`limit` must be …".
    pub fn expected(self) -> &'static str {
        match self {
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::Texts => "a list of strings",
        }
    }
}

const ONE_IMAGE: &[Operation] = &[Enroll, Verify, Search, Liveness];
const CHECKED: &[Operation] = &[Enroll, Verify, Search, Liveness, Compare];
const LIVENESS_ASKED: &[Operation] = &[Enroll, Verify, Compare, EnrollMode];
const LIVENESS_CHOSEN: &[Operation] = &[Enroll, Verify, Search, Compare, EnrollMode];
const LEVELLED: &[Operation] = &[Verify, Compare];
const ABOUT_A_SUBJECT: &[Operation] =
    &[Enroll, EnrollMode, Verify, SubjectGet, SubjectUpdate, SubjectDelete];
const ABOUT_AN_APPLICATION: &[Operation] =
    &[ApplicationGet, ApplicationUpdate, ApplicationRotate, ApplicationRevoke];

const TABLE: &[Field] = &[
    // Known to every operation.
    row(field::REQUEST_ID, Kind::Text(None), &Operation::ALL),
    row(field::APP_ID, Kind::Text(None), &Operation::ALL),
    row(field::API_KEY, Kind::Text(None), &Operation::ALL),
    // The image and the subject.
    row(field::IMAGE, Kind::Text(None), ONE_IMAGE),
    row(field::IMAGE_1, Kind::Text(None), &[Compare]),
    row(field::IMAGE_2, Kind::Text(None), &[Compare]),
    row(field::CAPTURE_TIMEOUT_MS, Kind::Number(Some(5000.0)), CHECKED),
    row(field::TIMEOUT_MS, Kind::Number(Some(15_000.0)), &[EnrollMode]),
    row(field::SUBJECT_ID, Kind::Text(None), ABOUT_A_SUBJECT),
    // Computation and checks.
    row(field::IS_QUALITY, Kind::Bool(Some(true)), CHECKED),
    row(field::IS_ATTRIBUTE, Kind::Bool(Some(true)), CHECKED),
    row(field::IS_LIVENESS, Kind::Bool(Some(true)), &[Search]),
    row(field::IS_LIVENESS, Kind::Bool(Some(false)), LIVENESS_ASKED),
    row(field::VALIDATE_QUALITY, Kind::Bool(Some(false)), CHECKED),
    row(field::VALIDATE_ATTRIBUTE, Kind::Bool(Some(false)), CHECKED),
    row(field::VALIDATE_LIVENESS, Kind::Bool(Some(false)), LIVENESS_CHOSEN),
    row(field::VALIDATE_NFACE, Kind::Bool(Some(false)), CHECKED),
    // The task.
    row(field::MODE, Kind::Text(Some(Mode::Replace.name())), &[Enroll]),
    row(field::THRESHOLD, Kind::Text(Some("moderate")), LEVELLED),
    row(field::THRESHOLD, Kind::Number(Some(82.0)), &[Search]),
    row(field::LIMIT, Kind::Number(Some(1.0)), &[Search]),
    row(field::RETURN_IMAGE, Kind::Bool(Some(false)), &[Search]),
    row(field::INCLUDE_INACTIVE, Kind::Bool(Some(false)), &[Verify, Search]),
    // Subjects.
    row(field::LIMIT, Kind::Number(Some(50.0)), &[SubjectList]),
    row(field::CURSOR, Kind::Text(None), &[SubjectList]),
    row(field::NAME, Kind::Text(None), &[SubjectUpdate, ApplicationCreate]),
    row(field::GROUPS, Kind::Texts, &[SubjectUpdate]),
    row(field::CARD, Kind::Text(None), &[SubjectUpdate]),
    row(field::ENABLED, Kind::Bool(None), &[SubjectUpdate]),
    row(field::VALID_FROM, Kind::Number(None), &[SubjectUpdate]),
    row(field::VALID_UNTIL, Kind::Number(None), &[SubjectUpdate]),
    row(field::ACCEPT_FACES, Kind::Bool(Some(false)), &[SubjectUpdate]),
    // The door.
    row(field::REASON, Kind::Text(None), &[Unlock]),
    row(field::ISSUED_AT, Kind::Number(None), &[Unlock]),
    // Applications.
    row(field::TESTING, Kind::Bool(Some(false)), &[ApplicationCreate]),
    row(field::TESTING, Kind::Bool(None), &[ApplicationUpdate]),
    row(field::QUOTA, Kind::Texts, &[ApplicationCreate, ApplicationUpdate]),
    row(field::ALLOW, Kind::Texts, &[ApplicationCreate, ApplicationUpdate]),
    row(field::APP, Kind::Text(None), ABOUT_AN_APPLICATION),
    row(field::GRACE_SECONDS, Kind::Number(Some(0.0)), &[ApplicationRotate]),
    // The audit log.
    row(field::LINE, Kind::Number(Some(1.0)), &[AuditVerify, AuditList]),
    row(field::AFTER, Kind::Number(None), &[AuditList]),
    row(field::KIND, Kind::Text(None), &[AuditList]),
    row(field::SUBJECT_ID, Kind::Text(None), &[AuditList]),
    row(field::HASH, Kind::Text(None), &[AuditVerify]),
    row(field::SINCE, Kind::Number(Some(0.0)), &[AuditList]),
    row(field::LIMIT, Kind::Number(Some(100.0)), &[AuditList]),
    // Templates of other models.
    row(field::LIMIT, Kind::Number(Some(20.0)), &[GalleryReindex]),
    row(field::CURSOR, Kind::Text(None), &[GalleryReindex]),
    row(field::DRY_RUN, Kind::Bool(Some(false)), &[GalleryReindex]),
];

const fn row(name: &'static str, kind: Kind, of: &'static [Operation]) -> Field {
    Field { name, kind, of }
}

/// Returns the fields that an operation knows, in the order of the table.
pub(crate) fn of(operation: Operation) -> impl Iterator<Item = &'static Field> {
    TABLE.iter().filter(move |field| field.of.contains(&operation))
}

/// Returns the type of a field in an operation.
pub(crate) fn kind(operation: Operation, name: &str) -> Option<Kind> {
    of(operation).find(|field| field.name == name).map(|field| field.kind)
}

/// Checks whether a name is that of a field of some operation, in any case of its letters.
pub(crate) fn is_field(name: &str) -> bool {
    TABLE.iter().any(|field| field.name.eq_ignore_ascii_case(name))
}

/// Checks for a field that identifies the sender. A request with only such fields requests nothing;
/// empty ones are not counted, and they are kept even if there are too many fields.
pub(crate) fn identifies(name: &str) -> bool {
    matches!(name, field::REQUEST_ID | field::APP_ID | field::API_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_operation_knows_a_field_twice() {
        for operation in Operation::ALL {
            let names: Vec<_> = of(operation).map(|field| field.name).collect();
            let unique: BTreeSet<_> = names.iter().collect();
            assert_eq!(names.len(), unique.len(), "{operation:?}");
        }
    }

    #[test]
    fn defaults_of_the_contract() {
        let cases: &[(Operation, &str, Option<Kind>)] = &[
            (Enroll, "is_quality", Some(Kind::Bool(Some(true)))),
            (Verify, "is_attribute", Some(Kind::Bool(Some(true)))),
            (Search, "is_liveness", Some(Kind::Bool(Some(true)))),
            (Enroll, "is_liveness", Some(Kind::Bool(Some(false)))),
            (Verify, "is_liveness", Some(Kind::Bool(Some(false)))),
            (Compare, "is_liveness", Some(Kind::Bool(Some(false)))),
            (Liveness, "is_liveness", None),
            (Liveness, "validate_liveness", None),
            (Enroll, "validate_liveness", Some(Kind::Bool(Some(false)))),
            (Liveness, "validate_nface", Some(Kind::Bool(Some(false)))),
            (Search, "validate_quality", Some(Kind::Bool(Some(false)))),
            (Search, "validate_attribute", Some(Kind::Bool(Some(false)))),
            (Enroll, "mode", Some(Kind::Text(Some("replace")))),
            (Verify, "mode", None),
            (Verify, "threshold", Some(Kind::Text(Some("moderate")))),
            (Compare, "threshold", Some(Kind::Text(Some("moderate")))),
            (Search, "threshold", Some(Kind::Number(Some(82.0)))),
            (Enroll, "threshold", None),
            (Search, "limit", Some(Kind::Number(Some(1.0)))),
            (SubjectList, "limit", Some(Kind::Number(Some(50.0)))),
            (Search, "return_image", Some(Kind::Bool(Some(false)))),
            (Search, "include_inactive", Some(Kind::Bool(Some(false)))),
            (Verify, "include_inactive", Some(Kind::Bool(Some(false)))),
            (Compare, "include_inactive", None),
            (Enroll, "include_inactive", None),
            (Verify, "capture_timeout_ms", Some(Kind::Number(Some(5000.0)))),
            (EnrollMode, "timeout_ms", Some(Kind::Number(Some(15_000.0)))),
            (EnrollMode, "is_liveness", Some(Kind::Bool(Some(false)))),
            (EnrollMode, "image", None),
            (EnrollMode, "is_quality", None),
            (Search, "subject_id", None),
            (Compare, "image", None),
            (Compare, "subject_id", None),
            (Health, "request_id", Some(Kind::Text(None))),
            (Stats, "limit", None),
            (ApplicationRotate, "grace_seconds", Some(Kind::Number(Some(0.0)))),
            (ApplicationCreate, "app", None),
        ];
        for &(operation, name, expected) in cases {
            assert_eq!(kind(operation, name), expected, "{operation:?} {name}");
        }
    }
}

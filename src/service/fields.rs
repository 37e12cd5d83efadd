//! The table of request fields: which operation knows which, of what type, with what default.
//!
//! It feeds the reading of a request, the refusal of unknown fields and wrong types, and the
//! conversion of the text fields that come beside an image's bytes.

use super::operation::Operation::{self, *};

/// One field, for some operations.
pub(super) struct Field {
    /// Its name in the payload.
    pub name: &'static str,
    /// Its type and default.
    pub kind: Kind,
    /// The operations that know it so.
    of: &'static [Operation],
}

/// The JSON type of a field, and what it is when absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
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
    /// The type in words, as in "`limit` must be …".
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

const TABLE: &[Field] = &[
    // Known to every operation.
    field("request_id", Kind::Text(None), &Operation::ALL),
    field("app_id", Kind::Text(None), &Operation::ALL),
    field("api_key", Kind::Text(None), &Operation::ALL),
    // What is asked about.
    field("image", Kind::Text(None), ONE_IMAGE),
    field("image_1", Kind::Text(None), &[Compare]),
    field("image_2", Kind::Text(None), &[Compare]),
    field("capture_timeout_ms", Kind::Number(Some(5000.0)), CHECKED),
    field("timeout_ms", Kind::Number(Some(15_000.0)), &[EnrollMode]),
    field("subject_id", Kind::Text(None), ABOUT_A_SUBJECT),
    // What is computed and checked.
    field("is_quality", Kind::Bool(Some(true)), CHECKED),
    field("is_attribute", Kind::Bool(Some(true)), CHECKED),
    field("is_liveness", Kind::Bool(Some(true)), &[Search]),
    field("is_liveness", Kind::Bool(Some(false)), LIVENESS_ASKED),
    field("validate_quality", Kind::Bool(Some(false)), CHECKED),
    field("validate_attribute", Kind::Bool(Some(false)), CHECKED),
    field("validate_liveness", Kind::Bool(Some(false)), LIVENESS_CHOSEN),
    field("validate_nface", Kind::Bool(Some(false)), CHECKED),
    // What is done with it.
    field("mode", Kind::Text(Some("replace")), &[Enroll]),
    field("threshold", Kind::Text(Some("moderate")), LEVELLED),
    field("threshold", Kind::Number(Some(82.0)), &[Search]),
    field("limit", Kind::Number(Some(1.0)), &[Search]),
    field("return_image", Kind::Bool(Some(false)), &[Search]),
    // Who is enrolled.
    field("limit", Kind::Number(Some(50.0)), &[SubjectList]),
    field("cursor", Kind::Text(None), &[SubjectList]),
    field("name", Kind::Text(None), &[SubjectUpdate, AppCreate]),
    field("groups", Kind::Texts, &[SubjectUpdate]),
    field("card", Kind::Text(None), &[SubjectUpdate]),
    field("enabled", Kind::Bool(None), &[SubjectUpdate]),
    field("valid_from", Kind::Number(None), &[SubjectUpdate]),
    field("valid_until", Kind::Number(None), &[SubjectUpdate]),
    field("accept_faces", Kind::Bool(Some(false)), &[SubjectUpdate]),
    // The door.
    field("reason", Kind::Text(None), &[Unlock]),
    field("issued_at", Kind::Number(None), &[Unlock]),
    // Who may ask.
    field("testing", Kind::Bool(Some(false)), &[AppCreate]),
    field("quota", Kind::Texts, &[AppCreate]),
    field("allow", Kind::Texts, &[AppCreate]),
    field("app", Kind::Text(None), &[AppRevoke, AppRotate]),
    // What was done.
    field("line", Kind::Number(Some(1.0)), &[AuditVerify, AuditList]),
    field("hash", Kind::Text(None), &[AuditVerify]),
    field("since", Kind::Number(Some(0.0)), &[AuditList]),
    field("limit", Kind::Number(Some(100.0)), &[AuditList]),
    // Templates of other models.
    field("limit", Kind::Number(Some(20.0)), &[GalleryReindex]),
    field("cursor", Kind::Text(None), &[GalleryReindex]),
    field("dry_run", Kind::Bool(Some(false)), &[GalleryReindex]),
];

const fn field(name: &'static str, kind: Kind, of: &'static [Operation]) -> Field {
    Field { name, kind, of }
}

/// The fields that an operation knows, in the order of the table.
pub(super) fn of(operation: Operation) -> impl Iterator<Item = &'static Field> {
    TABLE.iter().filter(move |field| field.of.contains(&operation))
}

/// What an operation knows a field as.
pub(super) fn kind(operation: Operation, name: &str) -> Option<Kind> {
    of(operation).find(|field| field.name == name).map(|field| field.kind)
}

/// The fields that say who asks and not what: a request of these alone asks for nothing, empty
/// ones are not counted, and they are kept whatever else is too much.
pub(super) fn identifies(name: &str) -> bool {
    matches!(name, "request_id" | "app_id" | "api_key")
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
        ];
        for &(operation, name, expected) in cases {
            assert_eq!(kind(operation, name), expected, "{operation:?} {name}");
        }
    }
}

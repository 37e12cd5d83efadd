//! Every code with its status and message.

use super::*;

#[test]
fn codes_of_compare_carry_the_number() {
    let why = String::new;
    let refusal = Refusal::ImageMissing { field: ImageField::Image1, why: why() };
    assert_eq!(refusal.code(), "INVALID_PAYLOAD_IMAGE_1_MISSING");
    assert_eq!(refusal.error_field(), Some("image_1"));
    let refusal = Refusal::ImageAbsent(ImageField::Image2);
    assert_eq!(refusal.code(), "MISSING_PAYLOAD_IMAGE_2");
    assert_eq!(refusal.to_string(), "Missing payload: image_2");
    let refusal = Refusal::ImageSize { field: ImageField::Image, why: why() };
    assert_eq!(refusal.code(), "INVALID_PAYLOAD_IMAGE_SIZE");
}

#[test]
fn codes_and_statuses_of_the_contract() {
    let cases: [(Refusal, u16, &str, &str); 21] = [
        (
            Refusal::Duplicate { why: "x".into() },
            409,
            "FACE_ALREADY_ENROLLED",
            "Face already enrolled",
        ),
        (Refusal::Faces { why: "x".into() }, 409, "FACES_DISAGREE", "Faces disagree"),
        (Refusal::payload("x"), 400, "INVALID_PAYLOAD", "Invalid Payload"),
        (
            Refusal::NoFace(Some(ImageField::Image)),
            400,
            "FACE_NOT_DETECTED",
            "Face not detected in image",
        ),
        (
            Refusal::Dependency(Validation::Attribute),
            400,
            "INVALID_PAYLOAD_ATTRIBUTE_VALIDATION_DEPENDENCY",
            "Invalid payload: validate_attribute needs is_attribute",
        ),
        (Refusal::internal("x"), 500, "INTERNAL_SERVER_ERROR", "Internal server error"),
        (Refusal::Busy, 503, "BUSY", "Busy"),
        (
            Refusal::Camera { field: None, why: "x".into() },
            503,
            "CAMERA_UNAVAILABLE",
            "Camera unavailable",
        ),
        (Refusal::Unauthorized, 401, "UNAUTHORIZED", "Authorization failed"),
        (
            Refusal::Quota(QuotaKind::Enroll),
            403,
            "INSUFFICIENT_QUOTA_ENROLL",
            "Insufficient enroll quota",
        ),
        (
            Refusal::Quota(QuotaKind::Verify),
            403,
            "INSUFFICIENT_QUOTA_VERIFY",
            "Insufficient verify quota",
        ),
        (
            Refusal::Quota(QuotaKind::Search),
            403,
            "INSUFFICIENT_QUOTA_SEARCH",
            "Insufficient search quota",
        ),
        (
            Refusal::Quota(QuotaKind::Liveness),
            403,
            "INSUFFICIENT_QUOTA_LIVENESS",
            "Insufficient liveness quota",
        ),
        (Refusal::Permission { why: "x".into() }, 403, "PERMISSION_DENIED", "Permission denied"),
        (Refusal::InsecureBroker { why: "x".into() }, 403, "INSECURE_BROKER", "Insecure broker"),
        (Refusal::Stale { why: "x".into() }, 403, "COMMAND_NOT_FRESH", "Command not fresh"),
        (Refusal::SubjectAbsent, 400, "MISSING_PAYLOAD_SUBJECT_ID", "Missing payload: subject_id"),
        (
            Refusal::SubjectMissing,
            400,
            "INVALID_PAYLOAD_SUBJECT_ID_MISSING",
            "Invalid payload: subject_id is empty",
        ),
        (
            Refusal::Level,
            400,
            "INVALID_PAYLOAD_THRESHOLD_MISSING",
            "Invalid payload: threshold must be basic, moderate or high",
        ),
        (
            Refusal::Threshold,
            400,
            "INVALID_PAYLOAD_THRESHOLD",
            "Invalid payload: threshold must be between 0 and 100",
        ),
        (
            Refusal::Limit(10),
            400,
            "INVALID_PAYLOAD_LIMIT",
            "Invalid payload: limit must be a whole number from 1 to 10",
        ),
    ];
    for (refusal, status, code, message) in cases {
        assert_eq!(refusal.status(), status, "{code}");
        assert_eq!(refusal.code(), code);
        assert_eq!(refusal.to_string(), message);
    }
}

#[test]
fn internal_errors_are_not_shown_to_the_client() {
    let refusal = Refusal::internal("/secret/path is full");
    assert_eq!(refusal.reason(), None);
    assert!(!refusal.to_string().contains("secret"));
}

#[test]
fn an_unknown_operation_lists_the_known_ones() {
    let refusal = Refusal::unknown_operation("unlock");
    assert_eq!(refusal.code(), "INVALID_PAYLOAD");
    assert!(refusal.reason().unwrap().contains("subject/list"));
    assert!(Refusal::unknown_operation(&"x".repeat(10_000)).reason().unwrap().len() < 400);
}

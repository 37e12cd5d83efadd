//! Tests every fault of a request in the order of the contract, every default and every limit.

use super::*;
use crate::contract::body::Body;
use crate::contract::change::Change;
use crate::contract::field::ImageField;
use crate::contract::image::Source;
use crate::picture::source::TooLarge;
use serde_json::{Value, json};

/// Base64 of "hi": validation accepts it as an image.
const IMAGE: &str = "aGk=";

fn body(fields: &Value) -> Body {
    Body::Json(fields.to_string().into_bytes())
}

fn image_body(bytes: &[u8], fields: &[(&str, &str)]) -> Body {
    let fields = fields.iter().map(|&(name, text)| (name.into(), text.into())).collect();
    Body::Image { bytes: bytes.to_vec(), fields }
}

/// Validates with only `anna` enrolled.
fn judged(operation: Operation, body: &Body) -> Result<Valid, Refusal> {
    let limits = Limits { max_bytes: 100 };
    let context = Context { enrolled: &|id| id == "anna", limits: &limits };
    validate(operation, &Raw::read(Some(operation), body), &context)
}

fn valid(operation: Operation, fields: Value) -> Valid {
    judged(operation, &body(&fields)).unwrap_or_else(|refusal| panic!("{fields}: {refusal:?}"))
}

fn face(operation: Operation, fields: Value) -> FaceRequest {
    match valid(operation, fields) {
        Valid::Face(request) => request,
        other => panic!("{other:?}"),
    }
}

/// Returns the code and the faulty field.
fn refused(operation: Operation, fields: Value) -> (String, Option<String>) {
    match judged(operation, &body(&fields)) {
        Ok(valid) => panic!("{fields} passed as {valid:?}"),
        Err(refusal) => (refusal.code(), refusal.error_field().map(str::to_owned)),
    }
}

fn code(operation: Operation, fields: Value) -> String {
    refused(operation, fields).0
}

use Operation::*;

#[test]
fn defaults_per_operation() {
    let off = Checks {
        is_quality: true,
        is_attribute: true,
        is_liveness: false,
        validate_quality: false,
        validate_attribute: false,
        validate_liveness: false,
        validate_nface: false,
    };
    let enroll = face(Enroll, json!({"image": IMAGE}));
    assert_eq!(enroll.checks, off);
    assert_eq!(enroll.task, Task::Enroll { subject_id: None, mode: Mode::Replace });
    assert_eq!(enroll.probe.source, Source::Bytes(b"hi".to_vec()));
    assert_eq!(enroll.reference, None);

    let verify = face(Verify, json!({"image": IMAGE, "subject_id": "anna"}));
    assert_eq!(verify.checks, off);
    assert_eq!(
        verify.task,
        Task::Verify { subject_id: "anna".into(), level: Level::Moderate, include_inactive: false }
    );

    let search = face(Search, json!({"image": IMAGE}));
    assert_eq!(search.checks, Checks { is_liveness: true, ..off });
    assert_eq!(
        search.task,
        Task::Search { limit: 1, threshold: 82.0, return_image: false, include_inactive: false }
    );

    let compare = face(Compare, json!({"image_1": IMAGE, "image_2": IMAGE}));
    assert_eq!(compare.checks, off);
    assert_eq!(compare.task, Task::Compare { level: Level::Moderate });
    assert_eq!(compare.probe.field, ImageField::Image2);
    assert_eq!(compare.reference.unwrap().field, ImageField::Image1);

    let liveness = face(Liveness, json!({"image": IMAGE}));
    assert_eq!(liveness.checks, Checks { is_liveness: true, ..off });
    assert_eq!(liveness.task, Task::Liveness);

    let list = valid(SubjectList, json!({}));
    assert_eq!(list, Valid::SubjectList { limit: 50, cursor: None });
}

#[test]
fn null_is_absent() {
    let all = json!({
        "image": IMAGE, "subject_id": null, "mode": null, "is_quality": null,
        "is_attribute": null, "is_liveness": null, "validate_quality": null,
        "validate_attribute": null, "validate_liveness": null, "validate_nface": null,
        "request_id": null, "app_id": null, "api_key": null
    });
    assert_eq!(face(Enroll, all), face(Enroll, json!({"image": IMAGE})));
    let all = json!({"image": IMAGE, "limit": null, "threshold": null, "return_image": null});
    assert_eq!(face(Search, all), face(Search, json!({"image": IMAGE})));
}

#[test]
fn step_2_payloads_that_are_not_a_request() {
    for text in ["", "{", "[]", "7", "null", "\"x\"", "{} x", r#"{"image": 1, "image": 1}"#] {
        let refusal = judged(Search, &Body::Json(text.into())).unwrap_err();
        assert_eq!(refusal.code(), "INVALID_PAYLOAD", "{text}");
        assert_eq!(refusal.to_string(), "Invalid Payload");
        assert!(refusal.reason().is_some_and(|why| !why.is_empty()));
    }
    for fields in [
        json!({}),
        json!({"image": null}),
        json!({"request_id": "r", "app_id": "a", "api_key": "k"}),
        json!({"image": "", "subject_id": ""}),
    ] {
        assert_eq!(refused(Enroll, fields), ("INVALID_PAYLOAD".into(), None));
    }
    // Empty fields that identify the sender are not counted.
    let fields = json!({"image": "", "request_id": "", "app_id": "", "api_key": ""});
    assert_eq!(code(Enroll, fields), "INVALID_PAYLOAD_IMAGE_MISSING");
}

#[test]
fn step_2_fields_that_are_unknown_or_of_another_type() {
    let cases = [
        (Search, json!({"image": IMAGE, "limt": 1}), "limt"),
        (Search, json!({"image": IMAGE, "subject_id": "anna"}), "subject_id"),
        (Search, json!({"image": IMAGE, "limt": null}), "limt"),
        (Verify, json!({"image": IMAGE, "subject_id": "anna", "mode": "add"}), "mode"),
        (Liveness, json!({"image": IMAGE, "is_liveness": true}), "is_liveness"),
        (Liveness, json!({"image": IMAGE, "validate_liveness": true}), "validate_liveness"),
        (Compare, json!({"image": IMAGE}), "image"),
        (Search, json!({"image": 7}), "image"),
        (Search, json!({"image": [IMAGE]}), "image"),
        (Search, json!({"image": IMAGE, "threshold": "82"}), "threshold"),
        (Search, json!({"image": IMAGE, "limit": true}), "limit"),
        (Search, json!({"image": IMAGE, "is_quality": "true"}), "is_quality"),
        (Search, json!({"image": IMAGE, "is_quality": 1}), "is_quality"),
        (Search, json!({"image": IMAGE, "request_id": 7}), "request_id"),
        (Search, json!({"image": IMAGE, "request_id": "x".repeat(129)}), "request_id"),
        (Verify, json!({"image": IMAGE, "subject_id": "anna", "threshold": 82}), "threshold"),
        (Verify, json!({"image": IMAGE, "subject_id": 7}), "subject_id"),
        (Enroll, json!({"image": IMAGE, "mode": "append"}), "mode"),
        (Enroll, json!({"image": IMAGE, "mode": ""}), "mode"),
        (SubjectUpdate, json!({"subject_id": "anna", "groups": "staff"}), "groups"),
        (SubjectUpdate, json!({"subject_id": "anna", "groups": [1]}), "groups"),
        (SubjectList, json!({"cursor": {}}), "cursor"),
        (Health, json!({"limit": 1}), "limit"),
    ];
    for (operation, fields, field) in cases {
        let expected = ("INVALID_PAYLOAD".to_owned(), Some(field.to_owned()));
        assert_eq!(refused(operation, fields.clone()), expected, "{operation:?} {fields}");
    }
}

#[test]
fn step_3_images() {
    let cases = [
        (json!({"image": null, "is_quality": true}), "MISSING_PAYLOAD_IMAGE"),
        (json!({"is_quality": true}), "MISSING_PAYLOAD_IMAGE"),
        (json!({"image": ""}), "INVALID_PAYLOAD_IMAGE_MISSING"),
        (json!({"image": "not base64!"}), "INVALID_PAYLOAD_IMAGE_MISSING"),
        (json!({"image": "ftp://host/a.jpg"}), "INVALID_PAYLOAD_IMAGE_MISSING"),
    ];
    for (fields, expected) in cases {
        assert_eq!(refused(Search, fields), (expected.into(), Some("image".into())));
    }
    let cases = [
        (json!({"image_2": IMAGE}), "MISSING_PAYLOAD_IMAGE_1", "image_1"),
        (json!({"image_1": IMAGE}), "MISSING_PAYLOAD_IMAGE_2", "image_2"),
        (json!({"image_1": "", "image_2": IMAGE}), "INVALID_PAYLOAD_IMAGE_1_MISSING", "image_1"),
        (json!({"image_1": IMAGE, "image_2": "!"}), "INVALID_PAYLOAD_IMAGE_2_MISSING", "image_2"),
    ];
    for (fields, expected, field) in cases {
        assert_eq!(refused(Compare, fields), (expected.into(), Some(field.into())));
    }
}

#[test]
fn step_3_forms_of_images() {
    let source = |image: &str| face(Search, json!({"image": image})).probe.source;
    assert_eq!(source("data:image/jpeg;base64,aGk="), Source::Bytes(b"hi".to_vec()));
    assert_eq!(source("https://host/a.jpg"), Source::Url("https://host/a.jpg".into()));
    assert_eq!(source("camera:"), Source::Camera(Duration::from_millis(5000)));
    // Refused in step 8, not here.
    let large = TooLarge { bytes: 102, limit: 100 };
    assert_eq!(source(&"AAAA".repeat(34)), Source::TooLarge(large));
}

#[test]
fn step_4_subjects() {
    let cases = [
        (Verify, json!({"image": IMAGE}), "MISSING_PAYLOAD_SUBJECT_ID"),
        (Verify, json!({"image": IMAGE, "subject_id": ""}), "INVALID_PAYLOAD_SUBJECT_ID_MISSING"),
        (Verify, json!({"image": IMAGE, "subject_id": null}), "INVALID_PAYLOAD_SUBJECT_ID_MISSING"),
        (Verify, json!({"image": IMAGE, "subject_id": "bob"}), "INVALID_PAYLOAD_SUBJECT_ID"),
        (Verify, json!({"image": IMAGE, "subject_id": "a b"}), "INVALID_PAYLOAD_SUBJECT_ID"),
        (Enroll, json!({"image": IMAGE, "subject_id": ""}), "INVALID_PAYLOAD_SUBJECT_ID_MISSING"),
        (Enroll, json!({"image": IMAGE, "subject_id": "ä"}), "INVALID_PAYLOAD_SUBJECT_ID"),
        (
            Enroll,
            json!({"image": IMAGE, "subject_id": "x".repeat(129)}),
            "INVALID_PAYLOAD_SUBJECT_ID",
        ),
        (SubjectGet, json!({"subject_id": "bob"}), "INVALID_PAYLOAD_SUBJECT_ID"),
        (SubjectDelete, json!({"subject_id": ""}), "INVALID_PAYLOAD_SUBJECT_ID_MISSING"),
        (SubjectUpdate, json!({"name": "Anna"}), "MISSING_PAYLOAD_SUBJECT_ID"),
    ];
    for (operation, fields, expected) in cases {
        assert_eq!(refused(operation, fields), (expected.into(), Some("subject_id".into())));
    }
    for id in ["bob", "A.b_c-d:e@f", &"x".repeat(128)] {
        face(Enroll, json!({"image": IMAGE, "subject_id": id}));
    }
}

#[test]
fn step_5_dependencies() {
    for operation in [Enroll, Search] {
        for check in ["quality", "attribute", "liveness"] {
            let (is, validate) = (format!("is_{check}"), format!("validate_{check}"));
            let mut fields = json!({"image": IMAGE});
            fields[&is] = false.into();
            fields[&validate] = true.into();
            let code =
                format!("INVALID_PAYLOAD_{}_VALIDATION_DEPENDENCY", check.to_ascii_uppercase());
            assert_eq!(refused(operation, fields.clone()), (code, Some(validate)));
            fields[&is] = true.into();
            face(operation, fields);
        }
    }
}

#[test]
fn step_6_thresholds_and_limits() {
    let verify =
        |threshold: &str| json!({"image": IMAGE, "subject_id": "anna", "threshold": threshold});
    for threshold in ["", "82", "Basic", "extreme"] {
        assert_eq!(code(Verify, verify(threshold)), "INVALID_PAYLOAD_THRESHOLD_MISSING");
    }
    for (name, level) in
        [("basic", Level::Basic), ("moderate", Level::Moderate), ("high", Level::High)]
    {
        let task = Task::Verify { subject_id: "anna".into(), level, include_inactive: false };
        assert_eq!(face(Verify, verify(name)).task, task);
    }
    for threshold in [json!(-0.1), json!(100.1), json!(1e300)] {
        let fields = json!({"image": IMAGE, "threshold": threshold});
        assert_eq!(code(Search, fields), "INVALID_PAYLOAD_THRESHOLD");
    }
    for limit in [json!(0), json!(11), json!(1.5), json!(-1), json!(1e300)] {
        assert_eq!(code(Search, json!({"image": IMAGE, "limit": limit})), "INVALID_PAYLOAD_LIMIT");
    }
    for limit in [json!(0), json!(101), json!(0.5)] {
        assert_eq!(code(SubjectList, json!({"limit": limit})), "INVALID_PAYLOAD_LIMIT");
    }
    let fields = json!({"image": IMAGE, "limit": 2.0, "threshold": 0, "return_image": true});
    let task =
        Task::Search { limit: 2, threshold: 0.0, return_image: true, include_inactive: false };
    assert_eq!(face(Search, fields).task, task);
}

/// A request with a fault in each step from 2 on; fixing one shows the next.
#[test]
fn the_earliest_failing_step_decides_the_refusal() {
    let mut fields = json!({
        "surprise": 1, "subject_id": "bob", "is_quality": false, "validate_quality": true,
        "threshold": "none"
    });
    let mut expect = |code_expected: &str, name: &str, mended: Value| {
        assert_eq!(code(Verify, fields.clone()), code_expected);
        match mended {
            Value::Null => fields.as_object_mut().unwrap().remove(name).map(drop),
            value => fields.as_object_mut().unwrap().insert(name.into(), value).map(drop),
        };
    };
    expect("INVALID_PAYLOAD", "surprise", Value::Null);
    expect("MISSING_PAYLOAD_IMAGE", "image", "!".into());
    expect("INVALID_PAYLOAD_IMAGE_MISSING", "image", IMAGE.into());
    expect("INVALID_PAYLOAD_SUBJECT_ID", "subject_id", "anna".into());
    expect("INVALID_PAYLOAD_QUALITY_VALIDATION_DEPENDENCY", "is_quality", true.into());
    expect("INVALID_PAYLOAD_THRESHOLD_MISSING", "threshold", "high".into());
    face(Verify, fields);
    // Within step 6: threshold before limit.
    let both = json!({"image": IMAGE, "threshold": 101, "limit": 0});
    assert_eq!(code(Search, both), "INVALID_PAYLOAD_THRESHOLD");
}

#[test]
fn the_payload_itself_can_be_the_image() {
    let fields = [("limit", "3"), ("threshold", "75.5"), ("return_image", "true")];
    let Ok(Valid::Face(request)) = judged(Search, &image_body(b"hi", &fields)) else {
        panic!("refused")
    };
    assert_eq!(request.probe.source, Source::Bytes(b"hi".to_vec()));
    assert_eq!(
        request.task,
        Task::Search { limit: 3, threshold: 75.5, return_image: true, include_inactive: false }
    );

    let large = judged(Search, &image_body(&[0; 101], &[]));
    let Ok(Valid::Face(FaceRequest { probe, .. })) = large else { panic!("{large:?}") };
    assert_eq!(probe.source, Source::TooLarge(TooLarge { bytes: 101, limit: 100 }));

    let code = |operation, bytes: &[u8], fields: &[(&str, &str)]| {
        judged(operation, &image_body(bytes, fields)).unwrap_err().code()
    };
    assert_eq!(code(Search, b"hi", &[("image", IMAGE)]), "INVALID_PAYLOAD");
    assert_eq!(code(Search, b"hi", &[("limit", "many")]), "INVALID_PAYLOAD");
    assert_eq!(code(Search, b"hi", &[("is_quality", "yes")]), "INVALID_PAYLOAD");
    assert_eq!(code(Search, b"hi", &[("limit", "1"), ("limit", "1")]), "INVALID_PAYLOAD");
    assert_eq!(code(Compare, b"hi", &[]), "INVALID_PAYLOAD");
    assert_eq!(code(SubjectList, b"hi", &[]), "INVALID_PAYLOAD");
    assert_eq!(code(Search, b"", &[]), "INVALID_PAYLOAD");
    assert_eq!(code(Verify, b"", &[("subject_id", "anna")]), "MISSING_PAYLOAD_IMAGE");
    assert_eq!(judged(Health, &image_body(b"", &[])), Ok(Valid::Health));
}

#[test]
fn operations_without_required_fields_accept_an_empty_payload() {
    for text in ["", "{}", r#"{"request_id": "r"}"#] {
        let judged = |operation| judged(operation, &Body::Json(text.into()));
        assert_eq!(judged(Health), Ok(Valid::Health));
        assert_eq!(judged(Stats), Ok(Valid::Stats));
        assert_eq!(judged(SubjectList), Ok(Valid::SubjectList { limit: 50, cursor: None }));
        assert_eq!(judged(SubjectGet).unwrap_err().code(), "INVALID_PAYLOAD");
    }
}

#[test]
fn changes_of_a_subject() {
    let change = |fields: Value| {
        let mut all = json!({"subject_id": "anna"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        match valid(SubjectUpdate, all) {
            Valid::SubjectUpdate { id, change, accept_faces: false } if id == "anna" => change,
            other => panic!("{other:?}"),
        }
    };
    let none = Change::default;
    let name = Some(Some("Anna Ä.".to_owned()));
    assert_eq!(change(json!({"name": "Anna Ä."})), Change { name, ..none() });
    assert_eq!(change(json!({"name": ""})), Change { name: Some(None), ..none() });
    let card = Some(Some("007".to_owned()));
    assert_eq!(change(json!({"card": "007"})), Change { card, ..none() });
    let groups = Some(vec!["b".to_owned(), "a".to_owned()]);
    let given = json!({"groups": ["b", "a", "b"]});
    assert_eq!(change(given), Change { groups, ..none() });
    let groups = Some(Vec::new());
    assert_eq!(change(json!({"groups": []})), Change { groups, ..none() });
    assert_eq!(change(json!({"enabled": false})), Change { enabled: Some(false), ..none() });
    let times = Change { valid_from: Some(Some(1.5)), valid_until: Some(None), ..none() };
    assert_eq!(change(json!({"valid_from": 1.5, "valid_until": 0})), times);
}

#[test]
fn changes_out_of_range_are_refused() {
    let cases = [
        (json!({"subject_id": "anna"}), None),
        (json!({"subject_id": "anna", "name": null}), None),
        (json!({"subject_id": "anna", "name": "", "card": ""}), None),
        (json!({"subject_id": "anna", "name": "x".repeat(129)}), Some("name")),
        (json!({"subject_id": "anna", "name": "a\nb"}), Some("name")),
        (json!({"subject_id": "anna", "card": "\u{0}"}), Some("card")),
        (json!({"subject_id": "anna", "groups": ["a b"]}), Some("groups")),
        (json!({"subject_id": "anna", "groups": vec!["g"; 65]}), Some("groups")),
        (json!({"subject_id": "anna", "valid_from": -1}), Some("valid_from")),
        (json!({"subject_id": "anna", "valid_until": 1e15}), Some("valid_until")),
        (json!({"subject_id": "anna", "valid_from": 2, "valid_until": 1}), Some("valid_until")),
    ];
    for (fields, field) in cases {
        let expected = ("INVALID_PAYLOAD".to_owned(), field.map(str::to_owned));
        assert_eq!(refused(SubjectUpdate, fields.clone()), expected, "{fields}");
    }
}

#[test]
fn sources_print_no_content() {
    let image = |source| Image { field: ImageField::Image, source };
    let bytes = format!("{:?}", image(Source::Bytes(vec![42; 3])));
    assert!(!bytes.contains("42") && bytes.contains("Bytes(3)"), "{bytes}");
    assert!(!format!("{:?}", Source::Url("http://user:key@h".into())).contains("key"));
}

#[test]
fn poses_of_enroll_mode() {
    let poses = |fields| match valid(EnrollMode, fields) {
        Valid::Poses(request) => request,
        other => panic!("{other:?}"),
    };
    let bare = poses(json!({}));
    assert_eq!((bare.subject_id, bare.timeout), (None, Duration::from_secs(15)));
    assert!(!bare.is_liveness && !bare.validate_liveness);
    let full = json!({
        "subject_id": "anna", "timeout_ms": 1000, "is_liveness": true, "validate_liveness": true
    });
    let full = poses(full);
    assert_eq!((full.subject_id.as_deref(), full.timeout.as_millis()), (Some("anna"), 1000));
    assert!(full.is_liveness && full.validate_liveness);
    let field = |name: &str| Some(name.to_owned());
    for (fields, code, blamed) in [
        (json!({"timeout_ms": 999}), "INVALID_PAYLOAD", field("timeout_ms")),
        (json!({"timeout_ms": 60_001}), "INVALID_PAYLOAD", field("timeout_ms")),
        (json!({"image": "camera:"}), "INVALID_PAYLOAD", field("image")),
        (json!({"subject_id": "a b"}), "INVALID_PAYLOAD_SUBJECT_ID", field("subject_id")),
        (
            json!({"validate_liveness": true}),
            "INVALID_PAYLOAD_LIVENESS_VALIDATION_DEPENDENCY",
            field("validate_liveness"),
        ),
    ] {
        assert_eq!(refused(EnrollMode, fields.clone()), (code.to_owned(), blamed), "{fields}");
    }
}

//! Compares the exact JSON of each kind of answer with the files in `tests/golden/`: one sequence
//! of requests to a terminal over its embedded broker.

use crate::support::client::Client;
use crate::support::terminal::Terminal;
use crate::support::{golden, pictures};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Files that `contract_codes.rs`, `contract_applications.rs` and `contract_quotas.rs` check: these
/// answers need more than one request.
const CHECKED_ELSEWHERE: [&str; 13] = [
    "application_create",
    "application_get",
    "application_list",
    "application_revoke",
    "application_rotate",
    "authorization_failed",
    "busy",
    "insufficient_quota_liveness",
    "insufficient_quota_search",
    "internal_server_error",
    "invalid_payload_image_timeout",
    "permission_denied",
    "permission_denied_update",
];

/// The default and `admin`: one step changes groups.
const PERMISSIONS: &str =
    r#"permissions = ["enroll", "verify", "search", "liveness", "compare", "subject", "admin"]"#;

/// Valid base64 that is not a picture.
const IMAGE: &str = "aGVsbG8=";

/// Returns one request for each kind of answer: case, operation and body.
fn walk() -> Vec<(&'static str, &'static str, Value)> {
    let file = |picture: &image::RgbImage| pictures::base64(&pictures::jpeg(picture));
    let (obama, biden) = (pictures::face("obama"), pictures::face("biden"));
    let blurred = file(&pictures::blurred(&pictures::scaled("obama")));
    let two = file(&pictures::two_people());
    let both = file(&pictures::blurred(&pictures::two_people()));
    let checked = |operation_fields: Value, image: &str| {
        let mut body = json!({"image": image, "validate_quality": true, "validate_nface": true});
        body.as_object_mut().unwrap().extend(operation_fields.as_object().unwrap().clone());
        body
    };
    let anna = json!({"subject_id": "anna"});
    let verify = |image: &str| json!({"image": image, "subject_id": "anna"});
    let search = |name: &str, value: Value| {
        let mut body = json!({"image": IMAGE});
        body[name] = value;
        body
    };
    vec![
        ("search_empty_gallery", "search", json!({"image": obama})),
        ("enroll", "enroll", json!({"image": obama, "subject_id": "anna", "request_id": "r-1"})),
        ("enroll_another", "enroll", json!({"image": biden, "subject_id": "joe"})),
        ("enroll_fail_on_4", "enroll", checked(anna.clone(), &blurred)),
        ("enroll_fail_on_8", "enroll", checked(anna.clone(), &two)),
        ("enroll_fail_on_12", "enroll", checked(anna.clone(), &both)),
        ("verify", "verify", verify(&obama)),
        ("verify_fail_on_16", "verify", verify(&biden)),
        ("search", "search", json!({"image": obama})),
        ("search_fail_on_8", "search", checked(json!({}), &two)),
        (
            "search_without_blocks",
            "search",
            json!({
                "image": obama, "is_quality": false, "is_attribute": false, "is_liveness": false
            }),
        ),
        (
            "search_return_image",
            "search",
            json!({"image": obama, "limit": 2, "threshold": 0, "return_image": true}),
        ),
        ("compare", "compare", json!({"image_1": obama, "image_2": obama})),
        ("compare_fail_on_16", "compare", json!({"image_1": biden, "image_2": obama})),
        (
            "subject_update",
            "subject/update",
            json!({
                "subject_id": "anna", "name": "Anna", "groups": ["staff"], "card": "007",
                "enabled": false, "valid_from": 1_700_000_000, "valid_until": 1_900_000_000
            }),
        ),
        ("verify_subject_not_active", "verify", verify(&obama)),
        ("search_include_inactive", "search", json!({"image": obama, "include_inactive": true})),
        ("subject_get", "subject/get", anna.clone()),
        ("subject_list", "subject/list", json!({})),
        ("subject_list_page", "subject/list", json!({"limit": 1})),
        ("subject_delete", "subject/delete", anna),
        ("enroll_without_id", "enroll", json!({"image": biden})),
        ("stats", "stats", json!({})),
        ("health", "health", json!({})),
        ("invalid_payload_nothing", "search", json!({})),
        ("invalid_payload_operation", "open_sesame", json!({"image": IMAGE})),
        ("invalid_payload_unknown_field", "search", search("limt", json!(1))),
        ("invalid_payload_type", "search", search("threshold", json!("82"))),
        ("invalid_payload_mode", "enroll", search("mode", json!("append"))),
        ("liveness", "liveness", json!({"image": obama})),
        ("missing_payload_image", "search", json!({"limit": 1})),
        ("missing_payload_image_2", "compare", json!({"image_1": IMAGE})),
        ("invalid_payload_image_missing", "search", json!({"image": "?"})),
        ("missing_payload_subject_id", "verify", json!({"image": IMAGE})),
        ("invalid_payload_subject_id_missing", "verify", json!({"image": IMAGE, "subject_id": ""})),
        ("invalid_payload_subject_id", "enroll", json!({"image": IMAGE, "subject_id": "a b"})),
        ("invalid_payload_subject_id_unknown", "verify", verify(IMAGE)),
        (
            "invalid_payload_quality_validation_dependency",
            "search",
            json!({"image": IMAGE, "is_quality": false, "validate_quality": true}),
        ),
        (
            "invalid_payload_threshold_missing",
            "compare",
            json!({"image_1": IMAGE, "image_2": IMAGE, "threshold": "82"}),
        ),
        ("invalid_payload_threshold", "search", search("threshold", json!(101))),
        ("invalid_payload_limit", "search", search("limit", json!(0))),
        (
            "invalid_payload_image_size",
            "search",
            json!({"image": pictures::base64(&vec![0; (5 << 20) + 1])}),
        ),
        ("invalid_payload_image_format", "search", search("image", json!(IMAGE))),
        (
            "invalid_payload_image_format_gif",
            "search",
            json!({"image": pictures::base64(pictures::GIF)}),
        ),
        (
            "invalid_payload_image_format_pixels",
            "search",
            json!({"image": pictures::base64(&pictures::bomb())}),
        ),
        (
            "invalid_payload_image_format_url",
            "search",
            json!({"image": "http://192.168.1.1/a.jpg"}),
        ),
        ("camera_unavailable", "search", json!({"image": "camera:"})),
        ("face_not_detected", "search", json!({"image": file(&pictures::flat())})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_matches_its_golden_file() {
    let terminal = Terminal::start(PERMISSIONS);
    let mut client = Client::connect(&terminal).await;
    let mut cases: BTreeSet<String> = CHECKED_ELSEWHERE.map(String::from).into();
    for (case, operation, body) in walk() {
        golden::check(case, &client.ask(operation, &body).await);
        assert!(cases.insert(case.to_owned()), "{case} is listed twice");
    }
    let answer = client.ask_bytes("search", b"{", Some("application/json"), &[]).await;
    golden::check("invalid_payload_no_json", &answer);
    cases.insert("invalid_payload_no_json".to_owned());

    let files = std::fs::read_dir(golden::folder()).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").unwrap().to_owned()
    });
    assert_eq!(files.collect::<BTreeSet<_>>(), cases, "a file without a case");
}

/// The command line prints the same JSON with a daemon and without one.
#[test]
fn command_line_prints_the_same_answers() {
    let mut terminal = Terminal::start("");
    let [obama, biden] = ["obama", "biden"].map(|name| {
        let path = terminal.file(&format!("{name}.jpg"));
        std::fs::write(&path, pictures::jpeg(&pictures::scaled(name))).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let (obama, biden) = (obama.as_str(), biden.as_str());
    let enroll = ["enroll", obama, "--subject-id", "anna", "--field", "request_id=r-1"];
    for daemon in [true, false] {
        golden::check("enroll", &terminal.json(&enroll));
        golden::check("verify", &terminal.json(&["verify", obama, "--subject-id", "anna"]));
        let other = terminal.json(&["verify", biden, "--subject-id", "anna"]);
        golden::check("verify_fail_on_16", &other);
        golden::check("search", &terminal.json(&["search", obama]));
        golden::check("compare", &terminal.json(&["compare", obama, obama]));
        if daemon {
            assert!(terminal.stop());
        }
    }
}

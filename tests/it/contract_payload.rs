//! Tests steps 2 to 6 of the contract: payloads that are refused before any picture is decoded.
//! Uses the real daemon over its embedded broker.

use crate::support::client::{Client, verdict};
use crate::support::pictures;
use crate::support::terminal::Terminal;
use serde_json::{Value, json};

/// Valid base64 that is not a picture: steps 2 to 6 do not decode it.
const IMAGE: &str = "aGVsbG8=";

/// Starts a daemon with one subject, `anna`.
async fn start() -> (Terminal, Client) {
    let terminal = Terminal::start("");
    let mut client = Client::connect(&terminal).await;
    let body = json!({"image": pictures::face("obama"), "subject_id": "anna"});
    assert_eq!(client.ask("enroll", &body).await["status"], 200);
    (terminal, client)
}

/// Checks that each request is refused with this code and field (empty if none) and that the
/// gallery does not change.
async fn all_refused(client: &mut Client, cases: &[(&str, Value, &str, &str)]) {
    let before = client.gallery().await;
    for (operation, body, code, field) in cases {
        let answer = client.ask(operation, body).await;
        assert_eq!(verdict(&answer), (400, *code, *field), "{operation} {body}");
    }
    assert_eq!(client.gallery().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn step_2_payloads_that_are_not_requests() {
    let (_terminal, mut client) = start().await;
    let before = client.gallery().await;
    let deep = format!(r#"{{"image": {}"#, "[".repeat(100_000));
    let payloads: [&[u8]; 17] = [
        b"",
        b" \n",
        b"{",
        b"nonsense",
        b"7",
        b"null",
        b"\"text\"",
        b"[]",
        b"[{\"image\": \"aGVsbG8=\"}]",
        b"{}",
        b"{} trailing",
        b"{\"image\": null}",
        b"{\"image\": \"aGVsbG8=\", \"image\": \"aGVsbG8=\"}",
        b"{\"image\": \"aGVsbG8=\", \"limit\": 1e999}",
        b"{\"image\": \"\xFF\xFE\"}",
        b"\xFF\xD8\xFF\xE0",
        deep.as_bytes(),
    ];
    for payload in payloads {
        let answer = client.ask_bytes("search", payload, Some("application/json"), &[]).await;
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
        assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD", ""), "{shown}");
        assert_eq!(answer["message"], "Invalid Payload", "{shown}");
        assert!(answer["data"]["message"].as_str().is_some_and(|why| !why.is_empty()), "{shown}");
    }
    // No content type, and neither a picture nor JSON.
    let answer = client.ask_bytes("search", b"{", None, &[]).await;
    assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD", ""));
    let answer = client.ask_bytes("search", b"GIF89a", Some("image/gif"), &[]).await;
    assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD", ""));
    assert_eq!(client.gallery().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn step_2_requests_without_content_and_unknown_operations() {
    let (_terminal, mut client) = start().await;
    let no_content = json!({"request_id": "r-1", "app_id": "a", "api_key": "k"});
    let cases = [
        ("search", no_content.clone(), "INVALID_PAYLOAD", ""),
        ("enroll", json!({"image": null, "subject_id": null}), "INVALID_PAYLOAD", ""),
        ("enroll", json!({"image": "", "subject_id": ""}), "INVALID_PAYLOAD", ""),
        ("open_sesame", json!({"image": IMAGE}), "INVALID_PAYLOAD", ""),
        ("Search", json!({"image": IMAGE}), "INVALID_PAYLOAD", ""),
        ("subject/update", json!({"subject_id": "anna"}), "INVALID_PAYLOAD", ""),
        // Empty fields about the client do not count.
        (
            "search",
            json!({"image": "", "request_id": "", "app_id": "", "api_key": ""}),
            "INVALID_PAYLOAD_IMAGE_MISSING",
            "image",
        ),
    ];
    all_refused(&mut client, &cases).await;
    // Operations without required fields accept such a body.
    for operation in ["stats", "health", "subject/list"] {
        let answer = client.ask(operation, &json!({"request_id": operation})).await;
        assert_eq!(
            (answer["status"].as_u64(), &answer["request_id"]),
            (Some(200), &json!(operation))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn step_2_unknown_fields_and_wrong_types() {
    let (_terminal, mut client) = start().await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"image": IMAGE});
        body[name] = value;
        body
    };
    let verify = |name: &str, value: Value| {
        let mut body = json!({"image": IMAGE, "subject_id": "anna"});
        body[name] = value;
        body
    };
    let about_anna = |name: &str, value: Value| {
        let mut body = json!({"subject_id": "anna"});
        body[name] = value;
        body
    };
    let cases = [
        ("search", with("limt", json!(1)), "limt"),
        ("search", with("limt", json!(null)), "limt"),
        ("search", with("Image", json!(IMAGE)), "Image"),
        ("search", with("subject_id", json!("anna")), "subject_id"),
        ("search", with("mode", json!("add")), "mode"),
        ("search", with("image", json!(7)), "image"),
        ("search", with("image", json!([IMAGE])), "image"),
        ("search", with("threshold", json!("82")), "threshold"),
        ("search", with("limit", json!(true)), "limit"),
        ("search", with("return_image", json!("true")), "return_image"),
        ("search", with("is_quality", json!(1)), "is_quality"),
        ("search", with("request_id", json!(7)), "request_id"),
        ("search", with("request_id", json!("x".repeat(129))), "request_id"),
        ("verify", verify("threshold", json!(82)), "threshold"),
        ("verify", verify("subject_id", json!(7)), "subject_id"),
        ("verify", verify("limit", json!(1)), "limit"),
        ("enroll", with("mode", json!("append")), "mode"),
        ("enroll", with("mode", json!("")), "mode"),
        ("enroll", with("groups", json!(["staff"])), "groups"),
        ("liveness", with("is_liveness", json!(true)), "is_liveness"),
        ("liveness", with("validate_liveness", json!(true)), "validate_liveness"),
        ("compare", json!({"image": IMAGE}), "image"),
        ("compare", json!({"image_1": IMAGE, "image_2": {}}), "image_2"),
        ("health", json!({"limit": 1}), "limit"),
        ("subject/list", json!({"cursor": 1}), "cursor"),
        ("subject/update", about_anna("groups", json!("staff")), "groups"),
        ("subject/update", about_anna("groups", json!([1])), "groups"),
        ("subject/update", about_anna("groups", json!(["a b"])), "groups"),
        ("subject/update", about_anna("enabled", json!("yes")), "enabled"),
        ("subject/update", about_anna("name", json!("x".repeat(129))), "name"),
        ("subject/update", about_anna("card", json!("\u{7}")), "card"),
        ("subject/update", about_anna("valid_from", json!(-1)), "valid_from"),
        ("subject/update", about_anna("valid_until", json!("2030-01-01")), "valid_until"),
        ("subject/update", about_anna("templates", json!(0)), "templates"),
    ];
    let cases = cases.map(|(operation, body, field)| (operation, body, "INVALID_PAYLOAD", field));
    all_refused(&mut client, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn step_3_images_and_step_4_subjects() {
    let (_terminal, mut client) = start().await;
    let enroll = |id: &str| json!({"image": IMAGE, "subject_id": id});
    let long = "x".repeat(129);
    let cases = [
        ("search", json!({"image": null, "limit": 2}), "MISSING_PAYLOAD_IMAGE", "image"),
        ("search", json!({"limit": 2}), "MISSING_PAYLOAD_IMAGE", "image"),
        ("liveness", json!({"is_quality": true}), "MISSING_PAYLOAD_IMAGE", "image"),
        ("search", json!({"image": ""}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("search", json!({"image": " "}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("search", json!({"image": "no base64!"}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("search", json!({"image": "ftp://h/a.jpg"}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("search", json!({"image": "file:///a.jpg"}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("search", json!({"image": "data:image/png,x"}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("compare", json!({"image_2": IMAGE}), "MISSING_PAYLOAD_IMAGE_1", "image_1"),
        ("compare", json!({"image_1": IMAGE}), "MISSING_PAYLOAD_IMAGE_2", "image_2"),
        (
            "compare",
            json!({"image_1": "", "image_2": IMAGE}),
            "INVALID_PAYLOAD_IMAGE_1_MISSING",
            "image_1",
        ),
        (
            "compare",
            json!({"image_1": IMAGE, "image_2": "?"}),
            "INVALID_PAYLOAD_IMAGE_2_MISSING",
            "image_2",
        ),
        ("verify", json!({"image": IMAGE}), "MISSING_PAYLOAD_SUBJECT_ID", "subject_id"),
        ("verify", enroll(""), "INVALID_PAYLOAD_SUBJECT_ID_MISSING", "subject_id"),
        (
            "verify",
            json!({"image": IMAGE, "subject_id": null}),
            "INVALID_PAYLOAD_SUBJECT_ID_MISSING",
            "subject_id",
        ),
        ("verify", enroll("bob"), "INVALID_PAYLOAD_SUBJECT_ID", "subject_id"),
        ("verify", enroll("an na"), "INVALID_PAYLOAD_SUBJECT_ID", "subject_id"),
        ("enroll", enroll(""), "INVALID_PAYLOAD_SUBJECT_ID_MISSING", "subject_id"),
        ("enroll", enroll("../anna"), "INVALID_PAYLOAD_SUBJECT_ID", "subject_id"),
        ("enroll", enroll("ännä"), "INVALID_PAYLOAD_SUBJECT_ID", "subject_id"),
        ("enroll", enroll(&long), "INVALID_PAYLOAD_SUBJECT_ID", "subject_id"),
        ("subject/get", json!({"subject_id": "bob"}), "INVALID_PAYLOAD_SUBJECT_ID", "subject_id"),
        (
            "subject/delete",
            json!({"subject_id": "bob"}),
            "INVALID_PAYLOAD_SUBJECT_ID",
            "subject_id",
        ),
        (
            "subject/delete",
            json!({"subject_id": ""}),
            "INVALID_PAYLOAD_SUBJECT_ID_MISSING",
            "subject_id",
        ),
        (
            "subject/update",
            json!({"subject_id": "bob", "name": "Bob"}),
            "INVALID_PAYLOAD_SUBJECT_ID",
            "subject_id",
        ),
        ("subject/update", json!({"name": "Bob"}), "MISSING_PAYLOAD_SUBJECT_ID", "subject_id"),
    ];
    all_refused(&mut client, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn step_5_dependencies_and_step_6_thresholds_and_limits() {
    let (_terminal, mut client) = start().await;
    let dependencies = [
        ("quality", "INVALID_PAYLOAD_QUALITY_VALIDATION_DEPENDENCY"),
        ("attribute", "INVALID_PAYLOAD_ATTRIBUTE_VALIDATION_DEPENDENCY"),
        ("liveness", "INVALID_PAYLOAD_LIVENESS_VALIDATION_DEPENDENCY"),
    ];
    let fields = ["validate_quality", "validate_attribute", "validate_liveness"];
    let verify = |level: &str| json!({"image": IMAGE, "subject_id": "anna", "threshold": level});
    let compare = |level: &str| json!({"image_1": IMAGE, "image_2": IMAGE, "threshold": level});
    let mut cases = Vec::new();
    let asked = |operation: &str| match operation {
        "compare" => json!({"image_1": IMAGE, "image_2": IMAGE}),
        "verify" => json!({"image": IMAGE, "subject_id": "anna"}),
        _ => json!({"image": IMAGE}),
    };
    for operation in ["enroll", "search", "verify", "compare", "liveness"] {
        for ((check, code), field) in dependencies.into_iter().zip(fields) {
            if (operation, check) == ("liveness", "liveness") {
                continue;
            }
            let mut body = asked(operation);
            body[format!("is_{check}")] = json!(false);
            body[field] = json!(true);
            cases.push((operation, body, code, field));
        }
        // In this order: the first one without its block decides the answer.
        let mut body = asked(operation);
        for check in ["quality", "attribute"] {
            body[format!("is_{check}")] = json!(false);
            body[format!("validate_{check}")] = json!(true);
        }
        cases.push((operation, body, dependencies[0].1, "validate_quality"));
    }
    // Only search computes liveness by default.
    for operation in ["enroll", "verify", "compare"] {
        let mut body = asked(operation);
        body["validate_liveness"] = json!(true);
        cases.push((operation, body, dependencies[2].1, "validate_liveness"));
    }
    for level in ["", "82", "Basic", "extreme"] {
        cases.push(("verify", verify(level), "INVALID_PAYLOAD_THRESHOLD_MISSING", "threshold"));
        cases.push(("compare", compare(level), "INVALID_PAYLOAD_THRESHOLD_MISSING", "threshold"));
    }
    for threshold in [json!(-0.01), json!(100.01), json!(1e300)] {
        let body = json!({"image": IMAGE, "threshold": threshold});
        cases.push(("search", body, "INVALID_PAYLOAD_THRESHOLD", "threshold"));
    }
    for limit in [json!(0), json!(11), json!(-1), json!(1.5), json!(1e300)] {
        let body = json!({"image": IMAGE, "limit": limit});
        cases.push(("search", body, "INVALID_PAYLOAD_LIMIT", "limit"));
    }
    for limit in [json!(0), json!(101), json!(2.5)] {
        cases.push(("subject/list", json!({"limit": limit}), "INVALID_PAYLOAD_LIMIT", "limit"));
    }
    all_refused(&mut client, &cases).await;
}

/// One request with a fault in every step: each fixed fault uncovers the fault of the next step.
#[tokio::test(flavor = "multi_thread")]
async fn earliest_failing_step_decides_the_answer() {
    let (_terminal, mut client) = start().await;
    let before = client.gallery().await;
    let mut body = json!({
        "surprise": 1, "subject_id": "bob", "is_quality": false, "validate_quality": true,
        "threshold": "none"
    });
    let faceless = pictures::base64(&pictures::jpeg(&pictures::flat()));
    let other = pictures::base64(&pictures::jpeg(&pictures::blurred(&pictures::scaled("biden"))));
    let good = pictures::face("biden");
    let mends = [
        ("INVALID_PAYLOAD", "surprise", Value::Null),
        ("MISSING_PAYLOAD_IMAGE", "image", json!("?")),
        ("INVALID_PAYLOAD_IMAGE_MISSING", "image", json!(IMAGE)),
        ("INVALID_PAYLOAD_SUBJECT_ID", "subject_id", json!("anna")),
        ("INVALID_PAYLOAD_QUALITY_VALIDATION_DEPENDENCY", "is_quality", json!(true)),
        ("INVALID_PAYLOAD_THRESHOLD_MISSING", "threshold", json!("high")),
        ("INVALID_PAYLOAD_IMAGE_FORMAT", "image", json!(faceless)),
        ("FACE_NOT_DETECTED", "image", json!(other)),
        ("FAIL_ON_4", "image", json!(good)),
    ];
    for (code, name, mended) in mends {
        let answer = client.ask("verify", &body).await;
        assert_eq!(verdict(&answer).1, code, "before {name} was fixed");
        match mended {
            Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
            value => body[name] = value,
        }
    }
    let answer = client.ask("verify", &body).await;
    assert_eq!(verdict(&answer), (200, "FAIL_ON_16", ""));
    // Within a step: subject before threshold before limit, the first image before the second.
    let answer = client.ask("search", &json!({"image": IMAGE, "threshold": 101, "limit": 0})).await;
    assert_eq!(verdict(&answer).1, "INVALID_PAYLOAD_THRESHOLD");
    let answer = client.ask("compare", &json!({"image_1": "?", "threshold": "none"})).await;
    assert_eq!(verdict(&answer).1, "INVALID_PAYLOAD_IMAGE_1_MISSING");
    assert_eq!(client.gallery().await, before);
}

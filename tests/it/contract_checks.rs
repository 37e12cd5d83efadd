//! Tests step 10 of the contract: every `FAIL_ON_n` that an operation can return. A real picture
//! fails all checks; the request selects which of them are validated. Failures: a check passes a
//! spoof, fails a resident without being requested, or a failed enrolment is done.

use crate::support::client::{Client, verdict};
use crate::support::pictures::Landmarks;
use crate::support::terminal::Terminal;
use crate::support::{pictures, terminal};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The checks in the order of their bits.
const CHECKS: [&str; 4] = ["liveness", "attribute", "quality", "nface"];

const OPERATIONS: [(&str, &str); 5] = [
    ("enroll", "FACE-101"),
    ("search", "FACE-201"),
    ("verify", "FACE-301"),
    ("liveness", "FACE-401"),
    ("compare", "FACE-501"),
];

/// Builds a request about `image`; `anna` is enrolled.
fn request(operation: &str, image: &str, good: &str) -> Value {
    match operation {
        "compare" => json!({"image_1": good, "image_2": image}),
        "enroll" | "verify" => json!({"image": image, "subject_id": "anna"}),
        _ => json!({"image": image}),
    }
}

/// Requests the checks of these bits; `None` if the operation has no such choice.
fn validated(operation: &str, mut body: Value, bits: u32) -> Option<Value> {
    for (bit, check) in CHECKS.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0) {
        if operation == "liveness" && bit == 0 {
            return None;
        }
        body[format!("validate_{check}")] = json!(true);
    }
    if operation != "liveness" {
        body["is_liveness"] = json!(true);
    }
    Some(body)
}

/// Returns the faults of the picture according to the answer's own blocks.
fn faults(operation: &str, answer: &Value) -> u32 {
    let (quality, worn) = (&answer["image_quality"], &answer["attributes"]);
    let gray = quality["grayscale"] == true && operation != "search";
    [
        answer["liveness"]["status"] == false,
        worn["sunglasses_on"] == true || worn["mask_on"] == true,
        quality["blur"] == true || quality["dark"] == true || gray,
        answer["nface"].as_u64().unwrap() > 1,
    ]
    .iter()
    .enumerate()
    .map(|(bit, &fault)| u32::from(fault) << bit)
    .sum()
}

async fn landmarks(client: &mut Client, image: &str) -> Landmarks {
    let answer = client.ask("liveness", &json!({"image": image})).await;
    let points = &answer["face_landmark"];
    let at = |name: &str| {
        let axis = |axis: &str| points[format!("{name}{axis}")].as_str().unwrap().parse().unwrap();
        [axis("X"), axis("Y")]
    };
    Landmarks { left_eye: at("LeftEye"), right_eye: at("RightEye"), mouth: at("MouthLeft") }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_failed_checks_has_its_code() {
    let terminal = Terminal::start("");
    let mut client = Client::connect(&terminal).await;
    let good = pictures::face("obama");
    let body = json!({"image": good, "subject_id": "anna"});
    assert_eq!(client.ask("enroll", &body).await["status"], 200);

    // A person with sunglasses on a blurred screen, next to a second person farther away.
    let obama = pictures::scaled("obama2");
    let eyes = landmarks(&mut client, &pictures::face("obama2")).await;
    let cool = pictures::with_sunglasses(&obama, &eyes);
    let screen = image::imageops::blur(&pictures::replayed(&cool), 3.0);
    let worst = pictures::next_to(&screen, "biden");
    let worst = pictures::base64(&pictures::jpeg(&worst));

    let before = client.gallery().await;
    let mut reached = BTreeSet::new();
    for (operation, status_code) in OPERATIONS {
        let plain = validated(operation, request(operation, &worst, &good), 0).unwrap();
        let seen = match operation {
            // Without validation the enrolment would be done.
            "enroll" => {
                client
                    .ask(
                        "verify",
                        &validated("verify", request("verify", &worst, &good), 0).unwrap(),
                    )
                    .await
            }
            _ => client.ask(operation, &plain).await,
        };
        let all = faults(operation, &seen);
        assert_eq!(all, 0b1111, "{operation}: the picture does not fail on everything: {seen}");
        for bits in 1..16u32 {
            let Some(body) = validated(operation, plain.clone(), bits) else { continue };
            let answer = client.ask(operation, &body).await;
            let code = format!("FAIL_ON_{bits}");
            assert_eq!(verdict(&answer), (200, code.as_str(), ""), "{operation} {bits}");
            assert_eq!(answer["status_code"], status_code);
            let blocks = [
                "image_quality",
                "attributes",
                "liveness",
                "rotation",
                "nface",
                "bounding_box",
                "face_landmark",
                "meta",
            ];
            for block in blocks {
                assert!(answer.get(block).is_some(), "{operation} {code}: no {block}");
            }
            for result in ["subject_id", "similarity", "similarity_status", "matches"] {
                assert!(answer.get(result).is_none(), "{operation} {code}: {result}");
            }
            // compare holds one picture at a time: the reference is already embedded.
            let embedded = answer["meta"]["timings_ms"].get("embed").is_some();
            assert_eq!(embedded, operation == "compare", "{operation} {code}");
            reached.insert((operation, bits));
        }
    }
    assert_eq!(reached.len(), 4 * 15 + 7, "liveness has only even codes");
    assert_eq!(client.gallery().await, before);
}

/// A good portrait passes all checks together, and the answer has every block of the contract.
#[tokio::test(flavor = "multi_thread")]
async fn good_portrait_passes_every_check() {
    let terminal = Terminal::start("");
    let mut client = Client::connect(&terminal).await;
    let good = pictures::face("obama");
    let enroll = request("enroll", &good, &good);
    for (operation, status_code) in OPERATIONS {
        let bits = if operation == "liveness" { 0b1110 } else { 0b1111 };
        let body = request(operation, &good, &good);
        let answer = client.ask(operation, &validated(operation, body, bits).unwrap()).await;
        assert_eq!(verdict(&answer), (200, "", ""), "{operation}: {answer}");
        assert_eq!(answer["status_code"], status_code);
        assert_eq!(faults(operation, &answer), 0, "{answer}");
        let worn = answer["attributes"].as_object().unwrap();
        let names: Vec<_> = worn.keys().map(String::as_str).collect();
        assert_eq!(names, ["sunglasses_on", "mask_on", "veil_on", "hat_on"]);
        let probability: f64 = answer["liveness"]["probability"].as_str().unwrap().parse().unwrap();
        assert!((50.0..=100.0).contains(&probability), "{answer}");
        let times = answer["meta"]["timings_ms"].as_object().unwrap();
        for stage in ["decode", "detect", "quality", "attributes", "liveness", "total"] {
            assert!(times.contains_key(stage), "{operation}: {stage}");
        }
        assert_eq!(times.contains_key("embed"), operation != "liveness");
    }
    assert_eq!(client.ask("enroll", &enroll).await["status"], 200);
}

/// veil and hat are reported and never fail; grayscale never fails a search.
#[tokio::test(flavor = "multi_thread")]
async fn veil_hat_and_search_grayscale_are_reported_and_never_fail() {
    let terminal = Terminal::start("");
    let mut client = Client::connect(&terminal).await;
    let good = pictures::face("obama");
    assert_eq!(client.ask("enroll", &request("enroll", &good, &good)).await["status"], 200);
    let gray = pictures::base64(&pictures::jpeg(&pictures::gray(&pictures::scaled("obama"))));
    let before = client.gallery().await;
    for (operation, _) in OPERATIONS {
        let body = validated(operation, request(operation, &gray, &good), 0b0100).unwrap();
        let answer = client.ask(operation, &body).await;
        assert_eq!(answer["image_quality"]["grayscale"], true, "{answer}");
        let expected = if operation == "search" { "" } else { "FAIL_ON_4" };
        assert_eq!(verdict(&answer).1, expected, "{operation}");
    }
    assert_eq!(client.gallery().await, before);
}

/// The attack picture of the demonstration is made here, from a portrait only.
/// `DOORWARD_GOLDEN=write` writes it.
#[test]
fn demonstration_attack_picture_is_reproducible() {
    let made = pictures::jpeg(&pictures::replayed(&pictures::scaled("obama2")));
    let path = terminal::portrait("replayed");
    if std::env::var_os("DOORWARD_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == made, "{} is another picture", path.display());
}

/// A configured operating point changes only the liveness status.
#[tokio::test(flavor = "multi_thread")]
async fn configured_operating_point_changes_only_the_status() {
    let good = pictures::face("obama");
    let mut seen = Vec::new();
    for configured in ["", "[liveness]\noperating_point = 8.0"] {
        let terminal = Terminal::start(configured);
        let mut client = Client::connect(&terminal).await;
        seen.push(client.ask("liveness", &json!({"image": good})).await);
    }
    assert_eq!(seen[0]["liveness"]["status"], true);
    assert_eq!(seen[1]["liveness"]["status"], false);
    assert_eq!(seen[0]["meta"]["scores"], seen[1]["meta"]["scores"]);
    assert_eq!(seen[1]["message"], "Request Success");
}

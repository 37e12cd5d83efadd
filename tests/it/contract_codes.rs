//! Tests steps 7 to 12 of the contract: every code that depends on a picture, on the client, or on
//! the state of the terminal, with real requests to the real daemon.

use crate::support::client::{Client, verdict};
use crate::support::terminal::Terminal;
use crate::support::web::Web;
use crate::support::{golden, pictures, terminal};
use image::RgbImage;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// URLs may point only to 127.0.0.1.
const WITH_URLS: &str = "[image_url]\nallow = [\"127.0.0.1:*\"]";

fn field(picture: &RgbImage) -> String {
    pictures::base64(&pictures::jpeg(picture))
}

/// Starts a daemon with one subject, `anna`, enrolled with a portrait of Obama.
async fn start(more: &str) -> (Terminal, Client) {
    let terminal = Terminal::start(more);
    let mut client = Client::connect(&terminal).await;
    let body = json!({"image": pictures::face("obama"), "subject_id": "anna"});
    assert_eq!(client.ask("enroll", &body).await["status"], 200);
    (terminal, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_pictures_have_their_codes() {
    let (_terminal, mut client) = start(WITH_URLS).await;
    let web = Web::serve(pictures::jpeg(&pictures::scaled("obama")));
    let before = client.gallery().await;
    let text = |bytes: &[u8]| pictures::base64(bytes);
    let whole = pictures::jpeg(&pictures::scaled("obama"));
    let cases = [
        (text(&vec![0xFF; (5 << 20) + 1]), 400, "INVALID_PAYLOAD_IMAGE_SIZE"),
        (web.url("large"), 400, "INVALID_PAYLOAD_IMAGE_SIZE"),
        (text(b"no picture"), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        (text(pictures::GIF), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        (text(&pictures::bomb()), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        (text(&whole[..whole.len() / 2]), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        (web.url("missing"), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        (web.url("text"), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        (web.url("elsewhere"), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        ("http://127.0.0.2/face.jpg".into(), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        ("http://10.1.2.3/face.jpg".into(), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        ("http://[::1]/face.jpg".into(), 400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        ("camera:".into(), 503, "CAMERA_UNAVAILABLE"),
        (field(&pictures::flat()), 400, "FACE_NOT_DETECTED"),
    ];
    for (image, status, code) in cases {
        let shown = image[..image.len().min(40)].to_owned();
        for operation in ["enroll", "search", "verify"] {
            let mut body = json!({"image": image});
            if operation != "search" {
                body["subject_id"] = json!("anna");
            }
            let answer = client.ask(operation, &body).await;
            assert_eq!(verdict(&answer), (status, code, "image"), "{operation} {shown}");
            if code == "INVALID_PAYLOAD_IMAGE_FORMAT" {
                assert!(answer["data"]["message"].is_string(), "no reason: {answer}");
            }
        }
    }
    // In compare the same codes contain the number of the image.
    let good = pictures::face("obama");
    for (bad, code) in [
        (text(pictures::GIF), "INVALID_PAYLOAD_IMAGE_#_FORMAT"),
        (text(&vec![0xFF; (5 << 20) + 1]), "INVALID_PAYLOAD_IMAGE_#_SIZE"),
        (field(&pictures::flat()), "FACE_NOT_DETECTED"),
        ("camera:".into(), "CAMERA_UNAVAILABLE"),
    ] {
        for (number, body) in [
            ("1", json!({"image_1": bad, "image_2": good})),
            ("2", json!({"image_1": good, "image_2": bad})),
        ] {
            let answer = client.ask("compare", &body).await;
            let expected = (code.replace('#', number), format!("image_{number}"));
            let (_, code, field) = verdict(&answer);
            assert_eq!((code, field), (expected.0.as_str(), expected.1.as_str()));
        }
    }
    // Each image is small enough, both together are not.
    let half = text(&vec![0xFF; (3 << 20) + 1]);
    let answer = client.ask("compare", &json!({"image_1": half, "image_2": half})).await;
    assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD_IMAGE_2_SIZE", "image_2"));
    assert_eq!(client.gallery().await, before);
    // An allowed URL works like any other picture.
    let answer = client.ask("search", &json!({"image": web.url("face.jpg")})).await;
    assert_eq!(answer["matches"][0]["subject_id"], "anna", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_off_until_they_are_configured() {
    let (_terminal, mut client) = start("").await;
    let web = Web::serve(pictures::jpeg(&pictures::scaled("obama")));
    let answer = client.ask("search", &json!({"image": web.url("face.jpg")})).await;
    assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD_IMAGE_FORMAT", "image"));
    assert!(answer["data"]["message"].as_str().unwrap().contains("image_url.allow"), "{answer}");
}

/// A silent server delays its own request by 15 s, and no other request.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_url_times_out_and_blocks_no_others() {
    let (_terminal, mut client) = start(WITH_URLS).await;
    let web = Web::serve(Vec::new());
    let asked = Instant::now();
    let body = json!({"image": web.url("stall"), "request_id": "slow"}).to_string();
    let slow = client.send("search", body.as_bytes(), Some("application/json"), &[]).await;
    let answer = client.ask("search", &json!({"image": pictures::face("obama")})).await;
    assert_eq!(verdict(&answer), (200, "", ""));
    assert!(asked.elapsed() < Duration::from_secs(10), "the slow URL held up another request");
    let answer = client.answer(&slow).await;
    assert_eq!(verdict(&answer), (400, "INVALID_PAYLOAD_IMAGE_TIMEOUT", "image"));
    assert!((14..=19).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
    golden::check("invalid_payload_image_timeout", &answer);
}

/// Every combination of the two checks on every operation that has them; a failed check stops it.
#[tokio::test(flavor = "multi_thread")]
async fn failed_checks_stop_every_operation() {
    let (_terminal, mut client) = start("").await;
    let before = client.gallery().await;
    let (good, two) = (pictures::scaled("obama"), pictures::two_people());
    let (blurred, dark) = (pictures::blurred(&good), pictures::darkened(&good));
    let cases = [
        (field(&blurred), "FAIL_ON_4", "fail on quality"),
        (field(&dark), "FAIL_ON_4", "fail on quality"),
        (field(&two), "FAIL_ON_8", "fail on number of face (nface)"),
        (
            field(&pictures::blurred(&two)),
            "FAIL_ON_12",
            "fail on number of face (nface) and quality",
        ),
    ];
    let operations = [
        ("enroll", "FACE-101"),
        ("search", "FACE-201"),
        ("verify", "FACE-301"),
        ("compare", "FACE-501"),
    ];
    for (image, code, message) in cases {
        for (operation, status_code) in operations {
            let mut body = json!({"validate_quality": true, "validate_nface": true});
            match operation {
                "compare" => {
                    body["image_1"] = json!(field(&good));
                    body["image_2"] = json!(image);
                }
                _ => body["image"] = json!(image),
            }
            if matches!(operation, "enroll" | "verify") {
                body["subject_id"] = json!("anna");
            }
            let answer = client.ask(operation, &body).await;
            assert_eq!(verdict(&answer), (200, code, ""), "{operation}");
            assert_eq!(answer["message"], message);
            assert_eq!(answer["status_code"], status_code);
            for block in ["image_quality", "rotation", "nface", "bounding_box", "face_landmark"] {
                assert!(answer.get(block).is_some(), "{operation} {code}: no {block}");
            }
            for result in ["subject_id", "similarity", "similarity_status", "matches"] {
                assert!(answer.get(result).is_none(), "{operation} {code}: {result}");
            }
            // Without validation the same picture does not fail.
            let body = body.as_object_mut().unwrap();
            body.retain(|name, _| !name.starts_with("validate_"));
            body.insert("request_id".into(), format!("{operation}-{code}").into());
            if operation != "enroll" {
                let answer = client.ask(operation, &json!(body)).await;
                assert!(matches!(verdict(&answer), (200, "" | "FAIL_ON_16", "")), "{answer}");
            }
        }
    }
    // The flags say which of the two it was.
    let body = |picture: &RgbImage| json!({"image": field(picture)});
    let answer = client.ask("search", &body(&blurred)).await;
    assert_eq!(answer["image_quality"]["blur"], true);
    let answer = client.ask("search", &body(&dark)).await;
    assert_eq!(answer["image_quality"]["dark"], true);
    assert_eq!(client.gallery().await, before);
}

/// Grayscale is a fault everywhere except in search, which only reports it.
#[tokio::test(flavor = "multi_thread")]
async fn grayscale_fails_everywhere_except_in_search() {
    let (_terminal, mut client) = start("").await;
    let gray = field(&pictures::gray(&pictures::scaled("obama")));
    let body = json!({"image": gray, "subject_id": "gray", "validate_quality": true});
    assert_eq!(verdict(&client.ask("enroll", &body).await).1, "FAIL_ON_4");
    let body = json!({"image": gray, "subject_id": "anna", "validate_quality": true});
    assert_eq!(verdict(&client.ask("verify", &body).await).1, "FAIL_ON_4");
    let answer = client.ask("search", &json!({"image": gray, "validate_quality": true})).await;
    assert_eq!(verdict(&answer), (200, "", ""));
    assert_eq!(answer["image_quality"], json!({"blur": false, "dark": false, "grayscale": true}));
    assert_eq!(answer["matches"][0]["subject_id"], "anna");
}

/// Only an admin, not any client of the broker, may change the face of a subject with a group.
#[tokio::test(flavor = "multi_thread")]
async fn only_admin_changes_the_photo_of_a_subject_with_a_group() {
    let (terminal, mut client) = start("").await;
    let body = json!({"subject_id": "anna", "groups": ["staff"]});
    let answer = client.ask("subject/update", &body).await;
    assert_eq!(verdict(&answer), (403, "PERMISSION_DENIED", ""));
    golden::check("permission_denied_update", &answer);
    let answer = terminal.json(&["gallery", "update", "anna", "--groups", "staff"]);
    assert_eq!(answer["groups"], json!(["staff"]));
    let before = client.gallery().await;
    for mode in ["replace", "add"] {
        let body = json!({"image": pictures::face("biden"), "subject_id": "anna", "mode": mode});
        let answer = client.ask("enroll", &body).await;
        assert_eq!(verdict(&answer), (403, "PERMISSION_DENIED", ""), "{mode}");
        golden::check("permission_denied", &answer);
    }
    assert_eq!(client.gallery().await, before);

    let biden = terminal::portrait("biden");
    let answer = terminal.json(&["enroll", biden.to_str().unwrap(), "--subject-id", "anna"]);
    assert_eq!(verdict(&answer), (200, "", ""));
    let answer = client.ask("search", &json!({"image": pictures::face("biden")})).await;
    assert_eq!(answer["matches"][0]["subject_id"], "anna");
    let answer = client.ask("subject/get", &json!({"subject_id": "anna"})).await;
    assert_eq!((&answer["groups"], &answer["templates"]), (&json!(["staff"]), &json!(1)));
}

/// Requests beyond the queue's capacity get `BUSY` at once; queued ones are done.
#[tokio::test(flavor = "multi_thread")]
async fn full_queue_answers_busy_at_once() {
    let (_terminal, mut client) = start("").await;
    let before = client.gallery().await;
    let picture = pictures::jpeg(&pictures::scaled("obama"));
    let mut sent = Vec::new();
    for _ in 0..40 {
        sent.push(client.send("search", &picture, Some("image/jpeg"), &[]).await);
    }
    let (mut done, mut busy) = (0, 0);
    for id in sent {
        let answer = client.answer(&id).await;
        match verdict(&answer) {
            (200, "", "") => done += 1,
            (503, "BUSY", "") => {
                golden::check("busy", &answer);
                busy += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(done >= 9 && busy >= 1, "{done} done, {busy} refused");
    assert_eq!(client.gallery().await, before);
    let answer = client.ask_bytes("search", &picture, Some("image/jpeg"), &[]).await;
    assert_eq!(verdict(&answer), (200, "", ""));
}

/// Simulates a full disk: the daemon's files may not grow. This is as close as a test comes without
/// a disk of its own.
#[tokio::test(flavor = "multi_thread")]
async fn unwritable_gallery_refuses_enrolment_and_still_searches() {
    let mut terminal = Terminal::prepare("");
    terminal.run();
    let mut client = Client::connect(&terminal).await;
    let picture = pictures::face("obama");
    let body = json!({"image": picture, "subject_id": "anna"});
    assert_eq!(client.ask("enroll", &body).await["status"], 200);
    drop(client);
    assert!(terminal.stop());

    let size = std::fs::metadata(terminal.data_dir().join("gallery.redb")).unwrap().len();
    terminal.run_with_files_up_to(size);
    let mut client = Client::connect(&terminal).await;
    let mut enrolled = 1;
    let refused: Value = loop {
        let body = json!({"image": picture, "subject_id": format!("subject-{enrolled}")});
        let answer = client.ask("enroll", &body).await;
        match verdict(&answer) {
            (200, "", "") => enrolled += 1,
            _ => break answer,
        }
        assert!(enrolled < 500, "the file never grew");
    };
    assert_eq!(verdict(&refused), (500, "INTERNAL_SERVER_ERROR", ""));
    golden::check("internal_server_error", &refused);
    // Enrolled subjects are still found: search needs no disk.
    let answer = client.ask("search", &json!({"image": picture, "threshold": 90})).await;
    assert_eq!(verdict(&answer), (200, "", ""), "{answer}");
    drop(client);
    terminal.stop();

    terminal.run();
    let mut client = Client::connect(&terminal).await;
    let stats = client.ask("stats", &json!({})).await;
    assert_eq!(stats["gallery"]["subjects"], enrolled, "{stats}");
    assert_eq!(stats["gallery"]["templates"], enrolled, "{stats}");
    assert_eq!(verdict(&client.ask("enroll", &body).await), (200, "", ""));
}

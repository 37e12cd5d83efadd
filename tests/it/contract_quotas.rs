//! Tests quotas of applications, with the real daemon on a real mosquitto. Failure: quota is lost
//! or gained by an answer other than 200, a request refused as busy, a restart or a power cut.

use crate::support::applications::{APP_KEY, JPEG, Site, TOPIC, denied, verdict};
use crate::support::asker::reply_to;
use crate::support::web::Web;
use crate::support::{golden, pictures};
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn only_a_200_spends_quota() {
    let mut site = Site::start(APP_KEY).await;
    let quota = "enroll=2,verify=5,search=3,liveness=2";
    let app = site.app(&["kiosk", "--testing", "--quota", quota]);
    let face = pictures::face("obama");
    let two = pictures::base64(&pictures::jpeg(&pictures::two_people()));
    let flat = pictures::base64(&pictures::jpeg(&pictures::flat()));
    let enroll = |image: &str| json!({"image": image, "subject_id": "anna"});
    let plain = |image: &str| json!({"image": image, "is_liveness": false});

    // Every operation, its answer, and the total quota used since the start.
    let mut crowd = enroll(&two);
    crowd["validate_nface"] = json!(true);
    let mut high = json!({"image": pictures::face("biden"), "subject_id": "anna"});
    high["threshold"] = json!("high");
    let mut live = enroll(&face);
    live["is_liveness"] = json!(true);
    let steps = [
        ("enroll", enroll(&flat), 400, "FACE_NOT_DETECTED", [0, 0, 0, 0]),
        ("enroll", enroll(&face), 200, "", [1, 0, 0, 0]),
        ("enroll", crowd, 200, "FAIL_ON_8", [2, 0, 0, 0]),
        ("enroll", enroll(&face), 403, "INSUFFICIENT_QUOTA_ENROLL", [2, 0, 0, 0]),
        ("enroll", live.clone(), 403, "INSUFFICIENT_QUOTA_ENROLL", [2, 0, 0, 0]),
        ("verify", enroll(&face), 200, "", [2, 1, 0, 0]),
        ("verify", high, 200, "FAIL_ON_16", [2, 2, 0, 0]),
        (
            "verify",
            json!({"image": face, "subject_id": "x"}),
            400,
            "INVALID_PAYLOAD_SUBJECT_ID",
            [2, 2, 0, 0],
        ),
        ("compare", json!({"image_1": face, "image_2": face}), 200, "", [2, 3, 0, 0]),
        (
            "compare",
            json!({"image_1": face, "image_2": flat}),
            400,
            "FACE_NOT_DETECTED",
            [2, 3, 0, 0],
        ),
        ("search", plain(&face), 200, "", [2, 3, 1, 0]),
        // search computes liveness unless the request turns it off.
        ("search", json!({"image": face}), 200, "", [2, 3, 2, 1]),
        ("search", json!({"image": flat}), 400, "FACE_NOT_DETECTED", [2, 3, 2, 1]),
        ("verify", live.clone(), 200, "", [2, 4, 2, 2]),
        // One kind is left, the other is used up: neither is spent.
        ("search", json!({"image": face}), 403, "INSUFFICIENT_QUOTA_LIVENESS", [2, 4, 2, 2]),
        ("verify", live, 403, "INSUFFICIENT_QUOTA_LIVENESS", [2, 4, 2, 2]),
        ("search", plain(&face), 200, "", [2, 4, 3, 2]),
        ("search", json!({"image": face}), 403, "INSUFFICIENT_QUOTA_SEARCH", [2, 4, 3, 2]),
        ("compare", json!({"image_1": face, "image_2": face}), 200, "", [2, 5, 3, 2]),
        (
            "compare",
            json!({"image_1": face, "image_2": face}),
            403,
            "INSUFFICIENT_QUOTA_VERIFY",
            [2, 5, 3, 2],
        ),
        // Operations that cost no quota still work.
        ("subject/get", json!({"subject_id": "anna"}), 200, "", [2, 5, 3, 2]),
        ("stats", json!({}), 200, "", [2, 5, 3, 2]),
    ];
    for (number, (operation, body, status, code, used)) in steps.into_iter().enumerate() {
        let answer = site.ask(&app, operation, &body).await;
        assert_eq!(verdict(&answer), denied(status, code), "step {number}, {operation}");
        assert_eq!(site.used("kiosk"), used, "step {number}, {operation}");
        if code == "INSUFFICIENT_QUOTA_LIVENESS" {
            golden::check("insufficient_quota_liveness", &answer);
        }
    }
    // Live mode and the command line have no quota.
    let live = site.app(&["office"]);
    for _ in 0..8 {
        assert_eq!(site.code(&live, "search", &plain(&face)).await, denied(200, ""));
    }
    assert_eq!(site.used("kiosk"), [2, 5, 3, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_requests_spend_no_quota() {
    let mut site = Site::start(&format!("{APP_KEY}\nqueue = 1")).await;
    let app = site.app(&["kiosk", "--testing"]);
    let picture = pictures::jpeg(&pictures::scaled("obama"));
    for number in 0..30 {
        let headers = app.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut user_properties = headers.to_vec();
        user_properties.push(("is_liveness".into(), "false".into()));
        let properties = PublishProperties {
            content_type: JPEG.map(Into::into),
            user_properties,
            ..reply_to(TOPIC, &format!("flood-{number}"))
        };
        site.asker.send("search", &picture, properties).await;
    }
    let (mut done, mut busy) = (0, 0);
    while done + busy < 30 {
        match site.asker.next_json().await["status"].as_u64() {
            Some(200) => done += 1,
            Some(503) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    // A fast sender gets at least one place in the queue.
    assert!(done >= 1 && busy >= 1, "{done} done, {busy} refused");
    assert_eq!(site.used("kiosk"), [0, 0, done, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn used_quota_survives_restarts_and_power_cuts() {
    let with_urls = format!("{APP_KEY}\n[image_url]\nallow = [\"127.0.0.1:*\"]");
    let mut site = Site::start(&with_urls).await;
    let app = site.app(&["kiosk", "--testing", "--quota", "search=6"]);
    let body = json!({"image": pictures::face("obama"), "is_liveness": false});
    for _ in 0..2 {
        assert_eq!(site.code(&app, "search", &body).await, denied(200, ""));
    }
    assert!(site.terminal.stop());
    assert_eq!(site.used("kiosk"), [0, 0, 2, 0], "read by the command line itself");
    site.restart().await;
    assert_eq!(site.code(&app, "search", &body).await, denied(200, ""));
    // One request waits for its picture and reserves its quota while another one is done.
    let web = Web::serve(Vec::new());
    let stalling = json!({"image": web.url("stall"), "is_liveness": false}).to_string();
    let properties = PublishProperties {
        user_properties: app.headers().map(|(name, value)| (name.into(), value.into())).into(),
        ..reply_to(TOPIC, "open in the crash")
    };
    site.asker.send("search", stalling.as_bytes(), properties).await;
    for attempt in 0.. {
        if site.used("kiosk") == [0, 0, 4, 0] {
            break;
        }
        assert!(attempt < 100, "nothing is reserved: {}", site.terminal.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(site.code(&app, "search", &body).await, denied(200, ""));
    assert_eq!(site.used("kiosk"), [0, 0, 5, 0]);
    // Counts are written once a second, on a disk that may be slow; unfinished requests do not
    // count.
    site.wait_until_written("applications.redb").await;
    site.terminal.kill();
    site.restart().await;
    assert_eq!(site.used("kiosk"), [0, 0, 4, 0]);
    for _ in 0..2 {
        assert_eq!(site.code(&app, "search", &body).await, denied(200, ""));
    }
    let code = site.code(&app, "search", &body).await;
    assert_eq!(code, denied(403, "INSUFFICIENT_QUOTA_SEARCH"));
}

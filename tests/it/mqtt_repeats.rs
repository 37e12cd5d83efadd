//! Tests reused ids. A reused id must not return the answer of another request: a client that sends
//! `"request_id": "visit-7"` with every picture would take a stranger for a resident. A repeated
//! change is done once; a repeated query is executed again. The service is a function that counts.

use crate::support::asker::{Asker, reply_to};
use crate::support::mosquitto::{Mosquitto, Wanted};
use doorward::contract::{Answer, Request};
use doorward::mqtt::{Session, Settings};
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Map, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CLIENT: &str = "doorward/front/client/a";

/// Starts a terminal whose service answers with the number of the request.
async fn start(broker: &Mosquitto) -> Session {
    let settings = Settings {
        device_id: "front".into(),
        host: Some("localhost".into()),
        port: Some(broker.port()),
        allow_insecure: true,
        ..Settings::default()
    };
    let done = Arc::new(AtomicUsize::new(0));
    let handler = move |request: Request| {
        let mut fields = Map::new();
        fields.insert("number".into(), done.fetch_add(1, Ordering::SeqCst).into());
        if format!("{:?}", request.body).contains("13 bytes") {
            fields.insert("error_code".into(), "FAIL_ON_4".into());
        }
        std::future::ready(Some(Answer { status: 200, fields }))
    };
    let health = Arc::new(|| json!({ "status": "up" }));
    let session = Session::start(settings, handler, health).await.unwrap();
    while !session.publisher().is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    session
}

/// Sends a body and returns the number of the request whose answer comes back.
async fn number(asker: &mut Asker, operation: &str, body: &str, how: &PublishProperties) -> u64 {
    asker.send(operation, body.as_bytes(), how.clone()).await;
    asker.next_json().await["number"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_executed_each_time() {
    let broker = Mosquitto::start(Wanted::default());
    let session = start(&broker).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let same = reply_to(CLIENT, "visit-7");
    let mut expected = 0;
    for operation in [
        "verify",
        "search",
        "liveness",
        "compare",
        "subject/list",
        "subject/get",
        "stats",
        "health",
    ] {
        // With `camera:` or a URL, the same body can mean another person.
        let body = r#"{"image": "camera:", "request_id": "visit-7"}"#;
        for body in [body, body, r#"{"image": "AAAA", "request_id": "visit-7"}"#] {
            assert_eq!(number(&mut asker, operation, body, &same).await, expected, "{operation}");
            expected += 1;
        }
    }
    assert_eq!(session.counts().repeats, 0);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_change_is_done_once_and_a_different_one_with_its_id_too() {
    let broker = Mosquitto::start(Wanted::default());
    let session = start(&broker).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let same = reply_to(CLIENT, "visit-7");
    let mut expected = 0;
    for operation in ["enroll", "enroll_mode", "subject/update", "subject/delete", "unlock"] {
        let body = r#"{"image": "camera:", "request_id": "visit-7"}"#;
        assert_eq!(number(&mut asker, operation, body, &same).await, expected, "{operation}");
        assert_eq!(number(&mut asker, operation, body, &same).await, expected, "{operation}");
        // Either of its ids identifies the repeat.
        let other = reply_to(CLIENT, operation);
        assert_eq!(number(&mut asker, operation, body, &other).await, expected, "{operation}");
        // Another body, other properties.
        let body = r#"{"image": "AAAA", "request_id": "visit-7"}"#;
        assert_eq!(number(&mut asker, operation, body, &same).await, expected + 1, "{operation}");
        let mut more = same.clone();
        more.user_properties.push(("mode".into(), "add".into()));
        assert_eq!(number(&mut asker, operation, body, &more).await, expected + 2, "{operation}");
        expected += 3;
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_id_is_ignored_and_failed_requests_are_retried() {
    let broker = Mosquitto::start(Wanted::default());
    let session = start(&broker).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let empty = reply_to(CLIENT, "");
    for expected in 0..3 {
        let body = r#"{"request_id": ""}"#;
        assert_eq!(number(&mut asker, "enroll", body, &empty).await, expected);
    }
    // A refused face: this service refuses this body of thirteen bytes.
    let refused = reply_to(CLIENT, "r");
    for expected in 3..6 {
        assert_eq!(number(&mut asker, "enroll", r#"{"image": ""}"#, &refused).await, expected);
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlock_is_remembered_for_ten_seconds() {
    let broker = Mosquitto::start(Wanted::default());
    let session = start(&broker).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let (same, body) = (reply_to(CLIENT, "visit-7"), r#"{"reason": "a parcel"}"#);
    assert_eq!(number(&mut asker, "unlock", body, &same).await, 0);
    assert_eq!(number(&mut asker, "unlock", body, &same).await, 0);
    tokio::time::sleep(Duration::from_millis(10_200)).await;
    assert_eq!(number(&mut asker, "unlock", body, &same).await, 1);
    session.stop().await;
}

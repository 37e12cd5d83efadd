//! Tests commands over a real mosquitto: which are done, refused or dropped, and that each client
//! gets its own answer once. The service is a function that counts and echoes.

use crate::support::asker::{Asker, reply_to};
use crate::support::mosquitto::{Mosquitto, Wanted};
use doorward::contract::{Answer, Body, Request};
use doorward::mqtt::{Health, Session, Settings};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Map, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The service of these tests.
#[derive(Clone)]
struct Echo {
    done: Arc<AtomicUsize>,
    /// Each answer takes one permit.
    gate: Arc<Semaphore>,
}

impl Echo {
    fn new() -> Self {
        Self { done: Arc::default(), gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    /// Creates a service that answers only when the test adds permits.
    fn held() -> Self {
        Self { done: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    async fn handle(self, request: Request) -> Option<Answer> {
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        if request.expires.is_some_and(|moment| moment <= Instant::now()) {
            return None;
        }
        let mut fields = Map::new();
        fields.insert("number".into(), number.into());
        fields.insert("operation".into(), request.operation.clone().into());
        match &request.body {
            Body::Json(bytes) => {
                assert!(bytes != b"{\"panic\":true}", "asked to");
                fields.insert("json".into(), String::from_utf8_lossy(bytes).into());
            }
            Body::Image { bytes, fields: given } => {
                fields.insert("image".into(), bytes.len().into());
                fields.insert("fields".into(), json!(given));
                if request.operation == "mirror" {
                    let text: String =
                        bytes.iter().map(|byte| char::from(byte % 26 + b'a')).collect();
                    fields.insert("mirror".into(), text.into());
                }
            }
        }
        let credentials = [request.credentials.app_id, request.credentials.api_key];
        fields.insert("credentials".into(), json!(credentials));
        let fails = matches!(&request.body, Body::Json(bytes) if bytes == b"{\"fail\":true}");
        let status = if fails { 500 } else { 200 };
        Some(Answer { status, fields })
    }
}

fn health() -> Health {
    Arc::new(|| json!({ "status": "up" }))
}

fn settings(broker: &Mosquitto) -> Settings {
    Settings {
        device_id: "front".into(),
        host: Some("localhost".into()),
        port: Some(broker.port()),
        // The broker of these tests is anonymous.
        allow_insecure: true,
        ..Settings::default()
    }
}

async fn start(settings: Settings, echo: &Echo) -> Session {
    let echo = echo.clone();
    let handler = move |request| echo.clone().handle(request);
    let session = Session::start(settings, handler, health()).await.unwrap();
    let publisher = session.publisher();
    while !publisher.is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    session
}

const CLIENT: &str = "doorward/front/client/a";
const RESPONSES: &str = "doorward/front/response/#";

#[tokio::test(flavor = "multi_thread")]
async fn request_is_answered_on_its_response_topic() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT, RESPONSES]).await;

    let properties = PublishProperties {
        content_type: Some("application/json".into()),
        user_properties: vec![
            ("app-id".into(), "A".into()),
            ("API-KEY".into(), "K".into()),
            ("other".into(), "ignored for JSON".into()),
        ],
        ..reply_to(CLIENT, "c-1")
    };
    asker.send("subject/list", b"{\"limit\": 2}", properties).await;
    let answer = asker.next().await;
    assert_eq!(answer.topic, CLIENT);
    assert!(!answer.retain);
    assert_eq!(answer.qos, QoS::AtLeastOnce);
    let properties = answer.properties.unwrap();
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"c-1"[..]));
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert!(properties.message_expiry_interval.is_some_and(|seconds| seconds <= 60));
    assert_eq!(
        String::from_utf8_lossy(&answer.payload),
        r#"{"status":200,"number":0,"operation":"subject/list","json":"{\"limit\": 2}","credentials":["A","K"]}"#
    );

    // Without a Response Topic.
    asker.send("health", b"{\"request_id\": \"r-1\"}", PublishProperties::default()).await;
    let answer = asker.next().await;
    assert_eq!(answer.topic, "doorward/front/response/health");
    assert_eq!(answer.properties.unwrap().correlation_data, None);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_mebibytes_both_ways() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let picture = vec![0xd8; 5 * 1024 * 1024];
    let properties = PublishProperties {
        content_type: Some("image/jpeg".into()),
        user_properties: vec![("is_quality".into(), "false".into())],
        ..reply_to(CLIENT, "1")
    };
    asker.send("mirror", &picture, properties).await;
    let answer = asker.next_json().await;
    assert_eq!(answer["image"], picture.len());
    assert_eq!(answer["fields"], json!([["is_quality", "false"]]));
    assert_eq!(answer["mirror"].as_str().map(str::len), Some(picture.len()));
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_too_large_for_the_broker_keeps_the_connection() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    // 8.99 MiB in, and a little more out.
    let picture = vec![0xd8; 9 * 1024 * 1024 - 200];
    asker.send("mirror", &picture, reply_to(CLIENT, "1")).await;
    let answer = asker.next_json().await;
    assert_eq!(answer["error_code"], "INTERNAL_SERVER_ERROR");
    assert!(session.publisher().is_connected());
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_content_type_is_refused() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let properties =
        PublishProperties { content_type: Some("image/gif".into()), ..reply_to(CLIENT, "1") };
    asker.send("verify", b"GIF89a", properties).await;
    let answer = asker.next_json().await;
    assert_eq!(answer["status"], 400);
    assert_eq!(answer["error_code"], "INVALID_PAYLOAD");
    assert!(answer["data"]["message"].as_str().unwrap().contains("image/gif"));
    assert_eq!(echo.done(), 0);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn response_topic_that_is_a_command_is_refused() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &["#"]).await;
    for topic in [
        "doorward/front/cmd/unlock",
        "doorward/front/availability",
        "homeassistant/lock/front/config",
        "doorward/back/client/a",
    ] {
        let body = json!({ "request_id": topic }).to_string();
        asker.send("enroll", body.as_bytes(), reply_to(topic, topic)).await;
        loop {
            let message = asker.next().await;
            assert_ne!(message.topic, topic);
            if message.topic == "doorward/front/response/enroll" {
                let answer: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                assert_eq!(answer["status"], 400);
                assert_eq!(answer["error_code"], "INVALID_PAYLOAD");
                assert_eq!(answer["message"], "Invalid Payload");
                assert_eq!(answer["request_id"], topic);
                assert!(answer["session_id"].is_string() && answer["timestamp"].is_number());
                let correlation = message.properties.unwrap().correlation_data;
                assert_eq!(correlation.as_deref(), Some(topic.as_bytes()));
                break;
            }
            // The test's own command, retained messages, and messages that a session sends by
            // itself.
            assert!(
                message.retain
                    || message.topic == "doorward/front/cmd/enroll"
                    || message.topic == "doorward/front/state/health"
                    || message.topic == "homeassistant/device/doorward_front/config"
            );
        }
    }
    assert_eq!(echo.done(), 0);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_refused_by_the_broker_is_not_remembered() {
    let wanted = Wanted { largest_packet: Some(20_000), ..Wanted::default() };
    let (broker, echo) = (Mosquitto::start(wanted), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    // The command fits into a packet; the answer that echoes it does not.
    for done in 1..=2 {
        asker.send("mirror", &[0xFF; 19_800], reply_to(CLIENT, "same")).await;
        let message = asker.next().await;
        let answer: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(answer["status"], 500);
        assert_eq!(message.properties.unwrap().user_properties, []);
        assert_eq!(echo.done(), done);
    }
    // The connection stays open.
    asker.send("mirror", &[0xFF; 100], reply_to(CLIENT, "small")).await;
    assert_eq!(asker.next_json().await["status"], 200);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeat_is_answered_again_and_done_once() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT, RESPONSES]).await;
    asker.send("enroll", b"{}", reply_to(CLIENT, "same")).await;
    let first = asker.next().await;
    asker.send("enroll", b"{}", reply_to(CLIENT, "same")).await;
    let second = asker.next().await;
    assert_eq!(first.payload, second.payload);
    let properties = second.properties.unwrap();
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"same"[..]));
    assert_eq!(properties.user_properties, [("x-repeated".into(), "true".into())]);
    assert_eq!(echo.done(), 1);

    // Without Correlation Data, `request_id` identifies the repeat.
    for _ in 0..2 {
        asker.send("enroll", b"{\"request_id\": \"7\"}", PublishProperties::default()).await;
        assert_eq!(asker.next_json().await["number"], 1);
    }
    assert_eq!(echo.done(), 2);

    // A failure is not remembered.
    for number in [2, 3] {
        asker.send("enroll", b"{\"fail\":true}", reply_to(CLIENT, "f")).await;
        assert_eq!(asker.next_json().await["number"], number);
    }
    assert_eq!(session.counts().repeats, 2);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeat_of_a_running_request_waits_for_its_answer() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::held());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    for _ in 0..3 {
        asker.send("enroll", b"{}", reply_to(CLIENT, "same")).await;
    }
    while session.counts().repeats < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(asker.hears_nothing().await);
    echo.gate.add_permits(1);
    for _ in 0..3 {
        assert_eq!(asker.next_json().await["number"], 0);
    }
    assert_eq!(echo.done(), 1);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_with_the_same_counter_get_their_own_answers() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let ask = async |name: &'static str| {
        let topic = format!("doorward/front/client/{name}");
        let mut asker = Asker::connect(broker.port(), name, &[&topic]).await;
        for round in 0..30 {
            let body = json!({ "who": name, "round": round }).to_string();
            asker.send("search", body.as_bytes(), reply_to(&topic, &round.to_string())).await;
        }
        let mut rounds = Vec::new();
        for _ in 0..30 {
            let answer = asker.next().await;
            let correlation = answer.properties.unwrap().correlation_data.unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
            if answer["status"] == 503 {
                continue;
            }
            let body: serde_json::Value =
                serde_json::from_str(answer["json"].as_str().unwrap()).unwrap();
            assert_eq!(body["who"], name);
            assert_eq!(body["round"].to_string().as_bytes(), correlation);
            rounds.push(body["round"].as_u64().unwrap());
        }
        assert!(asker.hears_nothing().await);
        rounds.sort();
        rounds.dedup();
        rounds.len()
    };
    let (a, b) = tokio::join!(ask("a"), ask("b"));
    assert_eq!(a + b, echo.done());
    assert!(a > 0 && b > 0);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_queue_answers_busy() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::held());
    let session = start(Settings { queue: 3, ..settings(&broker) }, &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    for n in 0..50 {
        let body = json!({ "request_id": format!("r-{n}") }).to_string();
        asker.send("search", body.as_bytes(), reply_to(CLIENT, &n.to_string())).await;
    }
    for _ in 0..47 {
        let message = asker.next().await;
        let answer: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(answer["status"], 503);
        assert_eq!(answer["error_code"], "BUSY");
        let n = String::from_utf8(message.properties.unwrap().correlation_data.unwrap().to_vec());
        assert_eq!(answer["request_id"], format!("r-{}", n.unwrap()));
    }
    assert!(asker.hears_nothing().await);
    echo.gate.add_permits(3);
    for _ in 0..3 {
        assert_eq!(asker.next_json().await["status"], 200);
    }
    // BUSY is not remembered: the same request is done when the queue has a place.
    echo.gate.add_permits(1);
    asker.send("search", b"{}", reply_to(CLIENT, "49")).await;
    assert_eq!(asker.next_json().await["status"], 200);
    assert_eq!(echo.done(), 4);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_pictures_are_bounded_by_bytes() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::held());
    let small = Settings { queue: 100, queue_bytes: 9 * 1024 * 1024, ..settings(&broker) };
    let session = start(small, &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let picture = vec![0xd8; 4 * 1024 * 1024];
    for n in 0..3 {
        asker.send("search", &picture, reply_to(CLIENT, &n.to_string())).await;
    }
    assert_eq!(asker.next_json().await["status"], 503);
    echo.gate.add_permits(2);
    for _ in 0..2 {
        assert_eq!(asker.next_json().await["status"], 200);
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_without_acknowledgements_neither_stops_nor_grows_the_session() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    for n in 0..5000 {
        let topic = "doorward/front/cmd/search";
        let properties = reply_to("doorward/front/client/unread", &n.to_string());
        asker
            .client
            .publish_with_properties(topic, QoS::AtMostOnce, false, "{}", properties)
            .await
            .unwrap();
    }
    // BUSY while the flood lasts, then an answer.
    let start = Instant::now();
    loop {
        asker.send("health", b"{}", reply_to(CLIENT, "after")).await;
        let answer = asker.next_json().await;
        if answer["status"] == 200 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    let counts = session.counts();
    assert!(counts.commands > 1, "{counts:?}");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_command_is_never_done() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let retain = async || {
        let topic = "doorward/front/cmd/unlock";
        asker.client.publish(topic, QoS::AtLeastOnce, true, "{}").await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    // Retained before the daemon starts, and published while it listens.
    retain().await;
    let session = start(settings(&broker), &echo).await;
    retain().await;
    let counts = session.counts();
    assert_eq!((counts.commands, counts.stale, echo.done()), (1, 1, 0));
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_sent_while_the_daemon_is_away_is_not_done() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    // Subscribes to the commands too: when one arrives here, the broker has it.
    let asked = [CLIENT, "doorward/front/availability", "doorward/front/cmd/unlock"];
    let mut asker = Asker::connect(broker.port(), "a", &asked).await;
    let session = start(settings(&broker), &echo).await;
    session.stop().await;
    asker.wait_for("availability", "stopped").await;
    asker.send("unlock", b"{}", reply_to(CLIENT, "1")).await;
    asker.wait_for("cmd/unlock", "{}").await;
    // The same with a daemon that crashed instead of stopping.
    drop(start(settings(&broker), &echo).await);
    asker.wait_for("availability", "offline").await;
    asker.send("unlock", b"{}", reply_to(CLIENT, "2")).await;
    asker.wait_for("cmd/unlock", "{}").await;
    let session = start(settings(&broker), &echo).await;
    asker.wait_for("availability", "online").await;
    assert!(asker.hears_nothing().await);
    assert_eq!((session.counts().commands, echo.done()), (0, 0));
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_request_gets_no_answer_and_is_not_remembered() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::held());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    let short = PublishProperties { message_expiry_interval: Some(1), ..reply_to(CLIENT, "short") };
    asker.send("unlock", b"{}", short.clone()).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    echo.gate.add_permits(1);
    assert!(asker.hears_nothing().await);
    // An expired request is not remembered: sent again in time, it is done.
    echo.gate.add_permits(1);
    asker.send("unlock", b"{}", reply_to(CLIENT, "short")).await;
    assert_eq!(asker.next_json().await["number"], 1);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn panic_in_the_service_is_answered_as_an_error() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    asker.send("verify", b"{\"panic\":true}", reply_to(CLIENT, "1")).await;
    assert_eq!(asker.next_json().await["error_code"], "INTERNAL_SERVER_ERROR");
    asker.send("verify", b"{}", reply_to(CLIENT, "1")).await;
    assert_eq!(asker.next_json().await["status"], 200);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_finishes_running_requests() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::held());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    asker.send("enroll", b"{}", reply_to(CLIENT, "1")).await;
    while echo.done() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let gate = echo.gate.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    });
    session.stop().await;
    assert_eq!(asker.next_json().await["status"], 200);
}

/// Prints a figure for the documents (`--nocapture`); there is no limit to meet.
#[tokio::test(flavor = "multi_thread")]
async fn round_trip_figures() {
    let (broker, echo) = (Mosquitto::start(Wanted::default()), Echo::new());
    let session = start(settings(&broker), &echo).await;
    let mut asker = Asker::connect(broker.port(), "a", &[CLIENT]).await;
    for (what, size) in [("200 bytes", 200), ("200 KiB", 200 * 1024), ("5 MiB", 5 * 1024 * 1024)] {
        let mut times = Vec::new();
        for n in 0..30 {
            let start = Instant::now();
            let correlation = format!("{what}{n}");
            asker.send("search", &vec![0xd8; size], reply_to(CLIENT, &correlation)).await;
            assert_eq!(asker.next_json().await["status"], 200);
            times.push(start.elapsed());
        }
        times.sort();
        println!("{what}: request and answer in {:?} (median)", times[15]);
    }
    session.stop().await;
}

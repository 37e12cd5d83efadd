//! Tests the connection to a real mosquitto: logins, TLS, access lists, a broker that crashes and
//! returns, and the `availability` topic during all of these.

use crate::support::asker::Asker;
use crate::support::mosquitto::{Mosquitto, Wanted};
use doorward::contract::{Answer, Body, Credentials, Request};
use doorward::mqtt::{Call, CallError, ConnectError, Health, Session, Settings, Tls, call};
use rumqttc::v5::mqttbytes::QoS;
use serde_json::{Map, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const AVAILABILITY: &str = "doorward/front/availability";

async fn yes(request: Request) -> Option<Answer> {
    let mut fields = Map::new();
    fields.insert("operation".into(), request.operation.into());
    Some(Answer { status: 200, fields })
}

fn health() -> Health {
    Arc::new(|| json!({ "status": "up" }))
}

fn settings(broker: &Mosquitto) -> Settings {
    Settings {
        device_id: "front".into(),
        host: Some("localhost".into()),
        port: Some(broker.port()),
        ..Settings::default()
    }
}

fn login(settings: Settings, (name, password): (&str, &str)) -> Settings {
    Settings {
        username: Some(name.into()),
        password: Some(password.to_string().into()),
        ..settings
    }
}

fn tls(settings: Settings, broker: &Mosquitto, client_certificate: bool) -> Settings {
    let file = |name| client_certificate.then(|| broker.file(name));
    Settings {
        tls: Tls {
            enabled: true,
            ca_file: Some(broker.file("ca.pem")),
            client_cert_file: file("client.pem"),
            client_key_file: file("client.key"),
        },
        ..settings
    }
}

async fn connected(session: &Session, patience: Duration) -> bool {
    let publisher = session.publisher();
    let wait = async {
        while !publisher.is_connected() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(patience, wait).await.is_ok()
}

async fn start(settings: Settings) -> Session {
    let session = Session::start(settings, yes, health()).await.unwrap();
    assert!(connected(&session, Duration::from_secs(10)).await);
    session
}

fn request() -> Call {
    Call {
        operation: "health".into(),
        body: Body::Json(b"{}".to_vec()),
        credentials: Credentials::default(),
        timeout: Duration::from_secs(10),
    }
}

const TERMINAL: (&str, &str) = Mosquitto::LOGINS[0];
const DESK: (&str, &str) = Mosquitto::LOGINS[1];

#[tokio::test(flavor = "multi_thread")]
async fn right_login_is_accepted_and_wrong_one_refused() {
    let broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
    let session = start(login(settings(&broker), TERMINAL)).await;
    let answer = call(&login(settings(&broker), DESK), request()).await.unwrap();
    assert_eq!(answer, json!({ "status": 200, "operation": "health" }));

    for wrong in [settings(&broker), login(settings(&broker), ("terminal", "wrong"))] {
        let error = call(&wrong, request()).await.unwrap_err();
        assert!(error.to_string().contains("set mqtt.username and mqtt.password"), "{error}");
        let session = Session::start(wrong, yes, health()).await.unwrap();
        assert!(!connected(&session, Duration::from_millis(500)).await);
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_access_list_works() {
    let broker = Mosquitto::start(Wanted { logins: true, tls: true, ..Wanted::default() });
    let terminal = tls(login(settings(&broker), TERMINAL), &broker, false);
    let desk = tls(login(settings(&broker), DESK), &broker, false);
    let session = start(terminal.clone()).await;
    assert_eq!(call(&desk, request()).await.unwrap()["status"], 200);
    // The terminal's own login may not send commands to it.
    let error = call(&terminal, request()).await.unwrap_err();
    assert!(matches!(error, CallError::Forbidden(_)), "{error}");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_verifies_the_broker() {
    let broker = Mosquitto::start(Wanted { tls: true, ..Wanted::default() });
    assert_eq!(
        call(&tls(settings(&broker), &broker, false), request()).await.unwrap_err().to_string(),
        "no daemon listens on doorward/front/cmd/health: is the daemon running, and device_id the same?"
    );
    // Signed by another authority.
    let stranger = Mosquitto::start(Wanted { tls: true, ..Wanted::default() });
    let mut wrong = tls(settings(&broker), &stranger, false);
    let error = call(&wrong, request()).await.unwrap_err();
    assert!(error.to_string().contains("mqtt.ca_file"), "{error}");
    // A host name that is not in the certificate.
    wrong = tls(settings(&broker), &broker, false);
    wrong.host = Some("127.0.0.2".into());
    assert!(call(&wrong, request()).await.is_err());
    // No TLS at all.
    let error = call(&settings(&broker), request()).await.unwrap_err();
    assert!(error.to_string().contains("(mqtt.tls)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls() {
    let broker =
        Mosquitto::start(Wanted { tls: true, client_certificates: true, ..Wanted::default() });
    let with = tls(settings(&broker), &broker, true);
    let session = start(with.clone()).await;
    assert_eq!(call(&with, request()).await.unwrap()["status"], 200);
    let without = tls(settings(&broker), &broker, false);
    assert!(call(&without, request()).await.is_err());
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_files_are_named_at_start() {
    let broker = Mosquitto::start(Wanted { tls: true, ..Wanted::default() });
    let mut wrong = tls(settings(&broker), &broker, false);
    for (file, text) in [("nothing.pem", None), ("empty.pem", Some("")), ("key.pem", Some("x"))] {
        if let Some(text) = text {
            std::fs::write(broker.file(file), text).unwrap();
        }
        wrong.tls.ca_file = Some(broker.file(file));
        let error = Session::start(wrong.clone(), yes, health()).await.err().unwrap();
        assert!(matches!(error, ConnectError::File { key: "mqtt.ca_file", .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_reconnects_to_a_restarted_broker() {
    let mut broker = Mosquitto::start(Wanted::default());
    let session = start(settings(&broker)).await;
    assert_eq!(call(&settings(&broker), request()).await.unwrap()["status"], 200);
    broker.kill();
    while session.publisher().is_connected() {
        sleep(Duration::from_millis(5)).await;
    }
    // Long enough for at least one failed attempt.
    sleep(Duration::from_millis(1500)).await;
    broker.revive();
    assert!(connected(&session, Duration::from_secs(10)).await);
    assert_eq!(call(&settings(&broker), request()).await.unwrap()["status"], 200);
    // The broker forgot everything; the session published it again.
    let mut watcher = Asker::connect(broker.port(), "w", &["doorward/front/#"]).await;
    assert!(watcher.wait_for("availability", "online").await.retain);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_distinguishes_stop_from_crash() {
    let broker = Mosquitto::start(Wanted::default());
    let mut watcher = Asker::connect(broker.port(), "w", &["doorward/front/#"]).await;
    let session = start(settings(&broker)).await;
    watcher.wait_for("availability", "online").await;
    watcher.wait_for("state/health", r#"{"status":"up"}"#).await;
    session.stop().await;
    watcher.wait_for("availability", "stopped").await;

    let session = start(settings(&broker)).await;
    watcher.wait_for("availability", "online").await;
    drop(session);
    watcher.wait_for("availability", "offline").await;

    // Both messages are retained.
    let mut late = Asker::connect(broker.port(), "late", &["doorward/front/#"]).await;
    assert!(late.wait_for("availability", "offline").await.retain);
    assert!(late.wait_for("state/health", r#"{"status":"up"}"#).await.retain);
}

#[tokio::test(flavor = "multi_thread")]
async fn daemon_that_replaces_a_dead_one_stays_online() {
    // A new connection with the same identifier makes the broker end the old one and publish its
    // last will at once; `online` comes after it.
    let broker = Mosquitto::start(Wanted::default());
    let old = start(settings(&broker)).await;
    let new = start(settings(&broker)).await;
    drop(old);
    sleep(Duration::from_millis(300)).await;
    let mut watcher = Asker::connect(broker.port(), "w", &[AVAILABILITY]).await;
    assert_eq!(watcher.next().await.payload, "online");
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_published_periodically() {
    let broker = Mosquitto::start(Wanted::default());
    let mut watcher = Asker::connect(broker.port(), "w", &["doorward/front/state/#"]).await;
    let session =
        start(Settings { health_every: Duration::from_secs(1), ..settings(&broker) }).await;
    for _ in 0..3 {
        assert_eq!(watcher.next().await.topic, "doorward/front/state/health");
    }
    let publisher = session.publisher();
    publisher.state("gallery", &json!({ "subjects": 3 })).await.unwrap();
    watcher.wait_for("state/gallery", r#"{"subjects":3}"#).await;
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_without_a_broker_returns() {
    let mut broker = Mosquitto::start(Wanted::default());
    let session = start(settings(&broker)).await;
    broker.kill();
    timeout(Duration::from_secs(8), session.stop()).await.expect("stop hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_over_an_insecure_broker_are_refused() {
    // A remote broker is not available here: a non-loopback address of this machine replaces it. On
    // a machine without one, only the unit tests cover this.
    let Some(address) = own_address() else {
        eprintln!("no address besides loopback: skipped");
        return;
    };
    let Some(broker) = Mosquitto::start_on(address, Wanted::default()) else {
        eprintln!("cannot listen on {address}: skipped");
        return;
    };
    let insecure = Settings { host: Some(address.to_string()), ..settings(&broker) };
    let session = start(insecure.clone()).await;
    assert!(!session.exposure().borrow().is_safe());
    for operation in ["enroll", "subject/delete", "subject/update", "unlock"] {
        let call_it = Call { operation: operation.into(), ..request() };
        let answer = call(&insecure, call_it).await.unwrap();
        assert_eq!(answer["status"], 403, "{answer}");
        assert_eq!(answer["error_code"], "INSECURE_BROKER");
        let why = answer["data"]["message"].as_str().unwrap();
        assert!(why.contains("mqtt.allow_insecure = true"), "{why}");
    }
    assert_eq!(call(&insecure, request()).await.unwrap()["status"], 200);
    session.stop().await;
    let accepted = start(Settings { allow_insecure: true, ..insecure.clone() }).await;
    let unlock = Call { operation: "unlock".into(), ..request() };
    assert_eq!(call(&insecure, unlock).await.unwrap()["status"], 200);
    accepted.stop().await;
}

/// Returns the address this machine would send from; sends nothing.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_with_one_name_back_off() {
    // Each disconnects the other; the back-off prevents a reconnect storm.
    let broker = Mosquitto::start(Wanted::default());
    let one = start(settings(&broker)).await;
    let two = start(settings(&broker)).await;
    let mut watcher = Asker::connect(broker.port(), "w", &[AVAILABILITY]).await;
    let mut changes = 0;
    let _ = timeout(Duration::from_secs(3), async {
        loop {
            watcher.next().await;
            changes += 1;
        }
    })
    .await;
    assert!(changes < 20, "{changes} changes of availability in 3 s");
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_writes_on_the_terminals_topics_is_replaced() {
    let broker = Mosquitto::start(Wanted::default());
    let session = start(settings(&broker)).await;
    session.publisher().state("door", &json!({ "lock": "LOCKED" })).await.unwrap();
    let mut watcher = Asker::connect(broker.port(), "w", &["doorward/front/#"]).await;
    watcher.wait_for("availability", "online").await;
    let state = "doorward/front/state/door";
    for (topic, spoofed, right) in [
        (AVAILABILITY, "offline", "online"),
        (AVAILABILITY, "", "online"),
        (state, r#"{"lock":"UNLOCKED"}"#, r#"{"lock":"LOCKED"}"#),
    ] {
        watcher.client.publish(topic, QoS::AtLeastOnce, true, spoofed).await.unwrap();
        watcher.wait_for(topic, spoofed).await;
        watcher.wait_for(topic, right).await;
        let mut late = Asker::connect(broker.port(), "late", &[topic]).await;
        assert!(late.wait_for(topic, right).await.retain);
    }
    // A flood costs a few messages.
    for _ in 0..200 {
        watcher.client.publish(AVAILABILITY, QoS::AtLeastOnce, true, "offline").await.unwrap();
    }
    let mut repairs = 0;
    let _ = timeout(Duration::from_secs(3), async {
        loop {
            repairs += usize::from(watcher.next().await.payload == "online");
        }
    })
    .await;
    assert!((1..=5).contains(&repairs), "{repairs} repairs in 3 s");
    session.stop().await;
    watcher.wait_for("availability", "stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_is_back_within_seconds_after_its_identifier_is_taken() {
    let broker = Mosquitto::start(Wanted::default());
    let session = start(settings(&broker)).await;
    for _ in 0..5 {
        let taker = Asker::connect(broker.port(), "doorward-front", &["x"]).await;
        while session.publisher().is_connected() {
            sleep(Duration::from_millis(5)).await;
        }
        drop(taker);
        assert!(connected(&session, Duration::from_secs(6)).await);
    }
    session.stop().await;
}

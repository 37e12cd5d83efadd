//! The embedded broker: what a lone terminal runs on. It must want its login, carry whole pictures,
//! say what to do when its port is taken, and keep its login over restarts.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward::mqtt::{
    Call, CallError, Embedded, EmbeddedError, Exposure, Health, Login, Session, Settings, call,
};
use doorward::service::{Answer, Body, Credentials, Request};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers with the size of what it was sent.
async fn measure(request: Request) -> Option<Answer> {
    let size = match &request.body {
        Body::Json(bytes) => bytes.len(),
        Body::Image { bytes, .. } => bytes.len(),
    };
    let fields = match request.body {
        Body::Image { fields, .. } => fields.len(),
        Body::Json(_) => 0,
    };
    let mut answer = Map::new();
    answer.insert("operation".into(), request.operation.into());
    answer.insert("size".into(), size.into());
    answer.insert("fields".into(), fields.into());
    Some(Answer { status: 200, fields: answer })
}

fn health() -> Health {
    Arc::new(|| json!({ "status": "up" }))
}

fn request(operation: &str, body: Body) -> Call {
    Call {
        operation: operation.into(),
        body,
        credentials: Credentials::default(),
        timeout: Duration::from_secs(20),
    }
}

struct Terminal {
    broker: Embedded,
    session: Session,
    settings: Settings,
}

impl Terminal {
    async fn start(data_dir: &Path) -> Self {
        let broker = Embedded::start(0, data_dir).await.unwrap();
        let settings = Settings::default().aimed_at_embedded(broker.port(), broker.login());
        let session = Session::start(settings.clone(), measure, health()).await.unwrap();
        let publisher = session.publisher();
        while !publisher.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { broker, session, settings }
    }

    async fn stop(self) {
        self.session.stop().await;
        self.broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    assert_eq!(terminal.session.exposure(), Exposure::Closed);
    let body = Body::Json(br#"{"image": "AAAA"}"#.to_vec());
    let answer = call(&terminal.settings, request("subject/list", body)).await.unwrap();
    assert_eq!(
        answer,
        json!({ "status": 200, "operation": "subject/list", "size": 17, "fields": 0 })
    );
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_mebibytes_pass() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let mut bytes = vec![0x55; 8 * 1024 * 1024];
    bytes[..3].copy_from_slice(b"\xff\xd8\xff");
    let fields = vec![("subject_id".into(), "ada".into()), ("is_quality".into(), "true".into())];
    let answer =
        call(&terminal.settings, request("enroll", Body::Image { bytes, fields })).await.unwrap();
    assert_eq!(answer["size"], 8 * 1024 * 1024);
    // The user property that this broker adds is no field.
    assert_eq!(answer["fields"], 2);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_packet_is_refused_before_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let body = Body::Json(vec![b' '; 10 * 1024 * 1024]);
    let error = call(&terminal.settings, request("search", body)).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge(_)), "{error}");
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_the_login() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let wrong = |username: Option<&str>, password: Option<&str>| Settings {
        username: username.map(Into::into),
        password: password.map(|text| text.to_string().into()),
        ..terminal.settings.clone()
    };
    for settings in [
        wrong(None, None),
        wrong(Some("doorward"), None),
        wrong(Some("doorward"), Some("wrong")),
        wrong(Some("other"), Some(terminal.broker.login().password.reveal())),
    ] {
        let error =
            call(&settings, request("health", Body::Json(b"{}".to_vec()))).await.unwrap_err();
        assert!(error.to_string().contains("mqtt.username"), "{error}");
    }
    // Those who knocked in vain did not lock out the one who knows the login.
    let answer = call(&terminal.settings, request("health", Body::Json(b"{}".to_vec()))).await;
    assert_eq!(answer.unwrap()["status"], 200);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Embedded::start(port, dir.path()).await.err().unwrap();
    assert!(matches!(error, EmbeddedError::PortTaken(p) if p == port));
    assert!(error.to_string().contains("mqtt.port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_login_and_port() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let (port, login) = (terminal.broker.port(), terminal.broker.login().clone());
    terminal.stop().await;
    assert_eq!(Login::read(dir.path()).unwrap(), login);
    let broker = Embedded::start(port, dir.path()).await.unwrap();
    assert_eq!(broker.login(), &login);
    broker.stop().await;
}

/// Not a bar, a figure for the documents: printed with `--nocapture`.
#[tokio::test(flavor = "multi_thread")]
async fn round_trip_figures() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    for (what, size, rounds) in [("200 bytes", 200, 50), ("200 KiB", 200 * 1024, 30)] {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..rounds {
            let body = Body::Image { bytes: vec![0x55; size], fields: Vec::new() };
            let start = Instant::now();
            let answer: Value = call(&terminal.settings, request("search", body)).await.unwrap();
            times.push(start.elapsed());
            assert_eq!(answer["size"], size);
        }
        times.sort();
        println!("{what}: connect, ask and be answered in {:?} (median)", times[rounds / 2]);
    }
    terminal.stop().await;
}

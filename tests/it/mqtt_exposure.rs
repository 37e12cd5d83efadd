//! Tests the detection of open brokers. An anonymous broker counts as open also on loopback: it may
//! have a second listener that the whole network reaches. Uses real mosquittos on loopback and,
//! where a terminal is needed, the real binary.

use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::outage::Network;
use crate::support::terminal::{Terminal, portrait};
use doorward::contract::{Answer, Body, Credentials, Request};
use doorward::mqtt::{Call, Exposure, Session, Settings, Tls, call};
use serde_json::{Map, Value, json};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const CHANGES: [&str; 5] = ["enroll", "enroll_mode", "subject/update", "subject/delete", "unlock"];

/// Settings with a login: an anonymous broker accepts any.
fn settings(port: u16) -> Settings {
    let (name, password) = Mosquitto::LOGINS[0];
    Settings {
        device_id: "front".into(),
        host: Some("localhost".into()),
        port: Some(port),
        username: Some(name.into()),
        password: Some(password.to_owned().into()),
        ..Settings::default()
    }
}

async fn start(settings: Settings) -> Session {
    let yes = |_: Request| std::future::ready(Some(Answer { status: 200, fields: Map::new() }));
    Session::start(settings, yes, Arc::new(|| json!({ "status": "up" }))).await.unwrap()
}

async fn settled(session: &Session) -> Exposure {
    let mut exposure = session.exposure();
    let known = exposure.wait_for(|exposure| *exposure != Exposure::Unknown);
    *timeout(Duration::from_secs(20), known).await.unwrap().unwrap()
}

async fn ask(asker: &Settings, operation: &str) -> Value {
    let call_it = Call {
        operation: operation.into(),
        body: Body::Json(b"{}".to_vec()),
        credentials: Credentials::default(),
        timeout: Duration::from_secs(20),
    };
    call(asker, call_it).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_over_an_anonymous_loopback_broker_are_refused() {
    let broker = Mosquitto::start(Wanted::default());
    let settings = settings(broker.port());
    let session = start(settings.clone()).await;
    // From the first command on: commands wait until the result of the check is known.
    while !session.publisher().is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for operation in CHANGES {
        let answer = ask(&settings, operation).await;
        assert_eq!(answer["status"], 403, "{operation}: {answer}");
        assert_eq!(answer["error_code"], "INSECURE_BROKER");
        let why = answer["data"]["message"].as_str().unwrap();
        for named in ["mqtt.allow_insecure = true", "allow_anonymous false", "password_file"] {
            assert!(why.contains(named), "{why}");
        }
    }
    assert_eq!(ask(&settings, "search").await["status"], 200);
    assert_eq!(settled(&session).await, Exposure::Anonymous);
    session.stop().await;

    let session = start(Settings { allow_insecure: true, ..settings.clone() }).await;
    assert_eq!(*session.exposure().borrow(), Exposure::Accepted);
    while !session.publisher().is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&settings, "enroll").await["status"], 200);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_with_logins_is_closed() {
    let broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
    let session = start(settings(broker.port())).await;
    assert_eq!(settled(&session).await, Exposure::Closed);
    let (name, password) = Mosquitto::LOGINS[1];
    let desk = Settings {
        username: Some(name.into()),
        password: Some(password.to_owned().into()),
        ..settings(broker.port())
    };
    for operation in CHANGES {
        assert_eq!(ask(&desk, operation).await["status"], 200, "{operation}");
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_is_closed_only_if_it_requires_a_certificate() {
    for (client_certificates, expected) in [(true, Exposure::Closed), (false, Exposure::Anonymous)]
    {
        let broker =
            Mosquitto::start(Wanted { tls: true, client_certificates, ..Wanted::default() });
        let with_certificate = Settings {
            tls: Tls {
                enabled: true,
                ca_file: Some(broker.file("ca.pem")),
                client_cert_file: Some(broker.file("client.pem")),
                client_key_file: Some(broker.file("client.key")),
            },
            username: None,
            password: None,
            ..settings(broker.port())
        };
        let session = start(with_certificate).await;
        assert_eq!(settled(&session).await, expected);
        session.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn network_failure_does_not_prove_a_closed_broker() {
    let broker = Mosquitto::start(Wanted::default());
    let network = Network::to(broker.port());
    network.stall(true);
    let session = start(settings(network.port())).await;
    assert!(timeout(Duration::from_secs(2), settled(&session)).await.is_err());
    assert!(!session.exposure().borrow().is_safe());
    network.resume();
    assert_eq!(settled(&session).await, Exposure::Anonymous);
    session.stop().await;
}

/// A full broker does this, and a proxy whose broker has not started. An attacker could fill an
/// open broker during the check; it must not count as closed.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_connection_does_not_prove_a_closed_broker() {
    let broker = Mosquitto::start(Wanted::default());
    let network = Network::to(broker.port());
    for login in [true, false] {
        network.fail();
        let mut settings = settings(network.port());
        settings.password = settings.password.filter(|_| login);
        let session = start(settings).await;
        let known = timeout(Duration::from_secs(4), settled(&session)).await;
        assert!(known.is_err(), "with a login {login}: {known:?}");
        assert!(!session.exposure().borrow().is_safe());
        network.heal();
        assert_eq!(settled(&session).await, Exposure::Anonymous);
        session.stop().await;
    }
}

#[test]
fn strike_is_not_armed_on_an_anonymous_broker() {
    let broker = Mosquitto::start(Wanted::default());
    let frames = tempfile::tempdir().unwrap();
    fs::copy(portrait("obama"), frames.path().join("1.jpg")).unwrap();
    let mut terminal = Terminal::prepare(&format!(
        "host = \"localhost\"\nport = {}\nusername = \"terminal\"\npassword = \"t3rminal\"\n\
         [camera]\nsource = \"replay:{}\"\nfps = 10\n[access]\ngroups = [\"family: always\"]\n\
         retry_ms = 500\n[door]\nboard = \"pc\"\n[liveness]\npolicy = \"off-for-this-test\"",
        broker.port(),
        frames.path().display()
    ));
    let reference = portrait("obama2").display().to_string();
    assert_eq!(terminal.json(&["enroll", &reference, "--subject-id", "obama"])["status"], 200);
    assert_eq!(terminal.json(&["gallery", "update", "obama", "--groups", "family"])["status"], 200);
    terminal.run();
    let started = Instant::now();
    let decisions = loop {
        let lines = String::from_utf8(terminal.cli(&["audit", "list"]).stdout).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let decisions: Vec<_> = lines.filter(|line| line["action"] == "access").collect();
        if decisions.len() >= 2 {
            break decisions;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{}", terminal.log());
        std::thread::sleep(Duration::from_millis(100));
    };
    for decision in decisions {
        assert_eq!(decision["outcome"], "denied", "{decision}");
        assert!(decision["reason"].as_str().unwrap().contains("allow_insecure"), "{decision}");
    }
    assert!(terminal.log().contains("allow_anonymous false"), "{}", terminal.log());
    assert!(terminal.stop());
}

//! Tests Home Assistant discovery: the door is shown with what it can do, and removed on request.
//!
//! A client of a real mosquitto acts as Home Assistant. The requirements for a discovery message
//! are from Home Assistant's own schemas (device discovery; lock, event, binary_sensor, sensor,
//! button).

use crate::support::asker::Asker;
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::terminal::Terminal;
use doorward::contract::{Answer, Body, Request};
use doorward::mqtt::{DECISIONS, HomeAssistant, Session, Settings};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const CONFIG: &str = "homeassistant/device/doorward_front/config";
const STATUS: &str = "homeassistant/status";

fn settings(port: u16, homeassistant: HomeAssistant) -> Settings {
    Settings {
        device_id: "front".into(),
        host: Some("127.0.0.1".into()),
        port: Some(port),
        homeassistant,
        ..Settings::default()
    }
}

async fn start(settings: Settings) -> Session {
    let no_answer = |_: Request| async { None::<Answer> };
    Session::start(settings, no_answer, Arc::new(|| json!({ "health": "up" }))).await.unwrap()
}

fn message(publish: &Publish) -> Value {
    serde_json::from_slice(&publish.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_message_meets_home_assistants_schemas() {
    let broker = Mosquitto::start(Wanted::default());
    let all = HomeAssistant { remote_unlock: true, ..HomeAssistant::default() };
    let session = start(settings(broker.port(), all)).await;
    let publisher = session.publisher();
    while !publisher.is_connected() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The message is retained, so a later subscriber gets it.
    let mut home = Asker::connect(broker.port(), "ha", &[CONFIG]).await;
    let config = message(&home.next().await);

    let device = &config["device"];
    assert_eq!(device["identifiers"], json!(["doorward_front"]));
    assert!(device["name"].is_string() && device["sw_version"].is_string());
    assert!(config["origin"]["name"].is_string());
    assert_eq!(config["availability"][0]["topic"], "doorward/front/availability");
    let required: &[(&str, &[&str])] = &[
        ("event", &["event_types", "state_topic"]),
        ("binary_sensor", &["state_topic"]),
        ("sensor", &["state_topic"]),
        ("lock", &["command_topic"]),
        ("button", &["command_topic"]),
    ];
    let components = config["components"].as_object().unwrap();
    assert_eq!(components.len(), 14);
    for (name, component) in components {
        let platform = component["platform"].as_str().unwrap();
        let (_, required) = required.iter().find(|(known, _)| *known == platform).unwrap();
        for key in required.iter().chain(&["unique_id", "name"]) {
            assert!(!component[*key].is_null(), "{name}: no {key}");
        }
        for (key, topic) in component.as_object().unwrap() {
            if key.ends_with("_topic") {
                let topic = topic.as_str().unwrap();
                assert!(topic.starts_with("doorward/front/"), "{name}: {key} = {topic}");
            }
        }
        if let Some(template) = component["value_template"].as_str() {
            assert!(template.starts_with("{{ ") && template.ends_with(" }}"), "{template}");
        }
    }
    assert_eq!(components["decision"]["event_types"], json!(DECISIONS));
    // Spoofs have a kind of their own.
    assert_eq!(components["decision"]["state_topic"], "doorward/front/event/+");
    let template = components["decision"]["value_template"].as_str().unwrap();
    assert!(template.contains("value_json.kind in ['access', 'spoof']"), "{template}");
    for (name, alarm) in [("forced_open", "forced_open"), ("held_open", "held_open")] {
        let template = components[name]["value_template"].as_str().unwrap();
        assert!(template.contains(&format!("value_json.alarm == '{alarm}'")), "{template}");
    }
    assert_eq!(components["fault"]["device_class"], "problem");
    // A number with a unit: no logbook entry a minute.
    assert_eq!(components["audit_head"]["unit_of_measurement"], "lines");
    assert_eq!(components["audit_head"]["value_template"], "{{ value_json.audit.last }}");
    assert_eq!(components["door"]["device_class"], "door");
    assert_eq!(components["tamper"]["device_class"], "tamper");
    assert_eq!(components["camera"]["device_class"], "connectivity");
    let lock = &components["lock"];
    assert_eq!((&lock["optimistic"], &lock["retain"]), (&json!(false), &json!(false)));
    let unlock: Value = serde_json::from_str(lock["payload_unlock"].as_str().unwrap()).unwrap();
    assert_eq!(unlock, json!({ "reason": "home assistant" }));
    assert_eq!(components["unlock"]["payload_press"], lock["payload_unlock"]);
    // Includes the time of issue: a late command is not done.
    for name in ["lock", "unlock"] {
        let template = components[name]["command_template"].as_str().unwrap();
        assert!(template.contains("issued_at=now().timestamp()"), "{name}: {template}");
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_sent_again_when_home_assistant_starts() {
    let broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
    let [(name, password), ..] = Mosquitto::LOGINS;
    let login = Settings {
        username: Some(name.into()),
        password: Some(password.to_owned().into()),
        ..settings(broker.port(), HomeAssistant::default())
    };
    let session = start(login).await;
    let (home, secret) = Mosquitto::HOME_ASSISTANT;
    let mut options = MqttOptions::new("ha", "127.0.0.1", broker.port());
    options.set_credentials(home, secret);
    let mut home = Asker::connect_with(options, &["homeassistant/#"]).await;
    assert_eq!(message(&home.next().await)["device"]["name"], "Front");
    for (said, answered) in [("offline", false), ("online", true)] {
        home.client.publish(STATUS, QoS::AtMostOnce, false, said).await.unwrap();
        home.wait_for(STATUS, said).await;
        match answered {
            true => assert_eq!(home.next().await.topic, CONFIG),
            false => assert!(home.hears_nothing().await),
        }
    }
    // A hundred birth messages are answered only a few times.
    for _ in 0..50 {
        home.client.publish(STATUS, QoS::AtLeastOnce, false, "online").await.unwrap();
    }
    let mut answers = 0;
    let listening = async {
        loop {
            answers += usize::from(home.next().await.topic == CONFIG);
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(4), listening).await;
    assert!((1..=5).contains(&answers), "{answers}");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_published_again_after_the_broker_forgot_them() {
    let mut broker = Mosquitto::start(Wanted::default());
    let session = start(settings(broker.port(), HomeAssistant::default())).await;
    session.publisher().state("door", &json!({ "lock": "LOCKED" })).await.unwrap();
    session.publisher().state("door", &json!({ "lock": "UNLOCKED" })).await.unwrap();
    let state = "doorward/front/state/door";
    let mut home = Asker::connect(broker.port(), "ha", &[state, CONFIG]).await;
    home.wait_for(state, r#"{"lock":"UNLOCKED"}"#).await;
    broker.kill();
    broker.revive();
    let mut home = Asker::connect(broker.port(), "ha", &[state, CONFIG]).await;
    home.wait_for(state, r#"{"lock":"UNLOCKED"}"#).await;
    assert_eq!(message(&home.next().await)["device"]["name"], "Front");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn door_is_removed_by_command_and_by_configuration() {
    let broker = Mosquitto::start(Wanted::default());
    let of_broker = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port());
    let mut terminal = Terminal::prepare(&of_broker);
    terminal.run();
    let mut home = Asker::connect(broker.port(), "ha", &[CONFIG]).await;
    let offered = message(&home.next().await);
    // Without a configured strike, no component that moves one is offered.
    assert_eq!(offered["components"]["lock"], json!({ "platform": "lock" }));
    assert!(terminal.stop());

    let removed = terminal.cli(&["homeassistant", "remove"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert!(home.next().await.payload.is_empty());
    // Nothing of the terminal is left at the broker.
    let mut everything = Asker::connect(broker.port(), "left", &["#"]).await;
    assert!(everything.hears_nothing().await);
    terminal.run();
    assert!(!home.next().await.payload.is_empty());
    assert!(terminal.stop());

    let mut without =
        Terminal::prepare(&format!("{of_broker}[homeassistant]\ndiscovery = false\n"));
    without.run();
    assert!(home.next().await.payload.is_empty());
    assert!(without.stop());
    // Nothing is left for a new subscriber.
    let mut late = Asker::connect(broker.port(), "late", &[CONFIG]).await;
    assert!(late.hears_nothing().await);
}

/// Runs a Home Assistant core: `pip install homeassistant==2025.4.4 paho-mqtt==2.1.0` in a Python
/// 3.13, which `DOORWARD_HOMEASSISTANT_PYTHON` names.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Home Assistant core"]
async fn home_assistant_core_shows_and_unlocks_the_door() {
    let python = std::env::var("DOORWARD_HOMEASSISTANT_PYTHON").unwrap();
    let broker = Mosquitto::start(Wanted::default());
    let unlocked = Arc::new(Mutex::new(Vec::new()));
    let seen = unlocked.clone();
    let unlock = move |request: Request| {
        let Body::Json(body) = request.body else { panic!("not JSON") };
        seen.lock().unwrap().push((request.operation, serde_json::from_slice(&body).unwrap()));
        async { Some(Answer { status: 200, fields: serde_json::Map::new() }) }
    };
    let homeassistant = HomeAssistant {
        name: Some("Front door".into()),
        remote_unlock: true,
        ..HomeAssistant::default()
    };
    let settings = Settings { allow_insecure: true, ..settings(broker.port(), homeassistant) };
    let audit = json!({ "last": 4711, "head": "ab".repeat(32) });
    let health = json!({ "version": "1", "outbox": { "depth": 0 }, "audit": audit });
    let session = Session::start(settings, unlock, Arc::new(move || health.clone())).await.unwrap();
    let door = json!({
        "lock": "LOCKED", "open": null, "tamper": false, "alarm": "forced_open",
        "faults": ["buzzer"],
    });
    session.publisher().state("door", &door).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/homeassistant/core.py");
    let mut core = std::process::Command::new(python);
    core.arg(script).arg(broker.port().to_string());
    let run = tokio::task::spawn_blocking(move || core.output().unwrap()).await.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let unlocked: Vec<(String, Value)> = unlocked.lock().unwrap().clone();
    assert_eq!(unlocked.len(), 2, "lock and button: {unlocked:?}");
    for (operation, body) in unlocked {
        assert_eq!((operation.as_str(), &body["reason"]), ("unlock", &json!("home assistant")));
        assert!(body["issued_at"].is_f64(), "{body}");
    }
    session.stop().await;
}

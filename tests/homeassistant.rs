//! Home Assistant does not show the door, shows what the door does not do, or keeps showing it.
//!
//! Its side is played by a client of a real mosquitto. What it requires of a discovery message is
//! taken from its own schemas (device discovery; lock, event, binary_sensor, sensor, button).
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/asker.rs"]
mod asker;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/terminal.rs"]
mod terminal;

use asker::Asker;
use doorward::contract::{Answer, Request};
use doorward::mqtt::{DECISIONS, HomeAssistant, Session, Settings};
use mosquitto::{Mosquitto, Wanted};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde_json::{Value, json};
use std::sync::Arc;
use terminal::Terminal;

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
    let nobody = |_: Request| async { None::<Answer> };
    Session::start(settings, nobody, Arc::new(|| json!({ "health": "up" }))).await.unwrap()
}

fn message(publish: &Publish) -> Value {
    serde_json::from_slice(&publish.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_described_as_home_assistant_asks_for_it() {
    let broker = Mosquitto::start(Wanted::default());
    let all = HomeAssistant { remote_unlock: true, ..HomeAssistant::default() };
    let session = start(settings(broker.port(), all)).await;
    let publisher = session.publisher();
    while !publisher.is_connected() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // Whoever comes later finds it: it is retained.
    let mut house = Asker::connect(broker.port(), "ha", &[CONFIG]).await;
    let config = message(&house.next().await);

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
    assert_eq!(components.len(), 11);
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
    assert_eq!(components["decision"]["state_topic"], "doorward/front/event/access");
    assert_eq!(components["door"]["device_class"], "door");
    assert_eq!(components["tamper"]["device_class"], "tamper");
    assert_eq!(components["camera"]["device_class"], "connectivity");
    let lock = &components["lock"];
    assert_eq!((&lock["optimistic"], &lock["retain"]), (&json!(false), &json!(false)));
    let unlock: Value = serde_json::from_str(lock["payload_unlock"].as_str().unwrap()).unwrap();
    assert_eq!(unlock, json!({ "reason": "home assistant" }));
    assert_eq!(components["unlock"]["payload_press"], lock["payload_unlock"]);
    // With the time at which it was meant: one that comes late is not done.
    for name in ["lock", "unlock"] {
        let template = components[name]["command_template"].as_str().unwrap();
        assert!(template.contains("issued_at=now().timestamp()"), "{name}: {template}");
    }
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_assistant_that_starts_is_told_again() {
    let broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
    let [(name, password), ..] = Mosquitto::LOGINS;
    let login = Settings {
        username: Some(name.into()),
        password: Some(password.to_owned().into()),
        ..settings(broker.port(), HomeAssistant::default())
    };
    let session = start(login).await;
    let (house, secret) = Mosquitto::HOUSE;
    let mut options = MqttOptions::new("ha", "127.0.0.1", broker.port());
    options.set_credentials(house, secret);
    let mut house = Asker::connect_with(options, &["homeassistant/#"]).await;
    assert_eq!(message(&house.next().await)["device"]["name"], "front");
    for (said, answered) in [("offline", false), ("online", true)] {
        house.client.publish(STATUS, QoS::AtMostOnce, false, said).await.unwrap();
        house.wait_for(STATUS, said).await;
        match answered {
            true => assert_eq!(house.next().await.topic, CONFIG),
            false => assert!(house.hears_nothing().await),
        }
    }
    // A hundred births are answered a few times at most.
    for _ in 0..50 {
        house.client.publish(STATUS, QoS::AtLeastOnce, false, "online").await.unwrap();
    }
    let mut answers = 0;
    let listening = async {
        loop {
            answers += usize::from(house.next().await.topic == CONFIG);
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(4), listening).await;
    assert!((1..=5).contains(&answers), "{answers}");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_there_again_after_the_broker_forgot_them() {
    let mut broker = Mosquitto::start(Wanted::default());
    let session = start(settings(broker.port(), HomeAssistant::default())).await;
    session.publisher().state("door", &json!({ "lock": "LOCKED" })).await.unwrap();
    session.publisher().state("door", &json!({ "lock": "UNLOCKED" })).await.unwrap();
    let state = "doorward/front/state/door";
    let mut house = Asker::connect(broker.port(), "ha", &[state, CONFIG]).await;
    house.wait_for(state, r#"{"lock":"UNLOCKED"}"#).await;
    broker.kill();
    broker.revive();
    let mut house = Asker::connect(broker.port(), "ha", &[state, CONFIG]).await;
    house.wait_for(state, r#"{"lock":"UNLOCKED"}"#).await;
    assert_eq!(message(&house.next().await)["device"]["name"], "front");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_is_removed_by_command_and_by_configuration() {
    let broker = Mosquitto::start(Wanted::default());
    let of_broker = format!("host = \"127.0.0.1\"\nport = {}\n", broker.port());
    let mut terminal = Terminal::prepare(&of_broker);
    terminal.run();
    let mut house = Asker::connect(broker.port(), "ha", &[CONFIG]).await;
    let offered = message(&house.next().await);
    // No strike is configured: nothing is offered that would move one.
    assert_eq!(offered["components"]["lock"], json!({ "platform": "lock" }));
    assert!(terminal.stop());

    let removed = terminal.cli(&["homeassistant", "remove"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert!(house.next().await.payload.is_empty());
    terminal.run();
    assert!(!house.next().await.payload.is_empty());
    assert!(terminal.stop());

    let mut without =
        Terminal::prepare(&format!("{of_broker}[homeassistant]\ndiscovery = false\n"));
    without.run();
    assert!(house.next().await.payload.is_empty());
    assert!(without.stop());
    // Nothing is left for whoever comes now.
    let mut late = Asker::connect(broker.port(), "late", &[CONFIG]).await;
    assert!(late.hears_nothing().await);
}

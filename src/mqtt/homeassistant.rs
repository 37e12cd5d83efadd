//! Home Assistant: the discovery message that shows this door there as one device.
//!
//! One retained message on `<prefix>/device/doorward_<id>/config` names all entities (device
//! discovery, Home Assistant 2024.11 or later); an empty one removes the device. It is published
//! whenever the session connects and whenever Home Assistant says `online` on `<prefix>/status`.
//!
//! It must never offer what this door does not do: the lock and the unlock button exist only with
//! [`HomeAssistant::remote_unlock`], and their commands are never retained. Entities read the
//! topics that all clients read; only this message is published for Home Assistant alone.

use super::connect::{self, ConnectError};
use super::topics::Topics;
use super::{Settings, topics};
use crate::outbox::Kind;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How long [`remove`] waits for the broker.
const PATIENCE: Duration = Duration::from_secs(15);

/// The outcomes of a decision at the door: the types of the event entity.
pub const DECISIONS: [&str; 9] = [
    "granted",
    "unknown",
    "denied",
    "spoof",
    "obscured",
    "poor_picture",
    "no_colour",
    "several_people",
    "locked_out",
];

/// The names of all states: `state/<name>`.
const STATES: [&str; 4] = ["health", "gallery", "door", "camera"];

/// The payload of a command with the time at which it was sent.
const ISSUED: &str = "{{ dict(value | from_json, issued_at=now().timestamp()) | to_json }}";

/// Settings for Home Assistant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeAssistant {
    /// True to publish the discovery message, false to remove it.
    pub discovery: bool,
    /// The first levels of its discovery topics.
    pub prefix: String,
    /// The device's name for people; otherwise the device id in words.
    pub name: Option<String>,
    /// Its name on the topics of named clients, if there are named clients.
    pub client: Option<String>,
    /// True if a command may move the strike.
    pub remote_unlock: bool,
}

impl Default for HomeAssistant {
    fn default() -> Self {
        Self {
            discovery: true,
            prefix: "homeassistant".to_owned(),
            name: None,
            client: None,
            remote_unlock: false,
        }
    }
}

impl HomeAssistant {
    /// Checks that the prefix and the client's name can stand in a topic.
    pub(crate) fn is_valid(&self) -> bool {
        let level = |level: &str| !level.is_empty() && topics::harmless(level);
        let client = self.client.as_deref();
        self.prefix.split('/').all(level)
            && self.prefix.len() <= 128
            && client.is_none_or(|name| level(name) && !name.contains('/'))
    }

    /// Returns the topic of Home Assistant's birth message.
    pub(crate) fn status_topic(&self) -> String {
        format!("{}/status", self.prefix)
    }

    /// Returns the topic of a device's discovery message.
    pub(crate) fn config_topic(&self, device_id: &str) -> String {
        format!("{}/device/{}/config", self.prefix, object_id(device_id))
    }

    /// Returns the discovery message; empty if there should be none.
    pub(crate) fn config(&self, device_id: &str, topics: &Topics) -> String {
        match self.discovery {
            true => Device { settings: self, device_id, topics }.message().to_string(),
            false => String::new(),
        }
    }
}

/// Returns the device's name in Home Assistant's topics and ids, which have no dots.
fn object_id(device_id: &str) -> String {
    format!("doorward_{}", device_id.replace('.', "_2E"))
}

struct Device<'a> {
    settings: &'a HomeAssistant,
    device_id: &'a str,
    topics: &'a Topics,
}

impl Device<'_> {
    fn message(&self) -> Value {
        let id = object_id(self.device_id);
        let version = env!("CARGO_PKG_VERSION");
        let mut components = Map::new();
        for (name, component) in self.components() {
            let Value::Object(mut component) = component else { continue };
            // A component with only a platform is a removal and has no id.
            if component.len() > 1 {
                component.insert("unique_id".into(), format!("{id}_{name}").into());
                component.insert("qos".into(), 1.into());
            }
            components.insert(name.to_owned(), component.into());
        }
        json!({
            "device": {
                "identifiers": [id],
                "name": self.settings.name.clone().unwrap_or_else(|| in_words(self.device_id)),
                "manufacturer": "doorward",
                "model": "face recognition terminal",
                "sw_version": version,
            },
            "origin": {
                "name": "doorward",
                "sw_version": version,
                "support_url": env!("CARGO_PKG_REPOSITORY"),
            },
            // Home Assistant knows only two words; `stopped` is neither.
            "availability": [{
                "topic": self.topics.availability(),
                "value_template": "{{ 'online' if value == 'online' else 'offline' }}",
            }],
            "components": components,
        })
    }

    fn components(&self) -> Vec<(&'static str, Value)> {
        let door = self.topics.state("door");
        let health = self.topics.state("health");
        let mut components = vec![
            ("decision", self.decisions()),
            (
                "door",
                json!({
                    "platform": "binary_sensor",
                    "name": "Door",
                    "device_class": "door",
                    "state_topic": door,
                    "value_template": on_off("open"),
                }),
            ),
            (
                "tamper",
                json!({
                    "platform": "binary_sensor",
                    "name": "Tamper",
                    "device_class": "tamper",
                    "state_topic": door,
                    "value_template": on_off("tamper"),
                }),
            ),
            ("forced_open", self.alarm("Forced open", "forced_open", "safety")),
            ("held_open", self.alarm("Held open", "held_open", "problem")),
            ("fault", self.fault()),
            (
                "camera",
                json!({
                    "platform": "binary_sensor",
                    "name": "Camera",
                    "device_class": "connectivity",
                    "entity_category": "diagnostic",
                    "state_topic": self.topics.state("camera"),
                    "value_template":
                        "{{ 'ON' if value_json.state == 'streaming' else 'OFF' }}",
                }),
            ),
            (
                "subjects",
                diagnostic(
                    "Enrolled subjects",
                    &self.topics.state("gallery"),
                    "{{ value_json.subjects }}",
                ),
            ),
            ("outbox", diagnostic("Events waiting", &health, "{{ value_json.outbox.depth }}")),
            ("version", diagnostic("Version", &health, "{{ value_json.version }}")),
            ("audit_head", audit_head(&health)),
            ("latency", self.latency()),
        ];
        components.extend(self.remote_unlock());
        components
    }

    fn decisions(&self) -> Value {
        json!({
            "platform": "event",
            "name": "Decision",
            "icon": "mdi:face-recognition",
            "event_types": DECISIONS,
            // Decisions are of two kinds: access and spoof. An empty object is no event.
            "state_topic": self.topics.events(),
            "value_template": format!(
                "{{{{ dict(value_json, event_type=value_json.outcome) | to_json \
                 if value_json.kind in ['{}', '{}'] else '{{}}' }}}}",
                Kind::Access, Kind::Spoof
            ),
        })
    }

    /// Returns a sensor that is on during an alarm of the door leaf.
    fn alarm(&self, name: &str, alarm: &str, class: &str) -> Value {
        json!({
            "platform": "binary_sensor",
            "name": name,
            "device_class": class,
            "state_topic": self.topics.state("door"),
            "value_template": format!(
                "{{{{ 'ON' if value_json.alarm == '{alarm}' else 'OFF' }}}}"
            ),
        })
    }

    /// Returns a sensor that is on while a part of the door fails, with the names of the parts.
    fn fault(&self) -> Value {
        let door = self.topics.state("door");
        json!({
            "platform": "binary_sensor",
            "name": "Fault",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": door,
            "value_template": "{{ 'ON' if value_json.faults else 'OFF' }}",
            "json_attributes_topic": door,
            "json_attributes_template": "{{ dict(faults=value_json.faults) | to_json }}",
        })
    }

    fn latency(&self) -> Value {
        json!({
            "platform": "sensor",
            "name": "Last decision",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "state_topic": self.topics.event(Kind::Access),
            "value_template": "{{ value_json.timings_ms.total | default(none) }}",
        })
    }

    /// Returns lock and button, or their removal.
    fn remote_unlock(&self) -> [(&'static str, Value); 2] {
        if !self.settings.remote_unlock {
            return [
                ("lock", json!({ "platform": "lock" })),
                ("unlock", json!({ "platform": "button" })),
            ];
        }
        let command = match &self.settings.client {
            Some(name) => self.topics.command_from(name, "unlock"),
            None => self.topics.command("unlock"),
        };
        let unlock = json!({ "reason": "home assistant" }).to_string();
        let lock = json!({
            "platform": "lock",
            "name": "Lock",
            "command_topic": command,
            "payload_unlock": unlock,
            // The strike locks by itself. `unlock` has no such field, so the command is refused.
            "payload_lock": r#"{"lock":true}"#,
            "command_template": ISSUED,
            "state_topic": self.topics.state("door"),
            "value_template": "{{ value_json.lock }}",
            "state_locked": "LOCKED",
            "state_unlocked": "UNLOCKED",
            "state_jammed": "JAMMED",
            "optimistic": false,
            "retain": false,
        });
        let button = json!({
            "platform": "button",
            "name": "Unlock",
            "icon": "mdi:door-open",
            "command_topic": command,
            "payload_press": unlock,
            "command_template": ISSUED,
            "retain": false,
        });
        [("lock", lock), ("unlock", button)]
    }
}

/// Builds a template for a field that is true, false, or null or absent where there is no such
/// contact.
fn on_off(field: &str) -> String {
    let value = format!("value_json.{field} | default(none)");
    format!("{{{{ none if ({value}) is none else ('ON' if value_json.{field} else 'OFF') }}}}")
}

/// Returns the sensor of the audit log: its last line as a number, so that it has a history and no
/// logbook entries, and `LINE:HASH` for `audit verify --noted` as an attribute.
fn audit_head(health: &str) -> Value {
    let noted = "value_json.audit.last ~ ':' ~ value_json.audit.head";
    json!({
        "platform": "sensor",
        "name": "Audit log",
        "icon": "mdi:notebook-check",
        "entity_category": "diagnostic",
        "state_class": "measurement",
        "unit_of_measurement": "lines",
        "state_topic": health,
        "value_template": "{{ value_json.audit.last }}",
        "json_attributes_topic": health,
        "json_attributes_template": format!("{{{{ dict(noted={noted}) | to_json }}}}"),
    })
}

/// Returns a device id as a name for people: `Front door` for `front-door`.
fn in_words(device_id: &str) -> String {
    let words = device_id.replace(['-', '_', '.'], " ");
    let words = words.trim();
    match words.chars().next() {
        Some(first) => first.to_uppercase().chain(words.chars().skip(1)).collect(),
        None => device_id.to_owned(),
    }
}

fn diagnostic(name: &str, topic: &str, template: &str) -> Value {
    json!({
        "platform": "sensor",
        "name": name,
        "entity_category": "diagnostic",
        "state_topic": topic,
        "value_template": template,
    })
}

/// Why the device could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A setting or a file cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker cannot be reached, or refused the connection.
    #[error("{0}")]
    Broker(String),
    /// The broker's access list refused.
    #[error("the broker does not let this login write to {0}: change its access list")]
    Forbidden(String),
    /// No answer came in time.
    #[error("the broker did not answer within {PATIENCE:?}")]
    Timeout,
    /// No random numbers for a client identifier.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Removes the device from Home Assistant and every retained message of the terminal from the
/// broker, for `doorward homeassistant remove`. A daemon whose `homeassistant.discovery` is true
/// publishes it again when it connects.
pub async fn remove(settings: &Settings) -> Result<(), RemoveError> {
    timeout(PATIENCE, removed(settings)).await.unwrap_or(Err(RemoveError::Timeout))
}

/// Returns every topic on which a terminal leaves a retained message. The embedded broker keeps
/// none without its daemon, and lets only the terminal itself write its states.
fn retained_topics(settings: &Settings) -> Vec<String> {
    let topics = Topics::new(&settings.device_id, &[]);
    let mut all = vec![settings.homeassistant.config_topic(&settings.device_id)];
    if !settings.own_broker {
        all.extend(STATES.map(|name| topics.state(name)));
        all.push(topics.availability());
    }
    all
}

async fn removed(settings: &Settings) -> Result<(), RemoveError> {
    let name = format!("doorward-remove-{:016x}", getrandom::u64()?);
    let (client, mut events) = AsyncClient::new(connect::options(settings, &name)?, 4);
    let gone = |_| RemoveError::Broker("the connection to the broker is gone".into());
    for topic in retained_topics(settings) {
        client.publish(&topic, QoS::AtLeastOnce, true, "").await.map_err(gone)?;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(ack))) => match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => break,
                    _ => return Err(RemoveError::Forbidden(topic)),
                },
                Ok(_) => {}
                Err(error) => return Err(RemoveError::Broker(connect::explain(&error, settings))),
            }
        }
    }
    // The disconnect is a courtesy.
    if client.try_disconnect().is_ok() {
        let _ = timeout(Duration::from_secs(1), events.poll()).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

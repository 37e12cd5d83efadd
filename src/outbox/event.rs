//! Record types: events, which are published, and entries, which are only in the audit log.

use crate::time::unix_time;
use serde::Serialize;
use serde_json::{Map, Value, json};
use strum::{Display, FromRepr, IntoStaticStr, VariantArray};

/// The kind of an event; the last level of its topic, `event/<kind>`. The numbers are the bytes in
/// the file.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    FromRepr,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// A decision at the door.
    Access = 1,
    /// A subject got a template.
    Enroll = 2,
    /// A face that is not of a live person.
    Spoof = 3,
    /// The door: opened, held open, forced.
    Door = 4,
    /// The housing was opened.
    Tamper = 5,
    /// The camera came or went.
    Camera = 6,
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Kind] = Kind::VARIANTS;

    /// Returns the kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Returns its name in topics and payloads.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns its byte in the file.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    /// Returns the kind with this byte.
    pub(super) fn of_code(code: u8) -> Option<Self> {
        Self::from_repr(code)
    }
}

/// An event. It never contains a picture or a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The kind.
    pub kind: Kind,
    /// When it happened: Unix seconds, UTC.
    pub time: f64,
    /// Outcome in one word: `granted`, `unknown`, `forced`.
    pub outcome: String,
    /// Subject id, if known.
    pub subject_id: Option<String>,
    /// 0–100, if faces were compared.
    pub similarity: Option<f64>,
    /// Probability of a live person, 0–100, if it was computed.
    pub liveness: Option<f64>,
    /// Reason as text; this and every other text is cut to 500 characters.
    pub reason: String,
    /// Durations of the stages, in milliseconds.
    pub timings_ms: Map<String, Value>,
    /// Additional fields of this kind, added to the payload; they never replace the others.
    pub extra: Map<String, Value>,
}

impl Event {
    /// Makes an event of this moment, without numbers.
    pub fn new(kind: Kind, outcome: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            time: unix_time(),
            outcome: outcome.into(),
            subject_id: None,
            similarity: None,
            liveness: None,
            reason: reason.into(),
            timings_ms: Map::new(),
            extra: Map::new(),
        }
    }

    /// Returns the payload, in the contract's order of fields.
    pub(super) fn payload(&self, recorded: &Recorded, device_id: &str) -> Map<String, Value> {
        let number = |value: Option<f64>| value.filter(|value| value.is_finite()).map(Value::from);
        let fields = [
            ("id", Some(recorded.id.as_str().into())),
            ("seq", Some(recorded.seq.into())),
            ("time", Some(recorded.time.into())),
            ("device_id", Some(device_id.into())),
            ("kind", Some(self.kind.name().into())),
            ("outcome", Some(self.outcome.as_str().into())),
            ("subject_id", self.subject_id.as_deref().map(Value::from)),
            ("similarity", number(self.similarity)),
            ("liveness", number(self.liveness)),
            ("reason", Some(self.reason.as_str().into())),
            ("timings_ms", Some(Value::Object(self.timings_ms.clone()))),
        ];
        let mut payload = object(fields);
        for (name, value) in &self.extra {
            payload.entry(name.as_str()).or_insert_with(|| value.clone());
        }
        payload
    }

    /// Returns the entry for the audit log: the payload without fields that say nothing about who
    /// did what.
    pub(super) fn entry(&self, recorded: &Recorded) -> Entry {
        let mut detail = self.payload(recorded, "");
        let by = match detail.shift_remove("by") {
            Some(Value::String(by)) => by,
            _ => "door".to_owned(),
        };
        for name in ["time", "device_id", "kind", "timings_ms"] {
            detail.shift_remove(name);
        }
        Entry { action: self.kind.name().to_owned(), by, time: self.time, detail }
    }
}

/// Identity of a recorded event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recorded {
    /// UUID v4; the same in a repeated delivery.
    pub id: String,
    /// Rises by one with every event, for ever.
    pub seq: u64,
    /// When it happened: Unix seconds, UTC.
    pub time: f64,
}

/// A line of the audit log without an event: administration.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The action: `subject/delete`, `application/create`, `start`.
    pub action: String,
    /// The sender: `local`, `anybody`, `client:<name>`, `app:<id>`, `daemon`.
    pub by: String,
    /// Time of the action: Unix seconds, UTC.
    pub time: f64,
    /// Details of the action. Never a key, a picture or a template.
    pub detail: Map<String, Value>,
}

impl Entry {
    /// Makes an entry of this moment, without details.
    pub fn new(action: impl Into<String>, by: impl Into<String>) -> Self {
        Self { action: action.into(), by: by.into(), time: unix_time(), detail: Map::new() }
    }

    /// Adds a detail.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the line of the log, with its fields in the order in which they are stored and
    /// hashed.
    pub(super) fn line(self, line: u64) -> Map<String, Value> {
        let mut fields = object([
            ("line", Some(json!(line))),
            ("time", Some(json!(self.time))),
            ("action", Some(self.action.into())),
            ("by", Some(self.by.into())),
        ]);
        for (name, value) in self.detail {
            fields.entry(name).or_insert(value);
        }
        fields
    }
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Recorded {
        Recorded { id: "u".into(), seq: 7, time: 1.5 }
    }

    #[test]
    fn a_payload_has_the_fields_of_the_contract_in_order() {
        let mut event = Event::new(Kind::Access, "granted", "recognised");
        event.time = 1.5;
        event.subject_id = Some("anna".into());
        event.similarity = Some(91.5);
        event.liveness = Some(f64::NAN);
        event.timings_ms.insert("total".into(), json!(120.5));
        event.extra.insert("door".into(), json!("opened"));
        event.extra.insert("seq".into(), json!("mine"));
        let payload = Value::Object(event.payload(&recorded(), "front")).to_string();
        assert_eq!(
            payload,
            r#"{"id":"u","seq":7,"time":1.5,"device_id":"front","kind":"access","outcome":"granted","subject_id":"anna","similarity":91.5,"reason":"recognised","timings_ms":{"total":120.5},"door":"opened"}"#
        );
        let line = Value::Object(event.entry(&recorded()).line(3)).to_string();
        assert_eq!(
            line,
            r#"{"line":3,"time":1.5,"action":"access","by":"door","id":"u","seq":7,"outcome":"granted","subject_id":"anna","similarity":91.5,"reason":"recognised","door":"opened"}"#
        );
    }

    #[test]
    fn codes_and_kinds_round_trip() {
        let bytes = [
            (1, Kind::Access, "access"),
            (2, Kind::Enroll, "enroll"),
            (3, Kind::Spoof, "spoof"),
            (4, Kind::Door, "door"),
            (5, Kind::Tamper, "tamper"),
            (6, Kind::Camera, "camera"),
        ];
        for (code, kind, name) in bytes {
            assert_eq!((Kind::of_code(code), kind.code(), kind.name()), (Some(kind), code, name));
        }
        assert_eq!((Kind::of_code(0), Kind::of_code(7)), (None, None));
    }
}

//! What a transport hands to the service and gets back.

use super::raw::Raw;
use serde_json::{Map, Value};
use std::time::Instant;

/// One request as a transport received it; nothing of it is checked yet.
#[derive(Clone, Debug)]
pub struct Request {
    /// `enroll`, `subject/list`, …: what stands behind `cmd/` in the topic.
    pub operation: String,
    /// The payload.
    pub body: Body,
    /// App-ID and API-Key, when the transport carried them beside the body.
    pub credentials: Credentials,
    /// Where it came from.
    pub caller: Caller,
    /// After this moment the sender no longer wants it done.
    pub expires: Option<Instant>,
}

/// The two forms of a payload.
#[derive(Clone, Debug)]
pub enum Body {
    /// Bytes that claim to be a JSON object.
    Json(Vec<u8>),
    /// A picture's bytes, and the other fields as text (`true`, `82`, `basic`).
    Image {
        /// The picture.
        bytes: Vec<u8>,
        /// Name and value of each other field.
        fields: Vec<(String, String)>,
    },
}

impl Body {
    /// The `request_id`, when the payload can be read so far and has one: what a transport knows a
    /// repeated request by.
    pub fn request_id(&self) -> Option<String> {
        Raw::read(None, self).request_id().map(str::to_owned)
    }
}

/// The original's headers.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// `App-ID`.
    pub app_id: Option<String>,
    /// `API-Key`.
    pub api_key: Option<String>,
}

/// Where a request came from; decides what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The command line, over the local socket or in the same process: may do everything.
    Local,
    /// A client of the MQTT broker.
    Mqtt,
}

/// What the service answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status: 200, 400, 401, 403, 500, 503.
    pub status: u16,
    /// The fields of the answer, without `status`; a transport that has no status line of its own
    /// sends [`Answer::with_status`].
    pub fields: Map<String, Value>,
}

impl Answer {
    /// The answer as one JSON object whose first field is `status`.
    pub fn with_status(&self) -> Value {
        let mut object = Map::new();
        object.insert("status".into(), self.status.into());
        object.extend(self.fields.clone());
        Value::Object(object)
    }
}

//! What a transport hands to the service and gets back.

use super::raw::Raw;
use serde_json::{Map, Value};
use std::fmt;
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
    /// Until this moment the transport vouches that the request was sent just now; `None`: it does
    /// not know.
    pub fresh_until: Option<Instant>,
}

/// The two forms of a payload.
#[derive(Clone)]
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

impl fmt::Debug for Body {
    /// Form and size: pictures and keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Json(bytes) => write!(f, "Json({} bytes)", bytes.len()),
            Body::Image { bytes, fields } => {
                write!(f, "Image({} bytes, {} fields)", bytes.len(), fields.len())
            }
        }
    }
}

/// The original's headers.
#[derive(Clone, Default)]
pub struct Credentials {
    /// `App-ID`.
    pub app_id: Option<String>,
    /// `API-Key`.
    pub api_key: Option<String>,
}

impl fmt::Debug for Credentials {
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("app_id", &self.app_id)
            .field("api_key", &self.api_key.as_ref().map(|_| "(secret)"))
            .finish()
    }
}

/// Where a request came from; decides what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The command line, over the local socket or in the same process: may do everything.
    Local,
    /// A client of the MQTT broker.
    Mqtt {
        /// Its name, where the topic it wrote to says so.
        client: Option<String>,
    },
}

/// Who sent a request, once that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The command line.
    Local,
    /// Whoever the broker lets in.
    Anybody,
    /// The MQTT client of this name.
    Client(String),
    /// The application with this id.
    Application(String),
}

impl fmt::Display for Sender {
    /// As records name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Local => f.write_str("local"),
            Sender::Anybody => f.write_str("anybody"),
            Sender::Client(name) => write!(f, "client:{name}"),
            Sender::Application(id) => write!(f, "app:{id}"),
        }
    }
}

/// What the service answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status: 200, 400, 401, 403, 409, 500, 503.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_neither_key_nor_picture() {
        let request = Request {
            operation: "search".into(),
            body: Body::Json(br#"{"api_key": "s3cret"}"#.to_vec()),
            credentials: Credentials {
                app_id: Some("kiosk".into()),
                api_key: Some("s3cret".into()),
            },
            caller: Caller::Mqtt { client: None },
            expires: None,
            fresh_until: None,
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("kiosk") && shown.contains("21 bytes"), "{shown}");
        // Neither as text nor as the bytes of a list.
        assert!(!shown.contains("s3cret") && !shown.contains("115, 51"), "{shown}");
        let fields = vec![("api_key".to_owned(), "s3cret".to_owned())];
        let shown = format!("{:?}", Body::Image { bytes: vec![1], fields });
        assert_eq!(shown, "Image(1 bytes, 1 fields)");
    }
}

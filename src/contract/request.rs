//! What a transport hands to the service.

use super::body::Body;
use super::field;
use super::field::ImageField;
use super::operation::{Camera, Operation};
use super::raw::Raw;
use crate::picture;
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

impl Request {
    /// The operation asked for, if the caller has it.
    pub(crate) fn asked_for(&self) -> Option<Operation> {
        let here = |operation: &Operation| !operation.is_local() || self.caller == Caller::Local;
        Operation::named(&self.operation).filter(here)
    }

    /// The `request_id`, when the payload can be read so far and has one: what a transport knows a
    /// repeated request by.
    pub fn request_id(&self) -> Option<String> {
        Raw::read(None, &self.body).request_id().map(str::to_owned)
    }

    /// Whether the terminal's camera is needed.
    pub(crate) fn uses_camera(&self) -> bool {
        let Some(operation) = self.asked_for() else { return false };
        match operation.camera() {
            Camera::Never => false,
            Camera::Always => true,
            Camera::IfAsked => {
                let raw = Raw::read(Some(operation), &self.body);
                let camera = Ok(picture::Source::Camera);
                ImageField::ALL
                    .into_iter()
                    .filter_map(|field| raw.text(field.name()))
                    .any(|text| picture::Source::parse(text) == camera)
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

/// The names under which transports carry [`Credentials`] beside a body.
pub(crate) const APP_ID: &str = "App-ID";
pub(crate) const API_KEY: &str = "API-Key";

impl fmt::Debug for Credentials {
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field(field::APP_ID, &self.app_id)
            .field(field::API_KEY, &self.api_key.as_ref().map(|_| "(secret)"))
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
    /// A client that the broker let in, of no known name.
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

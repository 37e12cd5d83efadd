//! Requests as a transport passes them to the service.

use super::body::Body;
use super::field;
use super::field::ImageField;
use super::fields;
use super::operation::{Camera, Operation};
use super::raw::Raw;
use super::refusal::Refusal;
use crate::picture;
use std::fmt;
use std::time::Instant;

/// One request as a transport received it; nothing is checked yet.
#[derive(Clone, Debug)]
pub struct Request {
    /// `enroll`, `subject/list`, …: the part of the topic after `cmd/`.
    pub operation: String,
    /// The payload.
    pub body: Body,
    /// Names of the properties that a transport received beside a JSON body. A field among them is
    /// refused: a check that was requested there would be off.
    pub beside_json: Vec<String>,
    /// App-ID and API-Key, if the transport carried them outside the body.
    pub credentials: Credentials,
    /// The origin.
    pub caller: Caller,
    /// The request expires at this moment.
    pub expires: Option<Instant>,
    /// Until this moment the transport vouches that the request is recent; `None`: it does not
    /// know.
    pub fresh_until: Option<Instant>,
}

impl Request {
    /// Returns the requested operation, if the caller has it.
    pub(crate) fn asked_for(&self) -> Option<Operation> {
        let here = |operation: &Operation| match self.caller {
            Caller::Local => true,
            Caller::Mqtt { .. } => !operation.is_local(),
            Caller::Http => !operation.routes().is_empty(),
        };
        Operation::named(&self.operation).filter(here)
    }

    /// Returns the `request_id` if the payload has one and is readable up to it. A transport
    /// recognises repeated requests by it.
    pub fn request_id(&self) -> Option<String> {
        Raw::read(None, &self.body).request_id().map(str::to_owned)
    }

    /// Checks the beginning of step 2: no field may stand in a property beside a JSON body.
    pub(crate) fn fields_in_body(&self) -> Result<(), Refusal> {
        match self.beside_json.iter().find(|name| fields::is_field(name)) {
            None => Ok(()),
            Some(name) => {
                let why = format!(
                    "`{name}` is beside a JSON body (a user property, or the query of the address), \
                     where no field is read: put it into the JSON"
                );
                Err(Refusal::field(name, why))
            }
        }
    }

    /// Checks whether the request needs the terminal's camera.
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

/// The headers of the original API.
#[derive(Clone, Default)]
pub struct Credentials {
    /// `App-ID`.
    pub app_id: Option<String>,
    /// `API-Key`.
    pub api_key: Option<String>,
}

/// Names of the properties in which transports carry [`Credentials`] outside the body.
pub(crate) const APP_ID: &str = "App-ID";
pub(crate) const API_KEY: &str = "API-Key";

impl fmt::Debug for Credentials {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field(field::APP_ID, &self.app_id)
            .field(field::API_KEY, &self.api_key.as_ref().map(|_| "(secret)"))
            .finish()
    }
}

/// The origin of a request, which decides its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The command line, over the local socket or in the same process: may do everything.
    Local,
    /// A client of the MQTT broker.
    Mqtt {
        /// Its name, if the topic of the command contains it.
        client: Option<String>,
    },
    /// A client over HTTP. There is no broker that knows it: it needs the key of an application.
    Http,
}

/// The authenticated sender of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The command line.
    Local,
    /// A client that the broker authenticated, without a known name.
    Anybody,
    /// The MQTT client of this name.
    Client(String),
    /// The application with this id.
    Application(String),
}

impl fmt::Display for Sender {
    /// Writes the name used in records.
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
            beside_json: Vec::new(),
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

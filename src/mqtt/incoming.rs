//! Turns a PUBLISH packet into a [`Request`]: body form, credentials, expiry and sender.
//!
//! User properties whose names start with `x-` (in any case) are added on the way by brokers and
//! bridges (`x-mqtt-client-id`); they are not fields.

use super::topics::{ResponseTopicError, Topics};
use crate::contract::{
    API_KEY, APP_ID, Body, Caller, Credentials, MAX_REQUEST_ID, Request, without_bom,
};
use crate::transport::Digest;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

/// A command as it came from the broker.
pub(crate) struct Command {
    /// The sender, if the topic names it.
    client: Option<String>,
    operation: String,
    publish: Publish,
    received: Instant,
    fresh_until: Option<Instant>,
}

/// Where an answer goes.
///
/// The Correlation Data is a copy: a slice of the packet would keep the whole network buffer, up to
/// [`super::MAX_PACKET`], alive for as long as repeats are remembered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReplyTo {
    pub(crate) topic: String,
    pub(crate) correlation: Option<Vec<u8>>,
}

/// A command that is dropped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// It was retained, so the time it was sent is unknown.
    Retained,
    /// It had expired.
    Expired,
    /// Its topic names no operation.
    NoOperation,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Image,
}

impl Command {
    /// Reads the envelope.
    pub(crate) fn read(topics: &Topics, publish: Publish) -> Result<Self, Stale> {
        let topic = std::str::from_utf8(&publish.topic).map_err(|_| Stale::NoOperation)?;
        let (client, operation) = topics.command_of(topic).ok_or(Stale::NoOperation)?;
        let (client, operation) = (client.map(str::to_owned), operation.to_owned());
        if publish.retain {
            return Err(Stale::Retained);
        }
        let received = Instant::now();
        let command = Self { client, operation, publish, received, fresh_until: None };
        if command.properties().is_some_and(|p| p.message_expiry_interval == Some(0)) {
            return Err(Stale::Expired);
        }
        Ok(command)
    }

    /// Marks the command as fresh, for `lifetime`.
    pub(crate) fn fresh_for(self, lifetime: Duration) -> Self {
        Self { fresh_until: self.received.checked_add(lifetime), ..self }
    }

    pub(crate) fn operation(&self) -> &str {
        &self.operation
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.publish.payload.len()
    }

    fn properties(&self) -> Option<&PublishProperties> {
        self.publish.properties.as_ref()
    }

    fn user_properties(&self) -> &[(String, String)] {
        self.properties().map(|p| p.user_properties.as_slice()).unwrap_or_default()
    }

    /// Returns where the answer goes when the request names no topic, or none that is accepted.
    pub(crate) fn default_reply(&self, topics: &Topics) -> ReplyTo {
        ReplyTo { topic: topics.default_response(&self.operation), correlation: self.correlation() }
    }

    /// Returns where the answer goes.
    pub(crate) fn reply(&self, topics: &Topics) -> Result<ReplyTo, ResponseTopicError> {
        match self.properties().and_then(|p| p.response_topic.as_deref()) {
            None => Ok(self.default_reply(topics)),
            Some(topic) => {
                topics.accept_response(topic, self.client.as_deref())?;
                Ok(ReplyTo { topic: topic.to_owned(), correlation: self.correlation() })
            }
        }
    }

    fn correlation(&self) -> Option<Vec<u8>> {
        self.properties()?.correlation_data.as_ref().map(|data| data.to_vec())
    }

    /// Returns JSON or image: by content type, else by the first non-whitespace byte.
    pub(crate) fn form(&self) -> Result<Form, String> {
        let declared = self.properties().and_then(|p| p.content_type.as_deref()).unwrap_or("");
        let media_type = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match media_type.as_str() {
            "application/json" => Ok(Form::Json),
            "image/jpeg" | "image/jpg" | "image/png" => Ok(Form::Image),
            "" => {
                let payload = without_bom(&self.publish.payload);
                let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
                Ok(if first == Some(&b'{') { Form::Json } else { Form::Image })
            }
            _ => Err(format!(
                "content type {declared:?} is not known: use application/json, image/jpeg or \
                 image/png"
            )),
        }
    }

    /// Returns `request_id` without building the rest of the body; `None` when it is longer than
    /// the service takes, so that little of a command is kept.
    pub(crate) fn request_id(&self) -> Option<String> {
        let id = match self.form() {
            Ok(Form::Image) => {
                let mut properties = self.user_properties().iter();
                properties.find(|(name, _)| Body::is_request_id(name)).map(|(_, id)| id.clone())
            }
            Ok(Form::Json) | Err(_) => Body::request_id_of_json(&self.publish.payload),
        };
        id.filter(|id| id.chars().count() <= MAX_REQUEST_ID)
    }

    /// Returns a digest of what the sender sent: body, content type and user properties, without
    /// those of brokers and bridges, which may differ from one delivery to the next.
    pub(crate) fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        // Each with its length, so that the end of one text cannot pass as the start of the next.
        let mut add = |bytes: &[u8]| {
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        };
        add(self.properties().and_then(|p| p.content_type.as_deref()).unwrap_or("").as_bytes());
        for (name, value) in self.user_properties() {
            if !is_of_brokers(name) {
                add(name.as_bytes());
                add(value.as_bytes());
            }
        }
        add(&self.publish.payload);
        hash.finalize().into()
    }

    /// Builds the request for the service, with the body read as `form`.
    pub(crate) fn into_request(self, form: Form) -> Request {
        let Self { client, operation, publish, received, fresh_until } = self;
        let properties = publish.properties.unwrap_or_default();
        let mut credentials = Credentials::default();
        let mut fields = Vec::new();
        for (name, value) in properties.user_properties {
            if name.eq_ignore_ascii_case(APP_ID) {
                credentials.app_id.get_or_insert(value);
            } else if name.eq_ignore_ascii_case(API_KEY) {
                credentials.api_key.get_or_insert(value);
            } else if !is_of_brokers(&name) {
                fields.push((name, value));
            }
        }
        let bytes = Vec::from(publish.payload);
        let (body, beside_json) = match form {
            Form::Json => (Body::Json(bytes), fields.into_iter().map(|(name, _)| name).collect()),
            Form::Image => (Body::Image { bytes, fields }, Vec::new()),
        };
        let expires = properties
            .message_expiry_interval
            .and_then(|seconds| received.checked_add(Duration::from_secs(seconds.into())));
        let caller = Caller::Mqtt { client };
        Request { operation, body, beside_json, credentials, caller, expires, fresh_until }
    }
}

/// Returns true for a user property that brokers and bridges add.
fn is_of_brokers(name: &str) -> bool {
    name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::QoS;

    fn command(payload: &[u8], properties: PublishProperties) -> Command {
        let topics = Topics::new("front", &[]);
        let publish = Publish::new(
            "doorward/front/cmd/enroll",
            QoS::AtLeastOnce,
            payload.to_vec(),
            Some(properties),
        );
        Command::read(&topics, publish).ok().unwrap()
    }

    fn typed(content_type: &str) -> PublishProperties {
        PublishProperties { content_type: Some(content_type.into()), ..Default::default() }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn content_types() {
        for (content_type, payload, form) in [
            ("application/json", &b"\xff\xd8"[..], Some(Form::Json)),
            ("Application/JSON; charset=utf-8", b"{}", Some(Form::Json)),
            ("image/jpeg", b"{}", Some(Form::Image)),
            ("image/png", b"\x89PNG", Some(Form::Image)),
            ("image/jpg", b"\xff\xd8", Some(Form::Image)),
            ("", b"\xef\xbb\xbf {}", Some(Form::Json)),
            ("", b" \r\n\t{\"image\": 1}", Some(Form::Json)),
            ("", b"\xff\xd8\xff", Some(Form::Image)),
            ("", b"[]", Some(Form::Image)),
            ("", b"", Some(Form::Image)),
            ("text/plain", b"{}", None),
            ("image/gif", b"GIF89a", None),
        ] {
            let command = command(payload, typed(content_type));
            assert_eq!(command.form().ok(), form, "{content_type} {payload:?}");
        }
    }

    #[test]
    fn a_missing_content_type_is_detected() {
        let command = command(b"{}", PublishProperties::default());
        assert_eq!(command.form(), Ok(Form::Json));
    }

    #[test]
    fn an_image_takes_its_fields_from_user_properties() {
        let properties = PublishProperties {
            user_properties: pairs(&[
                ("subject_id", "ada"),
                ("app-id", "A"),
                ("API-KEY", "K"),
                ("x-mqtt-client-id", "c1"),
                ("X-Bridge", "b"),
                ("limit", "1"),
                ("limit", "2"),
            ]),
            ..typed("image/jpeg")
        };
        let request = command(b"\xff\xd8", properties).into_request(Form::Image);
        assert_eq!(request.credentials.app_id.as_deref(), Some("A"));
        assert_eq!(request.credentials.api_key.as_deref(), Some("K"));
        let Body::Image { bytes, fields } = request.body else { panic!("not an image") };
        assert_eq!(bytes, b"\xff\xd8");
        // Both limits stay: the service rejects the duplicate.
        assert_eq!(fields, pairs(&[("subject_id", "ada"), ("limit", "1"), ("limit", "2")]));
    }

    #[test]
    fn a_name_cut_inside_a_character_is_a_field() {
        let properties =
            PublishProperties { user_properties: pairs(&[("é", "1")]), ..typed("image/png") };
        let request = command(b"", properties).into_request(Form::Image);
        assert!(matches!(request.body, Body::Image { fields, .. } if fields.len() == 1));
    }

    #[test]
    fn the_digest_covers_everything_the_sender_sent() {
        let of = |payload: &[u8], content_type: &str, fields: &[(&str, &str)]| {
            let properties =
                PublishProperties { user_properties: pairs(fields), ..typed(content_type) };
            command(payload, properties).digest()
        };
        let first = of(b"{}", "image/png", &[("a", "1"), ("x-mqtt-client-id", "c1")]);
        assert_eq!(first, of(b"{}", "image/png", &[("a", "1"), ("X-Other", "c2")]));
        for other in [
            of(b"{ }", "image/png", &[("a", "1")]),
            of(b"{}", "image/jpeg", &[("a", "1")]),
            of(b"{}", "image/png", &[("a", "2")]),
            of(b"{}", "image/png", &[("a1", "")]),
            of(b"{}", "image/png", &[]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn request_ids() {
        let id =
            |payload: &str| command(payload.as_bytes(), typed("application/json")).request_id();
        assert_eq!(id(r#"{"image": "AAAA", "request_id": "r-1"}"#).as_deref(), Some("r-1"));
        assert_eq!(id(r#"{"request_id": "a\nb"}"#).as_deref(), Some("a\nb"));
        for none in ["{}", r#"{"request_id": 7}"#, r#"{"request_id": null}"#, "{", "[]", ""] {
            assert_eq!(id(none), None, "{none}");
        }
        let image = PublishProperties {
            user_properties: pairs(&[("request_id", "r-2")]),
            ..typed("image/png")
        };
        assert_eq!(command(b"", image).request_id().as_deref(), Some("r-2"));
    }

    #[test]
    fn retained_and_expired_are_stale() {
        let topics = Topics::new("front", &[]);
        let publish = |change: fn(&mut Publish)| {
            let mut publish = Publish::new(
                "doorward/front/cmd/unlock",
                QoS::AtLeastOnce,
                "{}",
                Some(PublishProperties::default()),
            );
            change(&mut publish);
            Command::read(&topics, publish).err()
        };
        assert_eq!(publish(|_| ()), None);
        assert_eq!(publish(|p| p.retain = true), Some(Stale::Retained));
        let expire = |p: &mut Publish| {
            p.properties =
                Some(PublishProperties { message_expiry_interval: Some(0), ..Default::default() });
        };
        assert_eq!(publish(expire), Some(Stale::Expired));
        assert_eq!(publish(|p| p.topic = "doorward/front/cmd".into()), Some(Stale::NoOperation));
    }

    #[test]
    fn only_the_topic_names_the_client() {
        let caller = |topic: &str| {
            let properties = PublishProperties {
                user_properties: pairs(&[("x-mqtt-client-id", "office"), ("client", "office")]),
                ..typed("application/json")
            };
            let publish = Publish::new(topic, QoS::AtLeastOnce, "{}", Some(properties));
            let command = Command::read(&Topics::new("front", &[]), publish).ok().unwrap();
            assert_eq!(command.operation(), "search");
            command.into_request(Form::Json).caller
        };
        let named = Caller::Mqtt { client: Some("desk".into()) };
        assert_eq!(caller("doorward/front/from/desk/cmd/search"), named);
        assert_eq!(caller("doorward/front/cmd/search"), Caller::Mqtt { client: None });
    }

    #[test]
    fn expiry_becomes_a_deadline() {
        let properties =
            PublishProperties { message_expiry_interval: Some(30), ..typed("application/json") };
        let expires = command(b"{}", properties).into_request(Form::Json).expires.unwrap();
        let left = expires - Instant::now();
        assert!((29..=30).contains(&left.as_secs()), "{left:?}");
    }
}

//! Messages out. A [`Publisher`] outlives connections: it waits a while for one, then gives up.

use super::MAX_PACKET;
use super::incoming::ReplyTo;
use super::topics::Topics;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// How long an answer is worth something: as its Message Expiry Interval, and as the time it waits
/// for a connection.
const ANSWER_LIFETIME: Duration = Duration::from_secs(60);

/// What a PUBLISH packet holds beside topic, Correlation Data and payload, at most: headers,
/// content type, expiry, the user property of a repeat.
const PACKET_OVERHEAD: usize = 128;

/// A connection that is up and subscribed.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) client: AsyncClient,
    /// The largest packet the broker takes.
    pub(crate) largest: usize,
}

impl Link {
    pub(crate) fn new(client: AsyncClient, announced: Option<u32>) -> Self {
        Self { client, largest: announced.unwrap_or(MAX_PACKET).min(MAX_PACKET) as usize }
    }
}

/// A message that was not handed to a connection.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublishError {
    /// No broker for too long.
    #[error("no connection to the broker")]
    NotConnected,
    /// The broker would end the connection if it were sent.
    #[error(
        "{size} bytes are more than the broker takes ({largest}): raise its maximum packet size"
    )]
    TooLarge {
        /// Bytes of the packet.
        size: usize,
        /// What the broker announced.
        largest: usize,
    },
}

/// Publishes below `doorward/<device>/`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    link: watch::Receiver<Option<Link>>,
    topics: Arc<Topics>,
    /// The last of each, for the next connection. Held while they are sent, so that an older one
    /// never follows a newer one.
    states: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Publisher {
    pub(crate) fn new(link: watch::Receiver<Option<Link>>, topics: Arc<Topics>) -> Self {
        Self { link, topics, states: Arc::default() }
    }

    /// The client of the present connection.
    pub(crate) fn client(&self) -> Option<AsyncClient> {
        self.link.borrow().as_ref().map(|link| link.client.clone())
    }

    /// Whether a broker is connected and commands are heard.
    pub fn is_connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// Publishes `state/<name>`, retained: at once where there is a connection, and on every
    /// connection to come, for a broker may forget what it retained. Waits for other states that are
    /// on their way, on a connection that is about to break as long as that takes.
    pub async fn state(&self, name: &str, value: &Value) -> Result<(), PublishError> {
        let mut states = self.states.lock().await;
        states.insert(name.to_owned(), value.clone());
        let link = self.link.borrow().clone();
        match link {
            Some(link) => self.send_state(&link, name, value).await,
            None => Ok(()),
        }
    }

    /// Publishes every state there is on a new connection.
    pub(crate) async fn restate(&self, link: &Link) {
        for (name, value) in &*self.states.lock().await {
            if let Err(error) = self.send_state(link, name, value).await {
                tracing::warn!(name, "a state was not published: {error}");
            }
        }
    }

    async fn send_state(&self, link: &Link, name: &str, value: &Value) -> Result<(), PublishError> {
        let (topic, payload) = (self.topics.state(name), value.to_string().into_bytes());
        match send(link, &topic, true, payload, PublishProperties::default()).await {
            // The next connection gets it.
            Err(PublishError::NotConnected) => Ok(()),
            sent => sent,
        }
    }

    /// Whether the broker takes an answer with this payload; nothing is wrong while there is none.
    pub(crate) fn takes(&self, reply: &ReplyTo, payload: usize) -> Result<(), PublishError> {
        let correlation = reply.correlation.as_ref().map_or(0, Vec::len);
        match &*self.link.borrow() {
            Some(link) => fits(link, &reply.topic, correlation, payload),
            None => Ok(()),
        }
    }

    /// Publishes an answer, waiting for a connection as long as the answer is worth something.
    pub(crate) async fn answer(
        &self,
        reply: &ReplyTo,
        payload: Vec<u8>,
        repeated: bool,
    ) -> Result<(), PublishError> {
        let mut properties = PublishProperties {
            content_type: Some("application/json".into()),
            correlation_data: reply.correlation.clone().map(Into::into),
            message_expiry_interval: Some(ANSWER_LIFETIME.as_secs() as u32),
            ..Default::default()
        };
        if repeated {
            properties.user_properties.push(("x-repeated".into(), "true".into()));
        }
        let mut link = self.link.clone();
        let connected = tokio::time::timeout(ANSWER_LIFETIME, link.wait_for(Option::is_some));
        let link = match connected.await {
            Ok(Ok(link)) => link.clone().ok_or(PublishError::NotConnected)?,
            _ => return Err(PublishError::NotConnected),
        };
        send(&link, &reply.topic, false, payload, properties).await
    }
}

/// Sent nevertheless, a larger packet would cost the connection and everything on the way.
pub(super) fn fits(
    link: &Link,
    topic: &str,
    correlation: usize,
    payload: usize,
) -> Result<(), PublishError> {
    let (size, largest) = (payload + topic.len() + correlation + PACKET_OVERHEAD, link.largest);
    if size > largest { Err(PublishError::TooLarge { size, largest }) } else { Ok(()) }
}

async fn send(
    link: &Link,
    topic: &str,
    retain: bool,
    payload: Vec<u8>,
    properties: PublishProperties,
) -> Result<(), PublishError> {
    let correlation = properties.correlation_data.as_ref().map_or(0, |data| data.len());
    fits(link, topic, correlation, payload.len())?;
    link.client
        .publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties)
        .await
        .map_err(|_| PublishError::NotConnected)
}

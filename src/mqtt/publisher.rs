//! Publishes messages. A [`Publisher`] outlives connections: it waits up to 60 s for one, then
//! gives up.

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

/// How long an answer is useful: its Message Expiry Interval, and the time it waits for a
/// connection.
const ANSWER_LIFETIME: Duration = Duration::from_secs(60);

/// The most bytes of a PUBLISH packet besides topic, Correlation Data and payload: headers, content
/// type, expiry, the user property of a repeat.
const PACKET_OVERHEAD: usize = 128;

/// A connection that is up and subscribed.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) client: AsyncClient,
    /// The largest packet the broker accepts.
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
    /// There was no connection within the answer's lifetime.
    #[error("no connection to the broker")]
    NotConnected,
    /// The packet is so large that the broker would end the connection.
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
    /// The last value of each state, for the next connection. Locked while they are sent, so that
    /// an older value never follows a newer one.
    states: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Publisher {
    pub(crate) fn new(link: watch::Receiver<Option<Link>>, topics: Arc<Topics>) -> Self {
        Self { link, topics, states: Arc::default() }
    }

    /// Returns the client of the current connection.
    pub(crate) fn client(&self) -> Option<AsyncClient> {
        self.link.borrow().as_ref().map(|link| link.client.clone())
    }

    /// Returns true if a broker is connected and commands are heard.
    pub fn is_connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// Publishes `state/<name>`, retained: at once if there is a connection, and again on every
    /// later connection, because a broker may lose what it retained. Waits for other states that
    /// are being sent; on a connection that is about to break this lasts until it breaks.
    pub async fn state(&self, name: &str, value: &Value) -> Result<(), PublishError> {
        let mut states = self.states.lock().await;
        states.insert(name.to_owned(), value.clone());
        let link = self.link.borrow().clone();
        match link {
            Some(link) => self.send_state(&link, name, value).await,
            None => Ok(()),
        }
    }

    /// Publishes every known state on a new connection.
    pub(crate) async fn restate(&self, link: &Link) {
        for (name, value) in &*self.states.lock().await {
            if let Err(error) = self.send_state(link, name, value).await {
                tracing::warn!(name, "a state was not published: {error}");
            }
        }
    }

    /// Checks whether this is the last value of a state.
    pub(crate) async fn is_last(&self, topic: &[u8], payload: &[u8]) -> bool {
        let states = self.states.lock().await;
        states.iter().any(|(name, value)| {
            topic == self.topics.state(name).as_bytes() && payload == value.to_string().as_bytes()
        })
    }

    async fn send_state(&self, link: &Link, name: &str, value: &Value) -> Result<(), PublishError> {
        let (topic, payload) = (self.topics.state(name), value.to_string().into_bytes());
        match send(link, &topic, true, payload, PublishProperties::default()).await {
            // The next connection sends it.
            Err(PublishError::NotConnected) => Ok(()),
            sent => sent,
        }
    }

    /// Checks that the broker accepts an answer with this payload; passes while there is no
    /// connection.
    pub(crate) fn takes(&self, reply: &ReplyTo, payload: usize) -> Result<(), PublishError> {
        let correlation = reply.correlation.as_ref().map_or(0, Vec::len);
        match &*self.link.borrow() {
            Some(link) => fits(link, &reply.topic, correlation, payload),
            None => Ok(()),
        }
    }

    /// Publishes an answer. Waits for a connection as long as the answer is useful.
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

/// Checks the size: a larger packet would cost the connection and every message in flight.
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

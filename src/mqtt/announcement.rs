//! What the session publishes by itself: availability, states and Home Assistant discovery.

use super::publisher::{Link, Publisher};
use super::session::Health;
use super::tally::Tally;
use super::topics::Topics;
use super::{Exposure, Settings};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, ClientError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

/// After Home Assistant has started, discovery is sent within this time; each door at another
/// moment.
const BIRTH_SPREAD: Duration = Duration::from_secs(2);
/// How long `online` waits until changes are accepted, or known to be refused.
const READY_PATIENCE: Duration = Duration::from_secs(3);

/// How often another client's messages on this terminal's topics are replaced.
const REPAIR_EVERY: Duration = Duration::from_secs(1);

/// Topics and payloads that other clients wrote on this terminal's own topics.
pub(super) type Foreign = mpsc::Receiver<(Vec<u8>, Vec<u8>)>;

/// Publishes what a connection says by itself.
pub(super) struct Announcement {
    pub settings: Arc<Settings>,
    pub topics: Arc<Topics>,
    pub publisher: Publisher,
    pub health: Health,
    /// How far strangers can reach the broker.
    pub exposure: watch::Receiver<Exposure>,
    /// True when `unlock` is received, where it has a connection of its own.
    pub unlock_ready: Option<watch::Receiver<bool>>,
}

impl Announcement {
    /// Publishes `online`, then the states. Publishes the health again and again until the
    /// connection is gone, and everything again when another client has written there: a spoofed
    /// `offline` would otherwise stay for as long as the terminal is connected.
    pub async fn make(mut self, link: Link, mut foreign: Foreign) {
        let client = &link.client;
        // A client that sees `online` can send any command, `unlock` and `enroll` included.
        let ready = async {
            let _ = self.exposure.wait_for(|exposure| *exposure != Exposure::Unknown).await;
            if let Some(ready) = &mut self.unlock_ready {
                let _ = ready.wait_for(|ready| *ready).await;
            }
        };
        let _ = timeout(READY_PATIENCE, ready).await;
        let mut next = self.state_all(&link).await;
        if next.is_ok() {
            next = self.discover(client).await;
        }
        let repairs = Tally::default();
        while next.is_ok() {
            let state = (self.health)().to_string();
            next = client.publish(self.topics.state("health"), QoS::AtLeastOnce, true, state).await;
            let due = Instant::now() + self.settings.health_every;
            while let Ok(Some((topic, payload))) = timeout_at(due, foreign.recv()).await {
                if self.is_current(&topic, &payload).await {
                    continue;
                }
                if let Some(times) = repairs.count() {
                    let topic = String::from_utf8_lossy(&topic);
                    warn!(
                        "another client wrote to {topic} ({times}×); its message is replaced: the \
                         broker's access list must let only this login write there"
                    );
                }
                // A flood is answered once.
                sleep(REPAIR_EVERY).await;
                while foreign.try_recv().is_ok() {}
                if self.state_all(&link).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Publishes `online` and every state.
    async fn state_all(&self, link: &Link) -> Result<(), ClientError> {
        let online = self.topics.availability();
        link.client.publish(online, QoS::AtLeastOnce, true, "online").await?;
        self.publisher.restate(link).await;
        Ok(())
    }

    /// Checks whether a message says what this terminal says: a bridge may return its own.
    async fn is_current(&self, topic: &[u8], payload: &[u8]) -> bool {
        if topic == self.topics.availability().as_bytes() {
            return payload == b"online";
        }
        // Published again by itself, and never twice the same.
        topic == self.topics.state("health").as_bytes()
            || self.publisher.is_last(topic, payload).await
    }

    /// Answers Home Assistant's birth message.
    pub async fn answer_birth(self, client: AsyncClient) {
        let dice = getrandom::u32().unwrap_or_default();
        sleep(BIRTH_SPREAD.mul_f64(f64::from(dice) / f64::from(u32::MAX))).await;
        // Fails only when the connection is gone; the next connection publishes it first.
        let _ = self.discover(&client).await;
    }

    /// Publishes this door's discovery message, or its removal.
    async fn discover(&self, client: &AsyncClient) -> Result<(), ClientError> {
        let Settings { homeassistant, device_id, .. } = &*self.settings;
        let topic = homeassistant.config_topic(device_id);
        let message = homeassistant.config(device_id, &self.topics);
        client.publish(topic, QoS::AtLeastOnce, true, message).await
    }
}

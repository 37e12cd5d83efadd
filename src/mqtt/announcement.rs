//! What the session publishes by itself: availability, states and Home Assistant discovery.

use super::publisher::{Link, Publisher};
use super::session::Health;
use super::topics::Topics;
use super::{Exposure, Settings};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, ClientError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// After Home Assistant has started, discovery is sent within this time; each door at another
/// moment.
const BIRTH_SPREAD: Duration = Duration::from_secs(2);
/// How long `online` waits until changes are accepted, or known to be refused.
const READY_PATIENCE: Duration = Duration::from_secs(3);

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
    /// connection is gone.
    pub async fn make(mut self, link: Link) {
        let client = &link.client;
        // A client that sees `online` can send any command, `unlock` and `enroll` included.
        let ready = async {
            let _ = self.exposure.wait_for(|exposure| *exposure != Exposure::Unknown).await;
            if let Some(ready) = &mut self.unlock_ready {
                let _ = ready.wait_for(|ready| *ready).await;
            }
        };
        let _ = timeout(READY_PATIENCE, ready).await;
        let online = client.publish(self.topics.availability(), QoS::AtLeastOnce, true, "online");
        if online.await.is_err() {
            return;
        }
        self.publisher.restate(&link).await;
        let mut next = self.discover(client).await;
        while next.is_ok() {
            let state = (self.health)().to_string();
            next = client.publish(self.topics.state("health"), QoS::AtLeastOnce, true, state).await;
            sleep(self.settings.health_every).await;
        }
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

//! The service on the broker: its connections, started and stopped together.

use super::connect::{self, ConnectError};
use super::counts::{Counters, Counts};
use super::dispatcher::Dispatcher;
use super::lane::{Role, UnlockSeen, Worker};
use super::probe::settle;
use super::publisher::Publisher;
use super::topics::Topics;
use super::{Exposure, MAX_PACKET, Settings};
use crate::transport::Handler;
use rumqttc::v5::mqttbytes::QoS;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::{error, warn};

/// Unlocks in work at a time; people stand before one door.
const UNLOCKS: usize = 8;
/// How long a stop waits for commands in work.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);
/// How long a stop waits for the broker.
const FAREWELL_PATIENCE: Duration = Duration::from_millis(800);

/// Makes the content of `state/health`.
pub type Health = Arc<dyn Fn() -> Value + Send + Sync>;

/// The service on the broker. If dropped without [`Session::stop`], the connection breaks off and
/// the broker publishes the last will, `offline`.
pub struct Session {
    commands: Lane,
    /// Present where the strike may be moved remotely.
    unlock: Option<Lane>,
    topics: Arc<Topics>,
    counters: Arc<Counters>,
    exposure: watch::Receiver<Exposure>,
    /// Tests whether the broker accepts everyone.
    #[expect(dead_code, reason = "held, not read: it ends with the session")]
    probe: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// One of the session's connections.
struct Lane {
    publisher: Publisher,
    dispatcher: Arc<Dispatcher>,
    worker: JoinHandle<()>,
}

impl Session {
    /// Starts to connect, and reconnects after every loss. Returns before there is a connection;
    /// fails only on settings and files that cannot be used.
    ///
    /// `handler` executes the requests, each in a task, at most `settings.queue` at a time.
    pub async fn start(
        settings: Settings,
        handler: impl Handler,
        health: Health,
    ) -> Result<Self, ConnectError> {
        connect::options(&settings, &settings.client_id())?;
        let (exposed, exposure) = watch::channel(Exposure::of(&settings));
        let mut probe = JoinSet::new();
        let known = *exposure.borrow();
        match (known, known.advice()) {
            (Exposure::Unknown, _) => {
                probe.spawn(settle(settings.clone(), exposed));
            }
            (_, Some(advice)) => error!(
                "the strike is not armed, and enroll, update, delete and unlock are refused: {advice}"
            ),
            (Exposure::Accepted, _) => {
                warn!("mqtt.allow_insecure: anyone who reaches the broker may enroll and unlock");
            }
            _ => {}
        }
        let topics = Arc::new(Topics::new(&settings.device_id, &settings.response_prefixes));
        let counters = Arc::new(Counters::default());
        let handler: Arc<dyn Handler> = Arc::new(handler);
        let (stop, stop_seen) = watch::channel(false);
        let start = |settings: Arc<Settings>, role| {
            let (link, link_seen) = watch::channel(None);
            let publisher = Publisher::new(link_seen.clone(), topics.clone());
            let (handler, counters) = (handler.clone(), counters.clone());
            let publishes = publisher.clone();
            let dispatcher = Dispatcher::new(
                &settings,
                topics.clone(),
                exposure.clone(),
                publishes,
                handler,
                counters,
            );
            let dispatcher = Arc::new(dispatcher);
            let worker = Worker {
                role,
                settings,
                publisher: publisher.clone(),
                topics: topics.clone(),
                dispatcher: dispatcher.clone(),
                exposure: exposure.clone(),
                link,
                stop: stop_seen.clone(),
            };
            let worker = tokio::spawn(worker.run());
            (Lane { publisher, dispatcher, worker }, link_seen)
        };
        let (unlock, unlock_seen) = match settings.homeassistant.remote_unlock {
            false => (None, None),
            true => {
                let few = Settings {
                    queue: UNLOCKS,
                    queue_bytes: MAX_PACKET as usize,
                    ..settings.clone()
                };
                let (ready, ready_seen) = watch::channel(false);
                let (lane, link) = start(Arc::new(few), Role::Unlock(ready));
                (Some(lane), Some(UnlockSeen { link, ready: ready_seen }))
            }
        };
        let role = Role::Commands { health, unlock: unlock_seen };
        let (commands, _) = start(Arc::new(settings), role);
        Ok(Self { commands, unlock, topics, counters, exposure, probe, stop })
    }

    /// Returns the publisher of states; cheap to clone.
    pub fn publisher(&self) -> Publisher {
        self.commands.publisher.clone()
    }

    /// Returns how far strangers can reach the broker; decides whether the strike may be armed.
    pub fn exposure(&self) -> watch::Receiver<Exposure> {
        self.exposure.clone()
    }

    /// Returns counters of commands since the start.
    pub fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Finishes the commands in work, publishes `stopped`, and disconnects.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let topics = self.topics.clone();
        let unlock = self.unlock.as_mut();
        tokio::join!(self.commands.stop(Some(topics.availability())), async {
            if let Some(unlock) = unlock {
                unlock.stop(None).await;
            }
        });
    }
}

impl Lane {
    /// Finishes the commands in work, publishes `stopped` on this topic, and disconnects.
    async fn stop(&mut self, says_on: Option<String>) {
        self.dispatcher.close(DRAIN_PATIENCE).await;
        let Some(client) = self.publisher.client() else { return };
        let farewell = async {
            if let Some(topic) = says_on {
                client.publish(topic, QoS::AtLeastOnce, true, "stopped").await?;
            }
            client.disconnect().await
        };
        if let Ok(Ok(())) = timeout(FAREWELL_PATIENCE, farewell).await {
            let _ = timeout(FAREWELL_PATIENCE, &mut self.worker).await;
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

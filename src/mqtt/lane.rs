//! A lane: one connection to the broker, reconnected after every loss.
//!
//! Each connection gets a new client without any state of the last one. What the library keeps over
//! a reconnection (pending packets, used packet ids, a collision) only makes sense if the broker
//! kept the session too, and doorward asks it not to.
//!
//! The order on a new connection: subscribe; when the broker has accepted, `availability` becomes
//! `online`, so a client that sees `online` is heard. Then the states and Home Assistant discovery
//! follow, and from time to time `state/health`.
//!
//! Where the strike may be moved remotely, `unlock` has a connection of its own. Broker and network
//! deliver in order: on a shared connection `unlock` would wait behind a flood of pictures.

use super::announcement::{Announcement, Foreign};
use super::backoff::Backoff;
use super::connect::{self, ConnectError, Loss};
use super::dispatcher::{Dispatcher, acknowledge};
use super::echo::{Echo, send_every_second};
use super::publisher::{Link, Publisher};
use super::session::Health;
use super::topics::Topics;
use super::{Exposure, Settings};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, LastWill, Packet, PubAckReason, Publish, RetainForwardRule, SubAck,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// Messages handed to the library and not yet sent. A task that finds it full waits.
const OUTBOX: usize = 16;
/// Time beyond its keep-alive in which the library may write one packet; then the broker's host
/// counts as dead. (While it writes, the library does not watch the time itself.)
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(15);

/// Messages of other clients on the terminal's own topics that wait for their repair.
const FOREIGN: usize = 4;

/// The purpose of a connection.
pub(super) enum Role {
    /// Every command, and all that the session publishes by itself.
    Commands {
        /// Makes the content of `state/health`.
        health: Health,
        /// The connection of `unlock`, if it has its own.
        unlock: Option<UnlockSeen>,
    },
    /// `unlock` alone, so that no picture delays it, with the [`Echo`] that shows how old it is.
    /// Becomes ready with the first echo.
    Unlock(watch::Sender<bool>),
}

/// The `unlock` connection as the commands connection sees it.
pub(super) struct UnlockSeen {
    pub link: watch::Receiver<Option<Link>>,
    pub ready: watch::Receiver<bool>,
}

/// The task of a connection, with its state.
pub(super) struct Worker {
    pub role: Role,
    pub settings: Arc<Settings>,
    pub publisher: Publisher,
    pub topics: Arc<Topics>,
    pub dispatcher: Arc<Dispatcher>,
    pub exposure: watch::Receiver<Exposure>,
    pub link: watch::Sender<Option<Link>>,
    pub stop: watch::Receiver<bool>,
}

/// How a connection ended.
enum End {
    /// The session was stopped.
    Stopped,
    /// It broke, or never connected; `held` is the time since the subscription.
    Lost { held: Duration, why: Loss },
}

impl Worker {
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let end = self.connection().await;
            self.link.send_replace(None);
            self.is_ready(false);
            let End::Lost { held, why: Loss { why, is_taken_over } } = end else { return };
            let wait = backoff.after_loss(held, is_taken_over);
            let what = match self.role {
                Role::Commands { .. } => "",
                Role::Unlock(_) => "no remote unlock: ",
            };
            warn!("{what}{why}; next attempt in {:.1} s", wait.as_secs_f32());
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Connects, and carries packets until the end.
    async fn connection(&self) -> End {
        let mut since: Option<Instant> = None;
        fn lost(since: Option<Instant>, why: impl Into<Loss>) -> End {
            let held = since.map_or(Duration::ZERO, |since| since.elapsed());
            End::Lost { held, why: why.into() }
        }
        let (client, mut events) = match self.client() {
            Ok(pair) => pair,
            Err(error) => return lost(None, error.to_string()),
        };
        let mut largest = None;
        let echo = Arc::new(Echo::default());
        // Aborted when this function returns.
        let (mut talkers, mut births) = (JoinSet::new(), JoinSet::new());
        // Full: a repair is already under way.
        let (foreign, foreign_seen) = mpsc::channel(FOREIGN);
        let mut foreign_seen = Some(foreign_seen);
        loop {
            let event = match self.next_event(&mut events, since.is_some()).await {
                Ok(event) => event,
                Err(why) => return lost(since, why),
            };
            match event {
                Event::Incoming(Packet::ConnAck(ConnAck { properties, .. })) => {
                    largest = properties.and_then(|p| p.max_packet_size);
                    if client.try_subscribe_many(self.command_filters()).is_err() {
                        return lost(None, "could not subscribe".to_owned());
                    }
                }
                Event::Incoming(Packet::SubAck(ack)) if since.is_some() => {
                    self.judge_later_subscription(&ack);
                }
                Event::Incoming(Packet::SubAck(SubAck { return_codes, .. })) => {
                    if let Some(refused) = refused(&return_codes) {
                        return lost(None, self.explain_refusal(refused));
                    }
                    since = Some(Instant::now());
                    let link = Link::new(client.clone(), largest);
                    self.link.send_replace(Some(link.clone()));
                    let foreign = foreign_seen.take();
                    if self.begin(link, &echo, &mut talkers, foreign).is_none() {
                        return lost(since, "could not subscribe".to_owned());
                    }
                }
                Event::Incoming(Packet::Publish(publish)) => match &self.role {
                    Role::Commands { health, unlock } if self.is_birth(&publish.topic) => {
                        while births.try_join_next().is_some() {}
                        // Many births in a row are answered once.
                        if publish.payload == "online".as_bytes() && births.is_empty() {
                            let said = self.announcement(health, unlock.as_ref());
                            births.spawn(said.answer_birth(client.clone()));
                        }
                    }
                    Role::Commands { .. } if self.topics.is_own(&publish.topic) => {
                        let _ =
                            foreign.try_send((publish.topic.to_vec(), publish.payload.to_vec()));
                    }
                    Role::Commands { .. } => self.take(publish, &client),
                    Role::Unlock(_) if publish.topic == self.topics.echo().as_bytes() => {
                        echo.returned(&publish.payload);
                        if echo.is_live() {
                            self.is_ready(true);
                        }
                        acknowledge(&publish, &client);
                    }
                    Role::Unlock(_) => self.dispatcher.receive(publish, &client, echo.is_live()),
                },
                Event::Incoming(Packet::PubAck(ack)) => self.judge_acknowledgement(ack.reason),
                Event::Outgoing(Outgoing::Disconnect) => return End::Stopped,
                _ => {}
            }
        }
    }

    /// Starts the announcements and the further subscriptions once commands are heard. `None`: the
    /// connection is gone.
    fn begin(
        &self,
        link: Link,
        echo: &Arc<Echo>,
        talkers: &mut JoinSet<()>,
        foreign: Option<Foreign>,
    ) -> Option<()> {
        let client = link.client.clone();
        match &self.role {
            Role::Commands { health, unlock } => {
                info!("connected to {}:{}", self.settings.host(), self.settings.port());
                let further = self.further_topics().into_iter().map(|topic| Filter {
                    nolocal: true,
                    // Unacknowledged: no flood of these takes a command's place.
                    ..self.filter(topic, QoS::AtMostOnce)
                });
                client.try_subscribe_many(further).ok()?;
                if let Some(foreign) = foreign {
                    talkers.spawn(self.announcement(health, unlock.as_ref()).make(link, foreign));
                }
            }
            Role::Unlock(_) => {
                let topic = self.topics.echo();
                // Acknowledged, as commands are: both wait in the same queue.
                client.try_subscribe_many([self.filter(topic.clone(), QoS::AtLeastOnce)]).ok()?;
                talkers.spawn(send_every_second(echo.clone(), client, topic));
            }
        }
        Some(())
    }

    /// Takes a command of the commands connection; skips those that another connection also
    /// receives.
    fn take(&self, publish: Publish, client: &AsyncClient) {
        let Role::Commands { unlock: Some(unlock), .. } = &self.role else {
            return self.dispatcher.receive(publish, client, false);
        };
        if !self.topics.is_unlock(&publish.topic) {
            self.dispatcher.receive(publish, client, false);
        } else if unlock.link.borrow().is_some() {
            acknowledge(&publish, client);
        } else {
            self.dispatcher.answer_busy(publish, client);
        }
    }

    /// Publishes whether an `unlock` that arrives at this moment would count.
    fn is_ready(&self, ready: bool) {
        if let Role::Unlock(shown) = &self.role {
            shown.send_if_modified(|shown| std::mem::replace(shown, ready) != ready);
        }
    }

    fn client_id(&self) -> String {
        match self.role {
            Role::Commands { .. } => self.settings.client_id(),
            Role::Unlock(_) => self.settings.unlock_client_id(),
        }
    }

    fn client(&self) -> Result<(AsyncClient, EventLoop), ConnectError> {
        let mut options = connect::options(&self.settings, &self.client_id())?;
        options.set_manual_acks(true);
        if let Role::Commands { .. } = self.role {
            options.set_last_will(LastWill::new(
                self.topics.availability(),
                "offline",
                QoS::AtLeastOnce,
                true,
                None,
            ));
        }
        Ok(AsyncClient::new(options, OUTBOX))
    }

    async fn next_event(&self, events: &mut EventLoop, was_up: bool) -> Result<Event, Loss> {
        // An idle connection yields an event at least every keep-alive: the ping.
        let patience = events.options.keep_alive() + WRITE_PATIENCE;
        match timeout(patience, events.poll()).await {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(error)) => Err(self.explain(&error, was_up)),
            Err(_) => Err(format!("{} takes no more data", self.settings.host()).into()),
        }
    }

    fn explain(&self, error: &ConnectionError, was_up: bool) -> Loss {
        let settings = Settings { client_id: Some(self.client_id()), ..(*self.settings).clone() };
        connect::explain_loss(error, &settings, was_up)
    }

    /// Returns what the commands connection reads besides commands: the terminal's own retained
    /// topics, where another client may write, and Home Assistant's births.
    fn further_topics(&self) -> Vec<String> {
        let homeassistant = &self.settings.homeassistant;
        let births = homeassistant.discovery.then(|| homeassistant.status_topic());
        [self.topics.availability(), self.topics.state("#")].into_iter().chain(births).collect()
    }

    fn filters(&self) -> Vec<String> {
        let named = self.settings.named_clients;
        match self.role {
            Role::Commands { .. } => self.topics.command_filters(named),
            Role::Unlock(_) => self.topics.unlock_filters(named),
        }
    }

    fn command_filters(&self) -> impl Iterator<Item = Filter> {
        self.filters().into_iter().map(|path| self.filter(path, QoS::AtLeastOnce))
    }

    fn filter(&self, path: String, qos: QoS) -> Filter {
        Filter {
            path,
            qos,
            nolocal: false,
            // The flag of a retained message is kept, and retained messages are not sent: an old
            // command is never executed.
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
        }
    }

    fn explain_refusal(&self, refused: SubscribeReasonCode) -> String {
        format!(
            "the broker refused the subscription to {} ({refused:?}): its access list must let this \
             login read it",
            self.filters().join(" or ")
        )
    }

    /// Warns about a refused message.
    fn judge_acknowledgement(&self, reason: PubAckReason) {
        if let PubAckReason::Success | PubAckReason::NoMatchingSubscribers = reason {
            return;
        }
        let Settings { device_id, homeassistant, .. } = &*self.settings;
        warn!(
            "the broker refused a message ({reason:?}): its access list must let this login write \
             to availability, state/#, event/#, echo, response/# and client/# below \
             doorward/{device_id}/, and to {}",
            homeassistant.config_topic(device_id)
        );
    }

    /// Warns about refused later subscriptions: without Home Assistant's births it is told only at
    /// connect; without its own topics the terminal cannot repair them; without echoes, an `unlock`
    /// needs `issued_at`.
    fn judge_later_subscription(&self, ack: &SubAck) {
        let topics = match self.role {
            Role::Commands { .. } => self.further_topics(),
            Role::Unlock(_) => vec![self.topics.echo()],
        };
        for (topic, code) in topics.iter().zip(&ack.return_codes) {
            if refused(&[*code]).is_none() {
                continue;
            }
            let so = match self.role {
                Role::Unlock(_) => "an unlock counts only with issued_at",
                Role::Commands { .. } if self.is_birth(topic.as_bytes()) => {
                    "a Home Assistant that restarts may miss this door"
                }
                Role::Commands { .. } => "what another client writes there is not repaired",
            };
            warn!("the broker's access list does not let this login read {topic}: {so}");
        }
    }

    fn is_birth(&self, topic: &[u8]) -> bool {
        let homeassistant = &self.settings.homeassistant;
        homeassistant.discovery && topic == homeassistant.status_topic().as_bytes()
    }

    fn announcement(&self, health: &Health, unlock: Option<&UnlockSeen>) -> Announcement {
        Announcement {
            settings: self.settings.clone(),
            topics: self.topics.clone(),
            publisher: self.publisher.clone(),
            health: health.clone(),
            exposure: self.exposure.clone(),
            unlock_ready: unlock.map(|unlock| unlock.ready.clone()),
        }
    }
}

fn refused(codes: &[SubscribeReasonCode]) -> Option<SubscribeReasonCode> {
    codes.iter().copied().find(|code| !matches!(code, SubscribeReasonCode::Success(_)))
}

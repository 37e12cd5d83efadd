//! One connection to the broker, again and again.
//!
//! Each connection gets a client of its own, with nothing left over from the last: what the library
//! keeps over a reconnection (pending packets, used packet ids, a collision) only makes sense for a
//! broker that kept the session too, and ours asks it not to.
//!
//! The order on a new connection: subscribe; when the broker has said yes, `availability` becomes
//! `online`. Whoever sees `online` is heard. Then the states, what Home Assistant is told, and from
//! time to time `state/health`.

use super::backoff::Backoff;
use super::connect::{self, ConnectError};
use super::desk::{Counts, Desk, Handler};
use super::publisher::{Link, Publisher};
use super::topics::Topics;
use super::{Exposure, Settings};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, LastWill, Packet, PubAckReason, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ClientError, ConnectionError, Event, EventLoop};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

/// Messages handed to the library and not yet sent. Whoever finds it full waits, in a task.
const OUTBOX: usize = 16;
/// Beyond its keep-alive, the library may take this long to write one packet; then the broker's
/// host is taken for dead. (While it writes, the library does not watch the time itself.)
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(15);
/// Home Assistant, which has just started, is told within this time, each door at another moment.
const BIRTH_SPREAD: Duration = Duration::from_secs(2);
/// How long a stop waits for commands in work.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);
/// How long a stop waits for the broker.
const FAREWELL_PATIENCE: Duration = Duration::from_millis(800);

/// Makes the content of `state/health`.
pub type Health = Arc<dyn Fn() -> Value + Send + Sync>;

/// The service on the broker. Dropped without [`Session::stop`], the connection breaks off and the
/// broker publishes the last will, `offline`.
pub struct Session {
    publisher: Publisher,
    topics: Arc<Topics>,
    desk: Arc<Desk>,
    exposure: Exposure,
    stop: watch::Sender<bool>,
    worker: JoinHandle<()>,
}

impl Session {
    /// Starts connecting, and keeps at it. Returns before there is a connection; fails only on
    /// settings and files that cannot be used.
    ///
    /// `handler` does the requests, each as a task, several at a time up to `settings.queue`.
    pub async fn start(
        settings: Settings,
        handler: impl Handler,
        health: Health,
    ) -> Result<Self, ConnectError> {
        connect::options(&settings, &settings.client_id())?;
        let exposure = Exposure::of(&settings);
        if let Some(advice) = exposure.advice() {
            error!("enroll, update, delete and unlock are refused: {advice}");
        } else if exposure == Exposure::Accepted {
            warn!("mqtt.allow_insecure: anybody on the network may enrol and unlock");
        }
        let topics = Arc::new(Topics::new(&settings.device_id, &settings.response_prefixes));
        let (link, link_seen) = watch::channel(None);
        let (stop, stop_seen) = watch::channel(false);
        let publisher = Publisher::new(link_seen, topics.clone());
        let handler = Box::new(handler);
        let desk = Desk::new(&settings, topics.clone(), exposure, publisher.clone(), handler);
        let desk = Arc::new(desk);
        let worker = Worker {
            settings: Arc::new(settings),
            publisher: publisher.clone(),
            topics: topics.clone(),
            desk: desk.clone(),
            link,
            health,
            stop: stop_seen,
        };
        let worker = tokio::spawn(worker.run());
        Ok(Self { publisher, topics, desk, exposure, stop, worker })
    }

    /// Publishes states; cheap to clone.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Whether strangers could reach the broker; decides whether the strike may be armed.
    pub fn exposure(&self) -> Exposure {
        self.exposure
    }

    /// What happened to commands since the start.
    pub fn counts(&self) -> Counts {
        self.desk.counts()
    }

    /// Finishes what is in work, says `stopped`, and disconnects.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.desk.close(DRAIN_PATIENCE).await;
        let Some(client) = self.publisher.client() else { return };
        let availability = self.topics.availability();
        let farewell = async {
            client.publish(availability, QoS::AtLeastOnce, true, "stopped").await?;
            client.disconnect().await
        };
        if let Ok(Ok(())) = timeout(FAREWELL_PATIENCE, farewell).await {
            let _ = timeout(FAREWELL_PATIENCE, &mut self.worker).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// What the session's task owns.
struct Worker {
    settings: Arc<Settings>,
    publisher: Publisher,
    topics: Arc<Topics>,
    desk: Arc<Desk>,
    link: watch::Sender<Option<Link>>,
    health: Health,
    stop: watch::Receiver<bool>,
}

/// How a connection ended.
enum End {
    /// We said goodbye.
    Stopped,
    /// It broke, or never came about; `held` since the subscription.
    Lost { held: Duration, why: String },
}

impl Worker {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let end = self.connection().await;
            self.link.send_replace(None);
            let End::Lost { held, why } = end else { return };
            let wait = backoff.next(held);
            warn!("{why}; next attempt in {:.1} s", wait.as_secs_f32());
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Connects, and carries packets until the end.
    async fn connection(&self) -> End {
        let mut since: Option<Instant> = None;
        let lost = |since: Option<Instant>, why: String| End::Lost {
            held: since.map_or(Duration::ZERO, |since| since.elapsed()),
            why,
        };
        let (client, mut events) = match self.client() {
            Ok(pair) => pair,
            Err(error) => return lost(None, error.to_string()),
        };
        let mut largest = None;
        // Aborted when this function returns.
        let (mut announcer, mut births) = (JoinSet::new(), JoinSet::new());
        loop {
            let event = match self.next_event(&mut events).await {
                Ok(event) => event,
                Err(why) => return lost(since, why),
            };
            match event {
                Event::Incoming(Packet::ConnAck(ConnAck { properties, .. })) => {
                    largest = properties.and_then(|p| p.max_packet_size);
                    if client.try_subscribe_many(self.command_filters()).is_err() {
                        return lost(None, "could not subscribe".into());
                    }
                }
                Event::Incoming(Packet::SubAck(ack)) if since.is_some() => {
                    self.judge_birth_subscription(&ack);
                }
                Event::Incoming(Packet::SubAck(SubAck { return_codes, .. })) => {
                    if let Some(refused) = refused(&return_codes) {
                        return lost(
                            None,
                            format!(
                                "the broker refused the subscription to {} ({refused:?}): its \
                                 access list must let this login read it",
                                self.filters().join(" or ")
                            ),
                        );
                    }
                    info!("connected to {}:{}", self.settings.host(), self.settings.port());
                    since = Some(Instant::now());
                    let link = Link::new(client.clone(), largest);
                    self.link.send_replace(Some(link.clone()));
                    announcer.spawn(self.announcement().make(link));
                    if self.settings.homeassistant.discovery {
                        // Unacknowledged: no flood of births takes a command's place.
                        let topic = self.settings.homeassistant.status_topic();
                        let filter = self.filter(topic, QoS::AtMostOnce);
                        if client.try_subscribe_many([filter]).is_err() {
                            return lost(since, "could not subscribe".into());
                        }
                    }
                }
                Event::Incoming(Packet::Publish(publish)) if self.is_birth(&publish.topic) => {
                    while births.try_join_next().is_some() {}
                    // Whoever says it a hundred times is answered once.
                    if publish.payload == "online".as_bytes() && births.is_empty() {
                        births.spawn(self.announcement().answer_birth(client.clone()));
                    }
                }
                Event::Incoming(Packet::Publish(publish)) => self.desk.receive(publish, &client),
                Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {}
                    reason => warn!(
                        "the broker refused a message ({reason:?}): its access list must let this \
                         login write to availability, state/#, event/#, response/# and client/# \
                         below doorward/{}/, and to {}",
                        self.settings.device_id,
                        self.settings.homeassistant.config_topic(&self.settings.device_id)
                    ),
                },
                Event::Outgoing(Outgoing::Disconnect) => return End::Stopped,
                _ => {}
            }
        }
    }

    fn client(&self) -> Result<(AsyncClient, EventLoop), ConnectError> {
        let mut options = connect::options(&self.settings, &self.settings.client_id())?;
        options.set_manual_acks(true);
        options.set_last_will(LastWill::new(
            self.topics.availability(),
            "offline",
            QoS::AtLeastOnce,
            true,
            None,
        ));
        Ok(AsyncClient::new(options, OUTBOX))
    }

    async fn next_event(&self, events: &mut EventLoop) -> Result<Event, String> {
        // An idle connection yields an event at least every keep-alive: the ping.
        let patience = events.options.keep_alive() + WRITE_PATIENCE;
        match timeout(patience, events.poll()).await {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(format!("{} takes no more data", self.settings.host())),
        }
    }

    fn explain(&self, error: &ConnectionError) -> String {
        connect::explain(error, &self.settings)
    }

    fn filters(&self) -> Vec<String> {
        self.topics.command_filters(self.settings.named_clients)
    }

    fn command_filters(&self) -> impl Iterator<Item = Filter> {
        self.filters().into_iter().map(|path| self.filter(path, QoS::AtLeastOnce))
    }

    fn filter(&self, path: String, qos: QoS) -> Filter {
        Filter {
            path,
            qos,
            nolocal: false,
            // What was retained shows it, and what is retained is not sent: a command that lay
            // around is never done.
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
        }
    }

    /// Without it, what was said at the start must do.
    fn judge_birth_subscription(&self, ack: &SubAck) {
        if refused(&ack.return_codes).is_some() {
            warn!(
                "the broker's access list does not let this login read {}: a Home Assistant that \
                 restarts may miss this door",
                self.settings.homeassistant.status_topic()
            );
        }
    }

    fn is_birth(&self, topic: &[u8]) -> bool {
        let homeassistant = &self.settings.homeassistant;
        homeassistant.discovery && topic == homeassistant.status_topic().as_bytes()
    }

    fn announcement(&self) -> Announcement {
        Announcement {
            settings: self.settings.clone(),
            topics: self.topics.clone(),
            publisher: self.publisher.clone(),
            health: self.health.clone(),
        }
    }
}

fn refused(codes: &[SubscribeReasonCode]) -> Option<SubscribeReasonCode> {
    codes.iter().copied().find(|code| !matches!(code, SubscribeReasonCode::Success(_)))
}

/// What a connection says by itself.
struct Announcement {
    settings: Arc<Settings>,
    topics: Arc<Topics>,
    publisher: Publisher,
    health: Health,
}

impl Announcement {
    /// Says `online`, then how things are, the latter again and again until the connection is gone.
    async fn make(self, link: Link) {
        let client = &link.client;
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

    /// Home Assistant has started.
    async fn answer_birth(self, client: AsyncClient) {
        let dice = getrandom::u32().unwrap_or_default();
        sleep(BIRTH_SPREAD.mul_f64(f64::from(dice) / f64::from(u32::MAX))).await;
        // Fails only when the connection is gone; the next one begins with the same.
        let _ = self.discover(&client).await;
    }

    /// Tells Home Assistant of this door, or that it is not to be shown.
    async fn discover(&self, client: &AsyncClient) -> Result<(), ClientError> {
        let Settings { homeassistant, device_id, .. } = &*self.settings;
        let topic = homeassistant.config_topic(device_id);
        let message = homeassistant.config(device_id, &self.topics);
        client.publish(topic, QoS::AtLeastOnce, true, message).await
    }
}

//! One connection to the broker, again and again.
//!
//! Each connection gets a client of its own, with nothing left over from the last: what the library
//! keeps over a reconnection (pending packets, used packet ids, a collision) only makes sense for a
//! broker that kept the session too, and ours asks it not to.
//!
//! The order on a new connection: subscribe; when the broker has said yes, `availability` becomes
//! `online`. Whoever sees `online` is heard.

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
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
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
const WRITE_PATIENCE: Duration = Duration::from_secs(15);
/// How long a stop waits for commands in work.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a stop waits for the broker.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

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
            settings,
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
    settings: Settings,
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
        let mut announcer = JoinSet::new();
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
                    self.link.send_replace(Some(Link::new(client.clone(), largest)));
                    announcer.spawn(announce(
                        client.clone(),
                        self.topics.clone(),
                        self.health.clone(),
                        self.settings.health_every,
                    ));
                }
                Event::Incoming(Packet::Publish(publish)) => self.desk.receive(publish, &client),
                Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {}
                    reason => warn!(
                        "the broker refused a message ({reason:?}): its access list must let this \
                         login write to availability, state/#, event/#, response/# and client/# \
                         below doorward/{}/",
                        self.settings.device_id
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
        self.filters().into_iter().map(|path| Filter {
            path,
            qos: QoS::AtLeastOnce,
            nolocal: false,
            // What was retained shows it, and what is retained is not sent: a command that lay
            // around is never done.
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
        })
    }
}

fn refused(codes: &[SubscribeReasonCode]) -> Option<SubscribeReasonCode> {
    codes.iter().copied().find(|code| !matches!(code, SubscribeReasonCode::Success(_)))
}

/// Says `online`, then how things are, again and again until the connection is gone.
async fn announce(client: AsyncClient, topics: Arc<Topics>, health: Health, every: Duration) {
    let mut next = client.publish(topics.availability(), QoS::AtLeastOnce, true, "online").await;
    while next.is_ok() {
        let state = health().to_string();
        next = client.publish(topics.state("health"), QoS::AtLeastOnce, true, state).await;
        sleep(every).await;
    }
}

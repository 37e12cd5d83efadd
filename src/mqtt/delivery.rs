//! Delivers events from the outbox to the broker until it has acknowledged them.
//!
//! Delivery has a connection of its own. `publish()` of the library does not tell which packet id
//! it will use, so an acknowledgement can be paired with an event only if nothing else is published
//! at QoS 1 on the connection, and only in the order in which the events were handed over. It also
//! keeps a backlog of thousands of events away from commands and their answers.
//!
//! Events recorded since this connection began are *live* and are published first, at once. All
//! older events are the *backlog*: one every [`BACKLOG_EVERY`] while no live event waits. Both are
//! published in the order of `seq`.
//!
//! Terms: an event is *handed* to the library, then *in flight* under a packet id, then
//! acknowledged. A kind of event is *refused* when the broker refused one of them, which an access
//! list does by topic: one event of that kind is tried again from time to time, and none is lost
//! meanwhile.

use super::Settings;
use super::backoff::Backoff;
use super::connect::{self, ConnectError, Loss};
use super::lane::WRITE_PATIENCE;
use super::publisher::Link;
use super::topics::Topics;
use crate::outbox::{Consumer, Kind, Outbox};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, error, warn};

/// Events handed over or in flight.
const WINDOW: usize = 4;
/// Of those, from the backlog: a live event never waits behind a full window of old ones.
const BACKLOG_WINDOW: usize = 2;
/// 20 per second: does not flood the broker and its clients after a night offline.
const BACKLOG_EVERY: Duration = Duration::from_millis(50);
/// First and longest wait before a refused kind is tried again; the wait doubles.
const REFUSED_FIRST: Duration = Duration::from_secs(10);
const REFUSED_LAST: Duration = Duration::from_secs(15 * 60);
/// A broker that acknowledges nothing for this long is given up; the next connection sends the
/// events again.
const ACK_PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before an unreadable outbox is read again.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How long a stop waits for acknowledgements, and then for the disconnect.
const DRAIN_PATIENCE: Duration = Duration::from_millis(1500);
const FAREWELL_PATIENCE: Duration = Duration::from_millis(500);

/// Delivers one terminal's events. If dropped without [`Delivery::stop`], the connection breaks
/// off. Unacknowledged events stay in the outbox either way.
pub struct Delivery {
    stop: watch::Sender<bool>,
    worker: JoinHandle<()>,
}

impl Delivery {
    /// Starts to connect, and reconnects after every loss. Returns before there is a connection;
    /// fails only on settings and files that cannot be used.
    pub fn start(settings: &Settings, outbox: Arc<Outbox>) -> Result<Self, ConnectError> {
        let client_id = format!("{}-events", settings.client_id());
        let settings = Settings { client_id: Some(client_id), ..settings.clone() };
        connect::options(&settings, &settings.client_id())?;
        let topics = Topics::new(&settings.device_id, &[]);
        let (stop, stop_seen) = watch::channel(false);
        let worker = Worker { settings, topics, outbox, stop: stop_seen };
        Ok(Self { stop, worker: tokio::spawn(worker.run()) })
    }

    /// Hands over no more events, waits up to 1.5 s for those in flight, and disconnects.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = timeout(DRAIN_PATIENCE + FAREWELL_PATIENCE, &mut self.worker).await;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

struct Worker {
    settings: Settings,
    topics: Topics,
    outbox: Arc<Outbox>,
    stop: watch::Receiver<bool>,
}

/// How a connection ended.
enum End {
    Stopped,
    Lost { held: Duration, why: Loss },
}

/// What the connection reports to the publisher, in the order in which it happened.
enum Progress {
    /// The oldest event handed over was sent under this packet id.
    Sent(u16),
    /// The broker answered that packet.
    Acknowledged(u16, PubAckReason),
}

impl Worker {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let End::Lost { held, why } = self.connection().await else { return };
            let Loss { why, is_taken_over } = why;
            let wait = backoff.after_loss(held, is_taken_over);
            warn!("events wait: {why}; next attempt in {:.1} s", wait.as_secs_f32());
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn connection(&self) -> End {
        let lost = |held, why: Loss| End::Lost { held, why };
        let options = match connect::options(&self.settings, &self.settings.client_id()) {
            Ok(options) => options,
            Err(error) => return lost(Duration::ZERO, error.to_string().into()),
        };
        let (client, mut events) = AsyncClient::new(options, WINDOW);
        let largest = loop {
            match self.next_event(&mut events, false).await {
                Ok(Event::Incoming(Packet::ConnAck(ConnAck { properties, .. }))) => {
                    break properties.and_then(|properties| properties.max_packet_size);
                }
                Ok(_) => {}
                Err(why) => return lost(Duration::ZERO, why),
            }
        };
        debug!("events are delivered");
        let since = Instant::now();
        let (tell, told) = mpsc::unbounded_channel();
        let publishing = Publishing::new(self, Link::new(client, largest));
        // Each future runs to its end or not at all: the library's event loop must not be left in
        // the middle of a packet.
        tokio::select! {
            end = self.carry(&mut events, tell) => match end {
                Ok(()) => End::Stopped,
                Err(why) => lost(since.elapsed(), why),
            },
            () = publishing.run(told, self.stop.clone()) => {
                lost(since.elapsed(), "the broker acknowledges nothing".to_owned().into())
            }
        }
    }

    /// Carries packets until the disconnect is sent.
    async fn carry(
        &self,
        events: &mut EventLoop,
        tell: mpsc::UnboundedSender<Progress>,
    ) -> Result<(), Loss> {
        loop {
            let told = match self.next_event(events, true).await? {
                Event::Outgoing(Outgoing::Publish(pkid)) => Progress::Sent(pkid),
                Event::Incoming(Packet::PubAck(ack)) => {
                    Progress::Acknowledged(ack.pkid, ack.reason)
                }
                Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                _ => continue,
            };
            // The receiver ends only together with this sender.
            let _ = tell.send(told);
        }
    }

    async fn next_event(&self, events: &mut EventLoop, was_up: bool) -> Result<Event, Loss> {
        // An idle connection yields an event at least every keep-alive: the ping.
        let patience = events.options.keep_alive() + WRITE_PATIENCE;
        match timeout(patience, events.poll()).await {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(error)) => Err(connect::explain_loss(&error, &self.settings, was_up)),
            Err(_) => Err(format!("{} takes no more data", self.settings.host()).into()),
        }
    }
}

/// A kind of event that the broker refuses.
struct Refusal {
    wait: Duration,
    retry: Instant,
}

/// An event that was sent.
struct InFlight {
    seq: u64,
    kind: Kind,
    since: Instant,
}

/// The state of publishing on one connection.
struct Publishing<'w> {
    worker: &'w Worker,
    link: Link,
    /// The first live sequence number.
    live: u64,
    handed: VecDeque<(u64, Kind)>,
    in_flight: HashMap<u16, InFlight>,
    refused: HashMap<Kind, Refusal>,
    /// When the next backlog event may be sent.
    backlog_at: Instant,
}

impl<'w> Publishing<'w> {
    fn new(worker: &'w Worker, link: Link) -> Self {
        let live = *worker.outbox.last_seq().borrow() + 1;
        Self {
            worker,
            link,
            live,
            handed: VecDeque::new(),
            in_flight: HashMap::new(),
            refused: HashMap::new(),
            backlog_at: Instant::now(),
        }
    }

    /// Publishes until the connection breaks or the broker stops acknowledging.
    async fn run(
        mut self,
        mut told: mpsc::UnboundedReceiver<Progress>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut last_seq = self.worker.outbox.last_seq();
        loop {
            last_seq.borrow_and_update();
            while let Some((seq, kind)) = self.choose() {
                if self.publish(seq, kind).await.is_err() {
                    return;
                }
            }
            if self.is_overdue() {
                return;
            }
            let wake = self.wake();
            let sleeping = async {
                match wake {
                    Some(wake) => sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = told.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return,
                },
                Ok(()) = last_seq.changed() => {}
                () = sleeping => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let drained = async {
            while !(self.handed.is_empty() && self.in_flight.is_empty()) {
                match told.recv().await {
                    Some(heard) => self.hear(heard),
                    None => return,
                }
            }
        };
        let _ = timeout(DRAIN_PATIENCE, drained).await;
        if self.link.client.disconnect().await.is_ok() {
            // The task that carries the disconnect ends this one.
            std::future::pending::<()>().await;
        }
    }

    fn under_way(&self) -> impl Iterator<Item = u64> {
        let in_flight = self.in_flight.values().map(|event| event.seq);
        self.handed.iter().map(|(seq, _)| *seq).chain(in_flight)
    }

    /// Returns the next event to publish, if one may be sent.
    fn choose(&self) -> Option<(u64, Kind)> {
        if self.under_way().count() >= WINDOW {
            return None;
        }
        let now = Instant::now();
        let rests = |kind| self.refused.get(&kind).is_some_and(|refusal| now < refusal.retry);
        let skip = |seq, kind| rests(kind) || self.under_way().any(|other| other == seq);
        let outbox = &self.worker.outbox;
        outbox.pending(Consumer::Broker, self.live.., skip).or_else(|| {
            let old = self.under_way().filter(|seq| *seq < self.live).count();
            let may_go = now >= self.backlog_at && old < BACKLOG_WINDOW;
            may_go.then(|| outbox.pending(Consumer::Broker, ..self.live, skip)).flatten()
        })
    }

    /// Returns when the result of [`Publishing::choose`] may change without any message from the
    /// broker.
    fn wake(&self) -> Option<Instant> {
        let now = Instant::now();
        let retries = self.refused.values().map(|refusal| refusal.retry);
        let backlog = std::iter::once(self.backlog_at);
        let due = self.in_flight.values().map(|event| event.since + ACK_PATIENCE);
        retries.chain(backlog).chain(due).filter(|at| *at > now).min()
    }

    fn is_overdue(&self) -> bool {
        self.in_flight.values().any(|event| event.since.elapsed() >= ACK_PATIENCE)
    }

    /// Hands an event over; an error means that the connection has ended.
    async fn publish(&mut self, seq: u64, kind: Kind) -> Result<(), ()> {
        if seq < self.live {
            self.backlog_at = Instant::now() + BACKLOG_EVERY;
        }
        if let Some(refusal) = self.refused.get_mut(&kind) {
            // This event is the attempt; the others of its kind wait for its result.
            refusal.retry = Instant::now() + refusal.wait;
        }
        let outbox = self.worker.outbox.clone();
        let payload = match tokio::task::spawn_blocking(move || {
            outbox.payload(Consumer::Broker, seq)
        })
        .await
        {
            Ok(Ok(Some(payload))) => payload,
            // The event was dropped at this moment.
            Ok(Ok(None)) => {
                sleep(BACKLOG_EVERY).await;
                return Ok(());
            }
            Ok(Err(error)) => {
                error!(%error, "events wait in the outbox");
                sleep(READ_PATIENCE).await;
                return Ok(());
            }
            Err(_) => return Err(()),
        };
        let topic = self.worker.topics.event(kind);
        if let Err(error) = super::publisher::fits(&self.link, &topic, 0, payload.len()) {
            error!(seq, %kind, "an event is dropped: {error}");
            self.worker.outbox.discard_too_large(seq);
            return Ok(());
        }
        self.handed.push_back((seq, kind));
        let properties = PublishProperties {
            content_type: Some("application/json".into()),
            ..Default::default()
        };
        let client = &self.link.client;
        let handed =
            client.publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties);
        handed.await.map_err(|_| ())
    }

    fn hear(&mut self, told: Progress) {
        match told {
            Progress::Sent(pkid) => {
                if let Some((seq, kind)) = self.handed.pop_front() {
                    self.in_flight.insert(pkid, InFlight { seq, kind, since: Instant::now() });
                }
            }
            Progress::Acknowledged(pkid, reason) => {
                let Some(InFlight { seq, kind, .. }) = self.in_flight.remove(&pkid) else { return };
                match reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                        self.refused.remove(&kind);
                        self.worker.outbox.acknowledge(Consumer::Broker, seq);
                    }
                    reason => self.refuse(kind, reason),
                }
            }
        }
    }

    fn refuse(&mut self, kind: Kind, reason: PubAckReason) {
        let wait = self.refused.get(&kind).map_or(REFUSED_FIRST, |refusal| refusal.wait * 2);
        let wait = wait.min(REFUSED_LAST);
        self.refused.insert(kind, Refusal { wait, retry: Instant::now() + wait });
        warn!(
            "the broker refused an event ({reason:?}): its access list must let this login write to \
             {}; events of this kind wait, next attempt in {} s",
            self.worker.topics.event(kind),
            wait.as_secs()
        );
    }
}

//! The dispatcher takes commands, sends each to the service in a task of its own, and publishes the
//! answer. It never makes the event loop wait, and judges no request's content.
//!
//! Bounds, so that no client can make the daemon grow:
//!
//! - commands in work: [`super::Settings::queue`] places and [`super::Settings::queue_bytes`] of
//!   payload; without a place the answer is `[503] BUSY`;
//! - QoS 1: a command is acknowledged when it has a place or its refusal is on the way, and the
//!   broker sends no more than the Receive Maximum unacknowledged: so many refusals at most;
//! - QoS 0 has no such brake: beyond [`MOST_REFUSALS`] refusals in work the command is dropped,
//!   which QoS 0 allows.

use super::Exposure;
use super::counts::{Counters, count};
use super::handler::Handler;
use super::incoming::{Command, Form, ReplyTo, Stale};
use super::memory::{Identity, Memory, Seen};
use super::publisher::{PublishError, Publisher};
use super::topics::{ResponseTopicError, Topics};
use crate::contract::{Answer, Operation, Refusal, Reply, Request, Sender};
use crate::time::stamp;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, error, info, warn};

/// Refusals of QoS 0 commands in work at a time.
const MOST_REFUSALS: usize = 64;

/// How long a command waits until it is known whether strangers could have sent it.
const EXPOSURE_PATIENCE: Duration = Duration::from_secs(2);

/// How long after its arrival a command that was sent just now still counts as that.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// How long a change is remembered, so that it is not made again.
const CHANGES_FOR: Duration = Duration::from_secs(10 * 60);
/// The same for `unlock`: who asks again later stands before a door that has locked again.
const UNLOCKS_FOR: Duration = Duration::from_secs(10);

pub(crate) struct Dispatcher {
    topics: Arc<Topics>,
    exposure: watch::Receiver<Exposure>,
    handler: Arc<dyn Handler>,
    publisher: Publisher,
    changes: Mutex<Memory>,
    unlocks: Mutex<Memory>,
    /// Whether the broker is the terminal's own, with topics by role.
    own_broker: bool,
    queue: u32,
    places: Arc<Semaphore>,
    /// In KiB, since a semaphore counts in `u32`.
    payload: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// A command's place in work, and its payload's share of the memory.
struct Place(#[expect(dead_code, reason = "held, not read")] [OwnedSemaphorePermit; 2]);

/// The acknowledgement that a command's packet is owed.
struct Receipt {
    client: AsyncClient,
    qos: QoS,
    pkid: u16,
}

impl Receipt {
    fn of(publish: &Publish, client: &AsyncClient) -> Self {
        Self { client: client.clone(), qos: publish.qos, pkid: publish.pkid }
    }

    async fn send(self) {
        let stub = Publish { qos: self.qos, pkid: self.pkid, ..Publish::default() };
        // Fails only when the connection is gone, and with it the debt.
        let _ = self.client.ack(&stub).await;
    }
}

/// Tells the broker that a message has come, where nothing else is to be done about it.
pub(super) fn acknowledge(publish: &Publish, client: &AsyncClient) {
    tokio::spawn(Receipt::of(publish, client).send());
}

impl Dispatcher {
    pub(crate) fn new(
        settings: &super::Settings,
        topics: Arc<Topics>,
        exposure: watch::Receiver<Exposure>,
        publisher: Publisher,
        handler: Arc<dyn Handler>,
        counters: Arc<Counters>,
    ) -> Self {
        let queue = u32::try_from(settings.queue).unwrap_or(u32::MAX);
        Self {
            topics,
            exposure,
            handler,
            publisher,
            changes: Mutex::new(Memory::new(CHANGES_FOR)),
            unlocks: Mutex::new(Memory::new(UNLOCKS_FOR)),
            own_broker: settings.own_broker,
            queue,
            places: Arc::new(Semaphore::new(settings.queue)),
            payload: Arc::new(Semaphore::new(settings.queue_bytes / 1024)),
            refusals: Arc::new(Semaphore::new(MOST_REFUSALS)),
            counters,
        }
    }

    /// Takes a message from the broker. Returns at once. `live`: it is known to have been sent just
    /// now.
    pub(crate) fn receive(self: &Arc<Self>, publish: Publish, client: &AsyncClient, live: bool) {
        let Some((command, receipt)) = self.read(publish, client) else { return };
        let command = if live { command.vouched_for(FRESH_FOR) } else { command };
        match self.place(&command) {
            Some(place) => {
                let dispatcher = self.clone();
                tokio::spawn(async move {
                    receipt.send().await;
                    dispatcher.serve(command).await;
                    drop(place);
                });
            }
            None => self.refuse_busy(&command, receipt),
        }
    }

    /// Answers a message from the broker `[503] BUSY` whatever places there are.
    pub(crate) fn turn_away(self: &Arc<Self>, publish: Publish, client: &AsyncClient) {
        if let Some((command, receipt)) = self.read(publish, client) {
            self.refuse_busy(&command, receipt);
        }
    }

    /// The command that a message is; what is stale is dropped.
    fn read(&self, publish: Publish, client: &AsyncClient) -> Option<(Command, Receipt)> {
        count(&self.counters.commands);
        let receipt = Receipt::of(&publish, client);
        let topic = publish.topic.clone();
        let stale = match Command::read(&self.topics, publish) {
            Ok(command) => return Some((command, receipt)),
            Err(stale) => stale,
        };
        count(&self.counters.stale);
        let topic = String::from_utf8_lossy(&topic).into_owned();
        match stale {
            Stale::Retained => {
                warn!(
                    topic,
                    "dropped a retained command: commands must be published without retain"
                )
            }
            Stale::Expired => warn!(topic, "dropped an expired command"),
            Stale::NoOperation => warn!(topic, "dropped a command that names no operation"),
        }
        tokio::spawn(receipt.send());
        None
    }

    fn place(&self, command: &Command) -> Option<Place> {
        let kib = u32::try_from(command.payload_len().div_ceil(1024)).ok()?;
        let place = self.places.clone().try_acquire_owned().ok()?;
        let payload = self.payload.clone().try_acquire_many_owned(kib).ok()?;
        Some(Place([place, payload]))
    }

    /// Answers `[503] BUSY`. The `request_id` is looked up here and not in the task, so that the
    /// payload is gone before the task waits.
    fn refuse_busy(self: &Arc<Self>, command: &Command, receipt: Receipt) {
        count(&self.counters.busy);
        let refusal_place = match receipt.qos {
            QoS::AtMostOnce => match self.refusals.clone().try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => return count(&self.counters.lost),
            },
            _ => None,
        };
        debug!(operation = command.operation(), "busy");
        let reply =
            command.reply(&self.topics).unwrap_or_else(|_| command.default_reply(&self.topics));
        let answer = refusal_to(&Refusal::Busy, command.request_id());
        let dispatcher = self.clone();
        tokio::spawn(async move {
            dispatcher.publish(&reply, answer.to_payload(), false).await;
            receipt.send().await;
            drop(refusal_place);
        });
    }

    /// From a command to its answer on the way.
    async fn serve(&self, command: Command) {
        let operation = command.operation().to_owned();
        let request_id = command.request_id();
        let (reply, refused) = self.judge(&command).await;
        let memory = self.memory_of(&operation);
        let content = memory.map(|_| command.digest());
        // A body of no known type is read as JSON until it is known who asks: it may hold a key, and
        // who has none is not told what is wrong with the body.
        let form = command.form();
        let request = command.into_request(*form.as_ref().unwrap_or(&Form::Json));
        let sender = self.handler.sender(&request);
        let reply = match self.inbox(&sender, &reply) {
            Ok(()) => reply,
            Err(error) => {
                let reply = self.default_reply(&operation, reply);
                let answer = match sender {
                    Ok(_) => refusal_to(&Refusal::payload(error.to_string()), request_id),
                    Err(answer) => answer,
                };
                return self.refuse(&operation, &reply, &answer).await;
            }
        };
        let sender = match sender {
            Ok(sender) => sender,
            // What was answered before is for others.
            Err(answer) => return self.publish(&reply, answer.to_payload(), false).await,
        };
        if let Some(answer) = refused {
            return self.refuse(&operation, &reply, &answer).await;
        }
        if let Err(why) = form {
            let answer = refusal_to(&Refusal::payload(why), request_id);
            return self.refuse(&operation, &reply, &answer).await;
        }
        let Some((memory, content)) = memory.zip(content) else {
            let answer = self.perform(&operation, request, request_id).await;
            let Some(answer) = answer else { return };
            let (_, payload) = self.sendable(answer, &reply);
            return self.publish(&reply, payload.to_vec(), false).await;
        };
        let identities = Identity::of(&operation, &sender, &reply, request_id.clone(), content);
        let seen = locked(memory).meet(&identities, &reply, Instant::now());
        match seen {
            Seen::Never => {
                let answer = self.perform(&operation, request, request_id).await;
                let (answer, payload) = answer.map(|answer| self.sendable(answer, &reply)).unzip();
                let waiting = locked(memory).finish(
                    identities,
                    answer.as_ref().zip(payload.as_ref()),
                    Instant::now(),
                );
                let Some(payload) = payload else { return };
                self.publish(&reply, payload.to_vec(), false).await;
                for reply in waiting {
                    self.publish(&reply, payload.to_vec(), true).await;
                }
            }
            Seen::InWork => count(&self.counters.repeats),
            Seen::Answered(payload) => {
                count(&self.counters.repeats);
                info!(operation, "answered a repeat from memory");
                self.publish(&reply, payload.to_vec(), true).await;
            }
        }
    }

    /// Whether the answer may go there: on the terminal's own broker an application's inbox is its own.
    fn inbox(
        &self,
        sender: &Result<Sender, Answer>,
        reply: &ReplyTo,
    ) -> Result<(), ResponseTopicError> {
        match sender {
            Ok(Sender::Application(id)) if self.own_broker => {
                self.topics.accept_inbox(&reply.topic, Some(id))
            }
            Err(_) if self.own_broker => self.topics.accept_inbox(&reply.topic, None),
            _ => Ok(()),
        }
    }

    fn default_reply(&self, operation: &str, reply: ReplyTo) -> ReplyTo {
        ReplyTo { topic: self.topics.default_response(operation), ..reply }
    }

    /// What the envelope says: where the answer goes, and why the command is not done, if it is not.
    async fn judge(&self, command: &Command) -> (ReplyTo, Option<Answer>) {
        match command.reply(&self.topics) {
            Ok(reply) => {
                let why = match Operation::named(command.operation()) {
                    Some(operation) if operation.is_change() => self.exposure().await.advice(),
                    _ => None,
                };
                let refusal = why.map(|why| Refusal::InsecureBroker { why: why.to_owned() });
                (reply, refusal.map(|refusal| refusal_to(&refusal, command.request_id())))
            }
            Err(error) => {
                let refusal = Refusal::payload(error.to_string());
                let answer = refusal_to(&refusal, command.request_id());
                (command.default_reply(&self.topics), Some(answer))
            }
        }
    }

    /// Whether strangers could reach the broker; just after a start that is about to be known.
    async fn exposure(&self) -> Exposure {
        let mut exposure = self.exposure.clone();
        let known = exposure.wait_for(|exposure| *exposure != Exposure::Unknown);
        match tokio::time::timeout(EXPOSURE_PATIENCE, known).await {
            Ok(Ok(known)) => *known,
            _ => Exposure::Unknown,
        }
    }

    async fn refuse(&self, operation: &str, reply: &ReplyTo, answer: &Answer) {
        warn!(operation, why = answer.reason(), "refused a command");
        self.publish(reply, answer.to_payload(), false).await;
    }

    /// Has the service do it. A panic there fails this command alone.
    async fn perform(
        &self,
        operation: &str,
        request: Request,
        request_id: Option<String>,
    ) -> Option<Answer> {
        match tokio::spawn(self.handler.handle(request)).await {
            Ok(answer) => answer,
            Err(failure) => {
                error!(operation, "the service failed: {failure}");
                Some(refusal_to(&Refusal::internal(failure), request_id))
            }
        }
    }

    /// An answer and its payload: `[500]` in place of one that the broker would not take, so that
    /// what is remembered is what was sent.
    fn sendable(&self, answer: Answer, reply: &ReplyTo) -> (Answer, Arc<Vec<u8>>) {
        let payload = answer.to_payload();
        let Err(error) = self.publisher.takes(reply, payload.len()) else {
            return (answer, Arc::new(payload));
        };
        error!("an answer is not sent: {error}");
        let answer = refusal_to(&Refusal::internal(error), answer.request_id().map(str::to_owned));
        let payload = Arc::new(answer.to_payload());
        (answer, payload)
    }

    async fn publish(&self, reply: &ReplyTo, payload: Vec<u8>, repeated: bool) {
        let outcome = match self.publisher.answer(reply, payload.clone(), repeated).await {
            Err(error @ PublishError::TooLarge { .. }) => {
                error!("an answer was not sent: {error}");
                let request_id = Answer::from_payload(&payload)
                    .and_then(|answer| answer.request_id().map(str::to_owned));
                let answer = refusal_to(&Refusal::internal(error), request_id);
                self.publisher.answer(reply, answer.to_payload(), repeated).await
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) => count(&self.counters.answers),
            Err(error) => {
                count(&self.counters.lost);
                warn!(topic = reply.topic, "an answer was not sent: {error}");
            }
        }
    }

    /// Waits until nothing is in work; what arrives meanwhile is answered `[503] BUSY`.
    pub(crate) async fn close(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.places.acquire_many(self.queue)).await;
        self.places.close();
    }

    /// Where an operation's answers are remembered; questions are asked again.
    fn memory_of(&self, operation: &str) -> Option<&Mutex<Memory>> {
        match Operation::named(operation)? {
            Operation::Unlock => Some(&self.unlocks),
            operation => operation.is_change().then_some(&self.changes),
        }
    }
}

fn locked(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    // Nothing under this lock panics; if it did, a memory that forgot is still a memory.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer to a command that the service does not see.
fn refusal_to(refusal: &Refusal, request_id: Option<String>) -> Answer {
    Reply::refusal(refusal, request_id, stamp())
}

//! The dispatcher takes commands, sends each to the service in a task of its own, and publishes the
//! answer. It never makes the event loop wait, and never checks a request's content.
//!
//! Bounds, so that no client can make the daemon grow:
//!
//! - commands in work: [`super::Settings::queue`] places and [`super::Settings::queue_bytes`] of
//!   payload; without a place the answer is `[503] BUSY`;
//! - QoS 1: a command is acknowledged when it has a place or its refusal has been sent. The broker
//!   sends no more than Receive Maximum unacknowledged commands, which bounds the refusals;
//! - QoS 0 has no such limit: beyond [`MOST_REFUSALS`] refusals in work the command is dropped,
//!   which QoS 0 allows.

use super::Exposure;
use super::counts::{Counters, count};
use super::incoming::{Command, Form, ReplyTo, Stale};
use super::publisher::{PublishError, Publisher};
use super::topics::{ResponseTopicError, Topics};
use crate::contract::{Answer, Operation, Refusal, Reply, Request, Sender};
use crate::time::stamp;
use crate::transport::{Handler, Identity, Memories, Seen, begin, finish};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, error, info, warn};

/// Refusals of QoS 0 commands in work at a time.
const MOST_REFUSALS: usize = 64;

/// How long a command waits until the broker's exposure is known.
const EXPOSURE_PATIENCE: Duration = Duration::from_secs(2);

/// How long after its arrival a command on a live link still counts as fresh.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// Why an operation that shows a key is refused without a Response Topic.
const KEY_NEEDS_TOPIC: &str = "the answer carries an API-Key, and many clients may read what is \
                               answered below response/: name a Response Topic of your own, such \
                               as one below client/";

pub(crate) struct Dispatcher {
    topics: Arc<Topics>,
    exposure: watch::Receiver<Exposure>,
    handler: Arc<dyn Handler>,
    publisher: Publisher,
    memories: Memories<ReplyTo>,
    /// True for the embedded broker, which restricts topics by role.
    own_broker: bool,
    queue: u32,
    places: Arc<Semaphore>,
    /// In KiB, because a semaphore counts in `u32`.
    payload: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// A command's place in work, and its payload's share of the memory.
struct Place(#[expect(dead_code, reason = "held, not read")] [OwnedSemaphorePermit; 2]);

/// The acknowledgement that a command's packet still needs.
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
        // Fails only when the connection is gone; then no acknowledgement is needed.
        let _ = self.client.ack(&stub).await;
    }
}

/// Acknowledges a message that needs no other handling.
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
            memories: Memories::new(),
            own_broker: settings.own_broker,
            queue,
            places: Arc::new(Semaphore::new(settings.queue)),
            payload: Arc::new(Semaphore::new(settings.queue_bytes / 1024)),
            refusals: Arc::new(Semaphore::new(MOST_REFUSALS)),
            counters,
        }
    }

    /// Takes a message from the broker. Returns at once. `live`: the message is known to be fresh.
    pub(crate) fn receive(self: &Arc<Self>, publish: Publish, client: &AsyncClient, live: bool) {
        let Some((command, receipt)) = self.read(publish, client) else { return };
        let command = if live { command.fresh_for(FRESH_FOR) } else { command };
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

    /// Answers a message from the broker with `[503] BUSY`, even if places are free.
    pub(crate) fn answer_busy(self: &Arc<Self>, publish: Publish, client: &AsyncClient) {
        if let Some((command, receipt)) = self.read(publish, client) {
            self.refuse_busy(&command, receipt);
        }
    }

    /// Reads a message as a command; drops it if it is stale.
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
    /// payload is freed before the task waits.
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

    /// Serves a command until its answer has been sent.
    async fn serve(&self, command: Command) {
        let operation = command.operation().to_owned();
        let request_id = command.request_id();
        let (reply, refused) = self.judge(&command).await;
        let memory = self.memories.of(&operation);
        let content = memory.map(|_| command.digest());
        // A body of unknown type is read as JSON until the sender is known: it may hold a key, and
        // a sender without a key is not told what is wrong with the body.
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
            // Remembered answers belong to other senders.
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
        let identities = Identity::of(
            &operation,
            &sender,
            &reply.topic,
            reply.correlation.clone(),
            request_id.clone(),
            content,
        );
        match begin(memory, &identities, || reply.clone(), &*self.handler) {
            Seen::Never => {
                let answer = self.perform(&operation, request, request_id).await;
                let (answer, payload) = answer.map(|answer| self.sendable(answer, &reply)).unzip();
                let answered = answer.as_ref().zip(payload.as_ref());
                let (kept, waiting) = finish(memory, identities, answered, &*self.handler);
                let (Some(payload), Some(kept)) = (payload, kept) else { return };
                self.publish(&reply, payload.to_vec(), false).await;
                for reply in waiting {
                    self.publish(&reply, kept.to_vec(), true).await;
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

    /// Checks where the answer may go: on the embedded broker an application has an inbox of its
    /// own.
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

    /// Checks for an answer topic that many clients may read.
    fn is_shared(&self, reply: &ReplyTo) -> bool {
        reply.topic.starts_with(&self.topics.default_response(""))
    }

    fn default_reply(&self, operation: &str, reply: ReplyTo) -> ReplyTo {
        ReplyTo { topic: self.topics.default_response(operation), ..reply }
    }

    /// Judges the envelope: where the answer goes, and the refusal if the command is not executed.
    async fn judge(&self, command: &Command) -> (ReplyTo, Option<Answer>) {
        match command.reply(&self.topics) {
            Ok(reply) if shows_key(command.operation()) && self.is_shared(&reply) => {
                let refusal = Refusal::payload(KEY_NEEDS_TOPIC);
                (reply, Some(refusal_to(&refusal, command.request_id())))
            }
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

    /// Returns the broker's exposure. Waits for it after a start, when it is not known yet.
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

    /// Has the service execute the request. A panic there fails only this command.
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

    /// Returns an answer and its payload. Replaces an answer that the broker would not take by
    /// `[500]`, so that what is remembered is what was sent.
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

    /// Waits until no command is in work; commands that arrive meanwhile are answered `[503] BUSY`.
    pub(crate) async fn close(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.places.acquire_many(self.queue)).await;
        self.places.close();
    }
}

/// Checks whether the answer to an operation carries a new API-Key.
fn shows_key(operation: &str) -> bool {
    Operation::named(operation).is_some_and(Operation::shows_key)
}

/// Builds the answer to a command that the service does not see.
fn refusal_to(refusal: &Refusal, request_id: Option<String>) -> Answer {
    Reply::refusal(refusal, request_id, stamp())
}

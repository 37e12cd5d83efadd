//! Remembers the changes of the last minutes, so that a repeat gets the same answer and is not
//! executed again.
//!
//! Only operations that change something are remembered, and only after they have changed it. A
//! query is executed each time, because its answer may have changed; so is a command that was
//! refused or failed.
//!
//! A command is a repeat when its Correlation Data or its `request_id` was seen before, for the
//! same operation, the same sender, the same reply address, and with the same body and properties.
//! The sender belongs to the identity because an answer is only for its sender: a client without a
//! key, or with another application's, gets no remembered answer. The address (a topic; over HTTP
//! there is one for all) belongs to it because many clients use counters: two clients that both
//! count from 1 on reply topics of their own are different senders. The content belongs to it
//! because a client that uses an id for two different requests means both. An empty id counts as no
//! id, and commands without an id are never repeats.
//!
//! A new API-Key is never remembered: the answer with it is kept without it.
//!
//! What was answered about a subject that is not enrolled any more is forgotten, except that it was
//! deleted: an answer "enrolled" would not be true, and a deletion leaves nothing of the subject.
//!
//! The memory is bounded by number and by bytes; the oldest answers are dropped first. Commands in
//! work are bounded by the places of the transport.

use super::Handler;
use crate::contract::{Answer, Operation, Outcome, Sender};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a change is remembered, so that a repeat does not make it twice.
const CHANGES_FOR: Duration = Duration::from_secs(10 * 60);
/// The same for `unlock`: a client that repeats it later finds a door that has locked again.
const UNLOCKS_FOR: Duration = Duration::from_secs(10);

/// Most answers remembered: more than three commands per second for ten minutes.
const MOST_ANSWERS: usize = 2048;
/// Most bytes of answers and identities remembered.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Most repeats of one command that get its answer when it is done. A client that repeats more
/// often while it waits does not miss the other answers.
const MOST_RESENDS: usize = 16;

/// Identifies a command: two commands with the same identity are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    operation: String,
    sender: Sender,
    /// The reply address.
    address: String,
    name: Name,
    /// Digest of body and properties.
    content: Digest,
}

/// SHA-256.
pub(crate) type Digest = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Correlation(Vec<u8>),
    RequestId(String),
}

impl Identity {
    /// Returns all identities of a command: none, or one each for Correlation Data and
    /// `request_id`.
    pub(crate) fn of(
        operation: &str,
        sender: &Sender,
        address: &str,
        correlation: Option<Vec<u8>>,
        request_id: Option<String>,
        content: Digest,
    ) -> Vec<Self> {
        let correlation = correlation.filter(|data| !data.is_empty());
        let request_id = request_id.filter(|id| !id.is_empty());
        let names = correlation.map(Name::Correlation).into_iter();
        let names = names.chain(request_id.map(Name::RequestId));
        let identity = |name| Self {
            operation: operation.to_owned(),
            sender: sender.clone(),
            address: address.to_owned(),
            name,
            content,
        };
        names.map(identity).collect()
    }

    fn bytes(&self) -> usize {
        let name = match &self.name {
            Name::Correlation(data) => data.len(),
            Name::RequestId(id) => id.len(),
        };
        let sender = match &self.sender {
            Sender::Local | Sender::Anybody => 0,
            Sender::Client(name) | Sender::Application(name) => name.len(),
        };
        self.operation.len() + sender + self.address.len() + name + self.content.len()
    }
}

/// What the memory knows about a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is new: execute it, then call [`Memory::finish`].
    Never,
    /// It is being executed; its answer goes to this repeat too.
    InWork,
    /// It was executed; this was the answer.
    Answered(Arc<Vec<u8>>),
}

#[derive(Debug)]
enum Entry<Reply> {
    /// The repeats that wait for the answer.
    InWork(Vec<Reply>),
    /// The payload, and the subject that it is about.
    Answered(Arc<Vec<u8>>, Option<String>),
}

/// The changes of one lifetime. `Reply` is what the transport needs to answer a repeat.
#[derive(Debug)]
pub(crate) struct Memory<Reply> {
    /// How long an answer is remembered.
    lifetime: Duration,
    entries: HashMap<Arc<Identity>, Entry<Reply>>,
    /// The answered identities, oldest first.
    ages: VecDeque<(Instant, Arc<Identity>)>,
    bytes: usize,
}

impl<Reply> Memory<Reply> {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, entries: HashMap::new(), ages: VecDeque::new(), bytes: 0 }
    }

    /// Looks up a command by all its identities, and notes it as in work if it is new.
    /// `reply` is asked if it is in work: then it is among those that [`Memory::finish`] returns.
    pub(crate) fn meet(
        &mut self,
        identities: &[Identity],
        reply: impl FnOnce() -> Reply,
        now: Instant,
    ) -> Seen {
        self.forget_old(now);
        for identity in identities {
            match self.entries.get_mut(identity) {
                Some(Entry::InWork(waiting)) => {
                    if waiting.len() < MOST_RESENDS {
                        waiting.push(reply());
                    }
                    return Seen::InWork;
                }
                Some(Entry::Answered(answer, _)) => return Seen::Answered(answer.clone()),
                None => {}
            }
        }
        for identity in identities {
            self.entries.insert(Arc::new(identity.clone()), Entry::InWork(Vec::new()));
        }
        Seen::Never
    }

    /// Ends the work on a command, and returns the reply addresses of the repeats that arrived
    /// meanwhile. The answer comes with its payload as sent, and is remembered if the change was
    /// made. Without an answer (the command had expired) nothing is remembered.
    pub(crate) fn finish(
        &mut self,
        identities: Vec<Identity>,
        answer: Option<(&Answer, &Arc<Vec<u8>>)>,
        now: Instant,
    ) -> Vec<Reply> {
        let mut waiting = Vec::new();
        for identity in identities {
            if let Some(Entry::InWork(repeats)) = self.entries.remove(&identity) {
                waiting.extend(repeats);
            }
            let Some((answer, payload)) = answer else { continue };
            let bytes = payload.len() + identity.bytes();
            let deletes = identity.operation == Operation::SubjectDelete.name();
            if is_done(answer) && bytes <= MOST_BYTES {
                self.bytes += bytes;
                let identity = Arc::new(identity);
                self.ages.push_back((now, identity.clone()));
                let subject = answer.fields.get("subject_id").and_then(Value::as_str);
                let subject = subject.filter(|_| !deletes).map(str::to_owned);
                self.entries.insert(identity, Entry::Answered(payload.clone(), subject));
            }
        }
        self.forget_old(now);
        waiting
    }

    /// Forgets the answers about subjects that are not enrolled.
    pub(crate) fn forget_subjects(&mut self, is_enrolled: impl Fn(&str) -> bool) {
        let Self { entries, ages, bytes, .. } = self;
        ages.retain(|(_, identity)| {
            let gone = match entries.get(identity) {
                Some(Entry::Answered(_, Some(subject))) => !is_enrolled(subject),
                _ => false,
            };
            if gone && let Some(Entry::Answered(payload, _)) = entries.remove(identity) {
                *bytes -= payload.len() + identity.bytes();
            }
            !gone
        });
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, _)) = self.ages.front() {
            let old = now.saturating_duration_since(*at) >= self.lifetime;
            if !old && self.ages.len() <= MOST_ANSWERS && self.bytes <= MOST_BYTES {
                return;
            }
            let Some((_, identity)) = self.ages.pop_front() else { return };
            if let Some(Entry::Answered(payload, _)) = self.entries.remove(&identity) {
                self.bytes -= payload.len() + identity.bytes();
            }
        }
    }
}

/// Looks up a change before it is executed, as [`Memory::meet`] does.
pub(crate) fn begin<Reply>(
    memory: &Mutex<Memory<Reply>>,
    identities: &[Identity],
    reply: impl FnOnce() -> Reply,
    handler: &dyn Handler,
) -> Seen {
    let mut memory = locked(memory);
    memory.forget_subjects(|id| handler.is_enrolled(id));
    memory.meet(identities, reply, Instant::now())
}

/// Ends the work on a change, as [`Memory::finish`] does. Returns the payload for repeats, and those
/// that arrived meanwhile.
pub(crate) fn finish<Reply>(
    memory: &Mutex<Memory<Reply>>,
    identities: Vec<Identity>,
    answer: Option<(&Answer, &Arc<Vec<u8>>)>,
    handler: &dyn Handler,
) -> (Option<Arc<Vec<u8>>>, Vec<Reply>) {
    let kept = answer.map(|(answer, payload)| kept(answer, payload));
    let remembered = answer.map(|(answer, _)| answer).zip(kept.as_ref());
    let mut memory = locked(memory);
    let waiting = memory.finish(identities, remembered, Instant::now());
    memory.forget_subjects(|id| handler.is_enrolled(id));
    (kept, waiting)
}

/// Returns what is remembered of an answer that is sent as `payload`, and sent to repeats: all but
/// a new API-Key, which is sent once.
fn kept(answer: &Answer, payload: &Arc<Vec<u8>>) -> Arc<Vec<u8>> {
    match answer.has_key() {
        true => Arc::new(answer.clone().without_key().to_payload()),
        false => Arc::clone(payload),
    }
}

/// The memories of a transport.
pub(crate) struct Memories<Reply> {
    changes: Mutex<Memory<Reply>>,
    unlocks: Mutex<Memory<Reply>>,
}

impl<Reply> Memories<Reply> {
    pub(crate) fn new() -> Self {
        Self {
            changes: Mutex::new(Memory::new(CHANGES_FOR)),
            unlocks: Mutex::new(Memory::new(UNLOCKS_FOR)),
        }
    }

    /// Returns the memory for an operation's answers; queries have none and are executed again.
    pub(crate) fn of(&self, operation: &str) -> Option<&Mutex<Memory<Reply>>> {
        match Operation::named(operation)? {
            Operation::Unlock => Some(&self.unlocks),
            operation => operation.is_change().then_some(&self.changes),
        }
    }
}

fn locked<Reply>(memory: &Mutex<Memory<Reply>>) -> MutexGuard<'_, Memory<Reply>> {
    // Nothing under this lock panics. If it did, an incomplete memory would still be usable.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns true if a change was made: a `FAIL_ON_n` is a 200 and changes nothing.
fn is_done(answer: &Answer) -> bool {
    answer.outcome() == Outcome::Done
}

#[cfg(test)]
mod tests;

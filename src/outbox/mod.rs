//! Stores events until their consumers have acknowledged them, and keeps the audit log.
//!
//! Terms: an *event* waits in the *outbox* until each *consumer*, which is the broker and where
//! configured the webhook, has acknowledged it; the *audit log* has
//! a line for each event and for each administrative action, chained by hashes ([`chain`](Chain)).
//!
//! 1. Only one thread writes, the *recorder*; the others hand records over. An event and its line
//!    are on disk, in one transaction, when [`Outbox::record`] returns, and are published only
//!    then. [`Slot::post`] does not wait, so neither judge nor door ever waits for a disk.
//! 2. An event is removed when it is acknowledged; these removals are written with the next record,
//!    or after some seconds. A crash in between publishes it a second time, with the same `id`, and
//!    never loses it.
//! 3. `seq` and the line number rise by one for ever.
//! 4. The outbox and the log are bounded; the oldest entries are dropped, and counted. A wrong
//!    clock erases neither ([`retention`]).
//! 5. Records that the disk does not accept wait in memory, bounded by kind. Records beyond that
//!    are counted, and a line of the log reports the number when the disk accepts lines again. Only
//!    the recorder waits for a hung disk without limit, callers wait [`PATIENCE`].
//! 6. A text that is too long is shortened; it is never a reason not to record something.
//!
//! The outbox never contains a picture, a template or a key. It does not know the broker: the
//! delivery task queries the waiting events.
//!
//! | file | purpose |
//! |---|---|
//! | `event.rs` | input types |
//! | `consumer.rs` | the consumers of events, and their backlogs |
//! | `chain.rs` | the hash chain |
//! | `classes.rs` | classes of lines, and their shares of the log |
//! | `bounds.rs` | size limits of a record |
//! | `queue.rs` | records that wait for the disk, and the callers that wait for them |
//! | `repeats.rs` | repeats, which are counted |
//! | `retention.rs` | which records are removed for their age or number |
//! | `file.rs` | the tables and their bytes |
//! | `recorder.rs` | the open file, its state in memory, and the writing thread |
//! | `error.rs` | errors |

mod bounds;
mod chain;
mod classes;
mod consumer;
mod error;
mod event;
mod file;
mod queue;
mod recorder;
mod repeats;
mod retention;
mod shared;

pub use chain::{Chain, Hash, Verdict};
pub use consumer::{BacklogStats, Consumer};
pub use error::OutboxError;
pub use event::{Entry, Event, Kind, Recorded};
pub use file::Dropped;
pub use queue::{MOST_UNWRITTEN, Ticket};

use recorder::Recorder;
use serde::Serialize;
use serde_json::Value;
use shared::Shared;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// Cooldown of a disk after an error.
pub const REST: Duration = Duration::from_secs(5);
/// Maximum time that a caller waits for a record; a slow card needs a tenth of it.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Time without an answer after which a disk is reported as silent.
pub const SILENCE: Duration = Duration::from_secs(10);
/// Maximum time that shutdown waits for the disk.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Largest event or entry as JSON, in bytes: many times the size of everything the contract names.
pub const MAX_BYTES: usize = 16 * 1024;

/// Device id and limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Contained in every event.
    pub device_id: String,
    /// Maximum number of events that wait for a consumer; at least 1.
    pub max_events: usize,
    /// Maximum days that an event waits.
    pub max_age_days: u32,
    /// Maximum number of lines in the audit log; at least 1.
    pub max_lines: u64,
    /// Maximum days that a line is kept.
    pub max_line_days: u32,
    /// The kinds of events for the webhook; none if there is no webhook.
    pub webhook: Vec<Kind>,
    /// How often a portion of the records that are too old is removed.
    pub retire_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device_id: "doorward".to_owned(),
            // Weeks at a busy door; about 10 MB.
            max_events: 10_000,
            max_age_days: 30,
            // A year at a busy door; about 50 MB.
            max_lines: 100_000,
            max_line_days: 365,
            webhook: Vec::new(),
            retire_every: retention::RETIRE_EVERY,
        }
    }
}

/// State of the outbox and the audit log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Number of events that wait for the broker.
    pub depth: usize,
    /// Number of the last event.
    pub last_seq: u64,
    /// Number of events acknowledged since the start.
    pub delivered: u64,
    /// Number of commits since the start; each syncs the disk twice.
    pub commits: u64,
    /// Number of events ever dropped.
    pub dropped: Dropped,
    /// Number of events and lines that wait for the disk.
    pub unwritten: usize,
    /// Number of events and lines not recorded since the start because too many were waiting; by
    /// kind, with `unlock` and `audit` for lines without an event.
    pub not_recorded: BTreeMap<&'static str, u64>,
    /// The fault of the disk, if there is one.
    pub fault: Option<String>,
    /// The audit log.
    pub audit: Chain,
}

/// The outbox and the audit log of one terminal. All methods may be called from several threads.
pub struct Outbox {
    shared: Arc<Shared>,
}

/// Hands events to the outbox as long as that is open. It keeps nothing open and never waits.
#[derive(Clone)]
pub struct Slot(Weak<Shared>);

impl Slot {
    /// Hands over an event, which is recorded as soon as the disk accepts it, together with those
    /// of the next tenth of a second. A repeat may only be counted (`repeats.rs`). Returns the
    /// event if the outbox is closed.
    pub fn post(&self, event: Event) -> Result<(), Box<Event>> {
        match self.0.upgrade() {
            Some(shared) => shared.post(event),
            None => Err(Box::new(event)),
        }
    }
}

impl Outbox {
    /// Opens the file, or creates it in an existing folder, and starts the recorder. Removes
    /// nothing for its age.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OutboxError> {
        Self::open_with(path, settings, || None)
    }

    /// Does the same with a clock that returns Unix seconds, UTC, while it is believed to be
    /// synchronised; the age of records is measured by it.
    pub fn open_with(
        path: &Path,
        settings: Settings,
        clock: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> Result<Self, OutboxError> {
        Self::start(path, Shared::open(path, settings, Box::new(clock))?)
    }

    /// Starts with a file that cannot be opened at present: nothing is on disk until it can be
    /// opened, which is tried again and again.
    ///
    /// # Errors The recorder's thread cannot be started.
    pub fn without_file(
        path: &Path,
        settings: Settings,
        clock: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> Result<Self, OutboxError> {
        Self::start(path, Shared::without_file(path, settings, Box::new(clock)))
    }

    fn start(path: &Path, shared: Shared) -> Result<Self, OutboxError> {
        let shared = Arc::new(shared);
        let recorder = Recorder::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("recorder".into());
        let spawned = thread.spawn(move || recorder.run());
        spawned.map_err(|source| OutboxError::Io { path: path.to_owned(), source })?;
        Ok(Self { shared })
    }

    /// Records an event. The event and its line of the audit log are on disk when this returns.
    /// That takes milliseconds, on a slow card tenths of a second, at most [`PATIENCE`].
    ///
    /// After a disk error it is recorded once the disk accepts it.
    pub fn record(&self, event: Event) -> Result<Recorded, OutboxError> {
        let gone = || OutboxError::Silent { path: self.shared.path().to_owned() };
        let ticket = self.shared.hand_over_event(event).map_err(|_| gone())?;
        // Every recorded event has a `Recorded`.
        ticket.wait(PATIENCE)?.ok_or_else(gone)
    }

    /// Adds a line without an event to the audit log. It is on disk when this returns; after a disk
    /// error it is written once the disk accepts it.
    pub fn audit(&self, entry: Entry) -> Result<(), OutboxError> {
        self.note(entry).wait(PATIENCE).map(drop)
    }

    /// Hands over a line without an event, which is written as soon as the disk accepts it. Does
    /// not wait; waiting on the ticket does.
    pub fn note(&self, entry: Entry) -> Ticket {
        self.shared.hand_over_entry(entry)
    }

    /// Returns a handle to post events as long as this outbox is open.
    pub fn slot(&self) -> Slot {
        Slot(Arc::downgrade(&self.shared))
    }

    /// Returns the oldest event that waits for a consumer, with a number in `range`, for which
    /// `skip` is false.
    pub fn pending(
        &self,
        consumer: Consumer,
        range: impl RangeBounds<u64>,
        skip: impl Fn(u64, Kind) -> bool,
    ) -> Option<(u64, Kind)> {
        let state = self.shared.state();
        let waiting = &state.backlogs[consumer].waiting;
        let mut waiting = waiting.range(range).map(|(seq, waiting)| (*seq, waiting.kind));
        waiting.find(|&(seq, kind)| !skip(seq, kind))
    }

    /// Returns the payload of an event that waits for a consumer: JSON in UTF-8.
    pub fn payload(&self, consumer: Consumer, seq: u64) -> Result<Option<Vec<u8>>, OutboxError> {
        self.shared.read(|database| file::payload(database, consumer, seq))
    }

    /// Removes an event that the consumer has acknowledged.
    pub fn acknowledge(&self, consumer: Consumer, seq: u64) {
        self.shared.remove_event(consumer, seq, |backlog| backlog.delivered += 1);
    }

    /// Removes the events for the webhook that it does not get by the present settings: another
    /// configuration recorded them. Returns their number. Also does so when a file that failed is
    /// opened again. For the daemon: another program may lack its configuration.
    pub fn forget_unwanted(&self) -> usize {
        let mut state = self.shared.state();
        state.forgets_unwanted = true;
        let forgotten = state.backlogs.webhook.forget_others(&self.shared.settings.webhook);
        drop(state);
        self.shared.work.notify_all();
        forgotten
    }

    /// Returns the state of one consumer's backlog. Does not wait for the disk.
    pub fn backlog(&self, consumer: Consumer) -> BacklogStats {
        let state = self.shared.state();
        let backlog = &state.backlogs[consumer];
        let mut dropped = state.head.dropped[consumer];
        dropped.too_large += backlog.too_large;
        BacklogStats { depth: backlog.waiting.len(), delivered: backlog.delivered, dropped }
    }

    /// Removes and counts an event that is larger than the broker accepts.
    pub fn discard_too_large(&self, seq: u64) {
        let count = |backlog: &mut consumer::Backlog| backlog.too_large += 1;
        self.shared.remove_event(Consumer::Broker, seq, count);
    }

    /// Returns the number of the last event; it changes when an event is recorded.
    pub fn last_seq(&self) -> watch::Receiver<u64> {
        self.shared.last_seq.subscribe()
    }

    /// Returns the counts and the head of the audit log. Does not wait for the disk.
    pub fn stats(&self) -> Stats {
        let BacklogStats { depth, delivered, dropped } = self.backlog(Consumer::Broker);
        let state = self.shared.state();
        Stats {
            depth,
            last_seq: state.head.last_seq,
            delivered,
            commits: state.commits,
            dropped,
            unwritten: state.queue.unwritten(),
            not_recorded: state.queue.not_recorded().clone(),
            fault: state.fault(),
            audit: state.head.chain,
        }
    }

    /// Verifies every line of the audit log.
    pub fn verify(&self) -> Result<Verdict, OutboxError> {
        self.shared.read(file::verify)
    }

    /// Returns up to `limit` lines of the audit log from number `from` that were written at `since`
    /// (Unix seconds) or later, as objects with their `hash`, and the number to continue from, if
    /// there are more.
    pub fn lines(
        &self,
        from: u64,
        since: f64,
        limit: usize,
    ) -> Result<(Vec<Value>, Option<u64>), OutboxError> {
        self.shared.read(|database| file::lines(database, from, since, limit))
    }
}

impl Drop for Outbox {
    /// Writes pending records and removals, unless the disk takes too long.
    fn drop(&mut self) {
        if !self.shared.close(END_PATIENCE) {
            let unwritten = self.shared.state().queue.unwritten();
            tracing::error!(unwritten, "the disk does not answer: pending records may be lost");
        }
    }
}

#[cfg(test)]
mod tests;

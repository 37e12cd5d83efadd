//! What happened, kept until the house has heard of it, and kept on record.
//!
//! Terms: an *event* waits in the *outbox* until a broker has acknowledged it; the *audit log* has a
//! line for each event and for each act of administration, chained by hashes ([`chain`](Chain)).
//!
//! 1. One thread writes, the *recorder*; the others hand over. An event and its line are on disk,
//!    in one transaction, when [`Outbox::record`] returns, and are published only then;
//!    [`Slot::post`] waits for nothing, so neither judge nor door ever waits for a disk.
//! 2. It leaves when it is acknowledged; such removals are written once a second at most. A crash in
//!    between publishes it a second time, with the same `id`, and never loses it.
//! 3. `seq` and the line's number rise by one for ever.
//! 4. The outbox and the log are bounded; what is dropped is the oldest, and counted.
//! 5. What a disk does not take waits for it in memory, bounded by kind. What finds no room there is
//!    counted, and a line of the log says how much when the disk takes lines again. A disk that
//!    hangs is waited for by the recorder alone, by the others for [`PATIENCE`].
//! 6. What is too long is shortened, and never the reason why something is not recorded.
//!
//! Never keeps a picture, a template or a key. Knows no broker: the delivery asks what waits.
//!
//! | file | idea |
//! |---|---|
//! | `event.rs` | what goes in |
//! | `chain.rs` | the hash chain |
//! | `bounds.rs` | how large it may be |
//! | `queue.rs` | what waits for the disk, and who waits for that |
//! | `file.rs` | the tables and their bytes |
//! | `recorder.rs` | the open file, its state in memory, and the thread that writes |
//! | `error.rs` | what can go wrong |

mod bounds;
mod chain;
mod error;
mod event;
mod file;
mod queue;
mod recorder;

pub use chain::{Chain, Hash, Verdict};
pub use error::OutboxError;
pub use event::{Entry, Event, Kind, Recorded};
pub use file::Dropped;
pub use queue::{MOST_UNWRITTEN, Ticket};

use crate::time::unix_time;
use recorder::{Recorder, Shared};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// How long a disk that refused something is left alone.
pub const REST: Duration = Duration::from_secs(5);
/// How long a caller waits for a record: a slow card takes a tenth of it.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// A disk that has not answered for so long is said to be silent.
pub const SILENCE: Duration = Duration::from_secs(10);
/// How long the end waits for the disk.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Largest event or entry as JSON, in bytes: everything the contract names fits many times over.
pub const MAX_BYTES: usize = 16 * 1024;

/// Whose events, and how many are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Stands in every event.
    pub device_id: String,
    /// Events that may wait for the broker; at least 1.
    pub max_events: usize,
    /// Days an event may wait.
    pub max_age_days: u32,
    /// Lines that the audit log keeps; at least 1.
    pub max_lines: u64,
    /// Days a line is kept.
    pub max_line_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device_id: "doorward".to_owned(),
            // Weeks at a busy door; some 10 MB.
            max_events: 10_000,
            max_age_days: 30,
            // A year at a busy door; some 50 MB.
            max_lines: 100_000,
            max_line_days: 365,
        }
    }
}

/// How things are with the outbox and the audit log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Events that wait for the broker.
    pub depth: usize,
    /// Number of the last event.
    pub last_seq: u64,
    /// Events that were acknowledged since the start.
    pub delivered: u64,
    /// Events that were dropped, ever.
    pub dropped: Dropped,
    /// Events and lines that wait for the disk.
    pub unwritten: usize,
    /// Events and lines that were not recorded since the start, since too many waited already; by
    /// kind, `unlock` and `audit` of lines without an event.
    pub not_recorded: BTreeMap<&'static str, u64>,
    /// What is wrong with the disk, if anything is.
    pub fault: Option<String>,
    /// The audit log.
    pub audit: Chain,
}

/// The outbox and the audit log of one terminal. All methods may be called from several threads.
pub struct Outbox {
    shared: Arc<Shared>,
}

/// Where events are handed over for as long as the outbox is open. It keeps nothing open and never
/// waits.
#[derive(Clone)]
pub struct Slot(Weak<Shared>);

impl Slot {
    /// Hands over an event, to be recorded as soon as the disk takes it; it comes back when the outbox
    /// is closed.
    pub fn post(&self, event: Event) -> Result<(), Box<Event>> {
        match self.0.upgrade() {
            Some(shared) => shared.hand_over_event(event).map(drop),
            None => Err(Box::new(event)),
        }
    }
}

impl Outbox {
    /// Opens the file, or makes it in a folder that exists, and starts the recorder.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OutboxError> {
        Self::open_with(path, settings, unix_time)
    }

    /// The same with a clock that tells Unix seconds, UTC: what is too old is too old by it.
    pub fn open_with(
        path: &Path,
        settings: Settings,
        clock: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<Self, OutboxError> {
        Self::start(path, Shared::open(path, settings, Box::new(clock))?)
    }

    /// The same with a file that cannot be opened at present: nothing is on disk until it can be,
    /// which is tried again and again.
    ///
    /// # Errors
    /// No thread for the recorder.
    pub fn without_file(path: &Path, settings: Settings) -> Result<Self, OutboxError> {
        Self::start(path, Shared::without_file(path, settings, Box::new(unix_time)))
    }

    fn start(path: &Path, shared: Shared) -> Result<Self, OutboxError> {
        let shared = Arc::new(shared);
        let recorder = Recorder::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("recorder".into());
        let spawned = thread.spawn(move || recorder.run());
        spawned.map_err(|source| OutboxError::Io { path: path.to_owned(), source })?;
        Ok(Self { shared })
    }

    /// Records an event. It and its line of the audit log are on disk when this returns, which takes
    /// a disk's time: milliseconds, on a slow card tenths of a second, [`PATIENCE`] at most.
    ///
    /// After an error of the disk it is recorded once the disk takes it.
    pub fn record(&self, event: Event) -> Result<Recorded, OutboxError> {
        let gone = || OutboxError::Silent { path: self.shared.path().to_owned() };
        let ticket = self.shared.hand_over_event(event).map_err(|_| gone())?;
        // An event is always recorded as something.
        ticket.wait(PATIENCE)?.ok_or_else(gone)
    }

    /// Adds a line without an event to the audit log; on disk when this returns, and after an error
    /// of the disk once that takes it.
    pub fn audit(&self, entry: Entry) -> Result<(), OutboxError> {
        self.note(entry).wait(PATIENCE).map(drop)
    }

    /// Hands over a line without an event, to be written as soon as the disk takes it. Waits for
    /// nothing, unless the ticket is asked to.
    pub fn note(&self, entry: Entry) -> Ticket {
        self.shared.hand_over_entry(entry)
    }

    /// Where events are posted for as long as this is open.
    pub fn slot(&self) -> Slot {
        Slot(Arc::downgrade(&self.shared))
    }

    /// The oldest event that waits, of those with a number in `range` that `skip` does not pass over.
    pub fn pending(
        &self,
        range: impl RangeBounds<u64>,
        skip: impl Fn(u64, Kind) -> bool,
    ) -> Option<(u64, Kind)> {
        let state = self.shared.state();
        let mut waiting = state.waiting.range(range).map(|(seq, waiting)| (*seq, waiting.kind));
        waiting.find(|&(seq, kind)| !skip(seq, kind))
    }

    /// The payload of an event that waits: JSON in UTF-8.
    pub fn payload(&self, seq: u64) -> Result<Option<Vec<u8>>, OutboxError> {
        self.shared.read(|database| file::payload(database, seq))
    }

    /// The broker has an event: it leaves.
    pub fn acknowledge(&self, seq: u64) {
        self.shared.leave(seq, |state| state.delivered += 1);
    }

    /// The broker takes no packet of an event's size: it leaves, and is counted.
    pub fn discard_too_large(&self, seq: u64) {
        self.shared.leave(seq, |state| state.too_large += 1);
    }

    /// The number of the last event; changes when one is recorded.
    pub fn last_seq(&self) -> watch::Receiver<u64> {
        self.shared.last_seq.subscribe()
    }

    /// Counts and the head of the audit log. Waits for no disk.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        let mut dropped = state.head.dropped;
        dropped.too_large += state.too_large;
        Stats {
            depth: state.waiting.len(),
            last_seq: state.head.last_seq,
            delivered: state.delivered,
            dropped,
            unwritten: state.queue.unwritten(),
            not_recorded: state.queue.not_recorded().clone(),
            fault: state.fault(),
            audit: state.head.chain,
        }
    }

    /// Looks at every line of the audit log.
    pub fn verify(&self) -> Result<Verdict, OutboxError> {
        self.shared.read(file::verify)
    }

    /// Up to `limit` lines of the audit log from number `from` on that were written at `since` (Unix
    /// seconds) or later, as objects with their `hash`, and the number to go on from, if there are
    /// more.
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
    /// Writes what is to be written and was acknowledged, unless the disk takes too long for it.
    fn drop(&mut self) {
        if !self.shared.close(END_PATIENCE) {
            let unwritten = self.shared.state().queue.unwritten();
            tracing::error!(unwritten, "the disk does not answer: what waits for it is left to it");
        }
    }
}

#[cfg(test)]
mod tests;

//! What happened, kept until the house has heard of it, and kept on record.
//!
//! Terms: an *event* waits in the *outbox* until a broker has acknowledged it; the *audit log* has a
//! line for each event and for each act of administration, chained by hashes ([`chain`](Chain)).
//!
//! 1. An event and its line are on disk, in one transaction, when [`Outbox::record`] returns, and are
//!    published only then.
//! 2. It leaves when it is acknowledged; such removals are written once a second at most. A crash in
//!    between publishes it a second time, with the same `id`, and never loses it.
//! 3. `seq` and the line's number rise by one for ever.
//! 4. The outbox and the log are bounded; what is dropped is the oldest, and counted.
//! 5. A disk that takes no more costs events, and nothing else: the call says so at once, the counter
//!    rises, and for [`REST`] no other call waits for that disk. Whoever opens a door opens it first.
//!
//! Never keeps a picture, a template or a key. Knows no broker: whoever delivers asks what waits.
//!
//! | file | idea |
//! |---|---|
//! | `event.rs` | what goes in |
//! | `chain.rs` | the hash chain |
//! | `file.rs` | the tables and their bytes |
//! | `keeper.rs` | the open file, its state in memory, and who tidies |
//! | `error.rs` | what can go wrong |

mod chain;
mod error;
mod event;
mod file;
mod keeper;

pub use chain::{Chain, Hash, Verdict};
pub use error::OutboxError;
pub use event::{Entry, Event, Kind, Recorded};
pub use file::Dropped;

use crate::time::unix_time;
use file::Waiting;
use keeper::Shared;
use serde::Serialize;
use serde_json::{Map, Value};
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// How long a disk that refused something is left alone.
pub const REST: Duration = Duration::from_secs(5);
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Events that wait for the broker.
    pub depth: usize,
    /// Number of the last event.
    pub last_seq: u64,
    /// Events that were acknowledged since the start.
    pub delivered: u64,
    /// Events that were dropped, ever.
    pub dropped: Dropped,
    /// Events and entries that the disk did not take since the start.
    pub not_recorded: u64,
    /// The audit log.
    pub audit: Chain,
}

/// The outbox and the audit log of one terminal. All methods may be called from several threads.
pub struct Outbox {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

impl Outbox {
    /// Opens the file, or makes it in a folder that exists, and starts the thread that tidies it.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OutboxError> {
        Self::start(path, Shared::open(path, settings)?)
    }

    /// The same with a file that cannot be opened at present: nothing is recorded until it can be,
    /// which is tried again and again.
    pub fn without_file(path: &Path, settings: Settings) -> Result<Self, OutboxError> {
        Self::start(path, Shared::without_file(path, settings))
    }

    fn start(path: &Path, shared: Shared) -> Result<Self, OutboxError> {
        let shared = Arc::new(shared);
        let keeper = {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("outbox".into());
            let spawned = thread.spawn(move || shared.keep());
            spawned.map_err(|source| OutboxError::Io { path: path.to_owned(), source })?
        };
        Ok(Self { shared, keeper: Some(keeper) })
    }

    /// Records an event. It and its line of the audit log are on disk when this returns, which takes
    /// a disk's time: milliseconds, on a slow card tenths of a second.
    ///
    /// After an error it has most likely not been recorded; it will not be published unless it was.
    pub fn record(&self, event: Event) -> Result<Recorded, OutboxError> {
        let (time, id) = (unix_time(), uuid::Uuid::new_v4().to_string());
        let waiting = Waiting { kind: event.kind, time };
        let shared = &self.shared;
        // With the longest numbers there are, since the event's own is not known yet.
        let largest = Recorded { id: id.clone(), seq: u64::MAX, time };
        bounded(&event.payload(&largest, &shared.settings.device_id))?;
        let recorded = shared.write(1, |change| {
            let recorded = Recorded { id: id.clone(), seq: change.head.last_seq + 1, time };
            let payload = event.payload(&recorded, &shared.settings.device_id);
            change.put(waiting, Value::Object(payload).to_string().as_bytes())?;
            let line = change.head.chain.last + 1;
            change.append(&event.entry(&recorded).line(line, time))?;
            Ok(recorded)
        })?;
        shared.state().waiting.insert(recorded.seq, waiting);
        shared.last_seq.send_if_modified(|last| {
            let newer = *last < recorded.seq;
            *last = recorded.seq.max(*last);
            newer
        });
        Ok(recorded)
    }

    /// Adds a line without an event to the audit log; on disk when this returns.
    pub fn audit(&self, entry: Entry) -> Result<(), OutboxError> {
        let time = unix_time();
        bounded(&entry.clone().line(u64::MAX, time))?;
        self.shared.write(0, |change| {
            let line = change.head.chain.last + 1;
            change.append(&entry.clone().line(line, time))
        })
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
        let mut state = self.shared.state();
        if state.waiting.remove(&seq).is_some() {
            state.delivered += 1;
            state.gone.insert(seq);
            self.shared.work.notify_all();
        }
    }

    /// The broker takes no packet of an event's size: it leaves, and is counted.
    pub fn discard_too_large(&self, seq: u64) {
        let mut state = self.shared.state();
        if state.waiting.remove(&seq).is_some() {
            state.too_large += 1;
            state.gone.insert(seq);
            self.shared.work.notify_all();
        }
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
            not_recorded: state.not_recorded,
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
    /// Writes what was acknowledged.
    fn drop(&mut self) {
        self.shared.state().stopping = true;
        self.shared.work.notify_all();
        if let Some(keeper) = self.keeper.take() {
            // It holds every panic of the file; what it did not write is delivered twice.
            let _ = keeper.join();
        }
    }
}

fn bounded(fields: &Map<String, Value>) -> Result<(), OutboxError> {
    let bytes = Value::Object(fields.clone()).to_string().len();
    match bytes <= MAX_BYTES {
        true => Ok(()),
        false => Err(OutboxError::TooLarge { bytes, most: MAX_BYTES }),
    }
}

#[cfg(test)]
mod tests;

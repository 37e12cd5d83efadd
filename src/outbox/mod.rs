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
//! Locks, always taken in this order: `writer`, which orders the commits; `file`, exclusively only to
//! close and reopen it; `state`, which is never held while the disk is written.

mod chain;
mod error;
mod event;
mod file;

pub use chain::{Chain, Hash, Verdict};
pub use error::OutboxError;
pub use event::{Entry, Event, Kind, Recorded};
pub use file::Dropped;

use crate::record_file::{guarded, is_damage};
use crate::time::unix_time;
use file::{Change, Head, Unusable, Waiting};
use redb::Database;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two commits of what was acknowledged.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often a terminal at which nothing happens looks for what has grown too old.
const TIDY_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long a disk that refused something is left alone.
pub const REST: Duration = Duration::from_secs(5);
/// Largest event or entry as JSON, in bytes: everything the contract names fits many times over.
pub const MAX_BYTES: usize = 16 * 1024;
/// 2025-01-01: a terminal without a clock of its own starts long before that, and what it recorded
/// then only looks old.
const CLOCK_IS_SET: f64 = 1_735_689_600.0;
const DAY: f64 = 86_400.0;

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

struct Shared {
    path: PathBuf,
    settings: Settings,
    writer: Mutex<Writer>,
    /// None while a failed file waits to be opened again.
    file: RwLock<Option<Database>>,
    state: Mutex<State>,
    /// Told when there is something to write, and at the end.
    work: Condvar,
    last_seq: watch::Sender<u64>,
}

#[derive(Default)]
struct Writer {
    /// When a file that failed may be opened again.
    rests_until: Option<Instant>,
}

struct State {
    head: Head,
    waiting: BTreeMap<u64, Waiting>,
    /// Acknowledged or too large, and still in the file.
    gone: BTreeSet<u64>,
    /// Of those, too large: not in the file's count yet.
    too_large: u64,
    delivered: u64,
    not_recorded: u64,
    /// There may be more to retire than one commit takes.
    untidy: bool,
    stopping: bool,
}

/// What the next commit takes out of the outbox.
struct Leaving {
    seqs: Vec<u64>,
    dropped: Dropped,
}

impl Outbox {
    /// Opens the file, or makes it in a folder that exists, and starts the thread that tidies it.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OutboxError> {
        let (database, head, waiting) = open(path)?;
        let state = State {
            head,
            waiting,
            gone: BTreeSet::new(),
            too_large: 0,
            delivered: 0,
            not_recorded: 0,
            // The bounds may be others than last time.
            untidy: true,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            settings,
            writer: Mutex::default(),
            file: RwLock::new(Some(database)),
            state: Mutex::new(state),
            work: Condvar::new(),
            last_seq: watch::Sender::new(head.last_seq),
        });
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

impl Shared {
    /// Whoever panicked while holding one of these has not left it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_alone(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.file.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits `change`, with what leaves the outbox and the log, `arriving` events making it fuller.
    fn write<T>(
        &self,
        arriving: usize,
        change: impl FnOnce(&mut Change) -> Result<T, redb::Error>,
    ) -> Result<T, OutboxError> {
        let mut writer = self.writer();
        let written = self.written(&mut writer, arriving, change);
        if written.is_err() {
            self.state().not_recorded += 1;
        }
        written
    }

    fn written<T>(
        &self,
        writer: &mut Writer,
        arriving: usize,
        change: impl FnOnce(&mut Change) -> Result<T, redb::Error>,
    ) -> Result<T, OutboxError> {
        self.reopen(writer)?;
        let now = unix_time();
        let leaving = self.leaving(arriving, now);
        let commit = |database: &Database| {
            let mut file = Change::begin(database)?;
            file.remove(&leaving.seqs)?;
            file.head.dropped.overflow += leaving.dropped.overflow;
            file.head.dropped.expired += leaving.dropped.expired;
            file.head.dropped.too_large += leaving.dropped.too_large;
            let result = change(&mut file)?;
            let Settings { max_lines, max_line_days, .. } = self.settings;
            let more = file.retire(max_lines, |time| is_old(time, now, max_line_days))?;
            Ok::<_, redb::Error>((result, file.commit()?, more))
        };
        let outcome = match &*self.file() {
            Some(database) => guarded(|| commit(database)),
            None => return Err(OutboxError::Resting { path: self.path.clone() }),
        };
        let what = match outcome {
            Ok(Ok((result, head, more))) => {
                self.left(&leaving, head, more);
                return Ok(result);
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        // redb takes nothing more after an error; what it did take is read anew.
        *self.file_alone() = None;
        // The keeper opens it again, also if nobody records anything.
        self.state().untidy = true;
        self.work.notify_all();
        writer.rests_until = Some(Instant::now() + REST);
        Err(OutboxError::Write { path: self.path.clone(), what })
    }

    /// Opens a file that failed, once it has rested.
    fn reopen(&self, writer: &mut Writer) -> Result<(), OutboxError> {
        let Some(until) = writer.rests_until else { return Ok(()) };
        if Instant::now() < until {
            return Err(OutboxError::Resting { path: self.path.clone() });
        }
        writer.rests_until = Some(Instant::now() + REST);
        let (database, head, mut waiting) = open(&self.path)?;
        *self.file_alone() = Some(database);
        let mut state = self.state();
        waiting.retain(|seq, _| !state.gone.contains(seq));
        (state.head, state.waiting) = (head, waiting);
        drop(state);
        self.last_seq.send_replace(head.last_seq);
        writer.rests_until = None;
        tracing::info!(path = %self.path.display(), "events are recorded again");
        Ok(())
    }

    fn leaving(&self, arriving: usize, now: f64) -> Leaving {
        let state = self.state();
        let mut seqs: Vec<u64> = state.gone.iter().copied().collect();
        let too_old = |waiting: &&Waiting| is_old(waiting.time, now, self.settings.max_age_days);
        let expired = state.waiting.values().take_while(too_old).count();
        let room = self.settings.max_events.saturating_sub(arriving);
        let overflow = (state.waiting.len() - expired).saturating_sub(room);
        seqs.extend(state.waiting.keys().take(expired + overflow));
        let dropped = Dropped {
            overflow: overflow as u64,
            expired: expired as u64,
            too_large: state.too_large,
        };
        Leaving { seqs, dropped }
    }

    /// What is on disk is so in memory.
    fn left(&self, leaving: &Leaving, head: Head, more: bool) {
        let mut state = self.state();
        for seq in &leaving.seqs {
            state.waiting.remove(seq);
            state.gone.remove(seq);
        }
        state.too_large -= leaving.dropped.too_large.min(state.too_large);
        (state.head, state.untidy) = (head, more);
        drop(state);
        let Dropped { overflow, expired, .. } = leaving.dropped;
        if overflow + expired > 0 {
            tracing::warn!(overflow, expired, "events were dropped undelivered");
        }
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, OutboxError> {
        let file = self.file();
        let resting = || OutboxError::Resting { path: self.path.clone() };
        let database = file.as_ref().ok_or_else(resting)?;
        let damaged = |what| OutboxError::Damaged { path: self.path.clone(), what };
        match guarded(|| look(database)) {
            Ok(looked) => looked.map_err(|error| opening_error(&self.path, error)),
            Err(panic) => Err(damaged(panic)),
        }
    }

    /// The keeper's life: takes what was acknowledged out of the file as soon as there is something,
    /// then rests for [`COMMIT_EVERY`]; now and then looks for what has grown too old.
    fn keep(&self) {
        let mut well = true;
        loop {
            let idle =
                |state: &mut State| state.gone.is_empty() && !state.untidy && !state.stopping;
            let (state, _) = self
                .work
                .wait_timeout_while(self.state(), TIDY_EVERY, idle)
                .unwrap_or_else(PoisonError::into_inner);
            let nothing_left = state.stopping && state.gone.is_empty();
            drop(state);
            let written = match nothing_left {
                true => Ok(()),
                false => self.written(&mut self.writer(), 0, |_| Ok(())),
            };
            if let Err(error) = &written
                && well
            {
                tracing::error!(%error, "the event file is not tidied");
            }
            well = written.is_ok();
            let resting = |state: &mut State| !state.stopping;
            drop(self.work.wait_timeout_while(self.state(), COMMIT_EVERY, resting));
            let state = self.state();
            if state.stopping && (state.gone.is_empty() || !well) {
                return;
            }
        }
    }
}

/// Whether something of this time has been kept for longer than `days`. Nothing that was recorded
/// before the clock was set is: nobody knows how old it is.
fn is_old(time: f64, now: f64, days: u32) -> bool {
    time >= CLOCK_IS_SET && now - time > f64::from(days) * DAY
}

fn bounded(fields: &serde_json::Map<String, Value>) -> Result<(), OutboxError> {
    let bytes = Value::Object(fields.clone()).to_string().len();
    match bytes <= MAX_BYTES {
        true => Ok(()),
        false => Err(OutboxError::TooLarge { bytes, most: MAX_BYTES }),
    }
}

fn open(path: &Path) -> Result<(Database, Head, BTreeMap<u64, Waiting>), OutboxError> {
    let damaged = |what| OutboxError::Damaged { path: path.to_owned(), what };
    match guarded(|| file::open(path)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(Unusable::TooNew(found))) => {
            Err(OutboxError::SchemaTooNew { path: path.to_owned(), found })
        }
        Ok(Err(Unusable::Damaged(what))) | Err(what) => Err(damaged(what)),
        Ok(Err(Unusable::Redb(error))) => Err(opening_error(path, error)),
    }
}

fn opening_error(path: &Path, error: redb::Error) -> OutboxError {
    let path = path.to_owned();
    match error {
        error if is_damage(&error) => OutboxError::Damaged { path, what: error.to_string() },
        redb::Error::Io(source) => OutboxError::Io { path, source },
        _ => OutboxError::InUse { path },
    }
}

#[cfg(test)]
mod tests;

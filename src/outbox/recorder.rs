//! The core of the outbox: the open file, its state in memory, and the recorder, the only thread
//! that writes.
//!
//! The recorder commits the records waiting in the [`Queue`], as many at a time as one batch
//! allows, together with pending removals. A file that fails is closed and, after a cooldown, read
//! again; unwritten records are kept and tried again. Only the recorder waits for the disk without
//! limit.
//!
//! Locks: `file`, exclusive only to close and reopen it; `state`, which is never held while the
//! disk is written or read.

use super::error::OutboxError;
use super::event::{Entry, Event, Recorded};
use super::file::{self, Change, Dropped, Head, Unusable, Waiting};
use super::queue::{Content, NotRecorded, Queue, Record, Ticket};
use super::repeats::Repeats;
use super::retention::{Pace, YOUNG, expired, overflowing};
use super::{PATIENCE, REST, SILENCE, Settings};
use crate::record_file::{Identity, REPLACED, guarded, identity, is_damage, is_replaced};
use crate::time::unix_time;
use redb::Database;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time between two commits of acknowledged events, unless other records take them along: each
/// commit wears an SD card.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// Time between two commits that only retire.
const RETIRE_AGAIN: Duration = Duration::from_secs(1);

/// Returns Unix seconds, UTC, while the clock is believed to be synchronised. The age of a record
/// is measured only by this clock.
pub(super) type Clock = Box<dyn Fn() -> Option<f64> + Send + Sync>;

/// State shared by the users of the outbox and its recorder.
pub(super) struct Shared {
    path: Arc<Path>,
    pub settings: Settings,
    clock: Clock,
    /// `None` while a failed file waits to be opened again, and after shutdown.
    file: RwLock<Option<Database>>,
    state: Mutex<State>,
    /// Notified when there is something to write, and at shutdown.
    work: Condvar,
    pub last_seq: watch::Sender<u64>,
}

/// The content of the file in memory, and the records that are not in it yet.
pub(super) struct State {
    pub head: Head,
    pub waiting: BTreeMap<u64, Waiting>,
    /// Acknowledged or too large, but still in the file.
    removed: BTreeSet<u64>,
    /// Number of those that were too large and are not in the file's count yet.
    pub too_large: u64,
    pub delivered: u64,
    pub commits: u64,
    pub queue: Queue,
    repeats: Repeats,
    disk: Disk,
    /// True if there may be more to retire than one commit takes.
    retire_due: bool,
    pace: Pace,
    last_commit: Instant,
    stopping: bool,
    /// True if no more records are accepted.
    ended: bool,
    /// True if the file is closed.
    closed: bool,
}

/// State of the disk as the recorder sees it.
enum Disk {
    Idle,
    /// Writing since then.
    Busy(Instant),
    /// It failed and is left alone until then.
    Failed {
        what: String,
        rests_until: Instant,
    },
}

/// Events that the next commit removes from the outbox.
struct Removals {
    seqs: Vec<u64>,
    dropped: Dropped,
}

/// The state of the file after a commit.
struct Attempt {
    head: Head,
    leaving: Removals,
    /// For each record of the batch: the result if it is an event.
    recorded: Vec<Option<(Recorded, Waiting)>>,
    /// Number of lines retired for their age.
    aged: u64,
    /// True if there is more to retire.
    more: bool,
}

impl Shared {
    /// Opens the file, or creates it in an existing folder.
    pub fn open(path: &Path, settings: Settings, clock: Clock) -> Result<Self, OutboxError> {
        let (database, head, waiting) = open(path)?;
        let file = RwLock::new(Some(database));
        Ok(Self { file, ..Self::new(path, settings, clock, head, waiting, Disk::Idle) })
    }

    /// Starts with a file that cannot be opened at present: the recorder tries again and again.
    pub fn without_file(path: &Path, settings: Settings, clock: Clock) -> Self {
        let what = "it could not be opened at the start".to_owned();
        let failed = Disk::Failed { what, rests_until: Instant::now() + REST };
        Self::new(path, settings, clock, Head::NEW, BTreeMap::new(), failed)
    }

    fn new(
        path: &Path,
        settings: Settings,
        clock: Clock,
        head: Head,
        waiting: BTreeMap<u64, Waiting>,
        disk: Disk,
    ) -> Self {
        let state = State {
            head,
            waiting,
            removed: BTreeSet::new(),
            too_large: 0,
            delivered: 0,
            commits: 0,
            queue: Queue::default(),
            repeats: Repeats::default(),
            disk,
            // The limits may have changed since the last start.
            retire_due: true,
            pace: Pace::new(settings.retire_every),
            last_commit: Instant::now(),
            stopping: false,
            ended: false,
            closed: false,
        };
        Self {
            path: path.into(),
            settings,
            clock,
            file: RwLock::new(None),
            state: Mutex::new(state),
            work: Condvar::new(),
            last_seq: watch::Sender::new(head.last_seq),
        }
    }

    /// Locks the state. A thread that panicked while holding a lock has not left the data half
    /// changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_mut(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.file.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands a line over to the recorder. Does not wait.
    pub fn hand_over_entry(&self, entry: Entry) -> Ticket {
        let mut state = self.state();
        let what = Content::Entry(entry.bounded());
        let ticket = match state.repeats.admit(what, Instant::now()) {
            Some(what) => state.hand_over(what, &self.path, unix_time()),
            None => Ticket::counted(self.path.clone()),
        };
        drop(state);
        self.work.notify_all();
        ticket
    }

    /// Hands over an event that no caller waits for; returns it if the recorder has ended. A repeat
    /// may only be counted.
    pub fn post(&self, event: Event) -> Result<(), Box<Event>> {
        let event = event.bounded(&self.settings.device_id);
        let mut state = self.state();
        if state.ended {
            return Err(Box::new(event));
        }
        let what = Content::Event(event, new_id());
        if let Some(what) = state.repeats.admit(what, Instant::now()) {
            state.queue.push(Record::posted(what), unix_time());
        }
        drop(state);
        self.work.notify_all();
        Ok(())
    }

    /// Hands an event over to the recorder; returns it if the recorder has ended.
    pub fn hand_over_event(&self, event: Event) -> Result<Ticket, Box<Event>> {
        let event = event.bounded(&self.settings.device_id);
        let mut state = self.state();
        if state.ended {
            return Err(Box::new(event));
        }
        let what = Content::Event(event, new_id());
        let ticket = state.hand_over(what, &self.path, unix_time());
        drop(state);
        self.work.notify_all();
        Ok(ticket)
    }

    /// Removes an event from the outbox; `count` updates the count of the reason.
    pub fn remove_event(&self, seq: u64, count: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.waiting.remove(&seq).is_some() {
            count(&mut state);
            state.removed.insert(seq);
            drop(state);
            self.work.notify_all();
        }
    }

    /// Lets the recorder write what is pending and end; returns whether the file is closed within
    /// `patience`.
    pub fn close(&self, patience: Duration) -> bool {
        let mut state = self.state();
        state.stopping = true;
        if let Disk::Failed { .. } = state.disk {
            // Try once more, even during the cooldown.
            state.disk = Disk::Idle;
        }
        self.work.notify_all();
        let closing = |state: &mut State| !state.closed;
        let waited = self.work.wait_timeout_while(state, patience, closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Reads from the file.
    pub fn read<T>(
        &self,
        look: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, OutboxError> {
        let file = self.file();
        let path = || self.path.to_path_buf();
        let database = file.as_ref().ok_or_else(|| OutboxError::Resting { path: path() })?;
        match guarded(|| look(database)) {
            Ok(looked) => looked.map_err(|error| opening_error(&self.path, error)),
            Err(what) => Err(OutboxError::Damaged { path: path(), what }),
        }
    }

    fn leaving(&self, arriving: usize, now: Option<f64>) -> Removals {
        let state = self.state();
        let mut seqs: Vec<u64> = state.removed.iter().copied().collect();
        let expired = now.map_or(0, |now| {
            let last = state.head.last_seq.saturating_sub(YOUNG);
            let may = state.waiting.range(..=last).take(state.pace.events as usize);
            expired(may.map(|(_, waiting)| waiting.time), now, self.settings.max_age_days)
        });
        let room = self.settings.max_events.saturating_sub(arriving);
        let overflow = (state.waiting.len() - expired).saturating_sub(room);
        seqs.extend(state.waiting.keys().take(expired));
        let rest = state.waiting.iter().skip(expired).map(|(seq, waiting)| (*seq, waiting.kind));
        seqs.extend(overflowing(rest, overflow));
        let dropped = Dropped {
            overflow: overflow as u64,
            expired: expired as u64,
            too_large: state.too_large,
        };
        Removals { seqs, dropped }
    }
}

impl State {
    fn hand_over(&mut self, what: Content, path: &Arc<Path>, now: f64) -> Ticket {
        let since = match self.disk {
            Disk::Busy(since) => since,
            _ => Instant::now(),
        };
        let (record, ticket) = Record::new(what, since + PATIENCE, path.clone());
        if let Disk::Failed { what, .. } = &self.disk {
            record.resolve(Err(NotRecorded::Failed(what.clone())));
        }
        self.queue.push(record, now);
        ticket
    }

    /// Queues the repeats that are due, or all of them at the end.
    fn queue_repeats(&mut self) {
        for what in self.repeats.take(Instant::now(), self.stopping) {
            self.queue.push(Record::posted(what), unix_time());
        }
    }

    /// Returns the fault of the disk as text.
    pub fn fault(&self) -> Option<String> {
        match &self.disk {
            Disk::Busy(since) if since.elapsed() >= SILENCE => {
                let seconds = since.elapsed().as_secs();
                Some(format!("the disk does not answer: nothing is recorded for {seconds} s"))
            }
            Disk::Failed { what, .. } => Some(format!("the disk takes nothing: {what}")),
            Disk::Busy(_) | Disk::Idle => None,
        }
    }

    /// Returns when the recorder has something to do; `None` if it is to end. `unwritten` is true
    /// if it already holds a batch.
    fn due(&self, unwritten: bool) -> Option<Instant> {
        let now = Instant::now();
        let records = if unwritten { Some(now) } else { self.queue.due() };
        let rests_until = match &self.disk {
            Disk::Failed { rests_until, .. } => *rests_until,
            _ => now,
        };
        if self.stopping {
            let failed = matches!(self.disk, Disk::Failed { .. });
            let something = records.is_some() || !self.removed.is_empty();
            // A disk that fails is not tried for ever.
            return (something && !failed).then_some(now);
        }
        let removals = if self.retire_due {
            rests_until.max(self.last_commit + RETIRE_AGAIN)
        } else if !self.removed.is_empty() {
            rests_until.max(self.last_commit + COMMIT_EVERY)
        } else {
            self.pace.next
        };
        let records = records.map(|due| rests_until.max(due));
        records.into_iter().chain([removals]).min()
    }
}

/// The writing thread.
pub(super) struct Recorder {
    shared: Arc<Shared>,
    /// Identity of the open file.
    opened: Option<Identity>,
    /// The records being written, or that were when the disk failed.
    batch: Vec<Record>,
    /// The state of the file if the last commit reached the disk although it failed.
    attempt: Option<Attempt>,
}

impl Recorder {
    pub fn new(shared: Arc<Shared>) -> Self {
        let opened = identity(&shared.path).ok();
        Self { shared, opened, batch: Vec::new(), attempt: None }
    }

    /// Writes records until it is to end; then closes the file.
    pub fn run(mut self) {
        while self.next() {
            let began = Instant::now();
            match self.write() {
                Ok(attempt) => self.written(attempt, began),
                Err(error) => self.failed(&error),
            }
        }
        let lost = self.shared.state().queue.unwritten();
        if lost > 0 {
            tracing::error!(lost, "the disk accepts nothing: the last records are lost");
        }
        *self.shared.file_mut() = None;
        self.shared.state().closed = true;
        self.shared.work.notify_all();
    }

    /// Waits for something to write; returns false if it is to end.
    fn next(&mut self) -> bool {
        let shared = &self.shared;
        let mut state = shared.state();
        if state.stopping {
            state.queue_repeats();
        }
        while let Some(due) = state.due(!self.batch.is_empty()) {
            let repeats = state.repeats.due();
            let due = repeats.map_or(due, |repeats| due.min(repeats));
            if repeats.is_some_and(|repeats| repeats <= Instant::now()) {
                state.queue_repeats();
                continue;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if self.batch.is_empty() {
                    self.batch = state.queue.take(&shared.path);
                }
                state.disk = Disk::Busy(Instant::now());
                return true;
            }
            let waited = shared.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.stopping {
                state.queue_repeats();
            }
        }
        state.ended = true;
        false
    }

    /// Writes the batch, and removes events and lines that are done or too old.
    fn write(&mut self) -> Result<Attempt, OutboxError> {
        let shared = &self.shared;
        if shared.file().is_some() && is_replaced(&shared.path, self.opened) {
            *shared.file_mut() = None;
            let path = shared.path.to_path_buf();
            return Err(OutboxError::Write { path, what: REPLACED.to_owned() });
        }
        if shared.file().is_none() {
            let (database, head, mut waiting) = open(&shared.path)?;
            self.opened = identity(&shared.path).ok();
            *shared.file_mut() = Some(database);
            let mut state = shared.state();
            waiting.retain(|seq, _| !state.removed.contains(seq));
            (state.head, state.waiting) = (head, waiting);
            drop(state);
            tracing::info!(path = %shared.path.display(), "events are recorded again");
            // The commit that failed last may have reached the disk.
            if let Some(attempt) = self.attempt.take_if(|attempt| attempt.head == head) {
                return Ok(attempt);
            }
        }
        self.attempt = None;
        let now = (shared.clock)();
        let lines_for_age = {
            let mut state = shared.state();
            let (events, lines) = (state.waiting.len() as u64, state.head.chain.lines());
            state.pace.refill(events, lines, &shared.settings);
            state.pace.lines
        };
        let is_event = |record: &&Record| matches!(record.what, Content::Event(..));
        let leaving = shared.leaving(self.batch.iter().filter(is_event).count(), now);
        let (batch, intended) = (&self.batch, &mut self.attempt);
        let commit = |database: &Database| -> Result<(), redb::Error> {
            let mut file = Change::begin(database)?;
            file.remove(&leaving.seqs)?;
            file.head.dropped.overflow += leaving.dropped.overflow;
            file.head.dropped.expired += leaving.dropped.expired;
            file.head.dropped.too_large += leaving.dropped.too_large;
            let device_id = &shared.settings.device_id;
            let recorded = batch.iter().map(|record| file.add(&record.what, device_id));
            let recorded = recorded.collect::<Result<_, _>>()?;
            let Settings { max_lines, max_line_days, .. } = shared.settings;
            let is_old = |time| now.is_some_and(|now| expired([time], now, max_line_days) == 1);
            let too_many = file.retire(max_lines, is_old)?;
            let aged = match now {
                Some(now) => file.retire_aged(lines_for_age, now, max_line_days)?,
                None => 0,
            };
            let more = too_many || aged > 0 || leaving.dropped.expired > 0;
            *intended = Some(Attempt { head: file.head, leaving, recorded, aged, more });
            file.commit()
        };
        let path = || shared.path.to_path_buf();
        let outcome = match &*shared.file() {
            Some(database) => guarded(|| commit(database)),
            None => return Err(OutboxError::Resting { path: path() }),
        };
        let what = match outcome {
            Ok(Ok(())) => match self.attempt.take() {
                Some(attempt) => return Ok(attempt),
                None => "a commit of nothing".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        // redb accepts nothing after an error; the data it has committed is read again.
        *shared.file_mut() = None;
        Err(OutboxError::Write { path: path(), what })
    }

    /// Updates the memory after a commit and notifies the waiting callers.
    fn written(&mut self, attempt: Attempt, began: Instant) {
        let Attempt { head, leaving, recorded, aged, more } = attempt;
        let shared = &self.shared;
        let mut state = shared.state();
        for seq in &leaving.seqs {
            state.waiting.remove(seq);
            state.removed.remove(seq);
        }
        state.too_large -= leaving.dropped.too_large.min(state.too_large);
        state.pace.lines = state.pace.lines.saturating_sub(aged);
        state.pace.events = state.pace.events.saturating_sub(leaving.dropped.expired);
        for (recorded, waiting) in recorded.iter().flatten() {
            state.waiting.insert(recorded.seq, *waiting);
        }
        (state.head, state.retire_due) = (head, more);
        state.commits += 1;
        (state.disk, state.last_commit) = (Disk::Idle, Instant::now());
        state.queue.written(&self.batch);
        drop(state);
        shared.last_seq.send_if_modified(|last| {
            let other = *last != head.last_seq;
            *last = head.last_seq;
            other
        });
        for (record, recorded) in self.batch.drain(..).zip(recorded) {
            record.resolve(Ok(recorded.map(|(recorded, _)| recorded)));
        }
        let Dropped { overflow, expired, .. } = leaving.dropped;
        if overflow + expired > 0 {
            tracing::warn!(overflow, expired, "events were dropped undelivered");
        }
        if began.elapsed() >= SILENCE {
            tracing::warn!(seconds = began.elapsed().as_secs(), "the disk answers again");
        }
    }

    /// Records a failure; keeps the batch for the next attempt.
    fn failed(&mut self, error: &OutboxError) {
        let what = error.to_string();
        let failure = NotRecorded::Failed(what.clone());
        let mut state = self.shared.state();
        state.queue.report_failure(&failure);
        // The file is opened again even if nothing is recorded.
        state.retire_due = true;
        state.disk = Disk::Failed { what, rests_until: Instant::now() + REST };
        drop(state);
        // Notify the waiting callers after the state has changed.
        self.batch.iter().for_each(|record| record.resolve(Err(failure.clone())));
        tracing::error!(%error, "events wait for the disk");
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
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
mod tests {
    use super::*;
    use crate::outbox::Kind;
    use std::sync::mpsc::channel;

    /// A commit that reached the disk but reported an error.
    #[test]
    fn a_commit_that_reached_the_disk_and_failed_is_not_recorded_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.redb");
        let shared = Arc::new(Shared::open(&path, Settings::default(), Box::new(|| None)).unwrap());
        let mut recorder = Recorder::new(shared.clone());
        let first = shared.hand_over_event(Event::new(Kind::Door, "opened", "")).unwrap();
        assert!(recorder.next());
        let attempt = recorder.write().unwrap();
        let head = attempt.head;
        recorder.attempt = Some(attempt);
        *shared.file_mut() = None;
        recorder.failed(&OutboxError::Silent { path: path.clone() });
        assert!(first.wait(PATIENCE).is_err());
        assert_eq!(shared.state().queue.unwritten(), 1);

        let attempt = recorder.write().unwrap();
        recorder.written(attempt, Instant::now());
        let state = shared.state();
        assert_eq!((state.head, state.waiting.len()), (head, 1));
        assert_eq!((state.queue.unwritten(), state.fault()), (0, None));
        drop(state);

        // A commit that did not reach the disk is written by the next attempt.
        let second = shared.hand_over_entry(Entry::new("test", "local"));
        assert!(recorder.next());
        recorder.attempt = Some(Attempt {
            head: Head { last_seq: 7, ..head },
            leaving: Removals { seqs: Vec::new(), dropped: Dropped::default() },
            recorded: vec![None],
            aged: 0,
            more: false,
        });
        *shared.file_mut() = None;
        let attempt = recorder.write().unwrap();
        recorder.written(attempt, Instant::now());
        assert!(second.wait(PATIENCE).is_ok());
        let lines = shared.read(|database| file::lines(database, 0, 0.0, 10)).unwrap().0;
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    /// The disk appears hung because no thread runs the recorder.
    #[test]
    fn callers_do_not_wait_for_a_silent_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.redb");
        let shared = Shared::open(&path, Settings::default(), Box::new(|| None)).unwrap();
        let long_ago = Instant::now().checked_sub(SILENCE).unwrap();
        shared.state().disk = Disk::Busy(long_ago);
        let fault = shared.state().fault().unwrap();
        assert!(fault.contains("does not answer"), "{fault}");
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let ticket = shared.hand_over_entry(Entry::new("test", "local"));
                tell.send(ticket.wait(PATIENCE)).unwrap();
            });
            let waited = told.recv_timeout(PATIENCE / 2).unwrap();
            assert!(matches!(waited, Err(OutboxError::Silent { .. })));
        });
    }
}

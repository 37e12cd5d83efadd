//! What the users of the outbox and its recorder share: the open file, its state in memory, the
//! records that wait to be written, and when there is something to write.
//!
//! Nothing here waits for the disk but [`Shared::read`]. Locks: `file`, exclusive only to close and
//! reopen it; `state`, which is never held while the disk is written or read.

use super::consumer::{Backlog, Consumer, Each};
use super::error::OutboxError;
use super::event::{Entry, Event};
use super::file::{self, Backlogged, Dropped, Head, Unusable};
use super::queue::{Content, NotRecorded, Queue, Record, Ticket};
use super::repeats::Repeats;
use super::retention::{Pace, YOUNG, expired, overflowing};
use super::{PATIENCE, REST, SILENCE, Settings};
use crate::record_file::{guarded, is_damage};
use crate::time::unix_time;
use redb::Database;
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
    pub path: Arc<Path>,
    pub settings: Settings,
    pub clock: Clock,
    /// `None` while a failed file waits to be opened again, and after shutdown.
    pub file: RwLock<Option<Database>>,
    pub state: Mutex<State>,
    /// Notified when there is something to write, and at shutdown.
    pub work: Condvar,
    pub last_seq: watch::Sender<u64>,
}

/// The content of the file in memory, and the records that are not in it yet.
pub(super) struct State {
    pub head: Head,
    pub backlogs: Each<Backlog>,
    /// True if events that the webhook does not get by the settings leave its backlog.
    pub forgets_unwanted: bool,
    pub commits: u64,
    pub queue: Queue,
    pub repeats: Repeats,
    pub disk: Disk,
    /// True if there may be more to retire than one commit takes.
    pub retire_due: bool,
    pub pace: Pace,
    pub last_commit: Instant,
    pub stopping: bool,
    /// True if no more records are accepted.
    pub ended: bool,
    /// True if the file is closed.
    pub closed: bool,
}

/// State of the disk as the recorder sees it.
pub(super) enum Disk {
    Idle,
    /// Writing since then.
    Busy(Instant),
    /// It failed and is left alone until then.
    Failed {
        what: String,
        rests_until: Instant,
    },
}

/// Events that the next commit removes from a backlog.
#[derive(Default)]
pub(super) struct Removals {
    pub seqs: Vec<u64>,
    pub dropped: Dropped,
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
        Self::new(path, settings, clock, Head::NEW, Each::default(), failed)
    }

    fn new(
        path: &Path,
        settings: Settings,
        clock: Clock,
        head: Head,
        mut waiting: Each<Backlogged>,
        disk: Disk,
    ) -> Self {
        let backlogs = Each::of(|consumer| Backlog {
            waiting: std::mem::take(&mut waiting[consumer]),
            ..Backlog::default()
        });
        let state = State {
            head,
            backlogs,
            forgets_unwanted: false,
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

    pub fn file(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn file_mut(&self) -> RwLockWriteGuard<'_, Option<Database>> {
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

    /// Removes an event from a backlog; `count` updates the count of the reason.
    pub fn remove_event(&self, consumer: Consumer, seq: u64, count: impl FnOnce(&mut Backlog)) {
        let mut state = self.state();
        let backlog = &mut state.backlogs[consumer];
        if backlog.waiting.remove(&seq).is_some() {
            count(backlog);
            backlog.removed.insert(seq);
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

    /// Returns what leaves the backlog of a consumer to which this many events come.
    pub fn leaving(&self, consumer: Consumer, arriving: usize, now: Option<f64>) -> Removals {
        let state = self.state();
        let backlog = &state.backlogs[consumer];
        let mut seqs: Vec<u64> = backlog.removed.iter().copied().collect();
        let expired = now.map_or(0, |now| {
            let last = state.head.last_seq.saturating_sub(YOUNG);
            let may = backlog.waiting.range(..=last).take(state.pace.events as usize);
            expired(may.map(|(_, waiting)| waiting.time), now, self.settings.max_age_days)
        });
        let room = self.settings.max_events.saturating_sub(arriving);
        let overflow = (backlog.waiting.len() - expired).saturating_sub(room);
        seqs.extend(backlog.waiting.keys().take(expired));
        let rest = backlog.waiting.iter().skip(expired).map(|(seq, waiting)| (*seq, waiting.kind));
        seqs.extend(overflowing(rest, overflow));
        let dropped = Dropped {
            overflow: overflow as u64,
            expired: expired as u64,
            too_large: backlog.too_large,
        };
        Removals { seqs, dropped }
    }
}

impl State {
    /// Checks whether events are to be removed from the file.
    fn has_removals(&self) -> bool {
        Consumer::ALL.into_iter().any(|consumer| !self.backlogs[consumer].removed.is_empty())
    }

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
    pub fn queue_repeats(&mut self) {
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
    pub fn due(&self, unwritten: bool) -> Option<Instant> {
        let now = Instant::now();
        let records = if unwritten { Some(now) } else { self.queue.due() };
        let rests_until = match &self.disk {
            Disk::Failed { rests_until, .. } => *rests_until,
            _ => now,
        };
        if self.stopping {
            let failed = matches!(self.disk, Disk::Failed { .. });
            let something = records.is_some() || self.has_removals();
            // A disk that fails is not tried for ever.
            return (something && !failed).then_some(now);
        }
        let removals = if self.retire_due {
            rests_until.max(self.last_commit + RETIRE_AGAIN)
        } else if self.has_removals() {
            rests_until.max(self.last_commit + COMMIT_EVERY)
        } else {
            self.pace.next
        };
        let records = records.map(|due| rests_until.max(due));
        records.into_iter().chain([removals]).min()
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(super) fn open(path: &Path) -> Result<(Database, Head, Each<Backlogged>), OutboxError> {
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

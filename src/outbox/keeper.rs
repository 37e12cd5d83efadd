//! What stands behind the outbox: the open file, what it says in memory, and the thread that tidies.
//!
//! Every change of the file is one call of [`Shared::write`], with whatever leaves at the same time.
//! When the file fails it is closed, rests, and is read anew; the keeper sees to it even if nobody
//! records anything.
//!
//! Locks, always taken in this order: `writer`, which orders the commits; `file`, exclusively only to
//! close and reopen it; `state`, which is never held while the disk is written.

use super::chain::Chain;
use super::error::OutboxError;
use super::file::{self, Change, Dropped, Head, Unusable, Waiting};
use super::{REST, Settings};
use crate::record_file::{guarded, is_damage};
use crate::time::unix_time;
use redb::Database;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two commits of what was acknowledged.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often a terminal at which nothing happens looks for what has grown too old.
const TIDY_EVERY: Duration = Duration::from_secs(60 * 60);
/// 2025-01-01: a terminal without a clock of its own starts long before that, and what it recorded
/// then only looks old.
pub(super) const CLOCK_IS_SET: f64 = 1_735_689_600.0;
pub(super) const DAY: f64 = 86_400.0;

/// What the outbox's users and its keeper share.
pub(super) struct Shared {
    path: PathBuf,
    pub settings: Settings,
    writer: Mutex<Writer>,
    /// None while a failed file waits to be opened again.
    file: RwLock<Option<Database>>,
    state: Mutex<State>,
    /// Told when there is something to write, and at the end.
    pub work: Condvar,
    pub last_seq: watch::Sender<u64>,
}

#[derive(Default)]
struct Writer {
    /// When a file that failed may be opened again.
    rests_until: Option<Instant>,
}

/// What the file says, in memory.
pub(super) struct State {
    pub head: Head,
    pub waiting: BTreeMap<u64, Waiting>,
    /// Acknowledged or too large, and still in the file.
    pub gone: BTreeSet<u64>,
    /// Of those, too large: not in the file's count yet.
    pub too_large: u64,
    pub delivered: u64,
    pub not_recorded: u64,
    /// There may be more to retire than one commit takes.
    untidy: bool,
    pub stopping: bool,
}

/// What the next commit takes out of the outbox.
struct Leaving {
    seqs: Vec<u64>,
    dropped: Dropped,
}

impl Shared {
    /// Opens the file, or makes it in a folder that exists.
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
        Ok(Self {
            path: path.to_owned(),
            settings,
            writer: Mutex::default(),
            file: RwLock::new(Some(database)),
            state: Mutex::new(state),
            work: Condvar::new(),
            last_seq: watch::Sender::new(head.last_seq),
        })
    }

    /// The same with a file that cannot be opened at present: the keeper tries again and again.
    pub fn without_file(path: &Path, settings: Settings) -> Self {
        let head = Head { last_seq: 0, chain: Chain::NEW, dropped: Dropped::default() };
        let state = State {
            head,
            waiting: BTreeMap::new(),
            gone: BTreeSet::new(),
            too_large: 0,
            delivered: 0,
            not_recorded: 0,
            untidy: true,
            stopping: false,
        };
        Self {
            path: path.to_owned(),
            settings,
            writer: Mutex::new(Writer { rests_until: Some(Instant::now() + REST) }),
            file: RwLock::new(None),
            state: Mutex::new(state),
            work: Condvar::new(),
            last_seq: watch::Sender::new(0),
        }
    }

    /// Whoever panicked while holding one of these has not left it half changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
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
    pub fn write<T>(
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

    /// Looks into the file.
    pub fn read<T>(
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
    pub fn keep(&self) {
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
pub(super) fn is_old(time: f64, now: f64, days: u32) -> bool {
    time >= CLOCK_IS_SET && now - time > f64::from(days) * DAY
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

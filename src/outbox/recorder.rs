//! The recorder: the only thread that writes.
//!
//! It commits the records waiting in the queue, as many at a time as one batch allows, together
//! with pending removals. A file that fails is closed and, after a cooldown, read again; unwritten
//! records are kept and tried again. Only the recorder waits for the disk without limit.

use super::consumer::{Consumer, Each};
use super::error::OutboxError;
use super::event::{Kind, Recorded};
use super::file::{Change, Dropped, Head, Waiting};
use super::queue::{Content, NotRecorded, Record};
use super::retention::expired;
use super::shared::{Disk, Removals, Shared, open};
use super::{REST, SILENCE, Settings};
use crate::record_file::{Identity, REPLACED, guarded, identity, is_replaced};
use redb::Database;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// The state of the file after a commit.
struct Attempt {
    head: Head,
    leaving: Each<Removals>,
    /// For each record of the batch: the result if it is an event.
    recorded: Vec<Option<(Recorded, Waiting)>>,
    /// Number of lines retired for their age.
    aged: u64,
    /// True if there is more to retire.
    more: bool,
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
        let is_closed = shared.file().is_none();
        if is_closed && let Some(attempt) = self.reopen()? {
            return Ok(attempt);
        }
        let shared = &self.shared;
        self.attempt = None;
        let now = (shared.clock)();
        let lines_for_age = {
            let mut state = shared.state();
            let depths = Each::of(|consumer| state.backlogs[consumer].waiting.len() as u64);
            let (events, lines) = (depths.broker.max(depths.webhook), state.head.chain.lines());
            state.pace.refill(events, lines, &shared.settings);
            state.pace.lines
        };
        let wants = |consumer: Consumer, kind: Kind| match consumer {
            Consumer::Broker => true,
            Consumer::Webhook => shared.settings.webhook.contains(&kind),
        };
        let leaving = Each::of(|consumer| {
            let arrives = |record: &&Record| match &record.what {
                Content::Event(event, _) => wants(consumer, event.kind),
                Content::Entry(_) => false,
            };
            shared.leaving(consumer, self.batch.iter().filter(arrives).count(), now)
        });
        let (batch, intended) = (&self.batch, &mut self.attempt);
        let commit = |database: &Database| -> Result<(), redb::Error> {
            let mut file = Change::begin(database)?;
            for consumer in Consumer::ALL {
                let (leaving, dropped) = (&leaving[consumer], &mut file.head.dropped[consumer]);
                dropped.overflow += leaving.dropped.overflow;
                dropped.expired += leaving.dropped.expired;
                dropped.too_large += leaving.dropped.too_large;
                file.remove(consumer, &leaving.seqs)?;
            }
            let device_id = &shared.settings.device_id;
            let recorded = batch.iter().map(|record| file.add(&record.what, device_id, wants));
            let recorded = recorded.collect::<Result<_, _>>()?;
            let Settings { max_lines, max_line_days, .. } = shared.settings;
            let is_old = |time| now.is_some_and(|now| expired([time], now, max_line_days) == 1);
            let too_many = file.retire(max_lines, is_old)?;
            let aged = match now {
                Some(now) => file.retire_aged(lines_for_age, now, max_line_days)?,
                None => 0,
            };
            let expired = leaving.broker.dropped.expired + leaving.webhook.dropped.expired;
            let more = too_many || aged > 0 || expired > 0;
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

    /// Opens a failed file again, and reads it. Returns the last attempt if it reached the disk.
    fn reopen(&mut self) -> Result<Option<Attempt>, OutboxError> {
        let shared = &self.shared;
        let (database, head, mut waiting) = open(&shared.path)?;
        self.opened = identity(&shared.path).ok();
        *shared.file_mut() = Some(database);
        let mut state = shared.state();
        for consumer in Consumer::ALL {
            let backlog = &mut state.backlogs[consumer];
            backlog.waiting = std::mem::take(&mut waiting[consumer]);
            backlog.waiting.retain(|seq, _| !backlog.removed.contains(seq));
        }
        if state.forgets_unwanted {
            state.backlogs.webhook.forget_others(&shared.settings.webhook);
        }
        state.head = head;
        drop(state);
        tracing::info!(path = %shared.path.display(), "events are recorded again");
        // The commit that failed last may have reached the disk.
        Ok(self.attempt.take_if(|attempt| attempt.head == head))
    }

    /// Updates the memory after a commit and notifies the waiting callers.
    fn written(&mut self, attempt: Attempt, began: Instant) {
        let Attempt { head, leaving, recorded, aged, more } = attempt;
        let shared = &self.shared;
        let mut state = shared.state();
        for consumer in Consumer::ALL {
            let (backlog, leaving) = (&mut state.backlogs[consumer], &leaving[consumer]);
            for seq in &leaving.seqs {
                backlog.waiting.remove(seq);
                backlog.removed.remove(seq);
            }
            backlog.too_large -= leaving.dropped.too_large.min(backlog.too_large);
        }
        state.pace.lines = state.pace.lines.saturating_sub(aged);
        // The portion is that of each consumer.
        let expired = leaving.broker.dropped.expired.max(leaving.webhook.dropped.expired);
        state.pace.events = state.pace.events.saturating_sub(expired);
        for (recorded, waiting) in recorded.iter().flatten() {
            state.backlogs.broker.waiting.insert(recorded.seq, *waiting);
            if shared.settings.webhook.contains(&waiting.kind) {
                state.backlogs.webhook.waiting.insert(recorded.seq, *waiting);
            }
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
        for consumer in Consumer::ALL {
            let Dropped { overflow, expired, .. } = leaving[consumer].dropped;
            if overflow + expired > 0 {
                let consumer = consumer.name();
                tracing::warn!(consumer, overflow, expired, "events were dropped undelivered");
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Entry, Event, PATIENCE, file};
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
        assert_eq!((state.head, state.backlogs.broker.waiting.len()), (head, 1));
        assert_eq!((state.queue.unwritten(), state.fault()), (0, None));
        drop(state);

        // A commit that did not reach the disk is written by the next attempt.
        let second = shared.hand_over_entry(Entry::new("test", "local"));
        assert!(recorder.next());
        recorder.attempt = Some(Attempt {
            head: Head { last_seq: 7, ..head },
            leaving: Each::default(),
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

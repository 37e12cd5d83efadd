//! Records that are not on disk yet: in order of arrival, bounded, independent of the disk.
//!
//! Each kind has its own limit, so a flood of one kind never displaces another. A record beyond the
//! limit is not recorded: it is counted, and a line of the log reports the count once there is
//! room.

use super::PATIENCE;
use super::error::OutboxError;
use super::event::{Entry, Event, Recorded};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Maximum number of waiting records of one kind: about half an hour at a busy door.
pub const MOST_UNWRITTEN: usize = 256;
/// How long a record that no caller waits for may wait for others of the same decision: a grant and
/// the movement of the strike are written together.
const GATHER: Duration = Duration::from_millis(100);
/// Maximum number of records in one transaction.
const MOST_AT_ONCE: usize = 64;

/// Content of a record.
pub(super) enum Content {
    /// An event and its id.
    Event(Event, String),
    /// A line without an event.
    Entry(Entry),
}

impl Content {
    /// Returns when it happened: Unix seconds.
    pub fn time(&self) -> f64 {
        match self {
            Content::Event(event, _) => event.time,
            Content::Entry(entry) => entry.time,
        }
    }

    /// Notes that it stands for `count` further records like it, the first at `since`.
    pub fn stands_for(&mut self, count: u64, since: f64) {
        let fields = match self {
            Content::Event(event, _) => &mut event.extra,
            Content::Entry(entry) => &mut entry.detail,
        };
        if count > 0 {
            fields.insert("repeated".to_owned(), count.into());
            fields.insert("since".to_owned(), since.into());
        }
    }
}

/// Why a record is not on disk.
#[derive(Clone, Debug)]
pub(super) enum NotRecorded {
    /// The disk failed; it is tried again.
    Failed(String),
    /// Too many records are waiting; this one is not recorded.
    Full,
}

type Outcome = Result<Option<Recorded>, NotRecorded>;

/// A record, and the channel for its outcome.
pub(super) struct Record {
    pub what: Content,
    /// True if a caller may wait for it.
    is_awaited: bool,
    outcome: SyncSender<Outcome>,
}

/// Waits for a record that was handed over. Dropping the ticket does not cancel the record.
pub struct Ticket {
    outcome: Receiver<Outcome>,
    /// Latest end of the wait: a disk that has been silent for long must not delay the caller.
    until: Instant,
    path: Arc<Path>,
}

impl Record {
    /// Makes a record, and the ticket that waits for it until `until` at most.
    pub fn new(what: Content, until: Instant, path: Arc<Path>) -> (Self, Ticket) {
        let (sender, receiver) = sync_channel(1);
        let record = Self { what, is_awaited: true, outcome: sender };
        (record, Ticket { outcome: receiver, until, path })
    }

    /// Makes a record that no caller waits for.
    pub fn posted(what: Content) -> Self {
        Self { what, is_awaited: false, outcome: sync_channel(1).0 }
    }

    /// Returns the kind under which it is counted.
    pub fn kind(&self) -> &'static str {
        match &self.what {
            Content::Event(event, _) => event.kind.name(),
            // Separate kinds: a flood of unlock requests must not displace records of
            // administration.
            Content::Entry(entry) if entry.action == "unlock" => "unlock",
            Content::Entry(_) => "audit",
        }
    }

    /// Reports the outcome; only the first report counts.
    pub fn resolve(&self, outcome: Outcome) {
        let _ = self.outcome.try_send(outcome);
    }
}

impl Ticket {
    /// Makes the ticket of a record that is only counted.
    pub fn counted(path: Arc<Path>) -> Self {
        let (sender, receiver) = sync_channel(1);
        let _ = sender.try_send(Ok(None));
        Self { outcome: receiver, until: Instant::now() + PATIENCE, path }
    }

    /// Waits until it is on disk, at most for `patience`. After a disk error it is still recorded
    /// once the disk accepts it again, unless the process ends before.
    pub fn wait(self, patience: Duration) -> Result<Option<Recorded>, OutboxError> {
        let left = self.until.saturating_duration_since(Instant::now());
        let path = self.path.to_path_buf();
        match self.outcome.recv_timeout(patience.min(left)) {
            Ok(Ok(recorded)) => Ok(recorded),
            Ok(Err(NotRecorded::Failed(what))) => Err(OutboxError::Write { path, what }),
            Ok(Err(NotRecorded::Full)) => Err(OutboxError::Full { path, most: MOST_UNWRITTEN }),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(OutboxError::Silent { path })
            }
        }
    }
}

/// Records dropped since the last line of the log about dropped records.
struct Gap {
    since: f64,
    until: f64,
    counts: BTreeMap<&'static str, u64>,
}

/// Records that are not on disk yet.
#[derive(Default)]
pub(super) struct Queue {
    records: VecDeque<Record>,
    /// When the records are to be written; `None` if there are none.
    due: Option<Instant>,
    /// Number of records by kind, including those being written.
    unwritten: BTreeMap<&'static str, usize>,
    gap: Option<Gap>,
    /// Number of records dropped since the start, by kind.
    not_recorded: BTreeMap<&'static str, u64>,
}

impl Queue {
    /// Adds a record at this time (Unix seconds) if there is room for its kind.
    pub fn push(&mut self, record: Record, now: f64) {
        let due = Instant::now() + if record.is_awaited { Duration::ZERO } else { GATHER };
        let kind = record.kind();
        let unwritten = self.unwritten.entry(kind).or_default();
        if *unwritten < MOST_UNWRITTEN {
            *unwritten += 1;
            self.records.push_back(record);
            self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
            return;
        }
        record.resolve(Err(NotRecorded::Full));
        *self.not_recorded.entry(kind).or_default() += 1;
        let gap = self.gap.get_or_insert_with(|| {
            tracing::error!(kind, "the disk is too slow: records beyond the limit are dropped");
            Gap { since: now, until: now, counts: BTreeMap::new() }
        });
        gap.until = now;
        *gap.counts.entry(kind).or_default() += 1;
    }

    /// Returns when the records are to be written; `None` if there are none.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes the next records, in order, followed by a record of the dropped ones, if any.
    pub fn take(&mut self, path: &Arc<Path>) -> Vec<Record> {
        let most = self.records.len().min(MOST_AT_ONCE);
        let mut taken: Vec<Record> = self.records.drain(..most).collect();
        self.due = (!self.records.is_empty()).then(Instant::now);
        if let Some(Gap { since, until, counts }) = self.gap.take() {
            let entry = Entry::new("not_recorded", "daemon")
                .with("since", since)
                .with("until", until)
                .with("events", json!(counts));
            let (record, _) = Record::new(Content::Entry(entry), Instant::now(), path.clone());
            *self.unwritten.entry(record.kind()).or_default() += 1;
            taken.push(record);
        }
        taken
    }

    /// Counts records that are on disk.
    pub fn written(&mut self, records: &[Record]) {
        for record in records {
            let unwritten = self.unwritten.entry(record.kind()).or_default();
            *unwritten = unwritten.saturating_sub(1);
        }
    }

    /// Reports a disk failure to the waiting callers; the records keep waiting.
    pub fn report_failure(&self, failure: &NotRecorded) {
        self.records.iter().for_each(|record| record.resolve(Err(failure.clone())));
    }

    /// Returns how many records are not on disk yet.
    pub fn unwritten(&self) -> usize {
        self.unwritten.values().sum()
    }

    /// Returns how many records were dropped since the start, by kind.
    pub fn not_recorded(&self) -> &BTreeMap<&'static str, u64> {
        &self.not_recorded
    }
}

//! What is to be recorded and is not on disk yet: in the order in which it came, bounded, and without
//! any word of the disk.
//!
//! Each kind has a bound of its own, so a flood of one kind never pushes out another. What finds no
//! room is not recorded: it is counted, and a line of the log says so once there is room.

use super::error::OutboxError;
use super::event::{Entry, Event, Recorded};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Records of one kind that may wait: those of half an hour at a busy door.
pub const MOST_UNWRITTEN: usize = 256;
/// Records that one transaction takes at most.
const MOST_AT_ONCE: usize = 64;

/// What is recorded.
pub(super) enum Content {
    /// An event, and its id.
    Event(Event, String),
    /// A line alone.
    Entry(Entry),
}

/// Why something is not on disk.
#[derive(Clone, Debug)]
pub(super) enum NotRecorded {
    /// The disk refused; it is tried again.
    Failed(String),
    /// Too much waits already, and this is not recorded.
    Full,
}

type Outcome = Result<Option<Recorded>, NotRecorded>;

/// Something to be recorded, and where to tell what became of it.
pub(super) struct Record {
    pub what: Content,
    told: SyncSender<Outcome>,
}

/// Something that was handed over to be recorded. Dropped, it is recorded all the same.
pub struct Ticket {
    told: Receiver<Outcome>,
    /// The wait ends then at the latest: a disk that has been silent for long is not waited for.
    until: Instant,
    path: Arc<Path>,
}

impl Record {
    /// A record, and the ticket that waits for it until then at most.
    pub fn new(what: Content, until: Instant, path: Arc<Path>) -> (Self, Ticket) {
        let (tell, told) = sync_channel(1);
        (Self { what, told: tell }, Ticket { told, until, path })
    }

    /// What it is counted as.
    pub fn kind(&self) -> &'static str {
        match &self.what {
            Content::Event(event, _) => event.kind.name(),
            // Many may ask for an unlock; what an administrator does is recorded all the same.
            Content::Entry(entry) if entry.action == "unlock" => "unlock",
            Content::Entry(_) => "audit",
        }
    }

    /// Says what became of it; the first word counts.
    pub fn tell(&self, outcome: Outcome) {
        let _ = self.told.try_send(outcome);
    }
}

impl Ticket {
    /// Waits until it is on disk, at most for `patience`. After an error of the disk it is still
    /// recorded when the disk takes it again, unless the process ends before.
    pub fn wait(self, patience: Duration) -> Result<Option<Recorded>, OutboxError> {
        let left = self.until.saturating_duration_since(Instant::now());
        let path = self.path.to_path_buf();
        match self.told.recv_timeout(patience.min(left)) {
            Ok(Ok(recorded)) => Ok(recorded),
            Ok(Err(NotRecorded::Failed(what))) => Err(OutboxError::Write { path, what }),
            Ok(Err(NotRecorded::Full)) => Err(OutboxError::Full { path, most: MOST_UNWRITTEN }),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(OutboxError::Silent { path })
            }
        }
    }
}

/// What found no room since the log last said so.
struct Gap {
    since: f64,
    until: f64,
    counts: BTreeMap<&'static str, u64>,
}

/// What is not on disk yet.
#[derive(Default)]
pub(super) struct Queue {
    records: VecDeque<Record>,
    /// By kind, those that are being written included.
    unwritten: BTreeMap<&'static str, usize>,
    gap: Option<Gap>,
    /// By kind, what was not recorded since the start.
    not_recorded: BTreeMap<&'static str, u64>,
}

impl Queue {
    /// Adds a record at this time (Unix seconds), if there is room for its kind.
    pub fn push(&mut self, record: Record, now: f64) {
        let kind = record.kind();
        let unwritten = self.unwritten.entry(kind).or_default();
        if *unwritten < MOST_UNWRITTEN {
            *unwritten += 1;
            self.records.push_back(record);
            return;
        }
        record.tell(Err(NotRecorded::Full));
        *self.not_recorded.entry(kind).or_default() += 1;
        let gap = self.gap.get_or_insert_with(|| {
            tracing::error!(kind, "the disk is behind: what finds no room is not recorded");
            Gap { since: now, until: now, counts: BTreeMap::new() }
        });
        gap.until = now;
        *gap.counts.entry(kind).or_default() += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The next records, in their order; behind them, whether some found no room.
    pub fn take(&mut self, path: &Arc<Path>) -> Vec<Record> {
        let most = self.records.len().min(MOST_AT_ONCE);
        let mut taken: Vec<Record> = self.records.drain(..most).collect();
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

    /// They are on disk.
    pub fn written(&mut self, records: &[Record]) {
        for record in records {
            let unwritten = self.unwritten.entry(record.kind()).or_default();
            *unwritten = unwritten.saturating_sub(1);
        }
    }

    /// The disk takes nothing: the callers that wait hear of it, and what was to be recorded waits.
    pub fn hindered(&self, hindrance: &NotRecorded) {
        self.records.iter().for_each(|record| record.tell(Err(hindrance.clone())));
    }

    /// How many are not on disk yet.
    pub fn unwritten(&self) -> usize {
        self.unwritten.values().sum()
    }

    /// How many were not recorded since the start, by kind.
    pub fn not_recorded(&self) -> &BTreeMap<&'static str, u64> {
        &self.not_recorded
    }
}

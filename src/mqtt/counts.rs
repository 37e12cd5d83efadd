//! Counters of what happened to commands.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happened to commands since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Commands received, whatever happened to them.
    pub commands: u64,
    /// Answers handed to a connection.
    pub answers: u64,
    /// Refused with `[503] BUSY` because no place was free.
    pub busy: u64,
    /// Answered again from memory.
    pub repeats: u64,
    /// Dropped: retained, expired, or on a topic that names no operation.
    pub stale: u64,
    /// Dropped without an answer: floods at QoS 0, and answers that no connection took.
    pub lost: u64,
}

/// The live counters, shared by all dispatchers of a session.
#[derive(Default)]
pub(crate) struct Counters {
    pub commands: AtomicU64,
    pub answers: AtomicU64,
    pub busy: AtomicU64,
    pub repeats: AtomicU64,
    pub stale: AtomicU64,
    pub lost: AtomicU64,
}

impl Counters {
    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            commands: read(&self.commands),
            answers: read(&self.answers),
            busy: read(&self.busy),
            repeats: read(&self.repeats),
            stale: read(&self.stale),
            lost: read(&self.lost),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

//! The consumers of events: the MQTT broker, and the webhook where one is configured.
//!
//! Each has a backlog of its own, in the file and in memory, with the same bounds: a consumer that
//! is slow or dead delays no other, and what it loses is counted for it alone. An event is copied
//! to each consumer's backlog in one transaction, and has left the disk when all have acknowledged
//! it.

use super::event::Kind;
use super::file::{Dropped, Waiting};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};

/// A receiver of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// The MQTT broker: gets every event.
    Broker,
    /// The webhook: gets the kinds of [`super::Settings::webhook`], from when it is configured.
    Webhook,
}

impl Consumer {
    /// Every consumer.
    pub const ALL: [Consumer; 2] = [Consumer::Broker, Consumer::Webhook];

    /// Returns its name in the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Consumer::Broker => "broker",
            Consumer::Webhook => "webhook",
        }
    }
}

/// A value for each consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Each<T> {
    pub broker: T,
    pub webhook: T,
}

impl<T> Each<T> {
    /// Makes the value of each consumer.
    pub fn of(mut make: impl FnMut(Consumer) -> T) -> Self {
        Self { broker: make(Consumer::Broker), webhook: make(Consumer::Webhook) }
    }
}

impl<T> Index<Consumer> for Each<T> {
    type Output = T;

    fn index(&self, consumer: Consumer) -> &T {
        match consumer {
            Consumer::Broker => &self.broker,
            Consumer::Webhook => &self.webhook,
        }
    }
}

impl<T> IndexMut<Consumer> for Each<T> {
    fn index_mut(&mut self, consumer: Consumer) -> &mut T {
        match consumer {
            Consumer::Broker => &mut self.broker,
            Consumer::Webhook => &mut self.webhook,
        }
    }
}

/// The events that wait for one consumer, in memory.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub waiting: BTreeMap<u64, Waiting>,
    /// Acknowledged, too large or no longer wanted, but still in the file.
    pub removed: BTreeSet<u64>,
    /// Number of those that were too large and are not in the file's count yet.
    pub too_large: u64,
    /// Number of events acknowledged since the start.
    pub delivered: u64,
}

impl Backlog {
    /// Takes out the events of other kinds than these; returns their number.
    pub fn forget_others(&mut self, wanted: &[Kind]) -> usize {
        let Self { waiting, removed, .. } = self;
        let before = waiting.len();
        waiting.retain(|seq, waiting| {
            let stays = wanted.contains(&waiting.kind);
            if !stays {
                removed.insert(*seq);
            }
            stays
        });
        before - waiting.len()
    }
}

/// The state of one consumer's backlog.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BacklogStats {
    /// Number of events that wait.
    pub depth: usize,
    /// Number of events acknowledged since the start.
    pub delivered: u64,
    /// Number of events ever dropped.
    pub dropped: Dropped,
}

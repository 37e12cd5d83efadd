//! `events.redb`: the outbox and the audit log.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `schema`, `last_seq`, `first_line`, `last_line`, `overflow`, `expired`, `too_large`, the same three with `webhook_`, `lines_<class>` | a number |
//! | `hashes` | `base`, `head` | 32 bytes, of [`Chain`] |
//! | `webhook` | seq | as `outbox`, for the webhook; missing until one was configured |
//! | `outbox` | seq | 1 byte of the kind, 8 of the time (f64, little-endian), the payload as JSON |
//! | `audit` | number of the line | 32 bytes of hash, the line as JSON |
//!
//! A program that does not know the table `webhook` leaves it as it is.
//!
//! This file is separate from the gallery's: restoring a copy of the gallery changes no history.
//! Opening it does not verify every checksum: the log's own chain detects and locates changes, and
//! a start does not read years of history.

mod reading;

use reading::backlogged;
pub(super) use reading::{lines, payload, verify};

use super::chain::{Chain, HASH_BYTES, Hash};
use super::classes::{Class, Counts, carried};
use super::consumer::{Consumer, Each};
use super::event::{Kind, Recorded};
use super::queue::Content;
use super::retention::{YOUNG, expired};
use crate::record_file::{Opening, begin_write};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use redb::{StorageError, WriteTransaction};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The version this program writes, and the only one it reads.
pub(super) const SCHEMA: u64 = 1;
/// Enough for the pages that each record changes, and for a page of the backlog.
const CACHE_BYTES: usize = 4 << 20;
/// Maximum number of lines that one transaction retires, so that shortening the log delays no
/// event.
const MOST_RETIRED: u64 = 64;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const HASHES: TableDefinition<&str, &[u8]> = TableDefinition::new("hashes");
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
const WEBHOOK: TableDefinition<u64, &[u8]> = TableDefinition::new("webhook");
const AUDIT: TableDefinition<u64, &[u8]> = TableDefinition::new("audit");

impl Consumer {
    /// Returns the table of its backlog.
    fn table(self) -> TableDefinition<'static, u64, &'static [u8]> {
        match self {
            Consumer::Broker => OUTBOX,
            Consumer::Webhook => WEBHOOK,
        }
    }

    /// Returns the names of its counts: overflow, expired, too large.
    fn counts(self) -> [&'static str; 3] {
        match self {
            Consumer::Broker => ["overflow", "expired", "too_large"],
            Consumer::Webhook => ["webhook_overflow", "webhook_expired", "webhook_too_large"],
        }
    }
}

/// Bytes before an event's payload.
const EVENT_HEAD: usize = 1 + size_of::<f64>();

/// An event that waits for a consumer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waiting {
    pub kind: Kind,
    /// Unix seconds.
    pub time: f64,
}

/// Number of events ever dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The outbox was full.
    pub overflow: u64,
    /// They waited too long.
    pub expired: u64,
    /// The consumer does not accept an event of that size.
    pub too_large: u64,
}

/// The waiting events of a consumer, by number.
pub(super) type Backlogged = BTreeMap<u64, Waiting>;

/// Number and fields of a line.
type Numbered = (u64, Map<String, Value>);

/// Metadata of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Head {
    pub last_seq: u64,
    pub chain: Chain,
    /// Lines by class.
    pub counts: Counts,
    pub dropped: Each<Dropped>,
}

impl Dropped {
    const NONE: Dropped = Dropped { overflow: 0, expired: 0, too_large: 0 };
}

impl Head {
    /// The head of a new file.
    pub const NEW: Head = Head {
        last_seq: 0,
        chain: Chain::NEW,
        counts: Counts::NONE,
        dropped: Each { broker: Dropped::NONE, webhook: Dropped::NONE },
    };
}

/// Why a file cannot be used.
pub(super) enum Unusable {
    TooNew(u64),
    Damaged(String),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Unusable {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

/// Opens or creates the file, and reads the waiting events.
pub(super) fn open(path: &Path) -> Result<(Database, Head, Each<Backlogged>), Unusable> {
    let opening = Opening { cache_bytes: CACHE_BYTES, verify: false };
    let database = opening.existing_or_made(path, |write| {
        write.open_table(META)?.insert("schema", SCHEMA)?;
        write.open_table(OUTBOX)?;
        write.open_table(AUDIT)?;
        write_head(write, &Head::NEW)
    })?;
    let read = database.begin_read()?;
    match read.open_table(META)?.get("schema")?.map(|schema| schema.value()) {
        Some(SCHEMA) => {}
        Some(newer) if newer > SCHEMA => return Err(Unusable::TooNew(newer)),
        other => return Err(Unusable::Damaged(format!("schema version {other:?}"))),
    }
    let mut head = head_of(&read.open_table(META)?, &read.open_table(HASHES)?)?;
    if head.counts.sum() != head.chain.lines() {
        // A program that does not know the classes has written the file.
        head.counts = counted(&read.open_table(AUDIT)?)?;
        let write = begin_write(&database)?;
        write_head(&write, &head)?;
        write.commit()?;
    }
    let mut waiting = Each::default();
    for consumer in Consumer::ALL {
        waiting[consumer] = backlogged(&read, consumer, head.last_seq)?;
    }
    drop(read);
    Ok((database, head, waiting))
}

/// One atomic change of the file, on disk when [`Change::commit`] returns.
pub(super) struct Change {
    write: WriteTransaction,
    pub head: Head,
}

impl Change {
    pub fn begin(database: &Database) -> Result<Self, redb::Error> {
        let write = begin_write(database)?;
        let head = head_of(&write.open_table(META)?, &write.open_table(HASHES)?)?;
        Ok(Self { write, head })
    }

    /// Adds an event with its line, or a line alone; returns how an event was recorded. `wants` is
    /// true for a consumer that gets events of a kind.
    pub fn add(
        &mut self,
        what: &Content,
        device_id: &str,
        wants: impl Fn(Consumer, Kind) -> bool,
    ) -> Result<Option<(Recorded, Waiting)>, redb::Error> {
        let line = self.head.chain.last + 1;
        let (event, id) = match what {
            Content::Event(event, id) => (event, id),
            Content::Entry(entry) => {
                self.append(&entry.clone().line(line))?;
                return Ok(None);
            }
        };
        let waiting = Waiting { kind: event.kind, time: event.time };
        let recorded = Recorded { id: id.clone(), seq: self.head.last_seq + 1, time: event.time };
        let payload = Value::Object(event.payload(&recorded, device_id));
        let consumers = Consumer::ALL.into_iter().filter(|consumer| wants(*consumer, event.kind));
        self.put(consumers, waiting, payload.to_string().as_bytes())?;
        self.append(&event.entry(&recorded).line(line))?;
        Ok(Some((recorded, waiting)))
    }

    /// Puts an event in the backlogs of its consumers under the next number.
    fn put(
        &mut self,
        consumers: impl Iterator<Item = Consumer>,
        waiting: Waiting,
        payload: &[u8],
    ) -> Result<(), redb::Error> {
        self.head.last_seq += 1;
        let mut bytes = Vec::with_capacity(EVENT_HEAD + payload.len());
        bytes.push(waiting.kind.code());
        bytes.extend_from_slice(&waiting.time.to_le_bytes());
        bytes.extend_from_slice(payload);
        for consumer in consumers {
            let mut table = self.write.open_table(consumer.table())?;
            table.insert(self.head.last_seq, bytes.as_slice())?;
        }
        Ok(())
    }

    /// Removes events from a backlog; ignores missing ones.
    pub fn remove(&mut self, consumer: Consumer, seqs: &[u64]) -> Result<(), redb::Error> {
        if seqs.is_empty() {
            return Ok(());
        }
        let mut backlog = self.write.open_table(consumer.table())?;
        for seq in seqs {
            backlog.remove(seq)?;
        }
        Ok(())
    }

    /// Adds a line to the audit log.
    fn append(&mut self, line: &Map<String, Value>) -> Result<(), redb::Error> {
        let text = Value::Object(line.clone()).to_string();
        self.head.counts.add(Class::of(line));
        let chain = &mut self.head.chain;
        chain.head = chain.head.of_next(text.as_bytes());
        chain.last += 1;
        let bytes = [&chain.head.0, text.as_bytes()].concat();
        self.write.open_table(AUDIT)?.insert(chain.last, bytes.as_slice())?;
        Ok(())
    }

    /// Retires the oldest lines beyond `most`; carries those of a class within its share, unless
    /// `is_old` is true for their time. Returns whether there are more.
    pub fn retire(&mut self, most: u64, is_old: impl Fn(f64) -> bool) -> Result<bool, redb::Error> {
        for _ in 0..MOST_RETIRED {
            if self.head.chain.lines() <= most {
                break;
            }
            let Some((number, line)) = self.retire_first()? else { break };
            let is_within = self.head.counts.of(Class::of(&line)) < Class::share(most);
            if is_within && !line.is_empty() && !is_old(time_in(&line)) {
                self.append(&carried(&line, number, self.head.chain.last + 1))?;
            }
        }
        Ok(self.head.chain.lines() > most)
    }

    /// Retires up to `limit` of the oldest lines that are older than `days`, but none of the
    /// newest. Returns how many.
    pub fn retire_aged(&mut self, limit: u64, now: f64, days: u32) -> Result<u64, redb::Error> {
        let limit = limit.min(MOST_RETIRED).min(self.head.chain.lines().saturating_sub(YOUNG));
        let mut times = Vec::new();
        for entry in self.write.open_table(AUDIT)?.iter()?.take(limit as usize) {
            times.push(time_in(&parsed(split(entry?.1.value())?.1)));
        }
        let count = expired(times, now, days) as u64;
        for _ in 0..count {
            self.retire_first()?;
        }
        Ok(count)
    }

    /// Retires the first line, and returns it with its number.
    fn retire_first(&mut self) -> Result<Option<Numbered>, redb::Error> {
        let mut audit = self.write.open_table(AUDIT)?;
        let Some((number, bytes)) = audit.pop_first()? else { return Ok(None) };
        let (hash, line) = split(bytes.value())?;
        let line = parsed(line);
        let chain = &mut self.head.chain;
        (chain.first, chain.base) = (number.value() + 1, hash);
        self.head.counts.remove(Class::of(&line));
        Ok(Some((number.value(), line)))
    }

    pub fn commit(self) -> Result<(), redb::Error> {
        write_head(&self.write, &self.head)?;
        Ok(self.write.commit()?)
    }
}

fn head_of(
    meta: &impl ReadableTable<&'static str, u64>,
    hashes: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Head, redb::Error> {
    let number = |name: &'static str| -> Result<u64, redb::Error> {
        let value = meta.get(name)?.ok_or_else(|| corrupted(format!("{name} is missing")))?;
        Ok(value.value())
    };
    // An older program counts nothing for the webhook.
    let dropped = |consumer: Consumer| -> Result<Dropped, redb::Error> {
        let count = |name: &'static str| match consumer {
            Consumer::Broker => number(name),
            Consumer::Webhook => Ok(meta.get(name)?.map_or(0, |value| value.value())),
        };
        let [overflow, expired, too_large] = consumer.counts();
        Ok(Dropped {
            overflow: count(overflow)?,
            expired: count(expired)?,
            too_large: count(too_large)?,
        })
    };
    let hash = |name: &'static str| -> Result<Hash, redb::Error> {
        let value = hashes.get(name)?.ok_or_else(|| corrupted(format!("{name} is missing")))?;
        let bytes = value.value().try_into();
        bytes.map(Hash).map_err(|_| corrupted(format!("{name} is not a hash")))
    };
    Ok(Head {
        last_seq: number("last_seq")?,
        chain: Chain {
            first: number("first_line")?,
            last: number("last_line")?,
            base: hash("base")?,
            head: hash("head")?,
        },
        counts: Counts::read(meta)?,
        dropped: Each { broker: dropped(Consumer::Broker)?, webhook: dropped(Consumer::Webhook)? },
    })
}

fn write_head(write: &WriteTransaction, head: &Head) -> Result<(), redb::Error> {
    let Head { last_seq, chain, counts, dropped } = head;
    let mut meta = write.open_table(META)?;
    counts.write(&mut meta)?;
    for (name, value) in
        [("last_seq", *last_seq), ("first_line", chain.first), ("last_line", chain.last)]
    {
        meta.insert(name, value)?;
    }
    for consumer in Consumer::ALL {
        let Dropped { overflow, expired, too_large } = dropped[consumer];
        for (name, value) in consumer.counts().into_iter().zip([overflow, expired, too_large]) {
            meta.insert(name, value)?;
        }
    }
    let mut hashes = write.open_table(HASHES)?;
    hashes.insert("base", chain.base.0.as_slice())?;
    hashes.insert("head", chain.head.0.as_slice())?;
    Ok(())
}

fn waiting_of(bytes: &[u8]) -> Option<Waiting> {
    let (&code, rest) = bytes.split_first()?;
    let time = f64::from_le_bytes(*rest.first_chunk()?);
    Some(Waiting { kind: Kind::of_code(code)?, time })
}

fn split(bytes: &[u8]) -> Result<(Hash, &[u8]), redb::Error> {
    let (hash, line) = bytes
        .split_first_chunk::<HASH_BYTES>()
        .ok_or_else(|| corrupted("a line is too short".to_owned()))?;
    Ok((Hash(*hash), line))
}

/// Counts the lines by class.
fn counted(audit: &impl ReadableTable<u64, &'static [u8]>) -> Result<Counts, redb::Error> {
    let mut counts = Counts::NONE;
    for entry in audit.iter()? {
        counts.add(Class::of(&parsed(split(entry?.1.value())?.1)));
    }
    Ok(counts)
}

/// Returns the fields of a line; none if it was made unreadable.
fn parsed(line: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(line).unwrap_or_default()
}

/// Returns the time of a line; NaN if it has none.
fn time_in(line: &Map<String, Value>) -> f64 {
    line.get("time").and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn corrupted(what: String) -> redb::Error {
    StorageError::Corrupted(what).into()
}

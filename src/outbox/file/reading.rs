//! Reading the file: the waiting events, their payloads, and the audit log. The recorder may write
//! it meanwhile.

use super::{
    AUDIT, Backlogged, EVENT_HEAD, HASHES, Head, META, Unusable, head_of, split, waiting_of,
};
use crate::outbox::chain::{Follower, Verdict};
use crate::outbox::consumer::Consumer;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableError};
use serde_json::{Map, Value};

/// Returns the backlog of a consumer in the file.
pub(super) fn backlogged(
    read: &ReadTransaction,
    consumer: Consumer,
    last_seq: u64,
) -> Result<Backlogged, Unusable> {
    let mut waiting = Backlogged::new();
    let Some(table) = backlog_of(read, consumer)? else { return Ok(waiting) };
    for entry in table.iter()? {
        let (seq, bytes) = entry?;
        let known = waiting_of(bytes.value()).filter(|_| seq.value() <= last_seq);
        let event =
            known.ok_or_else(|| Unusable::Damaged(format!("event {} is invalid", seq.value())))?;
        waiting.insert(seq.value(), event);
    }
    Ok(waiting)
}

/// Opens a consumer's table; `None` if there is none yet.
fn backlog_of(
    read: &ReadTransaction,
    consumer: Consumer,
) -> Result<Option<ReadOnlyTable<u64, &'static [u8]>>, redb::Error> {
    match read.open_table(consumer.table()) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) if consumer == Consumer::Webhook => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the payload of an event that waits for a consumer.
pub(in crate::outbox) fn payload(
    database: &Database,
    consumer: Consumer,
    seq: u64,
) -> Result<Option<Vec<u8>>, redb::Error> {
    let Some(backlog) = backlog_of(&database.begin_read()?, consumer)? else { return Ok(None) };
    let bytes = backlog.get(seq)?;
    Ok(bytes.and_then(|bytes| bytes.value().get(EVENT_HEAD..).map(<[u8]>::to_vec)))
}

/// Verifies every line.
pub(in crate::outbox) fn verify(database: &Database) -> Result<Verdict, redb::Error> {
    let read = database.begin_read()?;
    let head = read_head(&read)?;
    let mut follower = Follower::new(head.chain);
    for entry in read.open_table(AUDIT)?.iter()? {
        let (number, bytes) = entry?;
        let number = number.value();
        let followed = match split(bytes.value()) {
            Ok((hash, line)) => follower.follow(number, hash, line),
            Err(_) => Err(Verdict::Broken { line: number, why: "it is too short".to_owned() }),
        };
        if let Err(broken) = followed {
            return Ok(broken);
        }
    }
    Ok(follower.end())
}

/// Returns up to `limit` lines from number `from` that are not older than `since`, each with its
/// `hash`, and the number to continue from.
pub(in crate::outbox) fn lines(
    database: &Database,
    from: u64,
    since: f64,
    limit: usize,
) -> Result<(Vec<Value>, Option<u64>), redb::Error> {
    let read = database.begin_read()?;
    let mut found = Vec::new();
    for entry in read.open_table(AUDIT)?.range(from..)? {
        let (number, bytes) = entry?;
        if found.len() == limit {
            return Ok((found, Some(number.value())));
        }
        let (hash, line) = split(bytes.value())?;
        // A line that was made unreadable is returned as text.
        let mut line: Map<String, Value> = serde_json::from_slice(line).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(line).into_owned();
            [("line", Value::from(number.value())), ("unreadable", text.into())]
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect()
        });
        if line.get("time").and_then(Value::as_f64).is_some_and(|time| time < since) {
            continue;
        }
        line.insert("hash".to_owned(), hash.to_string().into());
        found.push(Value::Object(line));
    }
    Ok((found, None))
}

fn read_head(read: &ReadTransaction) -> Result<Head, redb::Error> {
    head_of(&read.open_table(META)?, &read.open_table(HASHES)?)
}

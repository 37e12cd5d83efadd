//! The operations on the audit log: `audit/verify`, `audit/list`.

use crate::contract::answer_fields::{AuditBroken, AuditWhole};
use crate::contract::{AuditFilter, AuditPage, AuditQuery, Operation, Refusal, Reply};
use crate::outbox::{Outbox, Verdict};
use serde_json::Value;

/// Lines that a page with a filter reads at most; it may then be empty and have a next one.
const MOST_READ: usize = 5000;
/// Lines that are read at a time.
const PORTION: usize = 500;

/// Reads or verifies the audit log. `audit/verify` answers `lines`, `first`, `last` and `head`, or
/// with the code `AUDIT_BROKEN` the first line that was changed.
pub(super) fn look(outbox: &Outbox, query: AuditQuery) -> Result<Reply, Refusal> {
    match query {
        AuditQuery::Verify { noted } => verify(outbox, noted),
        AuditQuery::List { from, since, limit, filter } => {
            let page = page(outbox, from, since, limit, &filter)?;
            Ok(Reply::of(Operation::AuditList, &page))
        }
    }
}

/// Reads a page of the lines that a filter lets through.
fn page(
    outbox: &Outbox,
    from: u64,
    since: f64,
    limit: usize,
    filter: &AuditFilter,
) -> Result<AuditPage, Refusal> {
    let read = |from, limit| outbox.lines(from, since, limit).map_err(Refusal::internal);
    if *filter == AuditFilter::default() {
        let (lines, next) = read(from, limit)?;
        return Ok(AuditPage { lines, next });
    }
    let (mut found, mut from) = (Vec::new(), from);
    for _ in 0..MOST_READ / PORTION {
        let (lines, next) = read(from, PORTION)?;
        for line in lines {
            if !matches(&line, filter) {
                continue;
            }
            if found.len() == limit {
                let next = line["line"].as_u64();
                return Ok(AuditPage { lines: found, next });
            }
            found.push(line);
        }
        match next {
            Some(next) => from = next,
            None => return Ok(AuditPage { lines: found, next: None }),
        }
    }
    Ok(AuditPage { lines: found, next: Some(from) })
}

fn matches(line: &Value, filter: &AuditFilter) -> bool {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let action = text("action");
    let is_of = |kind: &str| {
        action == kind || action.split_once('/').is_some_and(|(first, _)| first == kind)
    };
    filter.kind.as_deref().is_none_or(is_of)
        && filter.subject_id.as_deref().is_none_or(|id| text("subject_id") == id)
}

fn verify(outbox: &Outbox, noted: Option<(u64, String)>) -> Result<Reply, Refusal> {
    let (line, why) = match outbox.verify().map_err(Refusal::internal)? {
        Verdict::Broken { line, why } => (line, why),
        Verdict::Whole(chain) => {
            let found = match &noted {
                None => None,
                Some((line, hash)) => hash_mismatch(outbox, *line, hash)?.map(|why| (*line, why)),
            };
            match found {
                Some(found) => found,
                None => {
                    let (lines, head) = (chain.lines(), chain.head.to_string());
                    let whole = AuditWhole { lines, first: chain.first, last: chain.last, head };
                    return Ok(Reply::of(Operation::AuditVerify, &whole));
                }
            }
        }
    };
    Ok(Reply::of(Operation::AuditVerify, &AuditBroken::new(line, why)))
}

/// Returns why a line does not have the noted hash; `None` if it has.
fn hash_mismatch(outbox: &Outbox, line: u64, hash: &str) -> Result<Option<String>, Refusal> {
    let (lines, _) = outbox.lines(line, 0.0, 1).map_err(Refusal::internal)?;
    let found = lines.first().filter(|found| found["line"] == line);
    Ok(match found.map(|found| &found["hash"]) {
        None => Some("it is not kept, so nothing can be said of its hash".to_owned()),
        Some(found) if found == hash => None,
        Some(found) => Some(format!("its hash is {found}, not the one that was noted")),
    })
}

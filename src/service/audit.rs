//! The operations on the audit log: `audit/verify`, `audit/list`. Only the command line can use
//! them.

use crate::contract::answer_fields::{AuditBroken, AuditWhole};
use crate::contract::{AuditPage, AuditQuery, Operation, Refusal, Reply};
use crate::outbox::{Outbox, Verdict};

/// Reads or verifies the audit log. `audit/verify` answers `lines`, `first`, `last` and `head`, or
/// with the code `AUDIT_BROKEN` the first line that was changed.
pub(super) fn look(outbox: &Outbox, query: AuditQuery) -> Result<Reply, Refusal> {
    match query {
        AuditQuery::Verify { noted } => verify(outbox, noted),
        AuditQuery::List { from, since, limit } => {
            let (lines, next) = outbox.lines(from, since, limit).map_err(Refusal::internal)?;
            Ok(Reply::of(Operation::AuditList, &AuditPage { lines, next }))
        }
    }
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

//! The operations on the audit log: `audit/verify`, `audit/list`. They come from the command line
//! alone.

use super::failure::Failure;
use super::operation::Operation;
use super::payload::Payload;
use super::reply::Reply;
use crate::outbox::{Outbox, Verdict};

/// Most lines a page holds: some 200 KiB.
const MOST_LINES: f64 = 500.0;
/// Beyond it a number of JSON is not exact.
const LAST_LINE: f64 = 9_007_199_254_740_991.0;

/// What is looked at.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    /// Every line; and whether the line that was noted elsewhere has the hash that was.
    Verify { noted: Option<(u64, String)> },
    /// A page of lines from number `from` on, not older than `since`, Unix seconds.
    List { from: u64, since: f64, limit: usize },
}

impl Payload<'_> {
    /// What is asked for; a part of step 2.
    pub fn look(&self) -> Result<Look, Failure> {
        let line = self.number("line").filter(|line| line.fract() == 0.0);
        let line = line.filter(|line| (1.0..=LAST_LINE).contains(line)).map(|line| line as u64);
        let line = line.ok_or_else(|| Failure::field("line", "`line` must be a number from 1"))?;
        if self.operation == Operation::AuditVerify {
            let noted = self.filled("hash").map(|hash| (line, hash.to_ascii_lowercase()));
            return Ok(Look::Verify { noted });
        }
        let limit = self.number("limit").filter(|limit| (1.0..=MOST_LINES).contains(limit));
        let limit = limit.filter(|limit| limit.fract() == 0.0);
        let why = || Failure::field("limit", format!("`limit` must be 1 to {MOST_LINES}"));
        let limit = limit.ok_or_else(why)? as usize;
        Ok(Look::List { from: line, since: self.number("since").unwrap_or(0.0), limit })
    }
}

/// Looks. `audit/verify` answers `lines`, `first`, `last`, `head`, or with the code `AUDIT_BROKEN` the
/// first line that is not as it was written.
pub(super) fn look(outbox: &Outbox, look: Look) -> Result<Reply, Failure> {
    match look {
        Look::Verify { noted } => verify(outbox, noted),
        Look::List { from, since, limit } => {
            let (lines, next) = outbox.lines(from, since, limit).map_err(Failure::internal)?;
            let mut reply = Reply::success(Operation::AuditList);
            reply.insert("lines", lines);
            if let Some(next) = next {
                reply.insert("next", next);
            }
            Ok(reply)
        }
    }
}

fn verify(outbox: &Outbox, noted: Option<(u64, String)>) -> Result<Reply, Failure> {
    let mut reply = Reply::success(Operation::AuditVerify);
    let (line, why) = match outbox.verify().map_err(Failure::internal)? {
        Verdict::Broken { line, why } => (line, why),
        Verdict::Whole(chain) => {
            let found = match &noted {
                None => None,
                Some((line, hash)) => unlike(outbox, *line, hash)?.map(|why| (*line, why)),
            };
            match found {
                Some(found) => found,
                None => {
                    reply.insert("lines", chain.lines());
                    reply.insert("first", chain.first);
                    reply.insert("last", chain.last);
                    reply.insert("head", chain.head.to_string());
                    return Ok(reply);
                }
            }
        }
    };
    reply.insert("error_code", "AUDIT_BROKEN");
    reply.insert("line", line);
    reply.insert("why", why);
    Ok(reply)
}

/// What speaks against a line's having the hash that was noted.
fn unlike(outbox: &Outbox, line: u64, hash: &str) -> Result<Option<String>, Failure> {
    let (lines, _) = outbox.lines(line, 0.0, 1).map_err(Failure::internal)?;
    let found = lines.first().filter(|found| found["line"] == line);
    Ok(match found.map(|found| &found["hash"]) {
        None => Some("it is not kept, so nothing can be said of its hash".to_owned()),
        Some(found) if found == hash => None,
        Some(found) => Some(format!("its hash is {found}, not the one that was noted")),
    })
}

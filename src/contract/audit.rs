//! What the operations on the audit log ask for: `audit/verify`, `audit/list`.

use super::field;
use super::operation::Operation;
use super::payload::Payload;
use super::refusal::Refusal;

/// Most lines a page holds: some 200 KiB.
const MOST_LINES: f64 = 500.0;
/// Beyond it a number of JSON is not exact.
const LAST_LINE: f64 = 9_007_199_254_740_991.0;

/// What is looked at.
#[derive(Debug, PartialEq)]
pub(crate) enum AuditQuery {
    /// Every line; and whether the line that was noted elsewhere has the hash that was.
    Verify { noted: Option<(u64, String)> },
    /// A page of lines from number `from` on, not older than `since`, Unix seconds.
    List { from: u64, since: f64, limit: usize },
}

impl Payload<'_> {
    /// What is asked for; a part of step 2.
    pub fn audit_query(&self) -> Result<AuditQuery, Refusal> {
        let line = self.number(field::LINE).filter(|line| line.fract() == 0.0);
        let line = line.filter(|line| (1.0..=LAST_LINE).contains(line)).map(|line| line as u64);
        let line =
            line.ok_or_else(|| Refusal::field(field::LINE, "`line` must be a number from 1"))?;
        if self.operation == Operation::AuditVerify {
            let noted = self.filled(field::HASH).map(|hash| (line, hash.to_ascii_lowercase()));
            return Ok(AuditQuery::Verify { noted });
        }
        let limit = self.number(field::LIMIT).filter(|limit| (1.0..=MOST_LINES).contains(limit));
        let limit = limit.filter(|limit| limit.fract() == 0.0);
        let why = || Refusal::field(field::LIMIT, format!("`limit` must be 1 to {MOST_LINES}"));
        let limit = limit.ok_or_else(why)? as usize;
        Ok(AuditQuery::List { from: line, since: self.number(field::SINCE).unwrap_or(0.0), limit })
    }
}

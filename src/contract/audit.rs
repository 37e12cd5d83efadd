//! Requests of the operations on the audit log: `audit/verify`, `audit/list`.

use super::field;
use super::operation::Operation;
use super::payload::Payload;
use super::refusal::Refusal;

/// Maximum number of lines per page: about 200 KiB.
const MOST_LINES: f64 = 500.0;
/// Above this, a JSON number is not exact.
const LAST_LINE: f64 = 9_007_199_254_740_991.0;

/// The requested operation.
#[derive(Debug, PartialEq)]
pub(crate) enum AuditQuery {
    /// Verify every line, and that the noted line has the noted hash.
    Verify { noted: Option<(u64, String)> },
    /// A page of lines from number `from` on, not older than `since`, Unix seconds.
    List { from: u64, since: f64, limit: usize, filter: AuditFilter },
}

/// Which lines of the audit log are wanted; `None`: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AuditFilter {
    /// Of this kind.
    pub kind: Option<String>,
    /// About this subject.
    pub subject_id: Option<String>,
}

impl Payload<'_> {
    /// Reads the request; part of step 2.
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
        let from = match self.number(field::AFTER) {
            None => line,
            Some(after) if after.fract() == 0.0 && (0.0..LAST_LINE).contains(&after) => {
                line.max(after as u64 + 1)
            }
            Some(_) => {
                let why = "`after` must be the number of a line, or 0";
                return Err(Refusal::field(field::AFTER, why));
            }
        };
        let filter = AuditFilter {
            kind: self.filled(field::KIND),
            subject_id: self.filled(field::SUBJECT_ID),
        };
        let since = self.number(field::SINCE).unwrap_or(0.0);
        Ok(AuditQuery::List { from, since, limit, filter })
    }
}

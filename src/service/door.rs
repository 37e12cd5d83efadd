//! The door as the service sees it: it can be asked to unlock. How it unlocks, and whether it may,
//! is decided elsewhere.

use super::audit_trail::{AuditTrail, UnlockRecord};
use super::workers::{NotDone, expired};
use crate::contract::answer_fields::DoorBlock;
use crate::contract::{Operation, Refusal, Reply, Sender};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Refusal text for the sender.
const NOT_RECORDED: &str = "the door is unlocked from afar only on record, and the disk did not take \
                            the record within a second; check the terminal's disk (see `health`)";

/// A door.
pub trait Door: Send + Sync {
    /// Unlocks for one person, at once or not at all; the error says what prevents it.
    fn unlock(&self) -> Result<(), String>;

    /// Returns the content of `state/door`.
    fn state(&self) -> Value;
}

/// Maximum time that an unlock waits for its record; the person at the door waits as long.
const RECORD_PATIENCE: Duration = Duration::from_secs(1);

/// `unlock`: unlocks the door and answers its state. The sender and the reason must be on disk
/// before the strike moves; otherwise it does not move, not even later. After that, `expires` and
/// `fresh` are checked again; `fresh` returns why a command is out of date.
pub(super) fn unlock(
    door: &dyn Door,
    audit_trail: &AuditTrail,
    by: &Sender,
    reason: &str,
    expires: Option<Instant>,
    fresh: impl Fn() -> Result<(), String>,
) -> Result<Result<Reply, Refusal>, NotDone> {
    if expired(expires) {
        return Err(NotDone::Expired);
    }
    let stale = fresh().err();
    let UnlockRecord { line, ticket } = audit_trail.unlock_asked(by, reason);
    if let Some(why) = stale {
        audit_trail.unlock_answered(line, &format!("refused: {why}"));
        return Ok(Err(Refusal::Stale { why }));
    }
    if let Err(error) = ticket.wait(RECORD_PATIENCE) {
        tracing::error!(%error, "not unlocked: the request is not on record");
        audit_trail.unlock_answered(line, "refused: the record was not on disk in time");
        return Ok(Err(Refusal::Door { why: NOT_RECORDED.to_owned() }));
    }
    if expired(expires) {
        audit_trail.unlock_answered(line, "refused: expired before it was on record");
        return Err(NotDone::Expired);
    }
    if let Err(why) = fresh() {
        audit_trail.unlock_answered(line, &format!("refused: {why}"));
        return Ok(Err(Refusal::Stale { why }));
    }
    let outcome = door.unlock();
    audit_trail.unlock_answered(line, outcome.as_ref().err().map_or("unlocked", String::as_str));
    Ok(outcome
        .map_err(|why| Refusal::Door { why })
        .map(|()| Reply::of(Operation::Unlock, &DoorBlock { door: door.state() })))
}

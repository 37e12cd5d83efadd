//! The door as the service knows it: something that may be asked to unlock. What that does, and
//! whether it may, is decided elsewhere.

use super::audit_trail::{AuditTrail, UnlockRecord};
use super::workers::{NotDone, expired};
use crate::contract::blocks::DoorBlock;
use crate::contract::{Operation, Refusal, Reply, Sender};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What whoever asked is told.
const NOT_RECORDED: &str = "the door is unlocked from afar only on record, and the disk did not take \
                            the record within a second; check the terminal's disk (see `health`)";

/// A door.
pub trait Door: Send + Sync {
    /// Lets somebody pass once, at once or not at all; else what is in the way.
    fn unlock(&self) -> Result<(), String>;

    /// How it is: the content of `state/door`.
    fn state(&self) -> Value;
}

/// How long an unlock waits for its record; who stands at the door waits as long.
const RECORD_PATIENCE: Duration = Duration::from_secs(1);

/// `unlock`: the state of the door, unlocked. Who asks and why is on disk before the strike moves, and
/// else it does not move, also later; `expires` and `fresh`, which says why a command does not count as
/// one of this moment, are looked at again after that.
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
        tracing::error!(%error, "not unlocked: who asks for it is not on record");
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

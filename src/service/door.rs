//! The door as the service knows it: something that may be asked to unlock. What that does, and
//! whether it may, is decided elsewhere.

use super::failure::Failure;
use super::operation::Operation;
use super::reply::Reply;
use super::request::Sender;
use super::trail::Trail;
use serde_json::Value;

/// A door.
pub trait Door: Send + Sync {
    /// Lets somebody pass once, at once or not at all; else what is in the way.
    fn unlock(&self) -> Result<(), String>;

    /// How it is: the content of `state/door`.
    fn state(&self) -> Value;
}

/// `unlock`: the state of the door, unlocked.
pub(super) fn unlock(
    door: &dyn Door,
    trail: &Trail,
    by: &Sender,
    reason: &str,
) -> Result<Reply, Failure> {
    let outcome = door.unlock();
    trail.unlocked(by, reason, outcome.as_ref().err().map(String::as_str));
    outcome.map_err(|why| Failure::Door { why })?;
    let mut reply = Reply::success(Operation::Unlock);
    reply.insert("door", door.state());
    Ok(reply)
}

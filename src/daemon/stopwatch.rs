//! Times the stages of the door's judgement, which itself reads no clock, in the same way as the
//! stages of a request.

use crate::access::Stopwatch;
use crate::service::Times;
use serde_json::{Map, Value};

impl Stopwatch for Times {
    fn milliseconds(&self) -> Map<String, Value> {
        Times::milliseconds(self)
    }
}

/// Returns a running stopwatch.
pub(super) fn started() -> Box<dyn Stopwatch> {
    Box::new(Times::start())
}

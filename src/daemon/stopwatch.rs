//! Times the stages of the door's judgement, which reads no clock itself, as those of a request are
//! timed.

use crate::access::Stopwatch;
use crate::service::Times;
use serde_json::{Map, Value};

impl Stopwatch for Times {
    fn milliseconds(&self) -> Map<String, Value> {
        Times::milliseconds(self)
    }
}

/// A stopwatch that runs.
pub(super) fn started() -> Box<dyn Stopwatch> {
    Box::new(Times::start())
}

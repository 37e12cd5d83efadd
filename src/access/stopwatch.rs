//! Measures the stages of an attempt with a clock that the caller reads.

use crate::face::Observer;
use serde_json::{Map, Value};

/// Observes and measures the stages of one attempt, from its start.
pub trait Stopwatch: Observer + Send {
    /// Returns the duration of each stage over all looks, and `total` since the start, in
    /// milliseconds.
    fn milliseconds(&self) -> Map<String, Value>;
}

/// Starts the stopwatch of an attempt.
pub type StartStopwatch = fn() -> Box<dyn Stopwatch>;

/// Measures nothing.
impl Stopwatch for () {
    fn milliseconds(&self) -> Map<String, Value> {
        Map::new()
    }
}

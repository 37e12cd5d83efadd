//! What the stages of an attempt took, measured by a clock that is not read here.

use crate::face::Observer;
use serde_json::{Map, Value};

/// Observes the stages of one attempt and measures them; runs from its start.
pub trait Stopwatch: Observer + Send {
    /// What each stage took in all, and `total` since the start, in milliseconds.
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

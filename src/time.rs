//! The clock of records and answers.

use crate::contract::Stamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns Unix seconds, UTC, to the microsecond; 0 while the clock is before 1970.
pub(crate) fn unix_time() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Microseconds since 1970 stay below 2^53 until the year 2255.
    since.as_micros() as f64 / 1e6
}

/// Returns the stamp of an answer: a session of its own, at this moment.
pub(crate) fn stamp() -> Stamp {
    Stamp { session_id: uuid::Uuid::new_v4().to_string(), timestamp: unix_time() }
}

//! Counts what strangers can repeat at will, and says when it is time for a line in the log: a
//! flood must neither fill the disk nor leave no trace.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// At most one line in this time.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// A count with its own rate of log lines.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    told: u64,
    line: Option<Instant>,
}

impl Tally {
    /// Counts one. Returns how many came since the last line, if a line is due: with the first, and
    /// then at most every minute.
    pub fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.count += 1;
        if state.line.is_some_and(|line| now.duration_since(line) < LINE_EVERY) {
            return None;
        }
        state.line = Some(now);
        let since = state.count - state.told;
        state.told = state.count;
        Some(since)
    }

    /// Returns the number counted since the start.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_one_line_a_minute_and_none_is_uncounted() {
        let (tally, start) = (Tally::default(), Instant::now());
        assert_eq!(tally.count_at(start), Some(1));
        for _ in 0..1000 {
            assert_eq!(tally.count_at(start + LINE_EVERY / 2), None);
        }
        assert_eq!(tally.count_at(start + LINE_EVERY), Some(1001));
        assert_eq!(tally.total(), 1002);
    }
}

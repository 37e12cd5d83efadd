//! How long to wait before an event is sent again.

use std::time::{Duration, SystemTime};

/// Waits after a failure that passes by itself: the server is away, busy or faulty. They double.
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// Waits after an answer that will be the same until somebody changes something.
const REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60 * 60));
/// Bounds of the server's own wish.
const WISH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));

/// What a failed attempt means for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hope {
    /// It passes by itself.
    Passes,
    /// It stays until the configuration or the server is changed.
    Stays,
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
}

impl Retry {
    /// Returns the wait after a failure: the server's wish, or between half and all of a time that
    /// doubles. `dice` is any value, uniform in use: many doors must not return in one second.
    pub fn after(&mut self, hope: Hope, wish: Option<Duration>, dice: u32) -> Duration {
        let (first, longest) = match hope {
            Hope::Passes => FAILED,
            Hope::Stays => REFUSED,
        };
        let ceiling = first.saturating_mul(1 << self.failures.min(12)).min(longest);
        self.failures = self.failures.saturating_add(1);
        match wish {
            Some(wish) => wish.clamp(WISH.0, WISH.1),
            None => ceiling / 2 + (ceiling / 2).mul_f64(f64::from(dice) / f64::from(u32::MAX)),
        }
    }

    /// Starts again after a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Reads the header `Retry-After`: seconds, or an HTTP date.
pub(super) fn wish(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(header).ok()?;
    let date = SystemTime::from(date.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(hope: Hope) -> Vec<u64> {
        let mut retry = Retry::default();
        (0..14).map(|_| retry.after(hope, None, u32::MAX).as_secs()).collect()
    }

    #[test]
    fn waits_double_to_a_bound_and_start_again_after_a_success() {
        let passes = seconds(Hope::Passes);
        assert_eq!(passes[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(passes.last(), Some(&300));
        assert_eq!(seconds(Hope::Stays)[..8], [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        let mut retry = Retry::default();
        retry.after(Hope::Stays, None, 0);
        retry.succeeded();
        assert_eq!(retry.after(Hope::Passes, None, 0), Duration::from_millis(500));
    }

    #[test]
    fn the_servers_wish_is_obeyed_within_bounds() {
        let mut retry = Retry::default();
        for (wish, waits) in [(0, 1), (7, 7), (3600, 3600), (u64::MAX, 3600)] {
            let wait = retry.after(Hope::Passes, Some(Duration::from_secs(wish)), 0);
            assert_eq!(wait, Duration::from_secs(waits));
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
        assert_eq!(wish(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(wish("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(wish("Sun, 06 Nov 1983 08:49:37 GMT", now), Some(Duration::ZERO));
        for wrong in ["", "-1", "soon", "1.5"] {
            assert_eq!(wish(wrong, now), None, "{wrong}");
        }
    }
}

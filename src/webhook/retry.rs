//! How long to wait before an event is sent again.

use std::time::{Duration, SystemTime};

/// Waits after a failure that passes by itself: the server is away, busy or faulty. They double.
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// Waits after an answer that will be the same until somebody changes something.
const REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60 * 60));
/// Bounds of the server's `Retry-After`.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));

/// The kind of a failure, by what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// It passes by itself.
    Passes,
    /// It stays until the configuration or the server is changed.
    Stays,
}

/// Failures of one kind in a row.
#[derive(Debug, Default)]
pub(super) struct Retry {
    kind: Option<FailureKind>,
    failures: u32,
}

impl Retry {
    /// Returns the wait after a failure: the server's `Retry-After`, or between half and all of a
    /// time that doubles. `jitter` is any value, uniform in use: many doors must not return in one
    /// second.
    pub fn after(
        &mut self,
        kind: FailureKind,
        retry_after: Option<Duration>,
        jitter: u32,
    ) -> Duration {
        let (first, longest) = match kind {
            FailureKind::Passes => FAILED,
            FailureKind::Stays => REFUSED,
        };
        if self.kind.replace(kind) != Some(kind) {
            self.failures = 0;
        }
        let ceiling = first.saturating_mul(1 << self.failures.min(12)).min(longest);
        self.failures = self.failures.saturating_add(1);
        match retry_after {
            Some(wait) => wait.clamp(RETRY_AFTER.0, RETRY_AFTER.1),
            None => ceiling / 2 + (ceiling / 2).mul_f64(f64::from(jitter) / f64::from(u32::MAX)),
        }
    }

    /// Starts again after a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Reads the header `Retry-After`: seconds, or an HTTP date.
pub(super) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
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

    fn seconds(kind: FailureKind) -> Vec<u64> {
        let mut retry = Retry::default();
        (0..14).map(|_| retry.after(kind, None, u32::MAX).as_secs()).collect()
    }

    #[test]
    fn waits_double_to_a_bound_and_start_again_after_a_success() {
        let passes = seconds(FailureKind::Passes);
        assert_eq!(passes[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(passes.last(), Some(&300));
        assert_eq!(seconds(FailureKind::Stays)[..8], [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        let mut retry = Retry::default();
        for _ in 0..9 {
            retry.after(FailureKind::Passes, None, 0);
        }
        assert_eq!(retry.after(FailureKind::Stays, None, u32::MAX), Duration::from_secs(60));
        retry.succeeded();
        assert_eq!(retry.after(FailureKind::Passes, None, 0), Duration::from_millis(500));
    }

    #[test]
    fn the_servers_retry_after_is_obeyed_within_bounds() {
        let mut retry = Retry::default();
        for (asked, waits) in [(0, 1), (7, 7), (3600, 3600), (u64::MAX, 3600)] {
            let wait = retry.after(FailureKind::Passes, Some(Duration::from_secs(asked)), 0);
            assert_eq!(wait, Duration::from_secs(waits));
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now),
            Some(Duration::from_secs(10))
        );
        assert_eq!(retry_after("Sun, 06 Nov 1983 08:49:37 GMT", now), Some(Duration::ZERO));
        for wrong in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(wrong, now), None, "{wrong}");
        }
    }
}

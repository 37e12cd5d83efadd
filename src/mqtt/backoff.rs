//! How long to wait before the next attempt to connect.
//!
//! The wait doubles, because a broker that is down for an hour needs no 3600 attempts. It has
//! jitter, because a hundred doors that lost the same broker must not all return in the same
//! second.

use std::time::Duration;

/// The first wait is at most this.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer than this.
const LONGEST: Duration = Duration::from_secs(60);
/// After a connection that held this long, the next loss starts from [`FIRST`] again. After a
/// shorter one it does not, or two clients with one identifier would disconnect each other every
/// second.
const STABLE: Duration = Duration::from_secs(30);

/// The longest wait after another client took the client identifier. The door must not be deaf for
/// a minute, and two clients that each return after this time are no storm.
const TAKEN: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the wait after a connection that held for `held` (zero: never connected): between
    /// half and all of 1, 2, 4 … 60 s, chosen by `dice` (any value; uniform in use).
    fn after(&mut self, held: Duration, dice: u32) -> Duration {
        if held >= STABLE {
            self.failures = 0;
        }
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling / 2 + (ceiling / 2).mul_f64(f64::from(dice) / f64::from(u32::MAX))
    }

    /// [`Backoff::after`] with a random number of the operating system.
    pub(crate) fn next(&mut self, held: Duration) -> Duration {
        // Without entropy the wait only has no jitter.
        self.after(held, getrandom::u32().unwrap_or(u32::MAX))
    }

    /// Returns the wait after a loss.
    pub(crate) fn after_loss(&mut self, held: Duration, is_taken_over: bool) -> Duration {
        let wait = self.next(held);
        if is_taken_over { wait.min(TAKEN) } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings(backoff: &mut Backoff, count: usize) -> Vec<u64> {
        (0..count).map(|_| backoff.after(Duration::ZERO, u32::MAX).as_secs()).collect()
    }

    #[test]
    fn doubles_up_to_a_minute() {
        let mut backoff = Backoff::default();
        assert_eq!(ceilings(&mut backoff, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn jitter_stays_within_the_upper_half() {
        for dice in [0, 1, u32::MAX / 2, u32::MAX] {
            let wait = Backoff { failures: 3 }.after(Duration::ZERO, dice);
            assert!((4.0..=8.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
    }

    #[test]
    fn only_a_stable_connection_resets_the_wait() {
        let mut backoff = Backoff::default();
        ceilings(&mut backoff, 5);
        assert_eq!(backoff.after(Duration::from_secs(29), u32::MAX).as_secs(), 32);
        assert_eq!(backoff.after(Duration::from_secs(30), u32::MAX).as_secs(), 1);
    }

    #[test]
    fn a_taken_identifier_costs_seconds_however_often_it_happens() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert!(backoff.after_loss(Duration::from_secs(1), true) <= TAKEN);
        }
        assert!(backoff.after_loss(Duration::from_secs(1), false) >= Duration::from_secs(30));
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.after(Duration::ZERO, u32::MAX), LONGEST);
    }
}

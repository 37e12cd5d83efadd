//! Failed attempts: after too many, nobody is judged for a while that grows. It slows down whoever
//! tries one picture after another; a grant forgives all, and every minute one.

use std::time::Duration;

/// In such a time without another, one failed attempt is forgotten: passers-by must not add up to a
/// door that nobody can use.
const FORGIVES_ONE: Duration = Duration::from_secs(60);

/// What was tried.
#[derive(Debug)]
pub(super) struct Lockout {
    after: u32,
    first: Duration,
    longest: Duration,
    failed: u32,
    last: Duration,
    until: Duration,
}

impl Lockout {
    /// Nothing yet; `after` failed attempts begin the first while, 0 never.
    pub fn new(after: u32, first: Duration, longest: Duration) -> Self {
        let (failed, last, until) = (0, Duration::ZERO, Duration::ZERO);
        Self { after, first, longest, failed, last, until }
    }

    /// How long nobody is judged from `now` on; `None`: everybody is.
    pub fn remains(&self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// An attempt failed.
    pub fn failed(&mut self, now: Duration) {
        let forgiven = now.saturating_sub(self.last).as_secs() / FORGIVES_ONE.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.failed = self.failed.saturating_sub(forgiven);
        (self.failed, self.last) = (self.failed.saturating_add(1), now);
        if self.after > 0 && self.failed >= self.after {
            let doubled = 1u32.checked_shl(self.failed - self.after).unwrap_or(u32::MAX);
            self.until = now.saturating_add(self.first.saturating_mul(doubled).min(self.longest));
        }
    }

    /// Somebody was let in.
    pub fn granted(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_delay_begins_late_doubles_and_ends_at_its_longest() {
        let mut lockout = Lockout::new(3, s(5), s(60));
        let mut now = s(100);
        let mut delays = Vec::new();
        for _ in 0..9 {
            lockout.failed(now);
            let delay = lockout.remains(now);
            delays.push(delay.map_or(0, |delay| delay.as_secs()));
            now += delay.unwrap_or_default();
            assert_eq!(lockout.remains(now), None);
        }
        assert_eq!(delays, [0, 0, 5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn a_grant_and_time_forgive() {
        let mut lockout = Lockout::new(2, s(5), s(60));
        lockout.failed(s(1));
        lockout.granted();
        lockout.failed(s(2));
        assert_eq!(lockout.remains(s(2)), None);
        lockout.failed(s(62));
        assert_eq!(lockout.remains(s(62)), None);
        lockout.failed(s(63));
        assert_eq!(lockout.remains(s(63)), Some(s(5)));
    }

    #[test]
    fn strangers_who_pass_now_and_then_lock_nobody_out() {
        let mut lockout = Lockout::new(3, s(5), s(60));
        for minute in 1..100 {
            lockout.failed(s(61 * minute));
            assert_eq!(lockout.remains(s(61 * minute)), None);
        }
    }

    #[test]
    fn zero_never_locks_out_and_many_do_not_overflow() {
        let mut never = Lockout::new(0, s(5), s(60));
        let mut always = Lockout::new(1, s(5), s(60));
        for _ in 0..200 {
            never.failed(s(1));
            always.failed(s(1));
        }
        assert_eq!(never.remains(s(1)), None);
        assert_eq!(always.remains(s(1)), Some(s(60)));
    }
}

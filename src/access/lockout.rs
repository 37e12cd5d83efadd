//! Counts failed attempts. After too many of them no face is judged for a time that doubles. This
//! slows down a person who tries one picture after another. A grant clears all failed attempts, and
//! each minute clears one.
//!
//! Faces count, not places: a face that stays or hangs on the wall counts once. The count outlives
//! the judge, so neither a panic nor another configuration resets it.

use super::refused::RefusedFaces;
use super::settings::Settings;
use crate::face::Embedding;
use std::time::Duration;

/// One failed attempt is forgotten after this time without another. Failed attempts of people who
/// walk past must not add up to a lock-out.
const FORGIVES_ONE: Duration = Duration::from_secs(60);

/// Failed attempts at this door, by the clock of [`super::Now::monotonic`].
#[derive(Debug, Default)]
pub struct Lockout {
    failed: u32,
    last: Duration,
    until: Duration,
    /// Faces whose failed attempts were counted: a poster counts once, however often it is seen.
    faces: RefusedFaces,
}

impl Lockout {
    /// Returns how long the lock-out lasts from `now` on; `None` without a lock-out.
    pub(super) fn remains(&self, settings: &Settings, now: Duration) -> Option<Duration> {
        let left = self.until.checked_sub(now).filter(|left| !left.is_zero());
        left.filter(|_| settings.lockout_after > 0)
    }

    /// Notes a failed attempt with these faces, in the order shown. Each face that was not refused
    /// lately counts. Returns the end of their cooldown.
    pub(super) fn refused(
        &mut self,
        settings: &Settings,
        faces: &[Embedding],
        now: Duration,
    ) -> Duration {
        let refusal = self.faces.refuse(faces, settings, now);
        // Without an embedding, each attempt counts as a different face.
        let counted = if faces.is_empty() { 1 } else { refusal.new };
        for _ in 0..counted {
            self.count(settings, now);
        }
        refusal.until
    }

    /// Returns the end of a refused face's cooldown, if it is in cooldown.
    pub(super) fn cooldown_until(&self, face: &Embedding, now: Duration) -> Option<Duration> {
        self.faces.cooldown_until(face, now)
    }

    fn count(&mut self, settings: &Settings, now: Duration) {
        let Settings { lockout_after: after, lockout_first, lockout_longest, .. } = *settings;
        let forgiven = now.saturating_sub(self.last).as_secs() / FORGIVES_ONE.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.failed = self.failed.saturating_sub(forgiven);
        (self.failed, self.last) = (self.failed.saturating_add(1), now);
        if after > 0 && self.failed >= after {
            let doubled = 1u32.checked_shl(self.failed - after).unwrap_or(u32::MAX);
            let delay = lockout_first.saturating_mul(doubled).min(lockout_longest);
            self.until = now.saturating_add(delay);
        }
    }

    /// Notes a grant for this face.
    pub(super) fn granted(&mut self, face: Option<&Embedding>) {
        self.failed = 0;
        if let Some(face) = face {
            self.faces.forgive(face);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn settings(lockout_after: u32) -> Settings {
        Settings {
            lockout_after,
            lockout_first: s(5),
            lockout_longest: s(60),
            ..Settings::default()
        }
    }

    #[test]
    fn delay_starts_after_the_limit_and_doubles_up_to_the_maximum() {
        let (mut lockout, settings) = (Lockout::default(), settings(3));
        let mut now = s(100);
        let mut delays = Vec::new();
        for _ in 0..9 {
            lockout.count(&settings, now);
            let delay = lockout.remains(&settings, now);
            delays.push(delay.map_or(0, |delay| delay.as_secs()));
            now += delay.unwrap_or_default();
            assert_eq!(lockout.remains(&settings, now), None);
        }
        assert_eq!(delays, [0, 0, 5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn grant_and_time_clear_failed_attempts() {
        let (mut lockout, settings) = (Lockout::default(), settings(2));
        lockout.count(&settings, s(1));
        lockout.granted(None);
        lockout.count(&settings, s(2));
        assert_eq!(lockout.remains(&settings, s(2)), None);
        lockout.count(&settings, s(62));
        assert_eq!(lockout.remains(&settings, s(62)), None);
        lockout.count(&settings, s(63));
        assert_eq!(lockout.remains(&settings, s(63)), Some(s(5)));
    }

    #[test]
    fn one_stranger_a_minute_never_causes_a_lock_out() {
        let (mut lockout, settings) = (Lockout::default(), settings(3));
        for minute in 1..100 {
            lockout.count(&settings, s(61 * minute));
            assert_eq!(lockout.remains(&settings, s(61 * minute)), None);
        }
    }

    #[test]
    fn limit_of_zero_never_locks_out_and_counts_do_not_overflow() {
        let (mut never, mut always) = (Lockout::default(), Lockout::default());
        for _ in 0..200 {
            never.count(&settings(0), s(1));
            always.count(&settings(1), s(1));
        }
        assert_eq!(never.remains(&settings(0), s(1)), None);
        assert_eq!(always.remains(&settings(1), s(1)), Some(s(60)));
        // Disabled by another configuration.
        assert_eq!(always.remains(&settings(0), s(1)), None);
    }

    #[test]
    fn face_counts_once_in_ten_minutes_and_no_face_every_time() {
        let of = |person| Embedding(std::array::from_fn(|axis| f32::from(axis == person)));
        let settings = settings(0);
        let mut lockout = Lockout::default();
        for second in [1, 3, 300, 880] {
            lockout.refused(&settings, &[of(0)], s(second));
            assert_eq!(lockout.failed, 1);
        }
        lockout.refused(&settings, &[of(0), of(1), of(2)], s(881));
        // The first failed attempt is forgotten by then.
        assert_eq!(lockout.failed, 2);
        lockout.refused(&settings, &[], s(882));
        lockout.refused(&settings, &[], s(883));
        assert_eq!(lockout.failed, 4);
        // Seen last ten minutes ago: it counts as new, and the other attempts are forgotten.
        lockout.refused(&settings, &[of(0)], s(881 + 600));
        assert_eq!(lockout.failed, 1);
    }
}

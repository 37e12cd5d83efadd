//! Failed attempts: after too many, nobody is judged for a while that grows. It slows down whoever
//! tries one picture after another; a grant forgives all, and every minute one.
//!
//! What counts is the faces that were shown, not where: one that stays, or hangs on the wall, counts once.
//! It outlives the judge: neither a panic nor another configuration is a way to start over.

use super::refused::RefusedFaces;
use super::settings::Settings;
use crate::face::Embedding;
use std::time::Duration;

/// In such a time without another, one failed attempt is forgotten: passers-by must not add up to a
/// door that nobody can use.
const FORGIVES_ONE: Duration = Duration::from_secs(60);

/// What was tried at this door, by the clock of [`super::Now::monotonic`].
#[derive(Debug, Default)]
pub struct Lockout {
    failed: u32,
    last: Duration,
    until: Duration,
    /// Whose failed attempts were counted: a poster is one however often it is found.
    faces: RefusedFaces,
}

impl Lockout {
    /// How long nobody is judged from `now` on; `None`: everybody is.
    pub(super) fn remains(&self, settings: &Settings, now: Duration) -> Option<Duration> {
        let left = self.until.checked_sub(now).filter(|left| !left.is_zero());
        left.filter(|_| settings.lockout_after > 0)
    }

    /// An attempt failed with these faces, in the order in which they were shown. Each that was not
    /// refused lately counts. Until when they rest.
    pub(super) fn refused(
        &mut self,
        settings: &Settings,
        faces: &[Embedding],
        now: Duration,
    ) -> Duration {
        let refusal = self.faces.refuse(faces, settings, now);
        // What cannot be told from others is another each time.
        let counted = if faces.is_empty() { 1 } else { refusal.new };
        for _ in 0..counted {
            self.count(settings, now);
        }
        refusal.until
    }

    /// Until when a face that was refused rests, if it does.
    pub(super) fn rests(&self, face: &Embedding, now: Duration) -> Option<Duration> {
        self.faces.rests(face, now)
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

    /// Somebody was let in, with this face.
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
    fn the_delay_begins_late_doubles_and_ends_at_its_longest() {
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
    fn a_grant_and_time_forgive() {
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
    fn strangers_who_pass_now_and_then_lock_nobody_out() {
        let (mut lockout, settings) = (Lockout::default(), settings(3));
        for minute in 1..100 {
            lockout.count(&settings, s(61 * minute));
            assert_eq!(lockout.remains(&settings, s(61 * minute)), None);
        }
    }

    #[test]
    fn zero_never_locks_out_and_many_do_not_overflow() {
        let (mut never, mut always) = (Lockout::default(), Lockout::default());
        for _ in 0..200 {
            never.count(&settings(0), s(1));
            always.count(&settings(1), s(1));
        }
        assert_eq!(never.remains(&settings(0), s(1)), None);
        assert_eq!(always.remains(&settings(1), s(1)), Some(s(60)));
        // Switched off by another configuration.
        assert_eq!(always.remains(&settings(0), s(1)), None);
    }

    #[test]
    fn each_face_counts_once_in_ten_minutes_and_what_is_no_face_each_time() {
        let of = |person| Embedding(std::array::from_fn(|axis| f32::from(axis == person)));
        let settings = settings(0);
        let mut lockout = Lockout::default();
        for second in [1, 3, 300, 880] {
            lockout.refused(&settings, &[of(0)], s(second));
            assert_eq!(lockout.failed, 1);
        }
        lockout.refused(&settings, &[of(0), of(1), of(2)], s(881));
        // The first is forgiven by then.
        assert_eq!(lockout.failed, 2);
        lockout.refused(&settings, &[], s(882));
        lockout.refused(&settings, &[], s(883));
        assert_eq!(lockout.failed, 4);
        // Seen last ten minutes ago: another one again, and all but that is forgiven.
        lockout.refused(&settings, &[of(0)], s(881 + 600));
        assert_eq!(lockout.failed, 1);
    }
}

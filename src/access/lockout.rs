//! Failed attempts: after too many, nobody is judged for a while that grows. It slows down whoever
//! tries one picture after another; a grant forgives all, and every minute one.
//!
//! It outlives the judge: neither a panic nor another configuration is a way to start over.

use super::settings::Settings;
use crate::face::Detection;
use std::time::Duration;

/// In such a time without another, one failed attempt is forgotten: passers-by must not add up to a
/// door that nobody can use.
const FORGIVES_ONE: Duration = Duration::from_secs(60);
/// A face at a place where one was refused, in a box that overlaps so much (intersection over union),
/// hangs there: nobody stands so still.
const STILL_THERE: f32 = 0.9;
/// For how long such a place is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What was tried at this door, by the clock of [`super::Now::monotonic`].
#[derive(Debug, Default)]
pub struct Lockout {
    failed: u32,
    last: Duration,
    until: Duration,
    /// Where a failed attempt was counted, and when: a poster is one however often it is found anew.
    places: Vec<(Detection, Duration)>,
}

impl Lockout {
    /// How long nobody is judged from `now` on; `None`: everybody is.
    pub(super) fn remains(&self, settings: &Settings, now: Duration) -> Option<Duration> {
        let left = self.until.checked_sub(now).filter(|left| !left.is_zero());
        left.filter(|_| settings.lockout_after > 0)
    }

    /// An attempt failed with a face at this place; of a face that stays (`stays`), or hangs there,
    /// one has counted already.
    pub(super) fn failed(
        &mut self,
        settings: &Settings,
        face: &Detection,
        stays: bool,
        now: Duration,
    ) {
        self.places.retain(|(_, at)| now.saturating_sub(*at) < REMEMBERED);
        let before = self.places.len();
        self.places.retain(|(place, _)| place.overlap(face) < STILL_THERE);
        let hangs = self.places.len() < before;
        self.places.push((*face, now));
        if !stays && !hangs {
            self.count(settings, now);
        }
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

    /// Somebody was let in.
    pub(super) fn granted(&mut self) {
        self.failed = 0;
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

    /// A face of 100 pixels, so far to the right.
    fn face(x: f32) -> Detection {
        Detection { x, y: 0.0, width: 100.0, height: 100.0, landmarks: [[0.0; 2]; 5], score: 0.9 }
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
        lockout.granted();
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
    fn a_face_counts_once_while_it_stays_and_a_poster_once_in_ten_minutes() {
        let settings = settings(0);
        let mut lockout = Lockout::default();
        lockout.failed(&settings, &face(0.0), false, s(1));
        // The same face, judged again.
        lockout.failed(&settings, &face(50.0), true, s(3));
        assert_eq!(lockout.failed, 1);
        // Found anew in much the same place, again and again.
        for second in [5, 300, 880] {
            lockout.failed(&settings, &face(2.0), false, s(second));
        }
        assert_eq!(lockout.failed, 1);
        // Somebody else, beside it.
        lockout.failed(&settings, &face(30.0), false, s(881));
        assert_eq!((lockout.failed, lockout.places.len()), (1, 2));
        // What a quarter of an hour has forgiven is one again.
        lockout.failed(&settings, &face(2.0), false, s(880 + 600));
        lockout.failed(&settings, &face(60.0), false, s(880 + 600));
        assert_eq!(lockout.failed, 2);
    }
}

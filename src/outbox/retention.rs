//! Which records are removed for their age, or because there are too many.
//!
//! A wrong clock must not erase the record, so age counts only by a clock that is believed to be
//! synchronised, only an hour after the start, and only a portion an hour: a clock that is wrong
//! for a moment removes nothing or little. The newest [`YOUNG`] events and lines are never removed
//! for their age, whatever the clock says.

use super::Settings;
use super::event::Kind;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Interval between two portions.
pub(super) const RETIRE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Number of newest events, and of newest lines, that never count as old: more than a day at a
/// quiet door, some hours at a busy one.
pub(super) const YOUNG: u64 = 256;
/// Smallest portion.
const PORTION: u64 = 64;
/// 2025-01-01. A terminal without a clock of its own starts long before that; its records from that
/// time only look old.
pub(super) const CLOCK_IS_SET: f64 = 1_735_689_600.0;
pub(super) const DAY: f64 = 86_400.0;

/// How much may be removed for its age at present.
pub(super) struct Pace {
    every: Duration,
    /// When the next portion is due.
    pub next: Instant,
    pub events: u64,
    pub lines: u64,
}

impl Pace {
    /// Starts without a portion, so that a daemon that is restarted again and again removes
    /// nothing.
    pub fn new(every: Duration) -> Self {
        Self { every, next: Instant::now() + every, events: 0, lines: 0 }
    }

    /// Replaces the portion by the next one when that is due.
    pub fn refill(&mut self, events: u64, lines: u64, settings: &Settings) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.every;
        self.events = portion(events, settings.max_age_days);
        self.lines = portion(lines, settings.max_line_days);
    }
}

/// Returns the portion of an hour: twice what a log that keeps `days` takes in an hour on average.
fn portion(kept: u64, days: u32) -> u64 {
    (kept / (12 * u64::from(days.max(1)))).max(PORTION)
}

/// Returns how many of the first records are older than `days`. A record of unknown age, from
/// before the clock was set or from the future, is as old as the record after it.
pub(super) fn expired(times: impl IntoIterator<Item = f64>, now: f64, days: u32) -> usize {
    let mut expired = 0;
    for (index, time) in times.into_iter().enumerate() {
        if !(CLOCK_IS_SET..=now).contains(&time) {
            continue;
        }
        if now - time <= f64::from(days) * DAY {
            break;
        }
        expired = index + 1;
    }
    expired
}

/// Chooses `count` of the waiting events: the oldest of the most numerous kind, one after the
/// other, so that a flood of one kind pushes out no event of another.
pub(super) fn overflowing(
    waiting: impl IntoIterator<Item = (u64, Kind)>,
    count: usize,
) -> Vec<u64> {
    if count == 0 {
        return Vec::new();
    }
    let mut kinds: BTreeMap<Kind, VecDeque<u64>> = BTreeMap::new();
    waiting.into_iter().for_each(|(seq, kind)| kinds.entry(kind).or_default().push_back(seq));
    let most = |kinds: &mut BTreeMap<Kind, VecDeque<u64>>| {
        kinds.values_mut().max_by_key(|seqs| seqs.len()).and_then(VecDeque::pop_front)
    };
    (0..count).map_while(|_| most(&mut kinds)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1.8e9;

    fn expired_of(days: &[f64]) -> usize {
        expired(days.iter().map(|days| NOW - days * DAY), NOW, 30)
    }

    #[test]
    fn a_record_of_unknown_age_is_as_old_as_the_one_after_it() {
        assert_eq!(expired_of(&[32.0, 31.0, 29.0, 31.0]), 2);
        let future = -400.0;
        let unset = NOW / DAY;
        assert_eq!(expired_of(&[future, unset, 31.0, future, 29.0]), 3);
        assert_eq!(expired_of(&[future, unset, 29.0, 31.0]), 0);
        assert_eq!(expired_of(&[future, unset]), 0);
        assert_eq!(expired_of(&[f64::NAN, 31.0]), 2);
    }

    #[test]
    fn a_flood_of_one_kind_pushes_out_no_event_of_another() {
        let kinds = [Kind::Access, Kind::Door, Kind::Spoof, Kind::Spoof, Kind::Spoof, Kind::Door];
        let waiting = || (1..).zip(kinds);
        assert_eq!(overflowing(waiting(), 0), [0; 0]);
        assert_eq!(overflowing(waiting(), 1), [3]);
        assert_eq!(overflowing(waiting(), 2).len(), 2);
        assert!(!overflowing(waiting(), 3).contains(&1));
        assert_eq!(overflowing(waiting(), 9).len(), 6);
    }

    #[test]
    fn a_portion_follows_the_size_and_never_comes_at_the_start() {
        assert_eq!((portion(1000, 365), portion(100_000, 1)), (64, 8333));
        let mut pace = Pace::new(RETIRE_EVERY);
        pace.refill(1000, 1000, &Settings::default());
        assert_eq!((pace.events, pace.lines), (0, 0));
        pace.next = Instant::now();
        pace.refill(1000, 1000, &Settings::default());
        assert_eq!((pace.events, pace.lines), (64, 64));
    }
}

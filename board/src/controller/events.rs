//! The events that the controller sends to its commander, and their storage while no commander is
//! connected.

use crate::contact::ContactEvent;
use crate::door::Part;
use core::time::Duration;
use std::collections::VecDeque;

/// Why the strike is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A commander's grant.
    Face,
    /// A commander's unlock command.
    Remote,
    /// A commander's held-open hours.
    Hours,
    /// The button inside.
    Exit,
    /// An unreadable button or fire input of a fail-safe lock.
    Unreadable,
    /// The fire input.
    Fire,
}

impl Cause {
    /// Returns the rank of a cause. Of several causes, the highest is reported: commander, button,
    /// fault, fire.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Face | Self::Remote | Self::Hours => 0,
            Self::Exit => 1,
            Self::Unreadable => 2,
            Self::Fire => 3,
        }
    }
}

/// An event of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The strike lets people pass, or does so for a new cause.
    Released(Cause),
    /// The strike is locked again.
    Locked,
    /// Request-to-exit was pressed.
    ExitPressed,
    /// The fire alarm began or ended.
    Fire(bool),
    /// An event of the contact.
    Contact(ContactEvent),
    /// A part fails; reported once until it recovers.
    Fault(Part),
    /// A part that failed works again.
    Recovered(Part),
    /// This many events were lost, because there was no room.
    Missed(u32),
}

/// An event with its number and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Ascending from 1 since the controller's start.
    pub number: u32,
    /// When it happened, by `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// The event.
    pub event: Event,
}

/// Stores events until a commander has taken them: at most [`Kept::MOST`]. Later events are only
/// counted.
#[derive(Debug)]
pub struct Kept {
    events: VecDeque<Numbered>,
    next: u32,
    missed: u32,
}

impl Default for Kept {
    fn default() -> Self {
        // Allocates all room at the start.
        Self { events: VecDeque::with_capacity(Self::MOST), next: 1, missed: 0 }
    }
}

impl Kept {
    /// Enough for a night at a door that is in use.
    pub const MOST: usize = 256;

    /// Keeps an event.
    pub fn push(&mut self, at: Duration, event: Event) {
        // One place is reserved for the count.
        if self.missed > 0 || self.events.len() >= Self::MOST - 1 {
            self.missed = self.missed.saturating_add(1);
            return;
        }
        self.number(at, event);
    }

    fn number(&mut self, at: Duration, event: Event) {
        self.events.push_back(Numbered { number: self.next, at, event });
        // A year of ten events a second uses less than half of the numbers.
        self.next = self.next.wrapping_add(1);
    }

    /// Removes the events up to this number, which a commander has taken.
    pub fn taken(&mut self, number: u32, now: Duration) {
        while self.events.front().is_some_and(|kept| kept.number <= number) {
            self.events.pop_front();
        }
        if self.missed > 0 && self.events.len() < Self::MOST {
            let missed = core::mem::take(&mut self.missed);
            self.number(now, Event::Missed(missed));
        }
    }

    /// Returns the events after this number, oldest first.
    pub fn after(&self, number: u32) -> impl Iterator<Item = &Numbered> {
        self.events.iter().filter(move |kept| kept.number > number)
    }

    /// Continues with the events that another process kept.
    pub(super) fn resume(events: Vec<Numbered>, next: u32, missed: u32) -> Self {
        let mut kept = Self { next, ..Self::default() };
        kept.events.extend(events.into_iter().take(Self::MOST));
        kept.missed = missed;
        kept
    }

    /// Returns the number of the next event.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Returns how many events were lost so far.
    pub(super) fn missed(&self) -> u32 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_limit_are_counted_and_reported() {
        let mut kept = Kept::default();
        for second in 0..300 {
            kept.push(Duration::from_secs(second), Event::ExitPressed);
        }
        let all: Vec<Numbered> = kept.after(0).copied().collect();
        assert_eq!(all.len(), Kept::MOST - 1);
        assert_eq!(all[254].at, Duration::from_secs(254), "the oldest are kept");
        kept.taken(100, Duration::from_secs(400));
        let last = *kept.after(0).last().unwrap();
        assert_eq!(last.event, Event::Missed(45));
        assert_eq!(last.number, 256);
        assert_eq!(kept.after(0).count(), 156);
        kept.push(Duration::from_secs(401), Event::Locked);
        assert_eq!(kept.after(256).map(|kept| kept.event).collect::<Vec<_>>(), [Event::Locked]);
    }

    #[test]
    fn events_are_kept_until_they_are_taken() {
        let mut kept = Kept::default();
        kept.push(Duration::ZERO, Event::ExitPressed);
        kept.push(Duration::ZERO, Event::Released(Cause::Exit));
        assert_eq!(kept.after(0).count(), 2);
        assert_eq!(kept.after(1).count(), 1);
        assert_eq!(kept.after(0).count(), 2);
        kept.taken(1, Duration::ZERO);
        assert_eq!(kept.after(0).count(), 1);
    }
}

//! The door contact: reports whether the leaf is open, forced or held open. It knows nothing of
//! people: its caller tells it when an opening is allowed.

use crate::Debounced;
use core::time::Duration;
use embedded_hal::digital::InputPin;

/// When an open door is an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactLimits {
    /// An open leaf is held open after this time.
    pub held_open_after: Duration,
    /// An opening within this time after the strike relocked is still allowed: the contact settles
    /// later than the door moves.
    pub grace: Duration,
}

impl Default for ContactLimits {
    /// 30 s for a person with a trolley; 500 ms of grace.
    fn default() -> Self {
        Self { held_open_after: Duration::from_secs(30), grace: Duration::from_millis(500) }
    }
}

/// The events of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactEvent {
    /// The leaf opened and was allowed to, or was open at the start.
    Opened,
    /// The leaf opened without a grant or an exit.
    ForcedOpen,
    /// The leaf is open for too long; reported once per opening.
    HeldOpen,
    /// The leaf closed, which ends both alarms, or was closed at the start.
    Closed,
}

/// A door contact.
#[derive(Debug)]
pub struct Contact<Pin> {
    switch: Debounced<Pin>,
    limits: ContactLimits,
    allowed_until: Option<Duration>,
    opened: Option<Duration>,
    held: bool,
}

impl<Pin: InputPin> Contact<Pin> {
    /// Creates a contact on a logical pin: high is open.
    pub fn new(pin: Pin, limits: ContactLimits) -> Self {
        let switch = Debounced::new(pin);
        Self { switch, limits, allowed_until: None, opened: None, held: false }
    }

    /// Reads the contact. `engaged` is true if the strike lets people pass.
    ///
    /// # Errors
    /// The pin's error; an alarm that was due is raised by a later step.
    pub fn step(
        &mut self,
        now: Duration,
        engaged: bool,
    ) -> Result<Option<ContactEvent>, Pin::Error> {
        if engaged {
            self.allowed_until = Some(now.saturating_add(self.limits.grace));
        }
        let first = self.switch.level().is_none();
        match self.switch.step(now)? {
            Some(true) => {
                self.opened = Some(now);
                self.held = false;
                let allowed = first || self.allowed_until.is_some_and(|until| now <= until);
                Ok(Some(if allowed { ContactEvent::Opened } else { ContactEvent::ForcedOpen }))
            }
            Some(false) => {
                self.opened = None;
                Ok(Some(ContactEvent::Closed))
            }
            None => Ok(self.held_open(now)),
        }
    }

    /// Returns whether the leaf is open; `None` before the contact has settled.
    pub fn is_open(&self) -> Option<bool> {
        self.switch.level()
    }

    fn held_open(&mut self, now: Duration) -> Option<ContactEvent> {
        let open_for = now.saturating_sub(self.opened?);
        if self.held || open_for < self.limits.held_open_after {
            return None;
        }
        self.held = true;
        Some(ContactEvent::HeldOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContactEvent::{Closed, ForcedOpen, HeldOpen, Opened};
    use State::{High, Low};
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    /// Rows: time in ms, level, engaged, event.
    fn check(table: &[(u64, State, bool, Option<ContactEvent>)]) {
        let reads: Vec<_> = table.iter().map(|(_, level, ..)| Transaction::get(*level)).collect();
        let mut pin = Mock::new(&reads);
        let mut contact = Contact::new(pin.clone(), ContactLimits::default());
        for (at, _, engaged, expected) in table {
            let event = contact.step(Duration::from_millis(*at), *engaged).unwrap();
            assert_eq!(event, *expected, "at {at} ms");
        }
        pin.done();
    }

    #[test]
    fn opening_while_engaged_or_within_the_grace_is_allowed() {
        check(&[
            (0, Low, false, None),
            (50, Low, false, Some(Closed)),
            (100, High, true, None),
            (150, High, true, Some(Opened)),
            (200, Low, true, None),
            (250, Low, true, Some(Closed)),
            (700, High, false, None),
            (750, High, false, Some(Opened)), // 500 ms after the strike was last seen engaged
        ]);
    }

    #[test]
    fn opening_after_the_grace_is_forced() {
        check(&[
            (0, Low, false, None),
            (50, Low, true, Some(Closed)),
            (500, High, false, None),
            (551, High, false, Some(ForcedOpen)),
        ]);
    }

    #[test]
    fn door_open_at_the_start_is_not_forced_but_may_be_held() {
        check(&[
            (0, High, false, None),
            (50, High, false, Some(Opened)),
            (30_049, High, false, None),
            (30_050, High, false, Some(HeldOpen)),
            (90_000, High, false, None),
            (90_010, Low, false, None),
            (90_060, Low, false, Some(Closed)),
            (90_070, High, false, None),
            (90_120, High, false, Some(ForcedOpen)),
            (120_120, High, false, Some(HeldOpen)),
        ]);
    }
}

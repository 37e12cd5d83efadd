//! The tamper switch: reports that the housing was opened or the terminal taken off the wall.

use crate::Debounced;
use core::time::Duration;
use embedded_hal::digital::InputPin;

/// An event of the tamper switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TamperEvent {
    /// The housing is open, or was open at the start.
    Raised,
    /// The housing is closed again.
    Cleared,
}

/// A tamper switch.
#[derive(Debug)]
pub struct Tamper<Pin> {
    switch: Debounced<Pin>,
}

impl<Pin: InputPin> Tamper<Pin> {
    /// Creates a switch on a logical pin: high is tampered with.
    pub fn new(pin: Pin) -> Self {
        Self { switch: Debounced::new(pin) }
    }

    /// Reads the switch. A housing closed at the start is not reported.
    ///
    /// # Errors
    /// The pin's error.
    pub fn step(&mut self, now: Duration) -> Result<Option<TamperEvent>, Pin::Error> {
        let first = self.switch.level().is_none();
        Ok(match self.switch.step(now)? {
            Some(true) => Some(TamperEvent::Raised),
            Some(false) if !first => Some(TamperEvent::Cleared),
            _ => None,
        })
    }

    /// Returns whether the housing is open; `None` until the switch was read.
    pub fn is_raised(&self) -> Option<bool> {
        self.switch.level()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn opening_and_closing_are_reported_but_not_a_closed_start() {
        let table = [
            (0, State::Low, None),
            (50, State::Low, None),
            (100, State::High, None),
            (149, State::High, None),
            (150, State::High, Some(TamperEvent::Raised)),
            (200, State::Low, None),
            (250, State::Low, Some(TamperEvent::Cleared)),
        ];
        let reads: Vec<_> = table.iter().map(|(_, level, _)| Transaction::get(*level)).collect();
        let mut pin = Mock::new(&reads);
        let mut tamper = Tamper::new(pin.clone());
        for (at, _, expected) in table {
            assert_eq!(tamper.step(Duration::from_millis(at)).unwrap(), expected, "at {at} ms");
        }
        pin.done();
    }

    #[test]
    fn sound_switch_is_known_to_be_closed_without_an_event() {
        let mut pin = Mock::new(&[Transaction::get(State::Low), Transaction::get(State::Low)]);
        let mut tamper = Tamper::new(pin.clone());
        assert_eq!(tamper.is_raised(), None);
        for at in [0, 50] {
            assert_eq!(tamper.step(Duration::from_millis(at)).unwrap(), None);
        }
        assert_eq!(tamper.is_raised(), Some(false));
        pin.done();
    }

    #[test]
    fn housing_open_at_the_start_is_reported() {
        let mut pin = Mock::new(&[Transaction::get(State::High), Transaction::get(State::High)]);
        let mut tamper = Tamper::new(pin.clone());
        assert_eq!(tamper.step(Duration::ZERO).unwrap(), None);
        let raised = tamper.step(Duration::from_millis(50)).unwrap();
        assert_eq!(raised, Some(TamperEvent::Raised));
        assert_eq!(tamper.is_raised(), Some(true));
        pin.done();
    }
}

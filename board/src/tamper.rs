//! The tamper switch: the housing was opened, or the terminal taken off the wall.

use crate::Debounced;
use core::time::Duration;
use embedded_hal::digital::InputPin;

/// What the tamper switch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TamperEvent {
    /// The housing is open, or was found open at the start.
    Raised,
    /// It is closed again.
    Cleared,
}

/// A tamper switch.
#[derive(Debug)]
pub struct Tamper<Pin> {
    switch: Debounced<Pin>,
}

impl<Pin: InputPin> Tamper<Pin> {
    /// A switch on a logical pin: high is tampered with.
    pub fn new(pin: Pin) -> Self {
        Self { switch: Debounced::new(pin) }
    }

    /// Reads the switch. A housing closed at the start is no news.
    ///
    /// # Errors
    /// The pin's.
    pub fn step(&mut self, now: Duration) -> Result<Option<TamperEvent>, Pin::Error> {
        let first = self.switch.level().is_none();
        Ok(match self.switch.step(now)? {
            Some(true) => Some(TamperEvent::Raised),
            Some(false) if !first => Some(TamperEvent::Cleared),
            _ => None,
        })
    }

    /// Whether the housing is open.
    pub fn is_raised(&self) -> bool {
        self.switch.level() == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn opening_and_closing_are_reported_after_50_ms_but_not_a_closed_start() {
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
    fn a_housing_open_at_the_start_is_tampered_with() {
        let mut pin = Mock::new(&[Transaction::get(State::High), Transaction::get(State::High)]);
        let mut tamper = Tamper::new(pin.clone());
        assert_eq!(tamper.step(Duration::ZERO).unwrap(), None);
        let raised = tamper.step(Duration::from_millis(50)).unwrap();
        assert_eq!(raised, Some(TamperEvent::Raised));
        assert!(tamper.is_raised());
        pin.done();
    }
}

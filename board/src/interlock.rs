//! The interlock: the contact of another door. That door must be closed before this one is unlocked
//! for entry. An unknown state counts as open. The way out never depends on the interlock.

use crate::Debounced;
use core::time::Duration;
use embedded_hal::digital::InputPin;

/// An event of the other door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterlockEvent {
    /// The other door opened, or was open at the start.
    Opened,
    /// The other door closed, or was closed at the start.
    Closed,
}

/// The contact of another door.
#[derive(Debug)]
pub struct Interlock<Pin> {
    contact: Option<Debounced<Pin>>,
    readable: bool,
}

impl<Pin: InputPin> Interlock<Pin> {
    /// Creates an interlock on a logical pin: high is open.
    pub fn new(pin: Pin) -> Self {
        Self { contact: Some(Debounced::new(pin)), readable: true }
    }

    /// Creates an interlock whose line cannot be opened: the other door always counts as open.
    pub fn lost() -> Self {
        Self { contact: None, readable: false }
    }

    /// Reads the contact.
    ///
    /// # Errors
    /// The pin's error; the other door counts as open until its contact can be read again.
    pub fn step(&mut self, now: Duration) -> Result<Option<InterlockEvent>, Pin::Error> {
        let Some(contact) = &mut self.contact else { return Ok(None) };
        let settled = contact.step(now);
        self.readable = settled.is_ok();
        Ok(settled?.map(|open| match open {
            true => InterlockEvent::Opened,
            false => InterlockEvent::Closed,
        }))
    }

    /// Checks whether the other door is open, or may be.
    pub fn is_open(&self) -> bool {
        let closed = self.contact.as_ref().and_then(Debounced::level) == Some(false);
        !(self.readable && closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::io::ErrorKind;

    #[test]
    fn other_door_counts_as_open_until_known_to_be_closed() {
        use InterlockEvent::{Closed, Opened};
        let failure = MockError::Io(ErrorKind::NotConnected);
        let table = [
            (0, Ok(State::Low), None, true),
            (50, Ok(State::Low), Some(Closed), false),
            (100, Ok(State::High), None, false),
            (150, Ok(State::High), Some(Opened), true),
            (200, Ok(State::Low), None, true),
            (250, Ok(State::Low), Some(Closed), false),
            (300, Err(failure), None, true),
            (310, Ok(State::Low), None, false),
        ];
        let reads = table.iter().map(|(_, level, ..)| match level {
            Ok(level) => Transaction::get(*level),
            Err(error) => Transaction::get(State::Low).with_error(error.clone()),
        });
        let mut pin = Mock::new(&reads.collect::<Vec<_>>());
        let mut interlock = Interlock::new(pin.clone());
        assert!(interlock.is_open());
        for (at, level, event, open) in table {
            let seen = interlock.step(Duration::from_millis(at));
            assert_eq!(seen.is_err(), level.is_err(), "at {at} ms");
            assert_eq!(seen.unwrap_or_default(), event, "at {at} ms");
            assert_eq!(interlock.is_open(), open, "at {at} ms");
        }
        pin.done();
        let mut lost: Interlock<Mock> = Interlock::lost();
        assert_eq!(lost.step(Duration::from_secs(1)).unwrap(), None);
        assert!(lost.is_open());
    }
}

//! The button inside. It must work when everything else has failed: it needs only its pin and the
//! time, and a press is never checked against anything.

use crate::Debounced;
use core::time::Duration;
use embedded_hal::digital::InputPin;

/// The request-to-exit button.
#[derive(Debug)]
pub struct RequestToExit<Pin> {
    button: Debounced<Pin>,
}

impl<Pin: InputPin> RequestToExit<Pin> {
    /// Creates a button on a logical pin: high is pressed.
    pub fn new(pin: Pin) -> Self {
        Self { button: Debounced::new(pin) }
    }

    /// Returns true when the button has just been pressed, once per press. A button that is down at
    /// the start counts as pressed: a person who waits behind the door during a restart gets out.
    ///
    /// # Errors
    /// The pin's error.
    pub fn step(&mut self, now: Duration) -> Result<bool, Pin::Error> {
        Ok(self.button.step(now)? == Some(true))
    }

    /// Checks that no press or release is settling.
    pub fn is_settled(&self) -> bool {
        self.button.is_settled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn press_counts_once_after_50_ms_even_at_the_start() {
        let table = [
            (0, State::High, false),
            (50, State::High, true),
            (1000, State::High, false),
            (1010, State::Low, false),
            (1060, State::Low, false),
            (1070, State::High, false),
            (1119, State::High, false),
            (1120, State::High, true),
        ];
        let reads: Vec<_> = table.iter().map(|(_, level, _)| Transaction::get(*level)).collect();
        let mut pin = Mock::new(&reads);
        let mut exit = RequestToExit::new(pin.clone());
        for (at, _, pressed) in table {
            assert_eq!(exit.step(Duration::from_millis(at)).unwrap(), pressed, "at {at} ms");
        }
        pin.done();
    }
}

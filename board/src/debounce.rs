//! Debounces a switch: a level counts once it is stable for the settling time.

use core::time::Duration;
use embedded_hal::digital::InputPin;

/// A logical input that reports settled changes.
#[derive(Debug)]
pub struct Debounced<Pin> {
    pin: Pin,
    settling: Duration,
    /// The last level read, and the time since which it is stable.
    candidate: Option<(bool, Duration)>,
    settled: Option<bool>,
}

impl<Pin> Debounced<Pin> {
    /// Enough for push buttons and reed contacts, which bounce for 1 to 20 ms.
    pub const SETTLING: Duration = Duration::from_millis(50);
}

impl<Pin: InputPin> Debounced<Pin> {
    /// Creates an input whose level counts after [`Debounced::SETTLING`].
    pub fn new(pin: Pin) -> Self {
        Self { pin, settling: Self::SETTLING, candidate: None, settled: None }
    }

    /// Reads the pin and returns a level that has just settled and differs from the settled level
    /// before; `true` is active. The first settled level is returned as well.
    ///
    /// # Errors
    /// The pin's error; the settled level stays, and settling starts again.
    pub fn step(&mut self, now: Duration) -> Result<Option<bool>, Pin::Error> {
        let level = match self.pin.is_high() {
            Ok(level) => level,
            Err(error) => {
                self.candidate = None;
                return Err(error);
            }
        };
        let since = match self.candidate {
            Some((same, since)) if same == level => since,
            _ => {
                self.candidate = Some((level, now));
                now
            }
        };
        if self.settled == Some(level) || now.saturating_sub(since) < self.settling {
            return Ok(None);
        }
        self.settled = Some(level);
        Ok(Some(level))
    }

    /// Checks whether the last level read is the settled level.
    pub fn is_settled(&self) -> bool {
        self.candidate.is_some_and(|(level, _)| self.settled == Some(level))
    }

    /// Returns the settled level; `None` before the first one.
    pub fn level(&self) -> Option<bool> {
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::io::ErrorKind;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn level_counts_after_the_settling_time() {
        let table = [
            (0, State::Low, None),
            (49, State::Low, None),
            (50, State::Low, Some(false)),
            (60, State::High, None),
            (100, State::High, None),
            (105, State::Low, None), // bounced
            (110, State::High, None),
            (159, State::High, None),
            (160, State::High, Some(true)),
            (500, State::High, None),
        ];
        let reads: Vec<_> = table.iter().map(|(_, level, _)| Transaction::get(*level)).collect();
        let mut pin = Mock::new(&reads);
        let mut input = Debounced::new(pin.clone());
        for (at, _, expected) in table {
            assert_eq!(input.step(ms(at)).unwrap(), expected, "at {at} ms");
        }
        assert_eq!(input.level(), Some(true));
        pin.done();
    }

    #[test]
    fn failed_read_restarts_settling() {
        let failure = MockError::Io(ErrorKind::NotConnected);
        let mut pin = Mock::new(&[
            Transaction::get(State::High),
            Transaction::get(State::High).with_error(failure),
            Transaction::get(State::High),
            Transaction::get(State::High),
        ]);
        let mut input = Debounced::new(pin.clone());
        assert_eq!(input.step(ms(0)).unwrap(), None);
        assert!(input.step(ms(40)).is_err());
        assert_eq!(input.step(ms(60)).unwrap(), None);
        assert_eq!(input.step(ms(110)).unwrap(), Some(true));
        pin.done();
    }
}

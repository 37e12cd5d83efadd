//! The passive infrared sensor (PIR): wakes the terminal when a person is near. It saves power and
//! light. No decision may depend on it.

use core::time::Duration;
use embedded_hal::digital::InputPin;

/// An event of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MotionEvent {
    /// A person came near.
    Awake,
    /// No motion for the quiet time.
    Asleep,
}

/// A PIR sensor.
#[derive(Debug)]
pub struct Motion<Pin> {
    pin: Pin,
    quiet: Duration,
    seen: Option<Duration>,
}

impl<Pin: InputPin> Motion<Pin> {
    /// A person who reads the screen moves at least this often.
    pub const QUIET: Duration = Duration::from_secs(20);

    /// Creates a sensor on a logical pin: high is motion. It is not debounced, because a PIR holds
    /// its level for seconds.
    pub fn new(pin: Pin) -> Self {
        Self { pin, quiet: Self::QUIET, seen: None }
    }

    /// Reads the sensor.
    ///
    /// # Errors
    /// The pin's error.
    pub fn step(&mut self, now: Duration) -> Result<Option<MotionEvent>, Pin::Error> {
        if self.pin.is_high()? {
            let asleep = self.seen.is_none();
            self.seen = Some(now);
            return Ok(asleep.then_some(MotionEvent::Awake));
        }
        if self.seen.is_some_and(|seen| now.saturating_sub(seen) >= self.quiet) {
            self.seen = None;
            return Ok(Some(MotionEvent::Asleep));
        }
        Ok(None)
    }

    /// Checks whether a person is near.
    pub fn is_awake(&self) -> bool {
        self.seen.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn motion_wakes_at_once_and_sleeps_after_the_quiet_time() {
        let table = [
            (0, State::Low, None),
            (10, State::High, Some(MotionEvent::Awake)),
            (5_000, State::High, None),
            (24_999, State::Low, None),
            (25_000, State::Low, Some(MotionEvent::Asleep)),
            (60_000, State::Low, None),
            (60_010, State::High, Some(MotionEvent::Awake)),
        ];
        let reads: Vec<_> = table.iter().map(|(_, level, _)| Transaction::get(*level)).collect();
        let mut pin = Mock::new(&reads);
        let mut motion = Motion::new(pin.clone());
        for (at, _, expected) in table {
            assert_eq!(motion.step(Duration::from_millis(at)).unwrap(), expected, "at {at} ms");
        }
        pin.done();
    }
}

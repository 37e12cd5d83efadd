//! The passive infrared sensor (PIR): somebody is near, so wake up. It saves power and light; no
//! decision may depend on it.

use core::time::Duration;
use embedded_hal::digital::InputPin;

/// What the sensor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MotionEvent {
    /// Somebody came near.
    Awake,
    /// Nobody moved for the quiet time.
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
    /// Somebody who reads the screen moves at least this often.
    pub const QUIET: Duration = Duration::from_secs(20);

    /// A sensor on a logical pin: high is motion. Not debounced: a PIR holds its level for seconds.
    pub fn new(pin: Pin) -> Self {
        Self { pin, quiet: Self::QUIET, seen: None }
    }

    /// Reads the sensor.
    ///
    /// # Errors
    /// The pin's.
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

    /// Whether somebody is near.
    pub fn is_awake(&self) -> bool {
        self.seen.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn it_wakes_at_once_and_sleeps_after_the_quiet_time() {
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

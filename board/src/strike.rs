//! The strike: released for a pulse, otherwise at its safe level.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{OutputPin, PinState};

/// What the lock does without power, and with it the level of the pin that is safe.
///
/// The pin drives a relay or transistor that is on when the pin is high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Locked without power; current releases it.
    FailSecure,
    /// Open without power (an escape route's magnet); current holds it.
    FailSafe,
}

impl Lock {
    /// The level at start, at stop, and whenever nobody was granted access.
    ///
    /// A fail-secure strike gets no current; a fail-safe lock gets current, which keeps it locked,
    /// and loses it with the power.
    pub fn safe_level(self) -> PinState {
        match self {
            Self::FailSecure => PinState::Low,
            Self::FailSafe => PinState::High,
        }
    }
}

/// A strike on a pin.
pub struct Strike<Pin> {
    pin: Pin,
    lock: Lock,
}

impl<Pin: OutputPin> Strike<Pin> {
    /// Takes the pin and brings it to its safe level before anything else.
    ///
    /// # Errors
    /// The pin's.
    pub fn new(mut pin: Pin, lock: Lock) -> Result<Self, Pin::Error> {
        pin.set_state(lock.safe_level())?;
        Ok(Self { pin, lock })
    }

    /// Releases the door for `pulse_ms`, then locks it again; locks it also when the release fails.
    ///
    /// # Errors
    /// The pin's; of two, that of the release.
    pub fn pulse(&mut self, delay: &mut impl DelayNs, pulse_ms: u32) -> Result<(), Pin::Error> {
        let released = self.pin.set_state(!self.lock.safe_level());
        if released.is_ok() {
            delay.delay_ms(pulse_ms);
        }
        let locked = self.pin.set_state(self.lock.safe_level());
        released.and(locked)
    }

    /// Gives the pin back at its safe level.
    ///
    /// # Errors
    /// The pin's.
    pub fn release(mut self) -> Result<Pin, Pin::Error> {
        self.pin.set_state(self.lock.safe_level())?;
        Ok(self.pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::delay::{CheckedDelay, Transaction as Wait};
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::io::ErrorKind;

    #[test]
    fn a_fail_secure_strike_has_current_for_the_pulse_only() {
        let pin = Mock::new(&[
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::set(State::Low),
            Transaction::set(State::Low),
        ]);
        let mut delay = CheckedDelay::new(&[Wait::delay_ms(500)]);
        let mut strike = Strike::new(pin, Lock::FailSecure).unwrap();
        strike.pulse(&mut delay, 500).unwrap();
        strike.release().unwrap().done();
        delay.done();
    }

    #[test]
    fn a_fail_safe_lock_loses_current_for_the_pulse_only() {
        let pin = Mock::new(&[
            Transaction::set(State::High),
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::set(State::High),
        ]);
        let mut delay = CheckedDelay::new(&[Wait::delay_ms(3000)]);
        let mut strike = Strike::new(pin, Lock::FailSafe).unwrap();
        strike.pulse(&mut delay, 3000).unwrap();
        strike.release().unwrap().done();
        delay.done();
    }

    #[test]
    fn a_failed_release_does_not_wait_and_locks_again() {
        let failure = MockError::Io(ErrorKind::NotConnected);
        let pin = Mock::new(&[
            Transaction::set(State::Low),
            Transaction::set(State::High).with_error(failure),
            Transaction::set(State::Low),
            Transaction::set(State::Low),
        ]);
        let mut delay = CheckedDelay::new(&[]);
        let mut strike = Strike::new(pin, Lock::FailSecure).unwrap();
        assert!(strike.pulse(&mut delay, 500).is_err());
        strike.release().unwrap().done();
        delay.done();
    }
}

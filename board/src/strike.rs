//! The strike: the electric lock and the line that switches its current. It never keeps current
//! when its owner goes, and never reports a level that the line was not read back at.

use core::time::Duration;
use embedded_hal::digital::{PinState, StatefulOutputPin};
use serde::Deserialize;

/// The logical level of a line without current. Whoever is in doubt drives this one: a fail-secure
/// strike is then locked by its mechanics (and opens by handle or key), a fail-safe lock is open.
pub const NO_CURRENT: PinState = PinState::Low;

/// What the lock does without current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Locked without current; current releases it.
    FailSecure,
    /// Open without current (an escape route's magnet); current holds it locked.
    FailSafe,
}

impl Lock {
    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailSecure => "fail_secure",
            Self::FailSafe => "fail_safe",
        }
    }

    /// The logical level (high is current) of a lock that people may pass (`released`) or may not.
    pub fn level(self, released: bool) -> PinState {
        PinState::from(released == (self == Self::FailSecure))
    }
}

/// How long the strike is released for one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pulse(Duration);

/// A pulse that no door has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a strike pulse of {0:?} is out of range: choose {min:?} to {max:?}", min = Pulse::MIN, max = Pulse::MAX)]
pub struct PulseError(pub Duration);

impl Pulse {
    /// Shorter, and a solenoid does not move.
    pub const MIN: Duration = Duration::from_millis(100);
    /// Longer is a door that stands unlocked, and more than most coils are rated for.
    pub const MAX: Duration = Duration::from_secs(30);

    /// A pulse between [`Pulse::MIN`] and [`Pulse::MAX`]; the controller keeps its whole milliseconds.
    ///
    /// # Errors
    /// Outside of that range.
    pub fn new(length: Duration) -> Result<Self, PulseError> {
        if !(Self::MIN..=Self::MAX).contains(&length) {
            return Err(PulseError(length));
        }
        Ok(Self(length))
    }

    /// Its length.
    pub fn length(self) -> Duration {
        self.0
    }
}

impl Default for Pulse {
    /// 3 s: the time to reach the handle and pull.
    fn default() -> Self {
        Self(Duration::from_secs(3))
    }
}

/// Why the line is not at the level that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError<E> {
    /// The driver refused.
    #[error("the strike's line could not be driven: {0:?}")]
    Pin(E),
    /// The driver agreed, and the line says otherwise.
    #[error(
        "the strike's line reads back {read:?} after {driven:?} was driven: check the wiring for a \
         short, and whether the GPIO driver reads outputs back"
    )]
    ReadBack {
        /// What was driven.
        driven: PinState,
        /// What was read.
        read: PinState,
    },
}

/// A strike on a logical pin: high is current.
#[derive(Debug)]
pub struct Strike<Pin: StatefulOutputPin> {
    pin: Pin,
    lock: Lock,
}

impl<Pin: StatefulOutputPin> Strike<Pin> {
    /// Takes the pin as it is.
    pub fn new(pin: Pin, lock: Lock) -> Self {
        Self { pin, lock }
    }

    /// What kind of lock it is.
    pub fn lock(&self) -> Lock {
        self.lock
    }

    /// Lets people pass, or locks; success is what was read back from the line.
    ///
    /// # Errors
    /// The pin's; a line that does not follow.
    pub fn set(&mut self, released: bool) -> Result<(), LineError<Pin::Error>> {
        let driven = self.lock.level(released);
        self.pin.set_state(driven).map_err(LineError::Pin)?;
        let read = PinState::from(self.pin.is_set_high().map_err(LineError::Pin)?);
        if read == driven { Ok(()) } else { Err(LineError::ReadBack { driven, read }) }
    }
}

impl<Pin: StatefulOutputPin> Drop for Strike<Pin> {
    fn drop(&mut self) {
        // The owner ends or panics: no reader of the button is left, and so no current may be.
        let _ = self.pin.set_state(NO_CURRENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::io::ErrorKind;

    #[test]
    fn current_releases_a_fail_secure_strike_and_holds_a_fail_safe_one() {
        let table = [
            (Lock::FailSecure, true, State::High),
            (Lock::FailSecure, false, State::Low),
            (Lock::FailSafe, true, State::Low),
            (Lock::FailSafe, false, State::High),
        ];
        for (lock, released, level) in table {
            let mut pin = Mock::new(&[
                Transaction::set(level),
                Transaction::get_state(level),
                // Dropped: no current, whichever lock it is.
                Transaction::set(State::Low),
            ]);
            let mut strike = Strike::new(pin.clone(), lock);
            strike.set(released).unwrap();
            drop(strike);
            pin.done();
        }
    }

    #[test]
    fn a_line_that_does_not_follow_is_an_error() {
        let failure = MockError::Io(ErrorKind::NotConnected);
        let mut pin = Mock::new(&[
            Transaction::set(State::High),
            Transaction::get_state(State::Low),
            Transaction::set(State::High).with_error(failure.clone()),
            Transaction::set(State::Low),
        ]);
        let mut strike = Strike::new(pin.clone(), Lock::FailSecure);
        let (driven, read) = (PinState::High, PinState::Low);
        assert_eq!(strike.set(true), Err(LineError::ReadBack { driven, read }));
        assert_eq!(strike.set(true), Err(LineError::Pin(failure)));
        drop(strike);
        pin.done();
    }

    #[test]
    fn pulses_are_bounded() {
        assert!(Pulse::new(Duration::from_millis(99)).is_err());
        assert!(Pulse::new(Duration::from_secs(30)).is_ok());
        assert_eq!(
            Pulse::new(Duration::from_millis(30_001)).unwrap_err().to_string(),
            "a strike pulse of 30.001s is out of range: choose 100ms to 30s"
        );
    }
}

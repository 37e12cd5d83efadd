//! The strike: the electric lock and the line that switches its current. It never leaves current on
//! when its owner is dropped, and never reports a level that was not read back.

use core::time::Duration;
use embedded_hal::digital::{PinState, StatefulOutputPin};
use serde::Deserialize;

/// The logical level of a line without current, to be used in doubt: a fail-secure strike is then
/// locked by its mechanics (and opens by handle or key), a fail-safe lock is open.
pub const NO_CURRENT: PinState = PinState::Low;

/// How the lock behaves without current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Locked without current; current releases it.
    FailSecure,
    /// Open without current (the magnet of an escape route); current holds it locked.
    FailSafe,
}

impl Lock {
    /// Returns the name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailSecure => "fail_secure",
            Self::FailSafe => "fail_safe",
        }
    }

    /// Returns the logical level (high is current) at which people can pass (`released`) or cannot.
    pub fn level(self, released: bool) -> PinState {
        PinState::from(released == (self == Self::FailSecure))
    }
}

/// How long the strike is released for one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pulse(Duration);

/// A pulse out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a strike pulse of {0:?} is out of range: choose {min:?} to {max:?}", min = Pulse::MIN, max = Pulse::MAX)]
pub struct PulseError(pub Duration);

impl Pulse {
    /// A solenoid does not move in less time.
    pub const MIN: Duration = Duration::from_millis(100);
    /// A longer pulse leaves the door unlocked, and exceeds the rating of most coils.
    pub const MAX: Duration = Duration::from_secs(30);

    /// Creates a pulse between [`Pulse::MIN`] and [`Pulse::MAX`]. The controller keeps only whole
    /// milliseconds.
    ///
    /// # Errors
    /// The length is out of this range.
    pub fn new(length: Duration) -> Result<Self, PulseError> {
        if !(Self::MIN..=Self::MAX).contains(&length) {
            return Err(PulseError(length));
        }
        Ok(Self(length))
    }

    /// Returns the length.
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

/// Why the line is not at the requested level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError<E> {
    /// The driver failed.
    #[error("the strike's line could not be driven: {0:?}")]
    Pin(E),
    /// The driver succeeded, but the line reads another level.
    #[error(
        "the strike's line reads back {read:?} after {driven:?} was driven: check the wiring for a \
         short, and whether the GPIO driver reads outputs back"
    )]
    ReadBack {
        /// The driven level.
        driven: PinState,
        /// The level that was read.
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
    /// Takes the pin without changing it.
    pub fn new(pin: Pin, lock: Lock) -> Self {
        Self { pin, lock }
    }

    /// Returns the kind of lock.
    pub fn lock(&self) -> Lock {
        self.lock
    }

    /// Releases or locks the strike. `Ok` means that the level was read back from the line.
    ///
    /// # Errors
    /// The pin's error, or a line that does not follow.
    pub fn set(&mut self, released: bool) -> Result<(), LineError<Pin::Error>> {
        let driven = self.lock.level(released);
        self.pin.set_state(driven).map_err(LineError::Pin)?;
        let read = PinState::from(self.pin.is_set_high().map_err(LineError::Pin)?);
        if read == driven { Ok(()) } else { Err(LineError::ReadBack { driven, read }) }
    }
}

impl<Pin: StatefulOutputPin> Drop for Strike<Pin> {
    fn drop(&mut self) {
        // The owner ends or panics: nothing reads the button any more, so there must be no current.
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
    fn current_releases_a_fail_secure_and_locks_a_fail_safe_strike() {
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
                // Dropped: no current for either lock.
                Transaction::set(State::Low),
            ]);
            let mut strike = Strike::new(pin.clone(), lock);
            strike.set(released).unwrap();
            drop(strike);
            pin.done();
        }
    }

    #[test]
    fn line_that_does_not_follow_is_an_error() {
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

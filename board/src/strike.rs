//! The strike: engaged for one pulse, otherwise at its safe level. It must never stay engaged
//! longer than its pulse, whatever is asked of it, and never end anywhere but at its safe level.

use core::time::Duration;
use embedded_hal::digital::{OutputPin, PinState};
use serde::Deserialize;

/// What the lock does without power, and with it the level that is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Locked without power; current releases it.
    FailSecure,
    /// Open without power (an escape route's magnet); current holds it.
    FailSafe,
}

impl Lock {
    /// The logical level at start, at stop, and whenever nobody was granted: locked. High is current.
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

/// How long the strike stays engaged for one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pulse(Duration);

/// A pulse that no door has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a strike pulse of {0:?} is out of range: choose {min:?} to {max:?}", min = Pulse::MIN, max = Pulse::MAX)]
pub struct PulseError(pub Duration);

impl Pulse {
    /// Shorter, and a solenoid does not move.
    pub const MIN: Duration = Duration::from_millis(100);
    /// Longer is a door that stands unlocked, and more than a strike's coil is rated for.
    pub const MAX: Duration = Duration::from_secs(30);

    /// A pulse between [`Pulse::MIN`] and [`Pulse::MAX`]; the dead man keeps its whole milliseconds.
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

/// Why a strike was not engaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal<E> {
    /// It is engaged already: its pulse is not prolonged.
    #[error("the strike is engaged already; ask again after it has relocked")]
    Engaged,
    /// Another door of the interlock is open.
    #[error("another door of the interlock is open; close it first")]
    Interlock,
    /// The pin failed; the strike was sent back to its safe level.
    #[error("the strike's line did not move; check the wiring: {0:?}")]
    Pin(E),
}

/// How often the safe level is written anew while locked: so that a line that fails, or a dead man
/// that died, is noticed before somebody stands at the door.
const REASSERT: Duration = Duration::from_secs(1);

/// A strike on a logical pin.
#[derive(Debug)]
pub struct Strike<Pin: OutputPin> {
    pin: Pin,
    lock: Lock,
    pulse: Pulse,
    /// When the pulse ends.
    until: Option<Duration>,
    /// When the safe level was last written, `None` when that failed.
    asserted: Option<Duration>,
}

impl<Pin: OutputPin> Strike<Pin> {
    /// Takes the pin and brings it to its safe level before anything else.
    ///
    /// # Errors
    /// The pin's.
    pub fn new(mut pin: Pin, lock: Lock, pulse: Pulse) -> Result<Self, Pin::Error> {
        pin.set_state(lock.safe_level())?;
        Ok(Self { pin, lock, pulse, until: None, asserted: Some(Duration::ZERO) })
    }

    /// Lets people pass for one pulse from `now` on. [`Strike::step`] ends it.
    ///
    /// # Errors
    /// While engaged; while another door of the interlock is open (`interlock_open`); the pin's.
    pub fn engage(
        &mut self,
        now: Duration,
        interlock_open: bool,
    ) -> Result<(), Refusal<Pin::Error>> {
        self.engage_for(now, self.pulse, interlock_open)
    }

    /// As [`Strike::engage`], for a pulse of another length.
    pub(crate) fn engage_for(
        &mut self,
        now: Duration,
        pulse: Pulse,
        interlock_open: bool,
    ) -> Result<(), Refusal<Pin::Error>> {
        if self.until.is_some() {
            return Err(Refusal::Engaged);
        }
        if interlock_open {
            return Err(Refusal::Interlock);
        }
        if let Err(error) = self.pin.set_state(!self.lock.safe_level()) {
            // The line may have moved all the same; if this fails too, step tries on.
            let _ = self.assert_safe(now);
            return Err(Refusal::Pin(error));
        }
        self.until = Some(now.saturating_add(pulse.length()));
        Ok(())
    }

    /// Ends the pulse when its time has come; true when the strike has just locked. While locked,
    /// writes the safe level anew every second.
    ///
    /// # Errors
    /// The pin's; the next step tries again.
    pub fn step(&mut self, now: Duration) -> Result<bool, Pin::Error> {
        match self.until {
            Some(until) if now >= until => self.relock(now),
            Some(_) => Ok(false),
            None => {
                if self.asserted.is_none_or(|at| now.saturating_sub(at) >= REASSERT) {
                    self.assert_safe(now)?;
                }
                Ok(false)
            }
        }
    }

    /// Ends the pulse at once; true when there was one.
    ///
    /// # Errors
    /// The pin's; the next step tries again.
    pub fn relock(&mut self, now: Duration) -> Result<bool, Pin::Error> {
        let engaged = self.until.is_some();
        if engaged {
            // Due from the first step on, should this fail.
            self.until = Some(Duration::ZERO);
            self.assert_safe(now)?;
            self.until = None;
        }
        Ok(engaged)
    }

    fn assert_safe(&mut self, now: Duration) -> Result<(), Pin::Error> {
        self.asserted = None;
        self.pin.set_state(self.lock.safe_level())?;
        self.asserted = Some(now);
        Ok(())
    }

    /// How long from `now` until there is something to do for [`Strike::step`]; `None`: nothing.
    pub(crate) fn due_in(&self, now: Duration) -> Option<Duration> {
        let doubtful = self.asserted.is_none().then_some(Duration::ZERO);
        self.until.map(|until| until.saturating_sub(now)).or(doubtful)
    }

    /// Whether people are let pass.
    pub fn is_engaged(&self) -> bool {
        self.until.is_some()
    }
}

impl<Pin: OutputPin> Drop for Strike<Pin> {
    fn drop(&mut self) {
        // Nobody is left to tell; the dead man ends the pulse when the line did not move.
        let _ = self.pin.set_state(self.lock.safe_level());
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

    fn pulse(length: u64) -> Pulse {
        Pulse::new(ms(length)).unwrap()
    }

    #[test]
    fn a_pulse_lasts_exactly_its_time_for_both_locks() {
        for (lock, safe, engaged) in
            [(Lock::FailSecure, State::Low, State::High), (Lock::FailSafe, State::High, State::Low)]
        {
            let mut pin = Mock::new(&[Transaction::set(safe)]);
            let mut strike = Strike::new(pin.clone(), lock, pulse(500)).unwrap();
            pin.done();
            pin.update_expectations(&[Transaction::set(engaged)]);
            strike.engage(ms(1000), false).unwrap();
            assert!(!strike.step(ms(1001)).unwrap());
            assert!(!strike.step(ms(1499)).unwrap());
            assert!(strike.is_engaged());
            pin.done();
            pin.update_expectations(&[Transaction::set(safe)]);
            assert!(strike.step(ms(1500)).unwrap());
            pin.done();
            // Locked, the level is written anew every second, and at the end.
            pin.update_expectations(&[]);
            assert!(!strike.step(ms(1999)).unwrap());
            pin.done();
            pin.update_expectations(&[Transaction::set(safe), Transaction::set(safe)]);
            assert!(!strike.step(ms(2500)).unwrap());
            assert!(!strike.step(ms(3499)).unwrap());
            drop(strike);
            pin.done();
        }
    }

    #[test]
    fn a_second_grant_does_not_prolong_the_pulse() {
        let mut pin = Mock::new(&[
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::set(State::Low),
            Transaction::set(State::Low),
        ]);
        let mut strike = Strike::new(pin.clone(), Lock::FailSecure, pulse(500)).unwrap();
        strike.engage(ms(0), false).unwrap();
        assert_eq!(strike.engage(ms(400), false), Err(Refusal::Engaged));
        assert!(strike.step(ms(500)).unwrap());
        drop(strike);
        pin.done();
    }

    #[test]
    fn an_open_door_of_the_interlock_keeps_the_line_still() {
        let mut pin = Mock::new(&[Transaction::set(State::Low), Transaction::set(State::Low)]);
        let mut strike = Strike::new(pin.clone(), Lock::FailSecure, pulse(500)).unwrap();
        assert_eq!(strike.engage(ms(0), true), Err(Refusal::Interlock));
        assert!(!strike.is_engaged());
        drop(strike);
        pin.done();
    }

    #[test]
    fn a_failed_release_locks_again() {
        let failure = MockError::Io(ErrorKind::NotConnected);
        let mut pin = Mock::new(&[
            Transaction::set(State::Low),
            Transaction::set(State::High).with_error(failure.clone()),
            Transaction::set(State::Low),
            Transaction::set(State::Low),
        ]);
        let mut strike = Strike::new(pin.clone(), Lock::FailSecure, pulse(500)).unwrap();
        assert_eq!(strike.engage(ms(0), false), Err(Refusal::Pin(failure)));
        assert!(!strike.step(ms(1)).unwrap());
        drop(strike);
        pin.done();
    }

    #[test]
    fn locking_is_tried_until_it_succeeds() {
        let failure = MockError::Io(ErrorKind::NotConnected);
        let mut pin = Mock::new(&[
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::set(State::Low).with_error(failure.clone()),
            Transaction::set(State::Low),
            // A release that fails, and whose way back fails: step brings it back.
            Transaction::set(State::High).with_error(failure.clone()),
            Transaction::set(State::Low).with_error(failure.clone()),
            Transaction::set(State::Low).with_error(failure.clone()),
            Transaction::set(State::Low),
            Transaction::set(State::Low),
        ]);
        let mut strike = Strike::new(pin.clone(), Lock::FailSecure, pulse(500)).unwrap();
        strike.engage(ms(0), false).unwrap();
        assert!(strike.step(ms(500)).is_err());
        assert!(strike.is_engaged());
        assert!(strike.step(ms(510)).unwrap());
        assert!(strike.engage(ms(600), false).is_err());
        assert!(strike.step(ms(610)).is_err());
        assert!(!strike.step(ms(620)).unwrap());
        drop(strike);
        pin.done();
    }

    #[test]
    fn pulses_are_bounded() {
        assert!(Pulse::new(ms(99)).is_err());
        assert!(Pulse::new(ms(30_000)).is_ok());
        assert_eq!(
            Pulse::new(ms(30_001)).unwrap_err().to_string(),
            "a strike pulse of 30.001s is out of range: choose 100ms to 30s"
        );
    }
}

//! Maps logical levels to levels on the wire, so that no driver needs to know the active level.

use embedded_hal::digital::{ErrorType, InputPin, OutputPin, PinState, StatefulOutputPin};
use serde::Deserialize;

/// The level on the wire at which a function is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActiveLevel {
    /// 3.3 V is active: a transistor, or a relay board with high-level trigger.
    High,
    /// 0 V is active: a contact to ground with a pull-up, or most cheap relay boards.
    Low,
}

impl ActiveLevel {
    /// Returns the level on the wire for a logical level. The function is its own inverse, so it
    /// also maps the other way.
    pub fn on_the_wire(self, logical: PinState) -> PinState {
        match self {
            Self::High => logical,
            Self::Low => !logical,
        }
    }
}

/// A pin with logical levels: high is active, whatever the level on the wire.
#[derive(Debug)]
pub struct Active<Pin> {
    pin: Pin,
    active: ActiveLevel,
}

impl<Pin> Active<Pin> {
    /// Takes a pin and its active level. Changes nothing on the wire.
    pub fn new(pin: Pin, active: ActiveLevel) -> Self {
        Self { pin, active }
    }
}

impl<Pin: ErrorType> ErrorType for Active<Pin> {
    type Error = Pin::Error;
}

impl<Pin: OutputPin> OutputPin for Active<Pin> {
    fn set_low(&mut self) -> Result<(), Pin::Error> {
        self.pin.set_state(self.active.on_the_wire(PinState::Low))
    }

    fn set_high(&mut self) -> Result<(), Pin::Error> {
        self.pin.set_state(self.active.on_the_wire(PinState::High))
    }
}

impl<Pin: StatefulOutputPin> StatefulOutputPin for Active<Pin> {
    fn is_set_high(&mut self) -> Result<bool, Pin::Error> {
        Ok(self.pin.is_set_high()? == (self.active == ActiveLevel::High))
    }

    fn is_set_low(&mut self) -> Result<bool, Pin::Error> {
        Ok(!self.is_set_high()?)
    }
}

impl<Pin: InputPin> InputPin for Active<Pin> {
    fn is_high(&mut self) -> Result<bool, Pin::Error> {
        Ok(self.pin.is_high()? == (self.active == ActiveLevel::High))
    }

    fn is_low(&mut self) -> Result<bool, Pin::Error> {
        Ok(!self.is_high()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn active_low_inverts_writes_and_reads() {
        let mut pin = Mock::new(&[
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::get(State::Low),
            Transaction::get(State::High),
            Transaction::get_state(State::Low),
        ]);
        let mut active = Active::new(pin.clone(), ActiveLevel::Low);
        active.set_high().unwrap();
        active.set_low().unwrap();
        assert!(active.is_high().unwrap());
        assert!(active.is_low().unwrap());
        assert!(active.is_set_high().unwrap());
        pin.done();
    }

    #[test]
    fn active_high_changes_nothing() {
        let mut pin = Mock::new(&[Transaction::set(State::High), Transaction::get(State::High)]);
        let mut active = Active::new(pin.clone(), ActiveLevel::High);
        active.set_state(PinState::High).unwrap();
        assert!(active.is_high().unwrap());
        pin.done();
    }
}

//! Red, green and white lamps for the person at the door. A failed lamp does not affect the others.

use embedded_hal::digital::{OutputPin, PinState};

/// Which lamps are lit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lit {
    /// A refusal or an alarm.
    pub red: bool,
    /// The strike is released: the person can enter.
    pub green: bool,
    /// Light on the face while a person is near.
    pub white: bool,
}

/// Up to three lamps; `None` for a lamp that the board lacks.
#[derive(Debug)]
pub struct Lamps<Pin: OutputPin> {
    red: Option<Pin>,
    green: Option<Pin>,
    white: Option<Pin>,
    /// The lamps that the pins show, as far as is known.
    lit: Option<Lit>,
}

impl<Pin: OutputPin> Lamps<Pin> {
    /// Takes logical pins: high is lit. The first [`Lamps::show`] writes all pins, dropping turns
    /// them off.
    pub fn new(red: Option<Pin>, green: Option<Pin>, white: Option<Pin>) -> Self {
        Self { red, green, white, lit: None }
    }

    /// Lights only these lamps. Writes to the pins only on a change.
    ///
    /// # Errors
    /// The error of the first pin that failed, after all pins were tried; the next call writes all
    /// pins again.
    pub fn show(&mut self, lit: Lit) -> Result<(), Pin::Error> {
        if self.lit == Some(lit) {
            return Ok(());
        }
        let lamps = [
            (&mut self.red, lit.red, self.lit.map(|shown| shown.red)),
            (&mut self.green, lit.green, self.lit.map(|shown| shown.green)),
            (&mut self.white, lit.white, self.lit.map(|shown| shown.white)),
        ];
        let mut outcome = Ok(());
        for (lamp, on, shown) in lamps {
            if let Some(pin) = lamp
                && shown != Some(on)
            {
                outcome = outcome.and(pin.set_state(PinState::from(on)));
            }
        }
        self.lit = outcome.is_ok().then_some(lit);
        outcome
    }
}

impl<Pin: OutputPin> Drop for Lamps<Pin> {
    fn drop(&mut self) {
        // A freed line may stay driven. A failure here cannot be reported to anyone.
        for pin in [&mut self.red, &mut self.green, &mut self.white].into_iter().flatten() {
            let _ = pin.set_low();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::io::ErrorKind;

    const GREEN: Lit = Lit { red: false, green: true, white: false };

    #[test]
    fn only_changes_are_written() {
        let [low, high] = [State::Low, State::High].map(Transaction::set);
        let mut red = Mock::new(&[low.clone(), high.clone(), low.clone()]);
        let mut green = Mock::new(&[high, low.clone(), low]);
        let mut lamps = Lamps::new(Some(red.clone()), Some(green.clone()), None);
        lamps.show(GREEN).unwrap();
        lamps.show(GREEN).unwrap();
        lamps.show(Lit { red: true, green: false, white: true }).unwrap();
        drop(lamps);
        red.done();
        green.done();
    }

    #[test]
    fn broken_lamp_does_not_affect_the_others_and_is_tried_again() {
        let failure = MockError::Io(ErrorKind::NotConnected);
        let mut red = Mock::new(&[
            Transaction::set(State::Low).with_error(failure),
            Transaction::set(State::Low),
            Transaction::set(State::Low),
        ]);
        let [low, high] = [State::Low, State::High].map(Transaction::set);
        let mut green = Mock::new(&[high.clone(), high, low]);
        let mut lamps = Lamps::new(Some(red.clone()), Some(green.clone()), None);
        assert!(lamps.show(GREEN).is_err());
        lamps.show(GREEN).unwrap();
        drop(lamps);
        red.done();
        green.done();
    }
}

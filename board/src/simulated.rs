//! A simulated board: its pins record and print changes, follow a script, and can be made to fail.
//! It is not only for tests; a demonstration runs a whole door on it.

use crate::level::ActiveLevel;
use crate::profile::{Function, Lines, Wiring};
use core::time::Duration;
use embedded_hal::digital::{
    self, ErrorKind, ErrorType, InputPin, OutputPin, PinState, StatefulOutputPin,
};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One change of a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Time of the change, by the board's clock.
    pub at: Duration,
    /// Name of the pin.
    pub pin: String,
    /// New level on the wire.
    pub level: PinState,
}

/// Timed changes of the inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(Vec<Change>);

/// An invalid line of a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the script, {text:?}: write TIME PIN LEVEL, such as `1500ms contact high`, times ascending"
)]
pub struct ScriptError {
    line: usize,
    text: String,
}

impl FromStr for Script {
    type Err = ScriptError;

    /// Parses one change per line: time from the start in `ms` or `s` (whole numbers), pin, and
    /// `high` or `low` on the wire. `#` begins a comment.
    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut changes: Vec<Change> = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let words: Vec<&str> =
                text.split('#').next().unwrap_or_default().split_whitespace().collect();
            let change = match words[..] {
                [] => continue,
                [at, pin, level] => parse(at, pin, level),
                _ => None,
            };
            let earlier = changes.last().map_or(Duration::ZERO, |change| change.at);
            let change = change.filter(|change| change.at >= earlier);
            changes.push(change.ok_or(ScriptError { line: index + 1, text: text.to_owned() })?);
        }
        Ok(Self(changes))
    }
}

fn parse(at: &str, pin: &str, level: &str) -> Option<Change> {
    let (number, unit): (_, fn(u64) -> Duration) = match at.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis),
        None => (at.strip_suffix('s')?, Duration::from_secs),
    };
    let level = match level {
        "high" => PinState::High,
        "low" => PinState::Low,
        _ => return None,
    };
    Some(Change { at: unit(number.parse().ok()?), pin: pin.to_owned(), level })
}

#[derive(Debug, Default)]
struct State {
    now: Duration,
    levels: BTreeMap<String, bool>,
    broken: BTreeSet<String>,
    log: Vec<Change>,
    script: Vec<Change>,
    prints: bool,
}

impl State {
    fn set(&mut self, at: Duration, pin: &str, level: PinState) {
        let high = level == PinState::High;
        if self.levels.insert(pin.to_owned(), high) == Some(high) {
            return;
        }
        if self.prints {
            let word = if high { "high" } else { "low" };
            println!("{:>9.3} s  {pin} {word}", at.as_secs_f64());
        }
        self.log.push(Change { at, pin: pin.to_owned(), level });
    }
}

/// The simulated board. Clones are the same board.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    state: Arc<Mutex<State>>,
}

impl Simulated {
    /// Creates a board whose inputs follow a script.
    pub fn new(script: Script) -> Self {
        let board = Self::default();
        board.state().script = script.0;
        board
    }

    /// Prints every change from this moment on to standard output.
    pub fn print(&self) {
        self.state().prints = true;
    }

    /// Sets the clock, after the script's changes up to that time.
    pub fn run_to(&self, now: Duration) {
        let mut state = self.state();
        let later = state.script.iter().position(|change| change.at > now);
        let due = later.unwrap_or(state.script.len());
        let due: Vec<Change> = state.script.drain(..due).collect();
        for change in due {
            state.set(change.at, &change.pin, change.level);
        }
        state.now = now;
    }

    /// Sets the level of a pin, like a hand on the button.
    pub fn set(&self, pin: &str, level: PinState) {
        let mut state = self.state();
        let now = state.now;
        state.set(now, pin, level);
    }

    /// Returns a pin's level on the wire; `None` before it was set.
    pub fn level(&self, pin: &str) -> Option<PinState> {
        self.state().levels.get(pin).map(|&high| PinState::from(high))
    }

    /// Makes every access to the pin fail until it is mended.
    pub fn break_pin(&self, pin: &str) {
        self.state().broken.insert(pin.to_owned());
    }

    /// Makes the pin work again.
    pub fn mend_pin(&self, pin: &str) {
        self.state().broken.remove(pin);
    }

    /// Returns every change so far, in order.
    pub fn log(&self) -> Vec<Change> {
        self.state().log.clone()
    }

    /// Returns a pin of the board by its name in scripts.
    pub fn pin(&self, name: &str) -> SimulatedPin {
        SimulatedPin { board: self.clone(), name: name.to_owned() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic of a test or driver the levels are still valid, and they are what a test
        // checks.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pin was made to fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated pin {0} is broken; mend it to go on")]
pub struct Broken(String);

impl digital::Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// A pin of the simulated board; low until it is set.
#[derive(Clone, Debug)]
pub struct SimulatedPin {
    board: Simulated,
    name: String,
}

impl SimulatedPin {
    fn working(&self) -> Result<MutexGuard<'_, State>, Broken> {
        let state = self.board.state();
        if state.broken.contains(&self.name) {
            return Err(Broken(self.name.clone()));
        }
        Ok(state)
    }
}

impl ErrorType for SimulatedPin {
    type Error = Broken;
}

impl OutputPin for SimulatedPin {
    fn set_low(&mut self) -> Result<(), Broken> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), Broken> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, level: PinState) -> Result<(), Broken> {
        let mut state = self.working()?;
        let now = state.now;
        state.set(now, &self.name, level);
        Ok(())
    }
}

impl StatefulOutputPin for SimulatedPin {
    fn is_set_high(&mut self) -> Result<bool, Broken> {
        self.is_high()
    }

    fn is_set_low(&mut self) -> Result<bool, Broken> {
        self.is_low()
    }
}

impl InputPin for SimulatedPin {
    fn is_high(&mut self) -> Result<bool, Broken> {
        Ok(self.working()?.levels.get(&self.name).copied().unwrap_or(false))
    }

    fn is_low(&mut self) -> Result<bool, Broken> {
        Ok(!self.is_high()?)
    }
}

impl Lines for Simulated {
    type Output = SimulatedPin;
    type Input = SimulatedPin;
    type Error = Broken;

    fn output(
        &mut self,
        function: Function,
        _wiring: &Wiring,
        level: PinState,
    ) -> Result<SimulatedPin, Broken> {
        let mut pin = self.pin(function.name());
        pin.set_state(level)?;
        Ok(pin)
    }

    /// An input that the script has not set yet is inactive.
    fn input(&mut self, function: Function, wiring: &Wiring) -> Result<SimulatedPin, Broken> {
        let name = function.name();
        if self.level(name).is_none() && wiring.active == ActiveLevel::Low {
            self.set(name, PinState::High);
        }
        Ok(self.pin(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_changes_the_inputs_at_its_times() {
        let script = "# somebody leaves\n1s exit low\n1200ms exit high # let go\n\n2s contact high";
        let board = Simulated::new(script.parse().unwrap());
        let mut exit = board.pin("exit");
        board.run_to(Duration::from_millis(999));
        assert_eq!(board.level("exit"), None);
        board.run_to(Duration::from_millis(1000));
        assert!(exit.is_low().unwrap());
        board.run_to(Duration::from_secs(5));
        assert!(exit.is_high().unwrap());
        let log: Vec<_> = board.log().into_iter().map(|c| (c.at.as_millis(), c.pin)).collect();
        let pins = ["exit", "exit", "contact"].map(str::to_owned);
        assert_eq!(log, [1000, 1200, 2000].into_iter().zip(pins).collect::<Vec<_>>());
    }

    #[test]
    fn invalid_script_is_refused_with_its_line_number() {
        for (script, line) in
            [("1s exit", 1), ("#\n1 exit low", 2), ("2s a low\n1s a high", 2), ("1s a up", 1)]
        {
            assert_eq!(script.parse::<Script>().unwrap_err().line, line, "{script:?}");
        }
    }

    #[test]
    fn broken_pin_fails_until_it_is_mended() {
        let board = Simulated::default();
        let mut pin = board.pin("lamp");
        pin.set_high().unwrap();
        board.break_pin("lamp");
        assert_eq!(pin.set_low(), Err(Broken("lamp".into())));
        assert_eq!(board.level("lamp"), Some(PinState::High));
        board.mend_pin("lamp");
        pin.set_low().unwrap();
    }
}

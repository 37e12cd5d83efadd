//! The lines of a Linux board, by the GPIO character device's second interface.
//!
//! A line's direction, pull and first level are one request to the kernel: there is no moment at
//! which a strike's line is driven at any but its safe level. Closing the handle frees the line,
//! and what it does then is the board's matter: see `docs/board.md`.

use crate::deadman::{self, HoldError};
use crate::profile::{Bias, Function, Line, Lines, Profile, Wiring};
use crate::strike::Lock;
use core::time::Duration;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::PinState;
use gpiocdev::chip::{Chip, chips};
use gpiocdev::line::{Bias as LineBias, Value};
use gpiocdev::request::{Builder, Request};
use gpiocdev_embedded_hal::{InputPin, OutputPin};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Shown by `gpioinfo` beside the lines.
const CONSUMER: &str = "doorward";

/// Why a line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GpioError {
    /// No GPIO chip at all.
    #[error(
        "there is no GPIO chip (/dev/gpiochip*) on this machine: on a PC use the board profile `pc`"
    )]
    NoChip,
    /// No chip has this label.
    #[error(
        "no GPIO chip is labelled {label:?}, there are: {found}; choose the profile of this board, or write the label into a profile of your own"
    )]
    Label {
        /// The profile's.
        label: String,
        /// What there is.
        found: String,
    },
    /// The device may not be opened.
    #[error("{} may not be opened: add the user to the group gpio (`usermod -aG gpio USER`) and log in anew", .0.display())]
    Permission(PathBuf),
    /// The chip has no such line.
    #[error("chip {chip} has no line {line}, which is to be {}; `gpioinfo` lists those it has", .function.name())]
    NoLine {
        /// The chip's label.
        chip: String,
        /// The profile's line.
        line: Line,
        /// What for.
        function: Function,
    },
    /// The kernel refuses the line.
    #[error("line {line} cannot be used for {}; `gpioinfo` shows whether something else holds it: {source}", .function.name())]
    Request {
        /// The profile's line.
        line: Line,
        /// What for.
        function: Function,
        /// The kernel's reason.
        source: gpiocdev_embedded_hal::Error,
    },
    /// Reading what chips there are failed.
    #[error("the GPIO chips cannot be read: {0}")]
    Chips(#[from] gpiocdev::Error),
}

/// Why the strike's line is not held.
#[derive(Debug, thiserror::Error)]
pub enum HoldStrikeError {
    /// The line.
    #[error(transparent)]
    Gpio(#[from] GpioError),
    /// The profile has no strike.
    #[error("the profile of {0} has no strike: add [lines.strike]")]
    NoStrike(String),
    /// What came later.
    #[error(transparent)]
    Hold(#[from] HoldError),
}

/// A GPIO chip, found by its label.
#[derive(Debug)]
pub struct Gpio {
    chip: Chip,
    label: String,
}

impl Gpio {
    /// Opens the chip of a profile.
    ///
    /// # Errors
    /// No chip, none of this label, no permission.
    pub fn open(profile: &Profile) -> Result<Self, GpioError> {
        let mut found = Vec::new();
        let mut forbidden = None;
        for path in chips()? {
            if let Err(error) = std::fs::File::open(&path)
                && error.kind() == std::io::ErrorKind::PermissionDenied
            {
                forbidden = Some(path);
                continue;
            }
            let chip = Chip::from_path(&path)?;
            let label = chip.info()?.label;
            if label == profile.chip {
                return Ok(Self { chip, label });
            }
            found.push(label);
        }
        match forbidden {
            Some(path) => Err(GpioError::Permission(path)),
            None if found.is_empty() => Err(GpioError::NoChip),
            None => Err(GpioError::Label { label: profile.chip.clone(), found: found.join(", ") }),
        }
    }

    /// The device of the chip.
    pub fn path(&self) -> &Path {
        self.chip.path()
    }

    /// A request for a line, its direction still to be said.
    fn request(&self, function: Function, wiring: &Wiring) -> Result<Builder, GpioError> {
        let no_line =
            || GpioError::NoLine { chip: self.label.clone(), line: wiring.line.clone(), function };
        let offset = match &wiring.line {
            Line::Offset(offset) => self.chip.line_info(*offset).map(|_| *offset).ok(),
            Line::Name(name) => self.chip.find_line_info(name).map(|info| info.offset),
        };
        let mut request = Request::builder();
        request.on_chip(self.chip.path()).with_consumer(CONSUMER);
        request.with_line(offset.ok_or_else(no_line)?);
        Ok(request)
    }
}

/// Sends a request and makes a pin of it.
fn pin<Pin>(function: Function, wiring: &Wiring, request: &mut Builder) -> Result<Pin, GpioError>
where
    Pin: TryFrom<Request, Error = gpiocdev_embedded_hal::Error>,
{
    // After the direction: choosing that resets nothing, but a pull needs a direction to apply to.
    let bias = wiring.bias.map(|bias| match bias {
        Bias::PullUp => LineBias::PullUp,
        Bias::PullDown => LineBias::PullDown,
        Bias::Disabled => LineBias::Disabled,
    });
    let refused = |source| GpioError::Request { line: wiring.line.clone(), function, source };
    let request = request.with_bias(bias).request().map_err(|error| refused(error.into()))?;
    Pin::try_from(request).map_err(refused)
}

impl Lines for Gpio {
    type Output = OutputPin;
    type Input = InputPin;
    type Error = GpioError;

    fn output(
        &mut self,
        function: Function,
        wiring: &Wiring,
        level: PinState,
    ) -> Result<OutputPin, GpioError> {
        let value = match level {
            PinState::High => Value::Active,
            PinState::Low => Value::Inactive,
        };
        pin(function, wiring, self.request(function, wiring)?.as_output(value))
    }

    fn input(&mut self, function: Function, wiring: &Wiring) -> Result<InputPin, GpioError> {
        pin(function, wiring, self.request(function, wiring)?.as_input())
    }
}

/// The whole life of the dead man: takes the strike's line at its safe level and holds it for the
/// daemon on standard input and output. What `HeldPin::spawn` is to start.
///
/// # Errors
/// The line cannot be taken; what [`deadman::hold`] ends with.
pub fn hold_strike(profile: &Profile, lock: Lock) -> Result<(), HoldStrikeError> {
    let strike = profile.strike(&mut Gpio::open(profile)?, lock)?;
    let strike = strike.ok_or_else(|| HoldStrikeError::NoStrike(profile.board.clone()))?;
    Ok(deadman::hold(std::io::stdin(), std::io::stdout(), strike, lock)?)
}

/// Waits as exactly as Linux lets one: sleeps all but the last moment and spins through that,
/// since a sleep of 50 µs takes more than 100. For Wiegand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        /// By how much a sleep may be late on a quiet machine.
        const LATE: Duration = Duration::from_micros(200);
        let wanted = Duration::from_nanos(u64::from(ns));
        let start = Instant::now();
        if let Some(sleep) = wanted.checked_sub(LATE) {
            std::thread::sleep(sleep);
        }
        while start.elapsed() < wanted {
            core::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_is_not_this_one_is_refused_with_what_to_do() {
        let mut profile = Profile::shipped("raspberry-pi-5").unwrap();
        profile.chip = "a chip that no machine has".into();
        let error = Gpio::open(&profile).unwrap_err();
        let text = error.to_string();
        match error {
            GpioError::NoChip => assert!(text.contains("board profile `pc`"), "{text}"),
            GpioError::Label { .. } => assert!(text.contains("there are: "), "{text}"),
            GpioError::Permission(_) => assert!(text.contains("group gpio"), "{text}"),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_delay_is_never_short() {
        for us in [50, 2000] {
            let start = Instant::now();
            Delay.delay_us(us);
            assert!(start.elapsed() >= Duration::from_micros(u64::from(us)));
        }
    }
}

//! Opens the lines of a Linux board through the GPIO character device's second interface.
//!
//! One request to the kernel sets a line's direction, pull and first level: a strike's line is
//! never driven at another level than the requested one. Closing the last handle frees the line.
//! What a freed line does depends on the board: see `docs/board.md`.

use crate::profile::{Bias, Function, Line, Lines, Profile, Wiring};
use core::time::Duration;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{
    self, ErrorKind, ErrorType, InputPin, OutputPin, PinState, StatefulOutputPin,
};
use gpiocdev::chip::{Chip, chips};
use gpiocdev::line::{Bias as LineBias, Value};
use gpiocdev::request::{Builder, Request};
use gpiocdev_uapi::v2::{LineValues, get_line_values, set_line_values};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Shown by `gpioinfo` next to the lines.
const CONSUMER: &str = "doorward";

/// Why a line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GpioError {
    /// There is no GPIO chip.
    #[error(
        "there is no GPIO chip (/dev/gpiochip*) on this machine: on a PC use the board profile `pc`"
    )]
    NoChip,
    /// No chip has this label.
    #[error(
        "no GPIO chip is labelled {label:?}, there are: {found}; choose the profile of this board, or write the label into a profile of your own"
    )]
    Label {
        /// The profile's label.
        label: String,
        /// The labels that exist.
        found: String,
    },
    /// The device may not be opened.
    #[error("{} may not be opened: add the user to the group gpio (`usermod -aG gpio USER`) and log in again", .0.display())]
    Permission(PathBuf),
    /// The chip has no such line.
    #[error("chip {chip} has no line {line}, which is to be {}; `gpioinfo` lists those it has", .function.name())]
    NoLine {
        /// The chip's label.
        chip: String,
        /// The profile's line.
        line: Line,
        /// The line's function.
        function: Function,
    },
    /// The kernel refuses the line.
    #[error("line {line} cannot be used for {}; `gpioinfo` shows whether something else holds it: {source}", .function.name())]
    Request {
        /// The profile's line.
        line: Line,
        /// The line's function.
        function: Function,
        /// The kernel's error.
        source: gpiocdev::Error,
    },
    /// The list of chips cannot be read.
    #[error("the GPIO chips cannot be read: {0}")]
    Chips(#[from] gpiocdev::Error),
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
    /// There is no chip, no chip with this label, or no permission.
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

    /// Returns the path of the chip's device.
    pub fn path(&self) -> &Path {
        self.chip.path()
    }

    /// Starts a request for a line, without a direction.
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

/// A line of a GPIO chip, held through its descriptor until it is dropped. Its levels are those on
/// the wire.
#[derive(Debug)]
pub struct GpioLine(File);

impl GpioLine {
    /// Takes over a line that another process has handed over.
    pub fn adopted(descriptor: OwnedFd) -> Self {
        Self(File::from(descriptor))
    }

    /// Duplicates its descriptor for a handover.
    pub fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.0.try_clone().map(OwnedFd::from)
    }

    fn read(&self) -> Result<bool, LineFailed> {
        let mut values = LineValues { bits: 0, mask: 1 };
        get_line_values(&self.0, &mut values)?;
        Ok(values.bits & 1 == 1)
    }
}

/// The driver of a line failed.
#[derive(Debug, thiserror::Error)]
#[error("the GPIO driver failed: {0}")]
pub struct LineFailed(#[from] gpiocdev_uapi::Error);

impl digital::Error for LineFailed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for GpioLine {
    type Error = LineFailed;
}

impl OutputPin for GpioLine {
    fn set_low(&mut self) -> Result<(), LineFailed> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), LineFailed> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, level: PinState) -> Result<(), LineFailed> {
        let bits = u64::from(level == PinState::High);
        Ok(set_line_values(&self.0, &LineValues { bits, mask: 1 })?)
    }
}

impl StatefulOutputPin for GpioLine {
    /// Reads the level from the hardware.
    fn is_set_high(&mut self) -> Result<bool, LineFailed> {
        self.read()
    }

    fn is_set_low(&mut self) -> Result<bool, LineFailed> {
        Ok(!self.read()?)
    }
}

impl InputPin for GpioLine {
    fn is_high(&mut self) -> Result<bool, LineFailed> {
        self.read()
    }

    fn is_low(&mut self) -> Result<bool, LineFailed> {
        Ok(!self.read()?)
    }
}

/// Sends a request and creates the line.
fn line(function: Function, wiring: &Wiring, request: &mut Builder) -> Result<GpioLine, GpioError> {
    // Set after the direction: choosing the direction resets nothing, but a pull needs a direction
    // to apply to.
    let bias = wiring.bias.map(|bias| match bias {
        Bias::PullUp => LineBias::PullUp,
        Bias::PullDown => LineBias::PullDown,
        Bias::Disabled => LineBias::Disabled,
    });
    let refused = |source| GpioError::Request { line: wiring.line.clone(), function, source };
    let request = request.with_bias(bias).request().map_err(refused)?;
    // The request's own handle closes, and this one keeps the line.
    let descriptor = request.as_fd().try_clone_to_owned();
    let descriptor = descriptor.map_err(|error| refused(gpiocdev::Error::Os((&error).into())))?;
    Ok(GpioLine::adopted(descriptor))
}

impl Lines for Gpio {
    type Output = GpioLine;
    type Input = GpioLine;
    type Error = GpioError;

    fn output(
        &mut self,
        function: Function,
        wiring: &Wiring,
        level: PinState,
    ) -> Result<GpioLine, GpioError> {
        let value = match level {
            PinState::High => Value::Active,
            PinState::Low => Value::Inactive,
        };
        line(function, wiring, self.request(function, wiring)?.as_output(value))
    }

    fn input(&mut self, function: Function, wiring: &Wiring) -> Result<GpioLine, GpioError> {
        line(function, wiring, self.request(function, wiring)?.as_input())
    }
}

/// Returns `CLOCK_MONOTONIC` in whole milliseconds, which all processes of this machine share.
pub fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let milliseconds = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
    Duration::from_millis(seconds * 1000 + milliseconds)
}

/// Waits as exactly as Linux allows: it sleeps until shortly before the end and then spins, since a
/// sleep of 50 µs takes more than 100 µs. For Wiegand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        /// How late a sleep may end on a quiet machine.
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
    fn profile_of_another_board_is_refused_with_advice() {
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
    fn delay_is_never_too_short() {
        for us in [50, 2000] {
            let start = Instant::now();
            Delay.delay_us(us);
            assert!(start.elapsed() >= Duration::from_micros(u64::from(us)));
        }
    }
}

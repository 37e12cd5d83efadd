//! Board profiles: the chip, line, active level and pull of each function. Each board has one TOML
//! file in `board/profiles/`; the program contains the four shipped ones.
//!
//! A profile describes the wiring, never how the door behaves.

use crate::buzzer::Buzzer;
use crate::contact::{Contact, ContactLimits};
use crate::controller::Inputs;
use crate::debounce::Debounced;
use crate::door::Parts;
use crate::interlock::Interlock;
use crate::lamps::Lamps;
use crate::level::{Active, ActiveLevel};
use crate::motion::Motion;
use crate::request_to_exit::RequestToExit;
use crate::strike::NO_CURRENT;
use crate::tamper::Tamper;
use crate::wiegand::Wiegand;
use embedded_hal::digital::{InputPin, PinState, StatefulOutputPin};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The function of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Output: current through the strike.
    Strike,
    /// Output: red lamp.
    Red,
    /// Output: green lamp.
    Green,
    /// Output: white lamp.
    White,
    /// Output: buzzer.
    Buzzer,
    /// Input: request-to-exit, active when pressed.
    RequestToExit,
    /// Input: the fire alarm's contact, active on alarm.
    Fire,
    /// Input: door contact, active when open.
    Contact,
    /// Input: contact of another door, active when that is open.
    Interlock,
    /// Input: tamper switch, active when the housing is open.
    Tamper,
    /// Input: PIR sensor, active on motion.
    Motion,
    /// Output: Wiegand D0, active is the pulse.
    WiegandD0,
    /// Output: Wiegand D1, active is the pulse.
    WiegandD1,
}

impl Function {
    /// Every function, in the order of the documentation's tables.
    pub const ALL: [Self; 13] = [
        Self::Strike,
        Self::Red,
        Self::Green,
        Self::White,
        Self::Buzzer,
        Self::RequestToExit,
        Self::Fire,
        Self::Contact,
        Self::Interlock,
        Self::Tamper,
        Self::Motion,
        Self::WiegandD0,
        Self::WiegandD1,
    ];

    /// Returns the name in profiles and scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strike => "strike",
            Self::Red => "red",
            Self::Green => "green",
            Self::White => "white",
            Self::Buzzer => "buzzer",
            Self::RequestToExit => "request_to_exit",
            Self::Fire => "fire",
            Self::Contact => "contact",
            Self::Interlock => "interlock",
            Self::Tamper => "tamper",
            Self::Motion => "motion",
            Self::WiegandD0 => "wiegand_d0",
            Self::WiegandD1 => "wiegand_d1",
        }
    }
}

/// A line of the chip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// By its offset within the chip.
    Offset(u32),
    /// By the name that the kernel gives it (see `gpioinfo`).
    Name(String),
}

impl fmt::Display for Line {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(to, "{offset}"),
            Self::Name(name) => to.write_str(name),
        }
    }
}

/// The pull of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// To 3.3 V.
    PullUp,
    /// To ground.
    PullDown,
    /// No pull.
    Disabled,
}

/// The wiring of a function.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wiring {
    /// The line.
    pub line: Line,
    /// The active level on the wire.
    pub active: ActiveLevel,
    /// The pull; `None` keeps the board's setting.
    pub bias: Option<Bias>,
    /// Pin number on the board's 40-pin header, for information only.
    pub header: Option<u8>,
}

/// A board.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of the board.
    pub board: String,
    /// The chip's label (`gpiodetect` prints it in brackets), or `simulated`. Never a number: the
    /// kernel has renumbered chips more than once.
    pub chip: String,
    /// What was tried on the real board, and what was not.
    pub tested: String,
    /// The functions that are wired.
    pub lines: BTreeMap<Function, Wiring>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or with unknown or missing keys.
    #[error("the board profile cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// Two functions share a line.
    #[error("{} and {} are both on line {line}: give each a line of its own", .first.name(), .second.name())]
    SameLine {
        /// The line.
        line: Line,
        /// One function.
        first: Function,
        /// The other function.
        second: Function,
    },
    /// Only one of the two Wiegand lines.
    #[error("Wiegand needs both wiegand_d0 and wiegand_d1: add the other or remove both")]
    HalfWiegand,
    /// A chip by its device number, which may change with the kernel.
    #[error(
        "chip {0:?} is a device, whose number changes: write the label that `gpiodetect` prints in brackets"
    )]
    Device(String),
    /// No shipped profile has this name.
    #[error(
        "there is no board profile {0:?}: choose raspberry-pi-4, raspberry-pi-5, jetson-orin-nano or pc, or give a file"
    )]
    Unknown(String),
}

const SHIPPED: [(&str, &str); 4] = [
    ("raspberry-pi-4", include_str!("../profiles/raspberry-pi-4.toml")),
    ("raspberry-pi-5", include_str!("../profiles/raspberry-pi-5.toml")),
    ("jetson-orin-nano", include_str!("../profiles/jetson-orin-nano.toml")),
    ("pc", include_str!("../profiles/pc.toml")),
];

/// A source of lines: a GPIO chip, or a simulated board.
pub trait Lines {
    /// An output line. Its high and low are levels on the wire.
    type Output: StatefulOutputPin;
    /// An input line. Its high and low are levels on the wire.
    type Input: InputPin;
    /// Why a line cannot be opened.
    type Error;

    /// Opens a line as an output that is at `level` on the wire from the start.
    ///
    /// # Errors
    /// The source's error.
    fn output(
        &mut self,
        function: Function,
        wiring: &Wiring,
        level: PinState,
    ) -> Result<Self::Output, Self::Error>;

    /// Opens a line as an input.
    ///
    /// # Errors
    /// The source's error.
    fn input(&mut self, function: Function, wiring: &Wiring) -> Result<Self::Input, Self::Error>;
}

/// An output of a source with logical levels.
pub type Output<L> = Active<<L as Lines>::Output>;
/// An input of a source with logical levels.
pub type Input<L> = Active<<L as Lines>::Input>;

impl Profile {
    /// Parses a profile from TOML.
    ///
    /// # Errors
    /// Unknown or missing keys, two functions on one line, half a Wiegand output.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text)?;
        if profile.chip.contains('/') || profile.chip.starts_with("gpiochip") {
            return Err(ProfileError::Device(profile.chip));
        }
        let mut taken: BTreeMap<&Line, Function> = BTreeMap::new();
        for (&second, wiring) in &profile.lines {
            if let Some(first) = taken.insert(&wiring.line, second) {
                return Err(ProfileError::SameLine { line: wiring.line.clone(), first, second });
            }
        }
        let has = |function| profile.lines.contains_key(&function);
        if has(Function::WiegandD0) != has(Function::WiegandD1) {
            return Err(ProfileError::HalfWiegand);
        }
        Ok(profile)
    }

    /// Returns a shipped profile.
    ///
    /// # Errors
    /// No shipped profile has this name.
    pub fn shipped(name: &str) -> Result<Self, ProfileError> {
        let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
        Self::parse(found.ok_or_else(|| ProfileError::Unknown(name.to_owned()))?.1)
    }

    /// Returns the names of the shipped profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// Checks whether the board is simulated.
    pub fn is_simulated(&self) -> bool {
        self.chip == "simulated"
    }

    /// Opens the strike's line without current; `None` if the profile has no strike.
    ///
    /// # Errors
    /// The source's error.
    pub fn strike<L: Lines>(&self, lines: &mut L) -> Result<Option<Output<L>>, L::Error> {
        self.output(lines, Function::Strike, NO_CURRENT)
    }

    /// Opens the inputs of the lock controller. A contact whose line cannot be opened is reported
    /// to `lost` and left out: people must get out without it.
    ///
    /// # Errors
    /// The source's error, for the button and the fire input.
    pub fn inputs<L: Lines>(
        &self,
        lines: &mut L,
        limits: ContactLimits,
        mut lost: impl FnMut(Function, L::Error),
    ) -> Result<Inputs<Input<L>>, L::Error> {
        let exit = self.input(lines, Function::RequestToExit)?.map(RequestToExit::new);
        let fire = self.input(lines, Function::Fire)?.map(Debounced::new);
        let contact = self.input(lines, Function::Contact).unwrap_or_else(|error| {
            lost(Function::Contact, error);
            None
        });
        Ok(Inputs { exit, fire, contact: contact.map(|pin| Contact::new(pin, limits)) })
    }

    /// Opens the daemon's own parts of a door. A lamp, buzzer or switch whose line cannot be opened
    /// is reported to `lost` and left out. An interlock is reported too but not left out: without
    /// its line the other door counts as open.
    pub fn parts<L: Lines>(
        &self,
        lines: &mut L,
        mut lost: impl FnMut(Function, L::Error),
    ) -> Parts<Output<L>, Input<L>> {
        let [red, green, white, buzzer] =
            [Function::Red, Function::Green, Function::White, Function::Buzzer].map(|function| {
                let pin = self.output(lines, function, PinState::Low);
                pin.unwrap_or_else(|error| {
                    lost(function, error);
                    None
                })
            });
        let [tamper, motion] = [Function::Tamper, Function::Motion].map(|function| {
            self.input(lines, function).unwrap_or_else(|error| {
                lost(function, error);
                None
            })
        });
        let interlock = self.input(lines, Function::Interlock).map(|pin| pin.map(Interlock::new));
        let interlock = interlock.unwrap_or_else(|error| {
            lost(Function::Interlock, error);
            Some(Interlock::lost())
        });
        Parts {
            lamps: Lamps::new(red, green, white),
            buzzer: buzzer.map(Buzzer::new),
            interlock,
            tamper: tamper.map(Tamper::new),
            motion: motion.map(Motion::new),
        }
    }

    /// Opens the Wiegand output, idle; `None` if the profile has none.
    ///
    /// # Errors
    /// The source's error.
    pub fn wiegand<L: Lines>(&self, lines: &mut L) -> Result<Option<Wiegand<Output<L>>>, L::Error> {
        let d0 = self.output(lines, Function::WiegandD0, PinState::Low)?;
        let d1 = self.output(lines, Function::WiegandD1, PinState::Low)?;
        Ok(d0.zip(d1).map(|(d0, d1)| Wiegand::new(d0, d1)))
    }

    fn output<L: Lines>(
        &self,
        lines: &mut L,
        function: Function,
        logical: PinState,
    ) -> Result<Option<Output<L>>, L::Error> {
        let Some(wiring) = self.lines.get(&function) else { return Ok(None) };
        let pin = lines.output(function, wiring, wiring.active.on_the_wire(logical))?;
        Ok(Some(Active::new(pin, wiring.active)))
    }

    fn input<L: Lines>(
        &self,
        lines: &mut L,
        function: Function,
    ) -> Result<Option<Input<L>>, L::Error> {
        let Some(wiring) = self.lines.get(&function) else { return Ok(None) };
        Ok(Some(Active::new(lines.input(function, wiring)?, wiring.active)))
    }
}

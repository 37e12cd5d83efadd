//! Profiles: which line of which chip does what on a board, at what level, with what pull. One
//! TOML file a board in `board/profiles/`; the four shipped ones are part of the program.
//!
//! A profile says where things are, never how the door behaves.

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

/// What a line is for.
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
    /// Every function, in the order of the tables.
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

    /// As profiles and scripts write it.
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
    /// By the name that the kernel gives it (`gpioinfo` prints them).
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
    /// Neither.
    Disabled,
}

/// How a function is wired.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wiring {
    /// Its line.
    pub line: Line,
    /// The level on the wire at which it is active.
    pub active: ActiveLevel,
    /// The pull; none given leaves it as the board has it.
    pub bias: Option<Bias>,
    /// The pin of the board's 40-pin header, for people.
    pub header: Option<u8>,
}

/// A board.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What board it is.
    pub board: String,
    /// The chip's label (`gpiodetect` prints it in brackets), or `simulated`. Never a number: the
    /// kernel has renumbered chips more than once.
    pub chip: String,
    /// What was tried on the real board, and what was not.
    pub tested: String,
    /// The functions that are wired.
    pub lines: BTreeMap<Function, Wiring>,
}

/// Why a profile is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or not of this form.
    #[error("the board profile cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// Two functions on one line.
    #[error("{} and {} are both on line {line}: give each a line of its own", .first.name(), .second.name())]
    SameLine {
        /// The line.
        line: Line,
        /// The one function.
        first: Function,
        /// The other.
        second: Function,
    },
    /// One of the two Wiegand lines.
    #[error("Wiegand needs both wiegand_d0 and wiegand_d1: add the other or remove both")]
    HalfWiegand,
    /// A chip that would move with the kernel.
    #[error(
        "chip {0:?} is a device, whose number changes: write the label that `gpiodetect` prints in brackets"
    )]
    Device(String),
    /// No profile of this name is shipped.
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

/// Where lines come from: a GPIO chip, or a simulated board.
pub trait Lines {
    /// A line that is driven. Its high and low are those on the wire.
    type Output: StatefulOutputPin;
    /// A line that is read. Its high and low are those on the wire.
    type Input: InputPin;
    /// Why there is no such line.
    type Error;

    /// Takes a line as an output that is at `level` on the wire from the start.
    ///
    /// # Errors
    /// The source's.
    fn output(
        &mut self,
        function: Function,
        wiring: &Wiring,
        level: PinState,
    ) -> Result<Self::Output, Self::Error>;

    /// Takes a line as an input.
    ///
    /// # Errors
    /// The source's.
    fn input(&mut self, function: Function, wiring: &Wiring) -> Result<Self::Input, Self::Error>;
}

/// An output of a source, seen by its function.
pub type Output<L> = Active<<L as Lines>::Output>;
/// An input of a source, seen by its function.
pub type Input<L> = Active<<L as Lines>::Input>;

impl Profile {
    /// The profile of a TOML text.
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

    /// A shipped profile.
    ///
    /// # Errors
    /// None of this name is shipped.
    pub fn shipped(name: &str) -> Result<Self, ProfileError> {
        let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
        Self::parse(found.ok_or_else(|| ProfileError::Unknown(name.to_owned()))?.1)
    }

    /// The names of the shipped profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// Whether the board is simulated.
    pub fn is_simulated(&self) -> bool {
        self.chip == "simulated"
    }

    /// The strike's pin, requested without current; `None` where there is no strike.
    ///
    /// # Errors
    /// The source's.
    pub fn strike<L: Lines>(&self, lines: &mut L) -> Result<Option<Output<L>>, L::Error> {
        self.output(lines, Function::Strike, NO_CURRENT)
    }

    /// The inputs of the lock controller. A contact whose line cannot be had is told to `lost` and
    /// left out: people must get out without it.
    ///
    /// # Errors
    /// The source's, for the button and the fire input.
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

    /// What the daemon itself has of a door. A lamp, a buzzer, a switch whose line cannot be had is
    /// told to `lost` and left out. An interlock is told as well and not left out: without its line
    /// the other door counts as open.
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

    /// The Wiegand output, idle; `None` where there is none.
    ///
    /// # Errors
    /// The source's.
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

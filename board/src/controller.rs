//! The lock controller: what lets people out while the daemon is dead, hung, being replaced or not
//! started. It alone owns the strike, request-to-exit, the fire input and the contact.
//!
//! | event | `fail_secure` | `fail_safe` |
//! |---|---|---|
//! | no controller | no current: locked by its mechanics | no current: open |
//! | controller, no commander | no current; button and fire give their pulses | current while the button can be read; button and fire release |
//! | controller ends or panics | no current | no current: open |
//! | button or fire input unreadable | no current, a fault | no current: open, a fault |
//!
//! Principles:
//! 1. Button and fire are never checked against anything and never ended by a commander's silence.
//! 2. What a commander asked for ends by its own time, by its word, or by its silence.
//! 3. An outcome is what the line was read back at, not what was written to it.
//! 4. Nothing here waits: no disk, no network, no commander. Time is handed in.
//!
//! Terms. The *commander* is the one daemon that is connected. The strike is *released* while it
//! lets people pass. A *pulse* is a release of fixed length; a *lease* is a release that its
//! commander renews. A coil *rests* after [`Pulse::MAX`] of current, unless it is rated for
//! continuous duty.

mod events;
#[cfg(target_os = "linux")]
mod handover;
mod link;
mod serve;
mod settings;
mod wire;

pub use events::{Cause, Event, Kept, Numbered};
#[cfg(target_os = "linux")]
pub use handover::{Adopted, Handover, HeldLine, HeldLines, VARIABLE as HANDOVER};
pub use link::{Link, Report, connect};
pub use serve::{End, Server};
pub use settings::{Keys, Settings, SettingsError};
pub use wire::{Command, FrameError, Message, Outcome, PROTOCOL, Status, Welcome};

use crate::contact::{Contact, ContactEvent};
use crate::debounce::Debounced;
use crate::door::Part;
use crate::request_to_exit::RequestToExit;
use crate::strike::{Lock, Pulse, Strike};
use core::time::Duration;
use embedded_hal::digital::{InputPin, StatefulOutputPin};

/// A command older than this was queued while something hung: the person it was for has gone.
pub const FRESH: Duration = Duration::from_secs(2);
/// How long a coil that is not rated for continuous duty rests after [`Pulse::MAX`] of current.
const REST: Duration = Duration::from_secs(5);
/// How often the level is driven again while it does not change: another driver of the line, or a
/// line that failed, is noticed before a person stands at the door.
const REASSERT: Duration = Duration::from_secs(1);
/// An input that fails for so long counts as unreadable; one failed read is no reason to open.
const UNREADABLE: Duration = Duration::from_millis(200);
/// An input counts as readable again after reading well for so long, so that a loose wire does not
/// make the lock rattle.
const READABLE: Duration = Duration::from_secs(1);

/// The inputs of the controller; what a board lacks is `None`.
#[derive(Debug)]
pub struct Inputs<Pin> {
    /// Request-to-exit.
    pub exit: Option<RequestToExit<Pin>>,
    /// The fire alarm's contact; high is alarm.
    pub fire: Option<Debounced<Pin>>,
    /// The door contact.
    pub contact: Option<Contact<Pin>>,
}

/// Whether an input that people's lives hang on can be read.
#[derive(Debug, Default)]
struct Readability {
    /// `None` before the first read.
    is_readable: Option<bool>,
    /// Since when reads have ended the other way.
    otherwise_since: Option<Duration>,
}

impl Readability {
    fn saw(&mut self, now: Duration, read: bool) {
        let Some(known) = self.is_readable else {
            self.is_readable = Some(read);
            return;
        };
        if known == read {
            self.otherwise_since = None;
            return;
        }
        let since = *self.otherwise_since.get_or_insert(now);
        let needed = if read { READABLE } else { UNREADABLE };
        if now.saturating_sub(since) >= needed {
            self.is_readable = Some(read);
            self.otherwise_since = None;
        }
    }

    fn is_lost(&self) -> bool {
        self.is_readable != Some(true)
    }
}

/// A release that a commander asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    by: Cause,
    /// When the strike was first released for it.
    first: Duration,
    until: Duration,
}

/// The state machine. Its owner steps it every [`crate::STEP`] and hands it commands in between.
#[derive(Debug)]
pub struct Controller<Line: StatefulOutputPin, Input> {
    strike: Strike<Line>,
    inputs: Inputs<Input>,
    pulse: Pulse,
    continuous: bool,
    exit_readable: Readability,
    fire_readable: Readability,
    fire: bool,
    /// The button's release ends then.
    exit_until: Option<Duration>,
    asked: Option<Asked>,
    /// Why the strike is released, and since when.
    released: Option<(Cause, Duration)>,
    /// The coil rests until then.
    rests_until: Option<Duration>,
    /// When the level was last driven with success; `None` after a failure.
    driven: Option<Duration>,
    failing: [bool; Part::COUNT],
    events: Vec<Event>,
}

impl<Line: StatefulOutputPin, Input: InputPin> Controller<Line, Input> {
    /// A controller whose strike is driven from the first step on.
    pub fn new(strike: Strike<Line>, inputs: Inputs<Input>, settings: &Settings) -> Self {
        Self {
            strike,
            inputs,
            pulse: settings.pulse,
            continuous: settings.continuous,
            exit_readable: Readability::default(),
            fire_readable: Readability::default(),
            fire: false,
            exit_until: None,
            asked: None,
            released: None,
            rests_until: None,
            driven: None,
            failing: [false; Part::COUNT],
            events: Vec::with_capacity(16),
        }
    }

    /// Reads the inputs and drives the strike as is due at `now`; what happened since the last step.
    /// Fails at nothing: a pin that fails is an event, and the other parts go on.
    pub fn step(&mut self, now: Duration) -> std::vec::Drain<'_, Event> {
        self.read_contact(now);
        self.read_exit(now);
        self.read_fire(now);
        if self.asked.is_some_and(|asked| now >= asked.until) {
            self.asked = None;
        }
        self.rests_until = self.rests_until.filter(|until| now < *until);
        if let Some(until) = self.exit_until {
            let whole = now.saturating_add(self.pulse.length());
            // While the coil rests or the line fails, the pulse has not begun.
            let waits = self.rests(now) || (self.released.is_none() && self.driven.is_none());
            self.exit_until = if waits { Some(whole) } else { Some(until).filter(|until| now < *until) };
        }
        self.drive(now);
        self.events.drain(..)
    }

    /// Follows a commander's order; the outcome is read back from the line.
    pub fn command(&mut self, now: Duration, command: &Command) -> Outcome {
        match *command {
            Command::Release { by, pulse, not_after } => {
                let until = now.saturating_add(pulse.length());
                self.ask(now, by, not_after, |first| until.min(first.saturating_add(Pulse::MAX)))
            }
            Command::Hold { lease, not_after } => {
                if self.strike.lock() == Lock::FailSecure && !self.continuous {
                    return Outcome::NotContinuous;
                }
                let until = now.saturating_add(lease.length());
                self.ask(now, Cause::Hours, not_after, |_| until)
            }
            Command::Lock => {
                self.asked = None;
                self.drive(now);
                match self.is_released() {
                    // Button or fire still hold it.
                    true => Outcome::Released,
                    false if self.driven.is_none() => Outcome::Line,
                    false => Outcome::Locked,
                }
            }
        }
    }

    /// The commander is gone or silent: what it asked for is over.
    pub fn commander_lost(&mut self, now: Duration) {
        self.asked = None;
        self.drive(now);
    }

    /// Whether another process may take over: no release is on its way or waits for the coil, but for
    /// that of an input that cannot be read, which another version or profile may be the cure of.
    pub fn is_idle(&self) -> bool {
        let released = self.released.map(|(by, _)| by);
        self.exit_until.is_none()
            && self.rests_until.is_none()
            && matches!(released, None | Some(Cause::Unreadable))
    }

    /// Whether people can pass.
    pub fn is_released(&self) -> bool {
        self.released.is_some()
    }

    /// How it is.
    pub fn status(&self) -> Status {
        Status {
            released: self.released.map(|(by, _)| by),
            open: self.inputs.contact.as_ref().and_then(Contact::is_open),
            fire: self.inputs.fire.as_ref().map(|_| self.fire),
            failing: self.failing,
        }
    }

    fn ask(
        &mut self,
        now: Duration,
        by: Cause,
        not_after: Duration,
        until: impl FnOnce(Duration) -> Duration,
    ) -> Outcome {
        if now > not_after || not_after > now.saturating_add(FRESH) {
            return Outcome::Stale;
        }
        if self.rests(now) {
            return Outcome::Resting;
        }
        let before = self.asked;
        let first = before.map_or(now, |asked| asked.first);
        let until = until(first).max(before.map_or(Duration::ZERO, |asked| asked.until));
        self.asked = Some(Asked { by, first, until });
        // Driven again also where it is released: the outcome is of this moment.
        self.driven = None;
        self.drive(now);
        if self.driven.is_some() {
            return Outcome::Released;
        }
        self.asked = None;
        self.drive(now);
        Outcome::Line
    }

    fn read_contact(&mut self, now: Duration) {
        let Some(contact) = &mut self.inputs.contact else { return };
        let seen = contact.step(now, self.released.is_some());
        let failed = seen.is_err();
        if let Ok(Some(event)) = seen {
            if event == ContactEvent::Opened && self.rests(now) {
                // The press that waits for the coil was for this opening.
                self.exit_until = None;
            }
            self.events.push(Event::Contact(event));
        }
        self.note(Part::Contact, failed);
    }

    fn read_exit(&mut self, now: Duration) {
        let Some(exit) = &mut self.inputs.exit else { return };
        let pressed = exit.step(now);
        self.exit_readable.saw(now, pressed.is_ok());
        if let Ok(true) = pressed {
            self.exit_until = Some(now.saturating_add(self.pulse.length()));
            self.events.push(Event::ExitPressed);
        }
        self.note(Part::Exit, self.exit_readable.is_lost());
    }

    fn read_fire(&mut self, now: Duration) {
        let Some(fire) = &mut self.inputs.fire else { return };
        let seen = fire.step(now);
        self.fire_readable.saw(now, seen.is_ok());
        if let Ok(Some(alarm)) = seen
            && alarm != self.fire
        {
            self.fire = alarm;
            self.events.push(Event::Fire(alarm));
        }
        self.note(Part::Fire, self.fire_readable.is_lost());
    }

    /// A fault and its end are told once each.
    fn note(&mut self, part: Part, fails: bool) {
        let known = &mut self.failing[part as usize];
        if *known != fails {
            *known = fails;
            self.events.push(if fails { Event::Fault(part) } else { Event::Recovered(part) });
        }
    }

    fn rests(&self, now: Duration) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// Why the strike is to be released, if it is.
    fn wanted(&self) -> Option<Cause> {
        let unreadable = self.strike.lock() == Lock::FailSafe
            && (self.inputs.exit.is_none()
                || self.exit_readable.is_lost()
                || (self.inputs.fire.is_some() && self.fire_readable.is_lost()));
        match () {
            () if self.fire => Some(Cause::Fire),
            () if unreadable => Some(Cause::Unreadable),
            () if self.exit_until.is_some() => Some(Cause::Exit),
            () => self.asked.map(|asked| asked.by),
        }
    }

    /// Brings the line to the level that is due, and tells when that changes.
    fn drive(&mut self, now: Duration) {
        let mut wanted = self.wanted();
        let coil_tires = self.strike.lock() == Lock::FailSecure && !self.continuous;
        if coil_tires && wanted.is_some() {
            let since = self.released.map(|(_, since)| since);
            if since.is_some_and(|since| now.saturating_sub(since) >= Pulse::MAX) {
                self.rests_until = Some(now.saturating_add(REST));
                self.asked = None;
            }
            if self.rests(now) {
                wanted = None;
            }
        }
        let changed = wanted.is_some() != self.released.is_some();
        let due = changed
            || self.driven.is_none_or(|driven| now.saturating_sub(driven) >= REASSERT);
        if due {
            let set = self.strike.set(wanted.is_some());
            let failed = set.is_err();
            self.driven = set.is_ok().then_some(now);
            self.note(Part::Strike, failed);
            if failed && changed {
                // Still as it was, as far as is known: tried again at the next step.
                return;
            }
        }
        match (self.released, wanted) {
            (None, Some(by)) => {
                self.released = Some((by, now));
                self.events.push(Event::Released(by));
            }
            (Some((before, since)), Some(by)) if before != by => {
                self.released = Some((by, since));
                // What remains after a stronger cause has ended was told when it began.
                if by.rank() >= before.rank() {
                    self.events.push(Event::Released(by));
                }
            }
            (Some(_), None) => {
                self.released = None;
                self.events.push(Event::Locked);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

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
//! continuous duty: a commander's orders are refused for [`REST`], button and fire wait for [`BREAK`].

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
/// How long a coil that is not rated for continuous duty refuses a commander's orders after
/// [`Pulse::MAX`] of current.
const REST: Duration = Duration::from_secs(5);
/// How long such a coil is without current for button and fire as well. Short: a press opens within
/// half a second, also behind a crowd, and people's way out counts more than a coil.
const BREAK: Duration = Duration::from_millis(400);
/// How often the level is driven again while it does not change: another driver of the line, or a
/// line that failed, is noticed before a person stands at the door.
const REASSERT: Duration = Duration::from_secs(1);
/// An input that fails for so long counts as unreadable; one failed read is no reason to open.
const UNREADABLE: Duration = Duration::from_millis(200);
/// How long reads must be good for a press to be one.
const SETTLING: Duration = Debounced::<()>::SETTLING;
/// Nor can an input be read on which no press would have been one for so long: a loose wire.
const UNSETTLED: Duration = Duration::from_millis(300);
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
    /// Since when every read was good.
    good_since: Option<Duration>,
    /// Since when every read failed.
    bad_since: Option<Duration>,
    /// When reads were last good for so long that a press would have been one.
    settled: Duration,
}

impl Readability {
    fn saw(&mut self, now: Duration, read: bool) {
        self.good_since = read.then(|| self.good_since.unwrap_or(now));
        self.bad_since = (!read).then(|| self.bad_since.unwrap_or(now));
        let lasts = |since: Option<Duration>, needed| {
            since.is_some_and(|since| now.saturating_sub(since) >= needed)
        };
        if self.is_readable.is_none() || lasts(self.good_since, SETTLING) {
            self.settled = now;
        }
        self.is_readable = Some(match self.is_readable {
            None => read,
            Some(true) => {
                let settles = now.saturating_sub(self.settled) < UNSETTLED;
                settles && !lasts(self.bad_since, UNREADABLE)
            }
            Some(false) => lasts(self.good_since, READABLE),
        });
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
    /// Whether it was told that the strike is released for it.
    told: bool,
}

/// A press of the button.
#[derive(Clone, Copy, Debug)]
struct Press {
    at: Duration,
    /// Its release ends then.
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
    pressed: Option<Press>,
    asked: Option<Asked>,
    /// Why the strike is released, and since when.
    released: Option<(Cause, Duration)>,
    /// No commander's order is followed until then.
    rests_until: Option<Duration>,
    /// The coil is without current until then.
    breaks_until: Option<Duration>,
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
            pressed: None,
            asked: None,
            released: None,
            rests_until: None,
            breaks_until: None,
            driven: None,
            failing: [false; Part::COUNT],
            events: Vec::with_capacity(16),
        }
    }

    /// A part that is wired and whose line cannot be had: a fault that stays.
    pub fn goes_without(&mut self, part: Part) {
        self.note(part, true);
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
        self.breaks_until = self.breaks_until.filter(|until| now < *until);
        if let Some(press) = self.pressed {
            // During the coil's break, or while the line fails, the pulse has not begun. A line that
            // fails may have followed all the same: it is tried for as long as a pulse may be.
            let fails = self.released.is_none() && self.driven.is_none();
            let waits = fails && now.saturating_sub(press.at) < Pulse::MAX;
            let until = match self.breaks(now) || waits {
                true => now.saturating_add(self.pulse.length()),
                false if fails => now,
                false => press.until,
            };
            self.pressed = (now < until).then_some(Press { until, ..press });
        }
        self.drive(now);
        self.happened()
    }

    /// What happened since the last step, by an order.
    pub fn happened(&mut self) -> std::vec::Drain<'_, Event> {
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
        let exit = self.inputs.exit.as_ref().filter(|_| !self.exit_readable.is_lost());
        self.pressed.is_none()
            && exit.is_none_or(RequestToExit::is_settled)
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
        let told = before.is_some_and(|asked| asked.by == by && asked.told);
        self.asked = Some(Asked { by, first, until, told });
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
            if event == ContactEvent::Opened && self.breaks(now) {
                // The press that waits for the coil was for this opening.
                self.pressed = None;
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
            let until = now.saturating_add(self.pulse.length());
            self.pressed = Some(Press { at: now, until });
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

    fn breaks(&self, now: Duration) -> bool {
        self.breaks_until.is_some_and(|until| now < until)
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
            () if self.pressed.is_some() => Some(Cause::Exit),
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
                self.breaks_until = Some(now.saturating_add(BREAK));
                self.asked = None;
            }
            if self.breaks(now) {
                wanted = None;
            }
        }
        let changed = wanted.is_some() != self.released.is_some();
        let due =
            changed || self.driven.is_none_or(|driven| now.saturating_sub(driven) >= REASSERT);
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
            (before, Some(by)) if before.is_none_or(|(before, _)| before != by) => {
                self.released = Some((by, before.map_or(now, |(_, since)| since)));
                // What remains after a stronger cause has ended was told when it began, but for an
                // order that came in between.
                let asked = self.asked.as_mut().filter(|asked| asked.by == by);
                let was_told = asked.is_none_or(|asked| core::mem::replace(&mut asked.told, true));
                if before.is_none_or(|(before, _)| by.rank() >= before.rank()) || !was_told {
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

//! The lock controller: lets people out while the daemon is dead, hung, being replaced or not
//! started. Only this module owns the strike, request-to-exit, the fire input and the contact.
//!
//! | event | `fail_secure` | `fail_safe` |
//! |---|---|---|
//! | no controller | no current: locked by its mechanics | no current: open |
//! | controller, no commander | no current; button and fire give their pulses | current while the button can be read; button and fire release |
//! | controller ends or panics | no current | no current: open |
//! | button or fire input unreadable | no current, a fault | no current: open, a fault |
//!
//! Principles:
//! 1. Button and fire are never checked against anything and never end because a commander is
//!    silent.
//! 2. A commander's release ends after its time, by a command, or when the commander is silent.
//! 3. An outcome is the level read back from the line, not the level written to it.
//! 4. Nothing here waits: no disk, no network, no commander. The caller passes the time.
//!
//! Terms. The *commander* is the one daemon that is connected. The strike is *released* while it
//! lets people pass. A *pulse* is a release of fixed length. A *lease* is a release that its
//! commander renews. A coil that is not rated for continuous duty is in *cooldown* after
//! [`Pulse::MAX`] of current: a commander's orders are refused for [`COOLDOWN`], and button and
//! fire wait for [`BREAK`].

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

/// A command older than this was queued while something hung: the person it was for has left.
pub const FRESH: Duration = Duration::from_secs(2);
/// Cooldown for commanders: how long orders are refused after [`Pulse::MAX`] of current, if the
/// coil is not rated for continuous duty.
const COOLDOWN: Duration = Duration::from_secs(5);
/// Cooldown for button and fire: how long such a coil has no current. It is short: a press opens
/// within half a second, even behind a crowd, since the way out matters more than a coil.
const BREAK: Duration = Duration::from_millis(400);
/// How often the level is driven again without a change. This finds another driver of the line, or
/// a failed line, before a person stands at the door.
const REASSERT: Duration = Duration::from_secs(1);
/// An input that fails for this long counts as unreadable. One failed read must not open.
const UNREADABLE: Duration = Duration::from_millis(200);
/// A press counts only if reads succeed for this long.
const SETTLING: Duration = Debounced::<()>::SETTLING;
/// An input also counts as unreadable after this long without [`SETTLING`] of good reads: a loose
/// wire.
const UNSETTLED: Duration = Duration::from_millis(300);
/// An input counts as readable again after reads succeed for this long, so that a loose wire does
/// not make the lock rattle.
const READABLE: Duration = Duration::from_secs(1);

/// The inputs of the controller; `None` for an input that the board lacks.
#[derive(Debug)]
pub struct Inputs<Pin> {
    /// Request-to-exit.
    pub exit: Option<RequestToExit<Pin>>,
    /// The fire alarm's contact; high means alarm.
    pub fire: Option<Debounced<Pin>>,
    /// The door contact.
    pub contact: Option<Contact<Pin>>,
}

/// Tracks whether an input needed for the way out can be read.
#[derive(Debug, Default)]
struct Readability {
    /// `None` before the first read.
    is_readable: Option<bool>,
    /// Start of the present run of good reads.
    good_since: Option<Duration>,
    /// Start of the present run of failed reads.
    bad_since: Option<Duration>,
    /// Last time at which reads were good for long enough to detect a press.
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

/// A release requested by a commander.
#[derive(Clone, Copy, Debug)]
struct Asked {
    by: Cause,
    /// Time of the first release for it.
    first: Duration,
    until: Duration,
    /// True if its release was reported.
    reported: bool,
}

/// A press of the button.
#[derive(Clone, Copy, Debug)]
struct Press {
    at: Duration,
    /// End of its release.
    until: Duration,
}

/// The state machine. Its owner steps it every [`crate::STEP`] and passes commands in between.
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
    /// Cause and start of the present release.
    released: Option<(Cause, Duration)>,
    /// End of the cooldown for a commander's orders.
    cooldown_until: Option<Duration>,
    /// End of the time without current for button and fire.
    break_until: Option<Duration>,
    /// When the level was last driven successfully; `None` after a failure.
    driven: Option<Duration>,
    failing: [bool; Part::COUNT],
    events: Vec<Event>,
}

impl<Line: StatefulOutputPin, Input: InputPin> Controller<Line, Input> {
    /// Creates a controller. The first step drives the strike.
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
            cooldown_until: None,
            break_until: None,
            driven: None,
            failing: [false; Part::COUNT],
            events: Vec::with_capacity(16),
        }
    }

    /// Notes a wired part whose line could not be opened: a permanent fault.
    pub fn goes_without(&mut self, part: Part) {
        self.note(part, true);
    }

    /// Reads the inputs, drives the strike as due at `now`, and returns the events since the last
    /// step. Never fails: a pin that fails is an event, and the other parts continue.
    pub fn step(&mut self, now: Duration) -> std::vec::Drain<'_, Event> {
        self.read_contact(now);
        self.read_exit(now);
        self.read_fire(now);
        if self.asked.is_some_and(|asked| now >= asked.until) {
            self.asked = None;
        }
        self.cooldown_until = self.cooldown_until.filter(|until| now < *until);
        self.break_until = self.break_until.filter(|until| now < *until);
        if let Some(press) = self.pressed {
            // During the coil's break, or while the line fails, the pulse has not begun. A failing
            // line may have followed anyway, so it is tried for the longest possible pulse.
            let fails = self.released.is_none() && self.driven.is_none();
            let waits = fails && now.saturating_sub(press.at) < Pulse::MAX;
            let until = match self.is_in_break(now) || waits {
                true => now.saturating_add(self.pulse.length()),
                false if fails => now,
                false => press.until,
            };
            self.pressed = (now < until).then_some(Press { until, ..press });
        }
        self.drive(now);
        self.happened()
    }

    /// Returns the events since the last step, caused by an order.
    pub fn happened(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// Follows a commander's order. The outcome is read back from the line.
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
                    // Button or fire still release it.
                    true => Outcome::Released,
                    false if self.driven.is_none() => Outcome::Line,
                    false => Outcome::Locked,
                }
            }
        }
    }

    /// Ends the commander's release, because the commander is gone or silent.
    pub fn commander_lost(&mut self, now: Duration) {
        self.asked = None;
        self.drive(now);
    }

    /// Checks whether another process may take over: no release is active or waits for the coil. A
    /// release for an unreadable input does not count, because another version or profile may fix
    /// it.
    pub fn is_idle(&self) -> bool {
        let released = self.released.map(|(by, _)| by);
        let exit = self.inputs.exit.as_ref().filter(|_| !self.exit_readable.is_lost());
        self.pressed.is_none()
            && exit.is_none_or(RequestToExit::is_settled)
            && self.cooldown_until.is_none()
            && matches!(released, None | Some(Cause::Unreadable))
    }

    /// Checks whether people can pass.
    pub fn is_released(&self) -> bool {
        self.released.is_some()
    }

    /// Returns the present status.
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
        if self.is_in_cooldown(now) {
            return Outcome::Resting;
        }
        let before = self.asked;
        let first = before.map_or(now, |asked| asked.first);
        let until = until(first).max(before.map_or(Duration::ZERO, |asked| asked.until));
        let reported = before.is_some_and(|asked| asked.by == by && asked.reported);
        self.asked = Some(Asked { by, first, until, reported });
        // The level is driven again even during a release, so that the outcome is current.
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
            if event == ContactEvent::Opened && self.is_in_break(now) {
                // The waiting press was for this opening.
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

    /// Reports a fault and its end once each.
    fn note(&mut self, part: Part, fails: bool) {
        let known = &mut self.failing[part as usize];
        if *known != fails {
            *known = fails;
            self.events.push(if fails { Event::Fault(part) } else { Event::Recovered(part) });
        }
    }

    fn is_in_cooldown(&self, now: Duration) -> bool {
        self.cooldown_until.is_some_and(|until| now < until)
    }

    fn is_in_break(&self, now: Duration) -> bool {
        self.break_until.is_some_and(|until| now < until)
    }

    /// Returns the cause for which the strike is to be released, if any.
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

    /// Drives the line to the required level and reports changes.
    fn drive(&mut self, now: Duration) {
        let mut wanted = self.wanted();
        let coil_is_limited = self.strike.lock() == Lock::FailSecure && !self.continuous;
        if coil_is_limited && wanted.is_some() {
            let since = self.released.map(|(_, since)| since);
            if since.is_some_and(|since| now.saturating_sub(since) >= Pulse::MAX) {
                self.cooldown_until = Some(now.saturating_add(COOLDOWN));
                self.break_until = Some(now.saturating_add(BREAK));
                self.asked = None;
            }
            if self.is_in_break(now) {
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
                // The level is unchanged as far as is known: the next step tries again.
                return;
            }
        }
        match (self.released, wanted) {
            (before, Some(by)) if before.is_none_or(|(before, _)| before != by) => {
                self.released = Some((by, before.map_or(now, |(_, since)| since)));
                // A cause that remains after a stronger one has ended was reported at its start. An
                // order given in between was not.
                let asked = self.asked.as_mut().filter(|asked| asked.by == by);
                let was_reported =
                    asked.is_none_or(|asked| core::mem::replace(&mut asked.reported, true));
                if before.is_none_or(|(before, _)| by.rank() >= before.rank()) || !was_reported {
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

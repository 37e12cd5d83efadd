//! The daemon's side of a door: lamps, buzzer, interlock, tamper switch, motion sensor and the lock
//! controller's reports, as one state machine. Its caller passes grants; it never decides them. It
//! never acts on a stale order, and never shows green before the controller has read back that
//! people can pass.
//!
//! The way out is not here: the controller lets people out by itself.
//!
//! A grant depends on the interlock: while the other door is open no grant is sent to the
//! controller, and when the other door opens, the release of a grant is ended.

use crate::buzzer::{Buzzer, Pattern};
use crate::contact::ContactEvent;
use crate::controller::{self, Cause, Command, FRESH, Numbered, Outcome, Report};
use crate::interlock::{Interlock, InterlockEvent};
use crate::lamps::{Lamps, Lit};
use crate::motion::{Motion, MotionEvent};
use crate::strike::Pulse;
use crate::tamper::{Tamper, TamperEvent};
use core::time::Duration;
use embedded_hal::digital::{InputPin, OutputPin};
use std::fmt::Debug;

/// How long red stays lit after a refusal.
const REFUSED: Duration = Duration::from_millis(1500);
/// An order is followed within this time or never: a step of the controller takes 10 ms.
const FOLLOWED_WITHIN: Duration = Duration::from_millis(500);
/// How much longer the outcome is waited for. Nothing opens after that: the controller refuses
/// orders older than [`FOLLOWED_WITHIN`].
const ANSWERED_WITHIN: Duration = Duration::from_millis(300);

/// An order of the judgement to the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Lets a person pass.
    Unlock {
        /// Number that the [`Reply`] carries.
        id: u32,
        /// Cause: a face or a command.
        by: Cause,
        /// Time of the decision, by the clock of `now`.
        issued: Duration,
    },
    /// Shows that a person was refused.
    Refuse,
}

/// Why an order was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// Another door of the interlock is open, or not known to be closed.
    Interlock,
    /// The order is older than [`FRESH`], or from the future.
    Stale,
    /// The strike's coil is in cooldown.
    Resting,
    /// The strike's line did not move.
    Line,
    /// The lock controller is not connected or does not answer.
    Controller,
}

/// The outcome of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Number of the order.
    pub id: u32,
    /// `Ok` if people could pass, by the level that was read back.
    pub outcome: Result<(), OrderError>,
}

/// A part of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Part {
    /// The strike's line.
    Strike,
    /// Request-to-exit.
    Exit,
    /// The fire input.
    Fire,
    /// The door contact.
    Contact,
    /// The other door's contact.
    Interlock,
    /// The tamper switch.
    Tamper,
    /// The PIR sensor.
    Motion,
    /// A lamp.
    Lamps,
    /// The buzzer.
    Buzzer,
    /// The lock controller.
    Controller,
}

impl Part {
    /// Number of parts.
    pub const COUNT: usize = 10;
    /// Every part, at the index of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Strike,
        Self::Exit,
        Self::Fire,
        Self::Contact,
        Self::Interlock,
        Self::Tamper,
        Self::Motion,
        Self::Lamps,
        Self::Buzzer,
        Self::Controller,
    ];

    /// Returns the name in states and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strike => "strike",
            Self::Exit => "request_to_exit",
            Self::Fire => "fire",
            Self::Contact => "contact",
            Self::Interlock => "interlock",
            Self::Tamper => "tamper",
            Self::Motion => "motion",
            Self::Lamps => "lamps",
            Self::Buzzer => "buzzer",
            Self::Controller => "controller",
        }
    }
}

/// An event of the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// People can pass.
    Unlocked {
        /// Cause of the release.
        by: Cause,
    },
    /// An order was not followed.
    NotUnlocked {
        /// Cause of the order.
        by: Cause,
        /// Reason.
        why: OrderError,
    },
    /// The strike is locked again.
    Relocked,
    /// Request-to-exit was pressed.
    ExitPressed,
    /// The fire alarm began or ended.
    Fire(bool),
    /// An event of the contact.
    Contact(ContactEvent),
    /// An event of the other door's contact.
    Interlock(InterlockEvent),
    /// An event of the tamper switch.
    Tamper(TamperEvent),
    /// An event of the PIR sensor.
    Motion(MotionEvent),
    /// A part fails; reported once until it recovers.
    Fault {
        /// The part.
        part: Part,
        /// The pin's error.
        error: String,
    },
    /// A part that failed works again.
    Recovered {
        /// The part.
        part: Part,
    },
    /// The lock controller lost this many events, because no daemon took them and it had no more
    /// room.
    Missed(u32),
}

/// The result of a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Events, each with its time if that was before this step.
    pub events: Vec<(Event, Option<Duration>)>,
    /// Outcomes of orders.
    pub replies: Vec<Reply>,
    /// Number of the controller's last event in `events`.
    pub taken: Option<u32>,
}

/// The daemon's own parts of a door; `None` for a part that the board lacks.
#[derive(Debug)]
pub struct Parts<Output: OutputPin, Input> {
    /// Red, green, white.
    pub lamps: Lamps<Output>,
    /// The buzzer.
    pub buzzer: Option<Buzzer<Output>>,
    /// The other door's contact.
    pub interlock: Option<Interlock<Input>>,
    /// The tamper switch.
    pub tamper: Option<Tamper<Input>>,
    /// The PIR sensor.
    pub motion: Option<Motion<Input>>,
}

/// An order that the controller has not answered yet.
#[derive(Debug)]
struct Pending {
    id: u32,
    by: Cause,
    /// Number of the command on the link.
    number: u32,
    until: Duration,
}

/// A door.
#[derive(Debug)]
pub struct Door<Output: OutputPin, Input> {
    parts: Parts<Output, Input>,
    pulse: Pulse,
    found: Step,
    failing: [bool; Part::COUNT],
    pending: Vec<Pending>,
    /// True if the controller is connected.
    is_up: bool,
    /// Cause if people can pass, according to the controller.
    released: Option<Cause>,
    /// Last status of the controller.
    status: Option<controller::Status>,
    forced: bool,
    held: bool,
    refused_until: Duration,
}

impl<Output: OutputPin, Input: InputPin> Door<Output, Input> {
    /// Creates a door whose lock state is unknown. A grant releases the lock for `pulse`.
    pub fn new(parts: Parts<Output, Input>, pulse: Pulse) -> Self {
        Self {
            parts,
            pulse,
            found: Step::default(),
            failing: [false; Part::COUNT],
            pending: Vec::new(),
            is_up: false,
            released: None,
            status: None,
            forced: false,
            held: false,
            refused_until: Duration::ZERO,
        }
    }

    /// Does what is due at `now` (`CLOCK_MONOTONIC`, the controller's clock), about every
    /// [`crate::STEP`]: takes the controller's reports, then follows the orders in the order of
    /// their decisions. `send` sends a command to the controller and returns its number. Never
    /// fails: a pin that fails is an event, and the other parts continue.
    pub fn step(
        &mut self,
        now: Duration,
        reports: Vec<Report>,
        orders: &[Order],
        mut send: impl FnMut(Command) -> u32,
    ) -> Step {
        self.watch(now);
        for report in reports {
            self.take_report(now, report);
        }
        let granted = matches!(self.released, Some(Cause::Face | Cause::Remote | Cause::Hours));
        if granted && self.interlock_is_open() {
            send(Command::Lock);
        }
        for order in orders {
            match *order {
                Order::Unlock { id, by, issued } => self.order(now, id, by, issued, &mut send),
                Order::Refuse => self.refuse(now),
            }
        }
        while let Some(late) = self.pending.iter().position(|pending| now > pending.until) {
            let Pending { id, by, .. } = self.pending.remove(late);
            self.not_unlocked(now, id, by, OrderError::Controller);
        }
        self.signal(now);
        core::mem::take(&mut self.found)
    }

    /// Returns the cause if people can pass, else `None`.
    pub fn released(&self) -> Option<Cause> {
        self.released
    }

    /// Returns the last status of the controller; `None` while it is not connected.
    pub fn status(&self) -> Option<controller::Status> {
        self.status.filter(|_| self.is_up)
    }

    /// Returns whether the housing is open; `None` without a tamper switch, or while it is unknown.
    pub fn tamper(&self) -> Option<bool> {
        let switch = self.parts.tamper.as_ref()?;
        let fails = self.failing().any(|part| part == Part::Tamper);
        switch.is_raised().filter(|_| !fails)
    }

    /// Returns the parts that fail.
    pub fn failing(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| self.failing[*part as usize])
    }

    fn event(&mut self, event: Event) {
        self.found.events.push((event, None));
    }

    /// Returns the value, or `None` and a fault event. A fault is reported once.
    fn check<T, E: Debug>(&mut self, part: Part, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.fails(part, None);
                Some(value)
            }
            Err(error) => {
                self.fails(part, Some(&|| format!("{error:?}")));
                None
            }
        }
    }

    fn fails(&mut self, part: Part, error: Option<&dyn Fn() -> String>) {
        let known = core::mem::replace(&mut self.failing[part as usize], error.is_some());
        match error {
            Some(error) if !known => self.event(Event::Fault { part, error: error() }),
            None if known => self.event(Event::Recovered { part }),
            _ => {}
        }
    }

    fn take_report(&mut self, now: Duration, report: Report) {
        match report {
            Report::Up(_) => {
                (self.is_up, self.status) = (true, None);
                // A new connection does not know the orders of the previous one.
                for Pending { id, by, .. } in core::mem::take(&mut self.pending) {
                    self.not_unlocked(now, id, by, OrderError::Controller);
                }
                self.fails(Part::Controller, None);
            }
            Report::Down(why) => {
                (self.is_up, self.status) = (false, None);
                for Pending { id, by, .. } in core::mem::take(&mut self.pending) {
                    self.not_unlocked(now, id, by, OrderError::Controller);
                }
                self.released = None;
                self.fails(Part::Controller, Some(&|| why.clone()));
            }
            Report::Status(status) => {
                self.released = status.released;
                self.status = Some(status);
                for part in [Part::Strike, Part::Exit, Part::Fire, Part::Contact] {
                    self.failing[part as usize] = status.failing[part as usize];
                }
            }
            Report::Outcome(number, outcome) => {
                let Some(place) = self.pending.iter().position(|order| order.number == number)
                else {
                    return;
                };
                let Pending { id, by, .. } = self.pending.remove(place);
                let why = match outcome {
                    // The interlock opened in the meantime: the release is ended.
                    Outcome::Released if self.interlock_is_open() => {
                        self.released = Some(by);
                        OrderError::Interlock
                    }
                    Outcome::Released => return self.unlocked(now, id, by),
                    Outcome::Stale => OrderError::Stale,
                    Outcome::Resting => OrderError::Resting,
                    Outcome::Line | Outcome::Locked | Outcome::NotContinuous => OrderError::Line,
                };
                self.not_unlocked(now, id, by, why);
            }
            Report::Event(numbered) => self.take_event(now, numbered),
        }
    }

    /// Applies a change since the controller's last status.
    fn update(&mut self, change: impl FnOnce(&mut controller::Status)) {
        if let Some(status) = &mut self.status {
            change(status);
        }
    }

    /// Takes over a controller's event, even from before this daemon started. A recent event
    /// changes lamps and state. For older events the controller's status counts.
    fn take_event(&mut self, now: Duration, Numbered { number, at, event }: Numbered) {
        self.found.taken = Some(number);
        let is_fresh = now.saturating_sub(at) <= FRESH;
        let event = match event {
            controller::Event::Released(by) => {
                if is_fresh {
                    self.update(|status| status.released = Some(by));
                    self.released = Some(by);
                    if matches!(by, Cause::Exit | Cause::Fire) {
                        self.granted(now);
                    }
                }
                Event::Unlocked { by }
            }
            controller::Event::Locked => {
                if is_fresh {
                    self.update(|status| status.released = None);
                    self.released = None;
                }
                Event::Relocked
            }
            controller::Event::ExitPressed => Event::ExitPressed,
            controller::Event::Fire(alarm) => {
                if is_fresh {
                    self.update(|status| status.fire = Some(alarm));
                }
                Event::Fire(alarm)
            }
            controller::Event::Contact(contact) => {
                match contact {
                    ContactEvent::Opened => {}
                    ContactEvent::ForcedOpen => self.forced = true,
                    ContactEvent::HeldOpen => self.held = true,
                    ContactEvent::Closed => (self.forced, self.held) = (false, false),
                }
                if is_fresh {
                    self.update(|status| status.open = Some(contact != ContactEvent::Closed));
                }
                Event::Contact(contact)
            }
            controller::Event::Fault(part) => {
                self.failing[part as usize] = true;
                let error = "the lock controller's log says more".to_owned();
                Event::Fault { part, error }
            }
            controller::Event::Recovered(part) => {
                self.failing[part as usize] = false;
                Event::Recovered { part }
            }
            controller::Event::Missed(count) => Event::Missed(count),
        };
        self.found.events.push((event, Some(at)));
    }

    fn interlock_is_open(&self) -> bool {
        self.parts.interlock.as_ref().is_some_and(Interlock::is_open)
    }

    fn watch(&mut self, now: Duration) {
        let Parts { interlock, tamper, motion, .. } = &mut self.parts;
        let interlock = interlock.as_mut().map(|interlock| interlock.step(now));
        let tamper = tamper.as_mut().map(|tamper| tamper.step(now));
        let motion = motion.as_mut().map(|motion| motion.step(now));
        if let Some(event) = interlock.and_then(|seen| self.check(Part::Interlock, seen).flatten())
        {
            self.event(Event::Interlock(event));
        }
        if let Some(event) = tamper.and_then(|seen| self.check(Part::Tamper, seen).flatten()) {
            self.event(Event::Tamper(event));
        }
        if let Some(event) = motion.and_then(|seen| self.check(Part::Motion, seen).flatten()) {
            self.event(Event::Motion(event));
        }
    }

    fn order(
        &mut self,
        now: Duration,
        id: u32,
        by: Cause,
        issued: Duration,
        send: &mut impl FnMut(Command) -> u32,
    ) {
        let is_fresh = issued <= now && now.saturating_sub(issued) <= FRESH;
        let why = match () {
            () if !is_fresh => OrderError::Stale,
            () if self.interlock_is_open() => OrderError::Interlock,
            () if !self.is_up => OrderError::Controller,
            () => {
                let not_after = now.saturating_add(FOLLOWED_WITHIN);
                let number = send(Command::Release { by, pulse: self.pulse, not_after });
                let until = not_after.saturating_add(ANSWERED_WITHIN);
                self.pending.push(Pending { id, by, number, until });
                return;
            }
        };
        self.not_unlocked(now, id, by, why);
    }

    fn unlocked(&mut self, now: Duration, id: u32, by: Cause) {
        self.released = Some(by);
        self.found.replies.push(Reply { id, outcome: Ok(()) });
        self.granted(now);
    }

    fn not_unlocked(&mut self, now: Duration, id: u32, by: Cause, why: OrderError) {
        self.event(Event::NotUnlocked { by, why });
        self.found.replies.push(Reply { id, outcome: Err(why) });
        self.refuse(now);
    }

    fn granted(&mut self, now: Duration) {
        self.refused_until = Duration::ZERO;
        self.play(now, Pattern::GRANTED);
    }

    fn refuse(&mut self, now: Duration) {
        self.refused_until = now.saturating_add(REFUSED);
        self.play(now, Pattern::REFUSED);
    }

    fn play(&mut self, now: Duration, pattern: Pattern) {
        if let Some(buzzer) = &mut self.parts.buzzer {
            buzzer.play(now, pattern);
        }
    }

    fn signal(&mut self, now: Duration) {
        let Parts { lamps, buzzer, tamper, motion, .. } = &mut self.parts;
        let raised = tamper.as_ref().and_then(Tamper::is_raised);
        let alarm = self.forced || raised == Some(true);
        let lit = Lit {
            red: alarm || self.held || now < self.refused_until,
            green: self.released.is_some(),
            white: motion.as_ref().is_some_and(Motion::is_awake),
        };
        let lamps = lamps.show(lit);
        let buzzer = buzzer.as_mut().map(|buzzer| {
            if alarm {
                buzzer.play(now, Pattern::ALARM);
            } else if self.held {
                buzzer.play(now, Pattern::HELD_OPEN);
            } else {
                buzzer.silence();
            }
            buzzer.step(now)
        });
        self.check(Part::Lamps, lamps);
        if let Some(sounded) = buzzer {
            self.check(Part::Buzzer, sounded);
        }
    }
}

#[cfg(test)]
mod tests;

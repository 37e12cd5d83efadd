//! A door as the daemon has it: lamps, buzzer, interlock, tamper switch and motion sensor, and what the
//! lock controller reports, as one state machine. It is told who was granted and never decides it; it
//! never acts on an order that has gone stale, and never shows green before the controller has read
//! back that people can pass.
//!
//! The way out is not here: the controller lets people out by itself.
//!
//! A grant waits for the interlock: while the other door is open none is sent to the controller, and
//! a release that a grant began is ended when it opens.

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
/// An order is followed within this or never: a controller takes a step of 10 ms.
const FOLLOWED_WITHIN: Duration = Duration::from_millis(500);
/// How much longer its outcome is waited for. Nothing opens after that: the controller refuses what
/// is older than [`FOLLOWED_WITHIN`].
const ANSWERED_WITHIN: Duration = Duration::from_millis(300);

/// What the judgement wants of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let somebody pass.
    Unlock {
        /// By which its [`Reply`] is known.
        id: u32,
        /// On whose behalf: a face or a command.
        by: Cause,
        /// When it was decided, by the same clock as `now`.
        issued: Duration,
    },
    /// Show that somebody was refused.
    Refuse,
}

/// Why an order was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// Another door of the interlock is open, or not known to be closed.
    Interlock,
    /// The order is older than [`FRESH`], or of the future.
    Stale,
    /// The strike's coil rests.
    Resting,
    /// The strike's line did not move.
    Line,
    /// The lock controller is not there, or does not answer.
    Controller,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The order's.
    pub id: u32,
    /// Whether people could pass, as it was read back.
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
    /// How many there are.
    pub const COUNT: usize = 10;
    /// Each at its number.
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

    /// As states and records have it.
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

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// People can pass.
    Unlocked {
        /// On whose behalf.
        by: Cause,
    },
    /// An order was not followed.
    NotUnlocked {
        /// Whose.
        by: Cause,
        /// Why not.
        why: OrderError,
    },
    /// The strike is locked again.
    Relocked,
    /// Request-to-exit was pressed.
    ExitPressed,
    /// The fire alarm began or ended.
    Fire(bool),
    /// The contact's.
    Contact(ContactEvent),
    /// The other door's.
    Interlock(InterlockEvent),
    /// The tamper switch's.
    Tamper(TamperEvent),
    /// The PIR sensor's.
    Motion(MotionEvent),
    /// A part fails; said once until it has recovered.
    Fault {
        /// Which.
        part: Part,
        /// The pin's error.
        error: String,
    },
    /// A part that failed works again.
    Recovered {
        /// Which.
        part: Part,
    },
    /// The lock controller had no room for so many events while no daemon took them.
    Missed(u32),
}

/// What a step found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What happened, and when if that was before this step.
    pub events: Vec<(Event, Option<Duration>)>,
    /// What became of orders.
    pub replies: Vec<Reply>,
    /// Events of the controller up to this number are among `events`.
    pub taken: Option<u32>,
}

/// The daemon's own parts of a door; what a board lacks is `None`.
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
    /// The command's number on the link.
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
    /// Whether the controller is connected.
    is_up: bool,
    /// Why people can pass, if they can, as the controller says.
    released: Option<Cause>,
    /// What it said last of itself.
    status: Option<controller::Status>,
    forced: bool,
    held: bool,
    refused_until: Duration,
}

impl<Output: OutputPin, Input: InputPin> Door<Output, Input> {
    /// A door of whose lock nothing is known yet; a grant releases it for `pulse`.
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

    /// Does what is due at `now` (`CLOCK_MONOTONIC`, as the controller's), every [`crate::STEP`] or so:
    /// takes the controller's reports, then follows the orders, in the order in which they were
    /// decided. `send` sends a command to the controller and gives its number. Fails at nothing: a pin
    /// that fails is an event, and the other parts go on.
    pub fn step(
        &mut self,
        now: Duration,
        reports: Vec<Report>,
        orders: &[Order],
        mut send: impl FnMut(Command) -> u32,
    ) -> Step {
        self.watch(now);
        for report in reports {
            self.hear(now, report);
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

    /// Why people can pass, if they can.
    pub fn released(&self) -> Option<Cause> {
        self.released
    }

    /// What the controller said last of itself; `None` while it is not connected.
    pub fn status(&self) -> Option<controller::Status> {
        self.status.filter(|_| self.is_up)
    }

    /// The parts that fail.
    pub fn failing(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| self.failing[*part as usize])
    }

    fn event(&mut self, event: Event) {
        self.found.events.push((event, None));
    }

    /// The value, or `None` and a fault, which is told once.
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

    fn hear(&mut self, now: Duration, report: Report) {
        match report {
            Report::Up(_) => {
                (self.is_up, self.status) = (true, None);
                // A connection that is made again has forgotten what was asked on the one before.
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
                    // It opened meanwhile: the release is ended.
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
            Report::Event(numbered) => self.reported(now, numbered),
        }
    }

    /// What happened since the controller spoke of itself.
    fn knows(&mut self, change: impl FnOnce(&mut controller::Status)) {
        if let Some(status) = &mut self.status {
            change(status);
        }
    }

    /// Takes up what the controller tells, also of the time before this daemon: lamps and state follow
    /// what happens, and of the past the controller's own word.
    fn reported(&mut self, now: Duration, Numbered { number, at, event }: Numbered) {
        self.found.taken = Some(number);
        let is_fresh = now.saturating_sub(at) <= FRESH;
        let event = match event {
            controller::Event::Released(by) => {
                if is_fresh {
                    self.knows(|status| status.released = Some(by));
                    self.released = Some(by);
                    if matches!(by, Cause::Exit | Cause::Fire) {
                        self.granted(now);
                    }
                }
                Event::Unlocked { by }
            }
            controller::Event::Locked => {
                if is_fresh {
                    self.knows(|status| status.released = None);
                    self.released = None;
                }
                Event::Relocked
            }
            controller::Event::ExitPressed => Event::ExitPressed,
            controller::Event::Fire(alarm) => {
                if is_fresh {
                    self.knows(|status| status.fire = Some(alarm));
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
                    self.knows(|status| status.open = Some(contact != ContactEvent::Closed));
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
        let alarm = self.forced || tamper.as_ref().is_some_and(Tamper::is_raised);
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

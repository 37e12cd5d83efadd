//! A door: strike, request-to-exit, contact, interlock, tamper switch, motion sensor, lamps and buzzer
//! as one state machine. It is told who was granted and never decides it; it must let people out whatever
//! else has failed, and must never act on an order that has gone stale.
//!
//! An exit asks nobody: no order, no interlock. Pressed while the strike is engaged, it is
//! remembered, and the strike engages again once the pulse is over, unless the door opened before.
//!
//! Everybody else waits for the interlock: while the other door is open the strike stays locked, and
//! a pulse that lasts is ended when it opens.

use crate::buzzer::{Buzzer, Pattern};
use crate::contact::{Contact, ContactEvent};
use crate::interlock::{Interlock, InterlockEvent};
use crate::lamps::{Lamps, Lit};
use crate::motion::{Motion, MotionEvent};
use crate::request_to_exit::RequestToExit;
use crate::strike::{Refusal, Strike};
use crate::tamper::{Tamper, TamperEvent};
use core::time::Duration;
use embedded_hal::digital::{InputPin, OutputPin};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// An order older than this was queued while something hung: nobody stands at the door any more.
pub const FRESH: Duration = Duration::from_secs(2);

/// How long red stays lit after a refusal.
const REFUSED: Duration = Duration::from_millis(1500);

/// On whose behalf the strike is engaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A face was recognised and granted.
    Face,
    /// An unlock command.
    Remote,
    /// The button inside.
    Exit,
}

/// What the judgement wants of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let somebody pass.
    Unlock {
        /// Who.
        by: By,
        /// When it was decided, by the same clock as `now`.
        issued: Duration,
    },
    /// Show that somebody was refused.
    Refuse,
}

/// Why an order was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The strike is engaged already.
    Engaged,
    /// Another door of the interlock is open, or not known to be closed.
    Interlock,
    /// The order is older than [`FRESH`], or of the future.
    Stale,
    /// The strike's line did not move.
    Line,
}

/// A part of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The strike's line.
    Strike,
    /// Request-to-exit.
    Exit,
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
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The strike is engaged.
    Unlocked {
        /// On whose behalf.
        by: By,
    },
    /// An order was not followed.
    NotUnlocked {
        /// Whose.
        by: By,
        /// Why not.
        why: Why,
    },
    /// The strike is at its safe level again.
    Relocked,
    /// Request-to-exit was pressed.
    ExitPressed,
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
}

/// Everything of a door but its strike; what a board lacks is `None`.
#[derive(Debug)]
pub struct Parts<Output: OutputPin, Input> {
    /// Red, green, white.
    pub lamps: Lamps<Output>,
    /// The buzzer.
    pub buzzer: Option<Buzzer<Output>>,
    /// Request-to-exit.
    pub exit: Option<RequestToExit<Input>>,
    /// The door contact.
    pub contact: Option<Contact<Input>>,
    /// The other door's contact.
    pub interlock: Option<Interlock<Input>>,
    /// The tamper switch.
    pub tamper: Option<Tamper<Input>>,
    /// The PIR sensor.
    pub motion: Option<Motion<Input>>,
}

/// What a step found, and which parts are known to fail.
#[derive(Debug, Default)]
struct Journal {
    events: Vec<Event>,
    failing: BTreeSet<Part>,
}

impl Journal {
    fn note(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The value, or `None` and a fault, which is told once.
    fn check<T, E: Debug>(&mut self, part: Part, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if self.failing.remove(&part) {
                    self.note(Event::Recovered { part });
                }
                Some(value)
            }
            Err(error) => {
                if self.failing.insert(part) {
                    self.note(Event::Fault { part, error: format!("{error:?}") });
                }
                None
            }
        }
    }
}

/// A door.
#[derive(Debug)]
pub struct Door<Line: OutputPin, Output: OutputPin, Input> {
    strike: Strike<Line>,
    parts: Parts<Output, Input>,
    journal: Journal,
    /// On whose behalf the strike was engaged last.
    engaged_by: By,
    exit_waits: bool,
    forced: bool,
    held: bool,
    refused_until: Duration,
}

impl<Line: OutputPin, Output: OutputPin, Input: InputPin> Door<Line, Output, Input> {
    /// A door, locked.
    pub fn new(strike: Strike<Line>, parts: Parts<Output, Input>) -> Self {
        Self {
            strike,
            parts,
            journal: Journal::default(),
            engaged_by: By::Exit,
            exit_waits: false,
            forced: false,
            held: false,
            refused_until: Duration::ZERO,
        }
    }

    /// Does what is due at `now`, every [`crate::STEP`] or so, and follows the orders, which are in the
    /// order in which they were decided. Fails at nothing: a pin that fails is an event, and the other
    /// parts go on.
    pub fn step(&mut self, now: Duration, orders: &[Order]) -> Vec<Event> {
        // The pulse first, whatever comes after.
        let relocked = self.strike.step(now);
        self.relocked(relocked);
        self.watch(now);
        if self.interlock_is_open() && self.engaged_by != By::Exit {
            let relocked = self.strike.relock(now);
            self.relocked(relocked);
        }
        self.exit(now);
        for order in orders {
            match *order {
                Order::Unlock { by, issued } => self.order(now, by, issued),
                Order::Refuse => self.refuse(now),
            }
        }
        self.signal(now);
        core::mem::take(&mut self.journal.events)
    }

    /// Ends the pulse at once, for whoever is about to stop stepping the door.
    pub fn lock(&mut self, now: Duration) -> Vec<Event> {
        let relocked = self.strike.relock(now);
        self.relocked(relocked);
        core::mem::take(&mut self.journal.events)
    }

    /// Whether people are let pass.
    pub fn is_engaged(&self) -> bool {
        self.strike.is_engaged()
    }

    fn relocked(&mut self, outcome: Result<bool, Line::Error>) {
        if self.journal.check(Part::Strike, outcome) == Some(true) {
            self.journal.note(Event::Relocked);
        }
    }

    fn interlock_is_open(&self) -> bool {
        self.parts.interlock.as_ref().is_some_and(Interlock::is_open)
    }

    fn watch(&mut self, now: Duration) {
        let Parts { contact, interlock, tamper, motion, .. } = &mut self.parts;
        if let Some(contact) = contact {
            let seen = contact.step(now, self.strike.is_engaged());
            if let Some(event) = self.journal.check(Part::Contact, seen).flatten() {
                match event {
                    ContactEvent::Opened => self.exit_waits = false,
                    ContactEvent::ForcedOpen => self.forced = true,
                    ContactEvent::HeldOpen => self.held = true,
                    ContactEvent::Closed => (self.forced, self.held) = (false, false),
                }
                self.journal.note(Event::Contact(event));
            }
        }
        if let Some(interlock) = interlock {
            let seen = interlock.step(now);
            let event = self.journal.check(Part::Interlock, seen).flatten();
            self.journal.events.extend(event.map(Event::Interlock));
        }
        if let Some(tamper) = tamper {
            let seen = tamper.step(now);
            let event = self.journal.check(Part::Tamper, seen).flatten();
            self.journal.events.extend(event.map(Event::Tamper));
        }
        if let Some(motion) = motion {
            let seen = motion.step(now);
            let event = self.journal.check(Part::Motion, seen).flatten();
            self.journal.events.extend(event.map(Event::Motion));
        }
    }

    fn exit(&mut self, now: Duration) {
        if let Some(exit) = &mut self.parts.exit {
            let pressed = exit.step(now);
            if self.journal.check(Part::Exit, pressed) == Some(true) {
                self.journal.note(Event::ExitPressed);
                self.exit_waits = true;
            }
        }
        if self.exit_waits && !self.strike.is_engaged() {
            // An interlock whose contact is torn off must not lock anybody in.
            let engaged = self.strike.engage(now, false);
            // A line that fails is tried again at every step.
            if self.journal.check(Part::Strike, engaged).is_some() {
                self.exit_waits = false;
                self.unlocked(now, By::Exit);
            }
        }
    }

    fn order(&mut self, now: Duration, by: By, issued: Duration) {
        let fresh = issued <= now && now.saturating_sub(issued) <= FRESH;
        let refusal = if !fresh {
            Why::Stale
        } else {
            match self.strike.engage(now, self.interlock_is_open()) {
                Ok(()) => return self.unlocked(now, by),
                Err(Refusal::Engaged) => Why::Engaged,
                Err(Refusal::Interlock) => Why::Interlock,
                Err(Refusal::Pin(error)) => {
                    self.journal.check::<(), _>(Part::Strike, Err(error));
                    Why::Line
                }
            }
        };
        self.journal.note(Event::NotUnlocked { by, why: refusal });
        // While engaged the door is open to whoever asks: no reason for red.
        if refusal != Why::Engaged {
            self.refuse(now);
        }
    }

    fn unlocked(&mut self, now: Duration, by: By) {
        self.engaged_by = by;
        self.refused_until = Duration::ZERO;
        self.play(now, Pattern::GRANTED);
        self.journal.note(Event::Unlocked { by });
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
            green: self.strike.is_engaged(),
            white: motion.as_ref().is_some_and(Motion::is_awake),
        };
        self.journal.check(Part::Lamps, lamps.show(lit));
        if let Some(buzzer) = buzzer {
            if alarm {
                buzzer.play(now, Pattern::ALARM);
            } else if self.held {
                buzzer.play(now, Pattern::HELD_OPEN);
            } else {
                buzzer.silence();
            }
            self.journal.check(Part::Buzzer, buzzer.step(now));
        }
    }
}

#[cfg(test)]
mod tests;

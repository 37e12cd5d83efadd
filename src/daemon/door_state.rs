//! How the door is: the content of `state/door`.

use doorward_board::controller::{Cause, Status};
use doorward_board::{ContactEvent, Event, InterlockEvent, TamperEvent};
use serde::Serialize;
use std::collections::BTreeSet;

/// How the door is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// `LOCKED`, `UNLOCKED`, or `JAMMED` while the lock controller cannot be reached.
    pub lock: &'static str,
    /// Whether the leaf is open; null without a contact.
    pub open: Option<bool>,
    /// Whether the other door of the interlock is open; null without one.
    pub interlock_open: Option<bool>,
    /// Whether the housing is open; null without a switch.
    pub tamper: Option<bool>,
    /// Whether the fire alarm is on; null without its input.
    pub fire: Option<bool>,
    /// `forced_open`, `held_open`, or null.
    pub alarm: Option<&'static str>,
    /// Parts that fail.
    pub faults: BTreeSet<&'static str>,
    /// The board.
    pub board: String,
}

impl State {
    /// Of a door of which nothing is known yet.
    pub fn unknown(board: String) -> Self {
        let (open, interlock_open, tamper, fire, alarm) = (None, None, None, None, None);
        let faults = BTreeSet::new();
        Self { lock: "JAMMED", open, interlock_open, tamper, fire, alarm, faults, board }
    }

    /// Follows what happened.
    pub fn follow(&mut self, event: &Event) {
        match event {
            Event::Contact(ContactEvent::Opened) => self.open = Some(true),
            Event::Contact(ContactEvent::ForcedOpen) => {
                (self.open, self.alarm) = (Some(true), Some("forced_open"));
            }
            Event::Contact(ContactEvent::HeldOpen) => self.alarm = Some("held_open"),
            Event::Contact(ContactEvent::Closed) => (self.open, self.alarm) = (Some(false), None),
            Event::Fire(alarm) => self.fire = Some(*alarm),
            Event::Interlock(InterlockEvent::Opened) => self.interlock_open = Some(true),
            Event::Interlock(InterlockEvent::Closed) => self.interlock_open = Some(false),
            Event::Tamper(TamperEvent::Raised) => self.tamper = Some(true),
            Event::Tamper(TamperEvent::Cleared) => self.tamper = Some(false),
            Event::Unlocked { .. }
            | Event::NotUnlocked { .. }
            | Event::Relocked
            | Event::ExitPressed
            | Event::Motion(_)
            | Event::Missed(_)
            | Event::Fault { .. }
            | Event::Recovered { .. } => {}
        }
    }

    /// Takes over what the controller says of itself, and why people can pass by the last word;
    /// `None`: it is not connected.
    pub fn controller(&mut self, status: Option<Status>, released: Option<Cause>) {
        self.lock = match (status, released) {
            (None, _) => "JAMMED",
            (Some(_), None) => "LOCKED",
            (Some(_), Some(_)) => "UNLOCKED",
        };
        if let Some(status) = status {
            (self.open, self.fire) = (status.open, status.fire);
        }
    }
}

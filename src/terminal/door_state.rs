//! How the door is: the content of `state/door`.

use doorward_board::controller::{Cause, Status};
use doorward_board::{ContactEvent, Event, InterlockEvent, Part, TamperEvent};
use serde::Serialize;
use std::collections::BTreeSet;

/// How the door is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// `LOCKED`, `UNLOCKED`, or `JAMMED` while that is not known: the lock controller cannot be reached,
    /// or the strike's line does not follow.
    pub lock: &'static str,
    /// Whether the leaf is open; null without a contact, or while that is not known.
    pub open: Option<bool>,
    /// Whether the other door of the interlock is open; null without one.
    pub interlock_open: Option<bool>,
    /// Whether the housing is open; null without a switch.
    pub tamper: Option<bool>,
    /// Whether the fire alarm is on; null without its input, or while that is not known.
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
            Event::Contact(ContactEvent::ForcedOpen) => self.alarm = Some("forced_open"),
            Event::Contact(ContactEvent::HeldOpen) => self.alarm = Some("held_open"),
            Event::Contact(ContactEvent::Closed) => self.alarm = None,
            Event::Interlock(InterlockEvent::Opened) => self.interlock_open = Some(true),
            Event::Interlock(InterlockEvent::Closed) => self.interlock_open = Some(false),
            Event::Tamper(TamperEvent::Raised) => self.tamper = Some(true),
            Event::Tamper(TamperEvent::Cleared) => self.tamper = Some(false),
            Event::Unlocked { .. }
            | Event::NotUnlocked { .. }
            | Event::Relocked
            | Event::ExitPressed
            | Event::Contact(ContactEvent::Opened)
            | Event::Fire(_)
            | Event::Motion(_)
            | Event::Missed(_)
            | Event::Fault { .. }
            | Event::Recovered { .. } => {}
        }
    }

    /// Takes over what the controller says of itself, and why people can pass by the last word;
    /// `None`: it is not connected.
    pub fn controller(&mut self, status: Option<Status>, released: Option<Cause>) {
        let fails = status.is_none_or(|status| status.failing[Part::Strike as usize]);
        self.lock = match released {
            _ if fails => "JAMMED",
            None => "LOCKED",
            Some(_) => "UNLOCKED",
        };
        self.open = status.and_then(|status| status.open);
        self.fire = status.and_then(|status| status.fire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let mut state = State::unknown("x".into());
        let status = Status { open: Some(true), fire: Some(false), ..Status::default() };
        state.controller(Some(status), None);
        assert_eq!((state.lock, state.open, state.fire), ("LOCKED", Some(true), Some(false)));
        state.controller(Some(status), Some(Cause::Face));
        assert_eq!(state.lock, "UNLOCKED");
        state.controller(None, None);
        assert_eq!((state.lock, state.open, state.fire), ("JAMMED", None, None));
        let mut failing = status;
        failing.failing[Part::Strike as usize] = true;
        state.controller(Some(failing), None);
        assert_eq!(state.lock, "JAMMED", "a strike that does not follow is not known to be locked");
    }
}

//! How the door is: the content of `state/door`.

use doorward_board::controller::{Cause, Status};
use doorward_board::{ContactEvent, Event, InterlockEvent, Part, TamperEvent};
use serde::Serialize;
use std::collections::BTreeSet;

/// Whether people can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LockState {
    /// They cannot.
    Locked,
    /// They can.
    Unlocked,
    /// Not known: the lock controller cannot be reached, or the strike's line does not follow.
    Jammed,
}

/// What is wrong at the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// It was opened without a grant or an exit.
    ForcedOpen,
    /// It is open for longer than `door.held_open_s`.
    HeldOpen,
}

/// How the door is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// Whether people can pass.
    pub lock: LockState,
    /// Whether the leaf is open; null without a contact, or while that is not known.
    pub open: Option<bool>,
    /// Whether the other door of the interlock is open; null without one.
    pub interlock_open: Option<bool>,
    /// Whether the housing is open; null without a switch.
    pub tamper: Option<bool>,
    /// Whether the fire alarm is on; null without its input, or while that is not known.
    pub fire: Option<bool>,
    /// What is wrong at the leaf, or null.
    pub alarm: Option<Alarm>,
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
        Self { lock: LockState::Jammed, open, interlock_open, tamper, fire, alarm, faults, board }
    }

    /// Follows what happened.
    pub fn follow(&mut self, event: &Event) {
        match event {
            Event::Contact(ContactEvent::ForcedOpen) => self.alarm = Some(Alarm::ForcedOpen),
            Event::Contact(ContactEvent::HeldOpen) => self.alarm = Some(Alarm::HeldOpen),
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
            _ if fails => LockState::Jammed,
            None => LockState::Locked,
            Some(_) => LockState::Unlocked,
        };
        self.open = status.and_then(|status| status.open);
        self.fire = status.and_then(|status| status.fire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_as_the_contract_spells_them() {
        let mut state = State::unknown("x".into());
        let mut written = Vec::new();
        for lock in [LockState::Locked, LockState::Unlocked, LockState::Jammed] {
            state.lock = lock;
            written.push(serde_json::json!(state)["lock"].clone());
        }
        assert_eq!(written, ["LOCKED", "UNLOCKED", "JAMMED"]);
        for (alarm, name) in [(Alarm::ForcedOpen, "forced_open"), (Alarm::HeldOpen, "held_open")] {
            state.alarm = Some(alarm);
            assert_eq!(serde_json::json!(state)["alarm"], name);
        }
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let mut state = State::unknown("x".into());
        let status = Status { open: Some(true), fire: Some(false), ..Status::default() };
        state.controller(Some(status), None);
        assert_eq!(
            (state.lock, state.open, state.fire),
            (LockState::Locked, Some(true), Some(false))
        );
        state.controller(Some(status), Some(Cause::Face));
        assert_eq!(state.lock, LockState::Unlocked);
        state.controller(None, None);
        assert_eq!((state.lock, state.open, state.fire), (LockState::Jammed, None, None));
        let mut failing = status;
        failing.failing[Part::Strike as usize] = true;
        state.controller(Some(failing), None);
        assert_eq!(
            state.lock,
            LockState::Jammed,
            "a strike that does not follow is not known to be locked"
        );
    }
}

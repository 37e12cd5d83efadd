//! The state of the door: the content of `state/door`.

use doorward_board::controller::{Cause, Status};
use doorward_board::{ContactEvent, Event, InterlockEvent, Part};
use serde::Serialize;
use std::collections::BTreeSet;

/// Whether people can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LockState {
    /// People cannot pass.
    Locked,
    /// People can pass.
    Unlocked,
    /// Unknown: the lock controller cannot be reached, or the strike's line does not follow.
    Jammed,
}

/// An alarm of the door leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// The door was opened without a grant or an exit.
    ForcedOpen,
    /// The door is open for longer than `door.held_open_s`.
    HeldOpen,
}

/// The state of the door.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// Whether people can pass.
    pub lock: LockState,
    /// True if the leaf is open; null without a contact, or while unknown.
    pub open: Option<bool>,
    /// True if the other door of the interlock is open; null without an interlock.
    pub interlock_open: Option<bool>,
    /// True if the housing is open; null without a tamper switch, or while unknown.
    pub tamper: Option<bool>,
    /// True if the fire alarm is on; null without a fire input, or while unknown.
    pub fire: Option<bool>,
    /// The present alarm, or null.
    pub alarm: Option<Alarm>,
    /// Names of the parts that fail.
    pub faults: BTreeSet<&'static str>,
    /// Name of the board.
    pub board: String,
}

impl State {
    /// Returns the state of a door before anything is known.
    pub fn unknown(board: String) -> Self {
        let (open, interlock_open, tamper, fire, alarm) = (None, None, None, None, None);
        let faults = BTreeSet::new();
        Self { lock: LockState::Jammed, open, interlock_open, tamper, fire, alarm, faults, board }
    }

    /// Updates the state with an event.
    pub fn follow(&mut self, event: &Event) {
        match event {
            Event::Contact(ContactEvent::ForcedOpen) => self.alarm = Some(Alarm::ForcedOpen),
            Event::Contact(ContactEvent::HeldOpen) => self.alarm = Some(Alarm::HeldOpen),
            Event::Contact(ContactEvent::Closed) => self.alarm = None,
            Event::Interlock(InterlockEvent::Opened) => self.interlock_open = Some(true),
            Event::Interlock(InterlockEvent::Closed) => self.interlock_open = Some(false),
            // The switch itself shows its state, also when it is sound from the start.
            Event::Tamper(_)
            | Event::Unlocked { .. }
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

    /// Takes over the controller's status and the cause of a release. `None` as status means that
    /// the controller is not connected.
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
    fn unknown_values_are_null() {
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

//! Takes door events to the record: events at the door, decisions, and changes of the camera. No
//! thread at the door waits for a disk: an open outbox takes events at once. Without one, as during
//! a reload or without a gallery, a bounded number of events waits here, each with its time.

use super::door::NotUnlocked;
use crate::outbox::{Event as OutboxEvent, Kind, MOST_UNWRITTEN, Slot};
use doorward_board::controller::Cause;
use doorward_board::{ContactEvent, Event, TamperEvent};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::error;

/// Most events of a kind kept while no outbox is open: one less than an outbox has room for, so
/// that one place remains for the number of lost events.
const MOST: usize = MOST_UNWRITTEN - 1;

/// Destination of door events. Clones share it.
#[derive(Clone, Default)]
pub struct DoorEvents(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    /// Outbox of the present configuration.
    slot: Option<Slot>,
    /// Events that no outbox has taken yet, [`MOST`] of each kind: a flood of one kind takes no
    /// room from another. Beyond that the newest event is dropped.
    kept: VecDeque<OutboxEvent>,
    /// Number of dropped events by kind.
    dropped: BTreeMap<&'static str, u64>,
}

impl DoorEvents {
    /// Adds a door event with its time. Never waits.
    pub fn add(&self, event: Event, at: SystemTime) {
        let time = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.record(OutboxEvent { time, ..as_recorded(event) });
    }

    /// Adds any other event. Never waits.
    pub fn record(&self, event: OutboxEvent) {
        self.places().take(event);
    }

    /// Sends the kept events and all later ones to this outbox.
    pub fn go_to(&self, slot: Slot) {
        let mut places = self.places();
        places.slot = Some(slot);
        let kept = std::mem::take(&mut places.kept);
        kept.into_iter().for_each(|event| places.take(event));
        let dropped = std::mem::take(&mut places.dropped);
        if !dropped.is_empty() {
            let counts: Vec<String> =
                dropped.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let reason =
                format!("no room while no record was open, events lost: {}", counts.join(", "));
            let mut event = OutboxEvent::new(Kind::Door, "not_recorded", reason);
            event.extra.insert("events".to_owned(), json!(dropped));
            places.take(event);
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn take(&mut self, event: OutboxEvent) {
        let event = match &self.slot {
            Some(slot) => match slot.post(event) {
                Ok(()) => return,
                Err(event) => *event,
            },
            None => event,
        };
        let kind = event.kind;
        if self.kept.iter().filter(|kept| kept.kind == kind).count() < MOST {
            self.kept.push_back(event);
            return;
        }
        let dropped = self.dropped.entry(kind.name()).or_default();
        *dropped += 1;
        if *dropped == 1 {
            error!(kind = kind.name(), "no record is open, and there is no room: events are lost");
        }
    }
}

/// Converts a door event to the form of the record.
fn as_recorded(event: Event) -> OutboxEvent {
    let by = |by: &Cause| match by {
        Cause::Face => "face",
        // From the broker or the command line: the audit lines of the order name its sender.
        Cause::Remote => "command",
        Cause::Hours => "hours",
        Cause::Exit => "exit",
        Cause::Fire => "fire",
        Cause::Unreadable => "fault",
    };
    let (kind, outcome, reason) = match &event {
        Event::Unlocked { by: who } => (Kind::Door, "unlocked", by(who).to_owned()),
        Event::NotUnlocked { by: who, why } => {
            (Kind::Door, "not_unlocked", format!("{}: {}", by(who), NotUnlocked::from(*why)))
        }
        Event::Relocked => (Kind::Door, "locked", String::new()),
        Event::ExitPressed => (Kind::Door, "exit_pressed", String::new()),
        Event::Contact(ContactEvent::Opened) => (Kind::Door, "opened", String::new()),
        Event::Contact(ContactEvent::Closed) => (Kind::Door, "closed", String::new()),
        Event::Contact(ContactEvent::ForcedOpen) => {
            (Kind::Door, "forced_open", "opened without a grant or an exit".into())
        }
        Event::Contact(ContactEvent::HeldOpen) => {
            (Kind::Door, "held_open", "open for longer than door.held_open_s".into())
        }
        Event::Fire(true) => (Kind::Door, "fire", "the fire input is active".into()),
        Event::Fire(false) => (Kind::Door, "fire_over", String::new()),
        Event::Missed(count) => (
            Kind::Door,
            "not_recorded",
            format!("{count} door events found no room while the daemon did not run"),
        ),
        Event::Tamper(TamperEvent::Raised) => {
            (Kind::Tamper, "raised", "the housing is open".into())
        }
        Event::Tamper(TamperEvent::Cleared) => (Kind::Tamper, "cleared", String::new()),
        Event::Interlock(seen) => (Kind::Door, "interlock", format!("{seen:?}")),
        Event::Motion(motion) => (Kind::Door, "motion", format!("{motion:?}")),
        Event::Fault { part, error } => (Kind::Door, "fault", format!("{}: {error}", part.name())),
        Event::Recovered { part } => (Kind::Door, "recovered", part.name().to_owned()),
    };
    OutboxEvent::new(kind, outcome, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Outbox, Settings};
    use serde_json::Value;

    #[test]
    fn events_without_an_outbox_are_recorded_later_with_their_time() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Outbox::open(&folder.path().join("events"), Settings::default()).unwrap();
        let events = DoorEvents::default();
        events.add(Event::ExitPressed, SystemTime::now());
        let pressed = events.places().kept[0].time;
        std::thread::sleep(std::time::Duration::from_millis(50));
        let outbox = open();
        events.go_to(outbox.slot());
        events.add(Event::Relocked, SystemTime::now());
        drop(outbox);
        let granted = || OutboxEvent::new(Kind::Access, "granted", "recognised");
        events.record(granted());
        for _ in 0..MOST + 3 {
            events.add(Event::Relocked, SystemTime::now());
        }
        events.record(granted());
        let outbox = open();
        events.go_to(outbox.slot());
        drop(outbox);
        let (lines, _) = open().lines(0, 0.0, 1000).unwrap();
        let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
        assert_eq!((outcomes[0], outcomes[1]), (&"exit_pressed".into(), &"locked".into()));
        let recorded = lines[0]["time"].as_f64().unwrap();
        assert!((recorded - pressed).abs() < 1e-3, "{recorded}, not {pressed}");
        // All kept events, and one that says that three were lost; none of another kind is.
        assert_eq!(lines.len(), 2 + MOST + 2 + 1, "{lines:?}");
        assert_eq!(lines.last().unwrap()["events"], json!({ "door": 3 }));
        assert_eq!(lines[2 + MOST + 1]["outcome"], "granted");
    }
}

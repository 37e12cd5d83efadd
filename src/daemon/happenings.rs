//! What happens at the door, on its way from the door's thread to the record: bounded, never waited
//! for by the door, and the same over every change of the door or of the configuration.

use super::door::NotUnlocked;
use crate::outbox::{Event as OutboxEvent, Kind};
use doorward_board::door::By;
use doorward_board::{ContactEvent, Event, TamperEvent};
use serde_json::json;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::error;

/// What happened and nobody has recorded yet; beyond it the newest is only logged.
const MOST: usize = 256;

/// What is recorded later than this after it happened says when that was.
const LATE: Duration = Duration::from_secs(2);

/// What happened, and when.
pub struct Happening {
    /// What.
    pub event: Event,
    /// By the wall's clock: it may be recorded much later.
    pub time: SystemTime,
}

impl Happening {
    /// As the record has it.
    pub fn into_event(self) -> OutboxEvent {
        let Self { event, time } = self;
        let by = |by: &By| match by {
            By::Face => "face",
            By::Remote => "remote",
            By::Exit => "exit",
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
            Event::Tamper(TamperEvent::Raised) => {
                (Kind::Tamper, "raised", "the housing is open".into())
            }
            Event::Tamper(TamperEvent::Cleared) => (Kind::Tamper, "cleared", String::new()),
            Event::Interlock(seen) => (Kind::Door, "interlock", format!("{seen:?}")),
            Event::Motion(motion) => (Kind::Door, "motion", format!("{motion:?}")),
            Event::Fault { part, error } => (Kind::Door, "fault", format!("{part:?}: {error}")),
            Event::Recovered { part } => (Kind::Door, "recovered", format!("{part:?}")),
        };
        let event = OutboxEvent::new(kind, outcome, reason);
        // Recorded late, as after a start without a gallery, its own time is not that of the record.
        match time.elapsed() {
            Ok(late) if late < LATE => event,
            _ => {
                let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                let extra = [("happened".to_owned(), json!(time))].into_iter().collect();
                OutboxEvent { extra, ..event }
            }
        }
    }
}

/// What happened and is not recorded yet. Clones are the same.
#[derive(Clone)]
pub struct Happenings {
    tell: SyncSender<Happening>,
    told: Arc<Mutex<Receiver<Happening>>>,
}

impl Happenings {
    /// Nothing yet.
    pub fn new() -> Self {
        let (tell, told) = sync_channel(MOST);
        Self { tell, told: Arc::new(Mutex::new(told)) }
    }

    /// Adds what happened just now; waits for nobody.
    pub fn add(&self, event: Event) {
        if self.tell.try_send(Happening { event, time: SystemTime::now() }).is_err() {
            error!("what happens at the door is recorded by nobody but this log");
        }
    }

    /// The next thing that happened, if one does in so long.
    pub fn next(&self, patience: Duration) -> Option<Happening> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience).ok()
    }
}

//! The door over the configurations: its thread outlives a reload and is stopped last.

use super::open::open_outbox;
use super::watchdog::{self, Counter};
use super::{DaemonError, LAST_PATIENCE, record, settings};
use crate::access::Lockout;
use crate::config::Config;
use crate::outbox::Outbox;
use crate::terminal::{DoorEvents, DoorHandle, DoorSettings, DoorWorker};
use std::sync::{Arc, Mutex};
use tokio::time::timeout;
use tracing::error;

/// What outlives a configuration.
pub struct KeptOverReload {
    /// The door, if there is one.
    pub door: Option<DoorHandle>,
    /// What happens there, on its way to the record.
    pub door_events: DoorEvents,
    /// What was tried there.
    pub lockout: Arc<Mutex<Lockout>>,
}

/// The door's worker, what it was started with, what happened at it, and what was tried.
pub struct DoorRuntime {
    settings: Option<DoorSettings>,
    worker: Option<DoorWorker>,
    door_events: DoorEvents,
    lockout: Arc<Mutex<Lockout>>,
}

impl DoorRuntime {
    /// Starts its thread, if there is a door.
    pub fn start(config: &Config) -> Result<Self, DaemonError> {
        let settings = settings::door(config)?;
        let door_events = DoorEvents::default();
        let start = |settings| DoorWorker::start(settings, door_events.clone());
        let worker = settings.clone().map(start).transpose()?;
        Ok(Self { settings, worker, door_events, lockout: Arc::default() })
    }

    /// Whether there is a door, with its thread.
    pub fn is_there(&self) -> bool {
        self.worker.is_some()
    }

    /// What every configuration works with.
    pub fn kept(&self) -> KeptOverReload {
        KeptOverReload {
            door: self.worker.as_ref().map(DoorWorker::handle),
            door_events: self.door_events.clone(),
            lockout: self.lockout.clone(),
        }
    }

    /// What shows that the door's thread moves.
    pub fn counter(&self) -> Option<Counter> {
        self.worker.as_ref().map(|worker| watchdog::counter("door", worker.progress()))
    }

    /// The door of another configuration: the same where nothing about it has changed, else another,
    /// once the first has locked and let go of its lines. One that cannot be started leaves the first.
    pub fn change(&mut self, config: &Config) {
        match settings::door(config) {
            Ok(settings) if settings == self.settings => {}
            Ok(settings) => {
                self.worker = None;
                let start = |settings| DoorWorker::start(settings, self.door_events.clone());
                match settings.clone().map(start).transpose() {
                    Ok(worker) => (self.worker, self.settings) = (worker, settings),
                    Err(error) => error!("no thread for the door: {error}"),
                }
            }
            Err(error) => error!("the door stays as it is: {error}"),
        }
    }

    /// Locks for good, and records what happened last and that the daemon stops, and why; where nothing
    /// else has the events open, by itself.
    pub async fn end(
        &mut self,
        config: &Config,
        outbox: Option<Arc<Outbox>>,
        reason: &'static str,
    ) {
        let (worker, door_events, config) =
            (self.worker.take(), self.door_events.clone(), config.clone());
        let last = tokio::task::spawn_blocking(move || {
            drop(worker);
            match outbox.map_or_else(|| open_outbox(&config).map(Arc::new), Ok) {
                Ok(outbox) => {
                    door_events.go_to(outbox.slot());
                    record::stopping(&outbox, reason);
                }
                Err(error) => error!("what happened at the door last is not recorded: {error}"),
            }
        });
        if timeout(LAST_PATIENCE, last).await.is_err() {
            error!("what happened at the door last was not recorded in time");
        }
    }
}

//! The door over several configurations: its thread outlives a reload and is stopped last.

use super::open::open_outbox;
use super::watchdog::{self, Counter};
use super::{DaemonError, LAST_PATIENCE, record, settings};
use crate::access::Lockout;
use crate::config::Config;
use crate::outbox::Outbox;
use crate::terminal::{Clock, DoorEvents, DoorHandle, DoorSettings, DoorWorker};
use std::sync::{Arc, Mutex};
use tokio::time::timeout;
use tracing::error;

/// The parts that outlive a configuration.
pub struct KeptOverReload {
    /// The door, if there is one.
    pub door: Option<DoorHandle>,
    /// The door events, before they are recorded.
    pub door_events: DoorEvents,
    /// The failed attempts at the door.
    pub lockout: Arc<Mutex<Lockout>>,
    /// The clock, and whether it is believed.
    pub clock: Clock,
}

/// The door's worker, its settings, its door events, the failed attempts, and the clock.
pub struct DoorRuntime {
    settings: Option<DoorSettings>,
    worker: Option<DoorWorker>,
    door_events: DoorEvents,
    lockout: Arc<Mutex<Lockout>>,
    clock: Clock,
}

impl DoorRuntime {
    /// Starts the door's thread, if there is a door.
    pub fn start(config: &Config) -> Result<Self, DaemonError> {
        let settings = settings::door(config)?;
        let door_events = DoorEvents::default();
        let start = |settings| DoorWorker::start(settings, door_events.clone());
        let worker = settings.clone().map(start).transpose()?;
        Ok(Self { settings, worker, door_events, lockout: Arc::default(), clock: Clock::new() })
    }

    /// Returns true if there is a door, with its thread.
    pub fn is_there(&self) -> bool {
        self.worker.is_some()
    }

    /// Returns what every configuration works with.
    pub fn kept(&self) -> KeptOverReload {
        KeptOverReload {
            door: self.worker.as_ref().map(DoorWorker::handle),
            door_events: self.door_events.clone(),
            lockout: self.lockout.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Returns the counter of the door thread's progress.
    pub fn counter(&self) -> Option<Counter> {
        self.worker.as_ref().map(|worker| watchdog::counter("door", worker.progress()))
    }

    /// Switches to another configuration's door. Keeps the door if nothing about it has changed;
    /// else starts another one after the first has locked and released its lines. If the new one
    /// cannot be started, the first stays.
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

    /// Locks for good, and records the last door events and that the daemon stops, and why. Opens
    /// the events itself if no other part has them open.
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
                Err(error) => error!("the last door events are not recorded: {error}"),
            }
        });
        if timeout(LAST_PATIENCE, last).await.is_err() {
            error!("the last door events were not recorded in time");
        }
    }
}

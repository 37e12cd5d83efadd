//! The daemon's main loop: one configuration after another, until a signal ends it.

use super::door_runtime::DoorRuntime;
use super::serving::Serving;
use super::signals::Signals;
use super::watchdog::{self, Counter, Watchdog};
use super::{DaemonError, LAST_PATIENCE, check, record};
use crate::config::{Config, ConfigError};
use crate::outbox::Outbox;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{error, info};

/// With a door, a failed start is repeated after this time: until then people can leave.
const AGAIN: Duration = Duration::from_secs(10);
/// Time between two checks that files left open by a stop are closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// How long a stop may take; together with the door's last events this is five seconds. systemd
/// kills a process that takes longer, and people unplug it.
const STOP_PATIENCE: Duration = Duration::from_millis(3500);

/// Runs until SIGTERM or SIGINT. On SIGHUP, `read` reads the configuration again.
pub async fn run(
    config: Config,
    read: impl Fn() -> Result<Config, ConfigError>,
) -> Result<(), DaemonError> {
    let signals = Signals::new()?;
    let watchdog = Watchdog::start();
    let door = DoorRuntime::start(&config)?;
    Daemon { config, read, last_good: None, signals, watchdog, door }.run().await
}

/// The next step of the main loop.
enum Next {
    /// To end, because of this signal.
    Stop(&'static str),
    /// To continue with a valid configuration.
    Serve(Box<Config>),
}

/// Why a start did not lead to serving.
enum NotStarted {
    /// It failed.
    Failed(DaemonError),
    /// A signal came first; the workers already started have been stopped as far as possible.
    BrokenOff { reason: &'static str, outbox: Option<Arc<Outbox>> },
}

struct Daemon<Read> {
    config: Config,
    read: Read,
    /// The last configuration that was served, to return to.
    last_good: Option<Config>,
    signals: Signals,
    watchdog: Watchdog,
    door: DoorRuntime,
}

impl<Read: Fn() -> Result<Config, ConfigError>> Daemon<Read> {
    async fn run(mut self) -> Result<(), DaemonError> {
        loop {
            self.watchdog.watch(self.door.counter().into_iter().collect());
            let (next, outbox) = match self.start().await {
                Ok(serving) => {
                    let outbox = serving.outbox();
                    (self.serve(serving).await, Some(outbox))
                }
                Err(NotStarted::BrokenOff { reason, outbox }) => (Next::Stop(reason), outbox),
                Err(NotStarted::Failed(error)) => match self.after_failure(error).await? {
                    Some(next) => (next, None),
                    None => continue,
                },
            };
            match next {
                Next::Stop(reason) => {
                    self.door.end(&self.config, outbox, reason).await;
                    return Ok(());
                }
                Next::Serve(next) => {
                    if let Some(outbox) = outbox {
                        let noted = move || record::stopping(&outbox, "reload");
                        let _ = timeout(LAST_PATIENCE, tokio::task::spawn_blocking(noted)).await;
                    }
                    self.config = *next;
                    self.door.change(&self.config);
                }
            }
        }
    }

    /// Starts serving on a thread of its own, so that a hanging disk does not keep the daemon from
    /// ending.
    async fn start(&mut self) -> Result<Serving, NotStarted> {
        let (config, kept) = (self.config.clone(), self.door.kept());
        let runtime = tokio::runtime::Handle::current();
        let start = move || runtime.block_on(Serving::start(&config, kept));
        let mut starting = tokio::task::spawn_blocking(start);
        let reason = tokio::select! {
            started = &mut starting => {
                let started = started.unwrap_or_else(|panic| Err(io::Error::other(panic).into()));
                return started.map_err(NotStarted::Failed);
            }
            reason = self.signals.end() => reason,
        };
        info!(reason, "stopping");
        watchdog::stopping();
        let ended = timeout(STOP_PATIENCE, async {
            let Ok(Ok(serving)) = starting.await else { return None };
            let outbox = serving.outbox();
            serving.stop().await;
            Some(outbox)
        });
        let outbox = ended.await.unwrap_or_else(|_| {
            error!("the start did not end in time and was aborted");
            None
        });
        Err(NotStarted::BrokenOff { reason, outbox })
    }

    /// Serves until a signal, then stops the workers.
    async fn serve(&mut self, serving: Serving) -> Next {
        let door = || -> Vec<Counter> { self.door.counter().into_iter().collect() };
        self.watchdog.watch(door().into_iter().chain(serving.progress()).collect());
        watchdog::ready();
        self.last_good = Some(self.config.clone());
        let next = next(&mut self.signals, &self.read).await;
        self.watchdog.watch(door());
        if timeout(STOP_PATIENCE, serving.stop()).await.is_err() {
            error!("work in progress did not end in time and was aborted");
        }
        next
    }

    /// Returns what to do after a failed start; `None`: start again.
    async fn after_failure(&mut self, error: DaemonError) -> Result<Option<Next>, DaemonError> {
        // The aborted work still holds the files; it ends by its own time limits.
        if error.is_in_use() && self.last_good.is_some() {
            info!("{error}; waiting");
            return Ok(self.next_within(CLOSED_WITHIN).await);
        }
        if let Some(good) = self.last_good.take() {
            error!("{error}; going back to the last configuration");
            self.config = good;
            self.door.change(&self.config);
            return Ok(None);
        }
        if !self.door.is_there() {
            return Err(error);
        }
        // The door's thread works: request-to-exit is reported and shown.
        watchdog::ready();
        error!("{error}; until this works only the way out does");
        Ok(self.next_within(AGAIN).await)
    }

    /// Returns what a signal brings within this time.
    async fn next_within(&mut self, patience: Duration) -> Option<Next> {
        timeout(patience, next(&mut self.signals, &self.read)).await.ok()
    }
}

/// Waits for a signal that ends the daemon, or that brings a valid configuration.
async fn next(signals: &mut Signals, read: &impl Fn() -> Result<Config, ConfigError>) -> Next {
    loop {
        if let Some(reason) = signals.next().await {
            info!(reason, "stopping");
            watchdog::stopping();
            return Next::Stop(reason);
        }
        let next = read().map_err(|error| error.to_string());
        let next = next.and_then(|next| match check(&next) {
            Ok(()) => Ok(next),
            Err(error) => Err(error.to_string()),
        });
        match next {
            Ok(next) => {
                info!("reloading");
                watchdog::reloading();
                return Next::Serve(Box::new(next));
            }
            Err(error) => error!("the configuration stays as it is: {error}"),
        }
    }
}

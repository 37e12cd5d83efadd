//! The daemon's life: one configuration after the other, until a signal ends it.

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

/// With a door, a start that failed is tried again after this: until then people can leave.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two looks whether files that a stop left open are closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// How long a stop may take, which with what the door did last is five seconds; systemd and people
/// pull the plug on what takes longer.
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

/// What comes next.
enum Next {
    /// The end, by this signal.
    Stop(&'static str),
    /// To go on with a configuration that can stand.
    Serve(Box<Config>),
}

/// Why nothing serves after a start.
enum NotStarted {
    /// It failed.
    Failed(DaemonError),
    /// A signal came before it was done, and what was started has ended again as far as it does.
    BrokenOff { reason: &'static str, outbox: Option<Arc<Outbox>> },
}

struct Daemon<Read> {
    config: Config,
    read: Read,
    /// What was served with before, to go back to.
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

    /// Starts serving, on a thread of its own: a disk that hangs must not keep the daemon from ending.
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
            error!("the start did not end in time and was broken off");
            None
        });
        Err(NotStarted::BrokenOff { reason, outbox })
    }

    /// Serves until a signal, then stops what served.
    async fn serve(&mut self, serving: Serving) -> Next {
        let door = || -> Vec<Counter> { self.door.counter().into_iter().collect() };
        self.watchdog.watch(door().into_iter().chain(serving.progress()).collect());
        watchdog::ready();
        self.last_good = Some(self.config.clone());
        let next = next(&mut self.signals, &self.read).await;
        self.watchdog.watch(door());
        if timeout(STOP_PATIENCE, serving.stop()).await.is_err() {
            error!("something in work did not end in time and was broken off");
        }
        next
    }

    /// What comes after a start that failed; `None`: another start.
    async fn after_failure(&mut self, error: DaemonError) -> Result<Option<Next>, DaemonError> {
        // What was broken off still has the files: it ends by its own time limits.
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
        // The door's thread works: what the way out does is told and shown.
        watchdog::ready();
        error!("{error}; until this works only the way out does");
        Ok(self.next_within(AGAIN).await)
    }

    /// What a signal brings within this time.
    async fn next_within(&mut self, patience: Duration) -> Option<Next> {
        timeout(patience, next(&mut self.signals, &self.read)).await.ok()
    }
}

/// Waits for a signal that ends the daemon, or that brings a configuration which can stand.
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

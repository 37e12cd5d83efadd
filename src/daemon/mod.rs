//! Starts the workers in the order they need each other, watches them, and stops them in the reverse
//! order.
//!
//! | worker | ends when |
//! |---|---|
//! | door | last: it needs nothing of the others; then what it did last is recorded |
//! | vision threads, behind the service's queue | the service is dropped |
//! | camera, judgement | before the service |
//! | upkeep of the gallery's file | with the service |
//! | embedded broker, if no other is configured | after the session |
//! | control socket | first: it finishes what is in work |
//! | MQTT session | with it: it does the same and says `stopped` |
//!
//! All but the door are [`Serving`] one configuration; SIGHUP ends them and starts them anew with
//! the next, and with the last good one should that not stand.

mod clock;
mod control;
mod door;
mod door_events;
mod door_state;
mod local;
mod lock_controller;
mod record;
mod serving;
mod settings;
mod terminal;
mod upkeep;
mod watchdog;
mod worker;

pub use door::DoorError;
pub use local::{Local, LocalError};

use crate::access::{GroupError, Lockout, UnknownPolicy, ZoneError};
use crate::applications::{Applications, ApplicationsError};
use crate::camera::{self, Camera};
use crate::config::{Config, ConfigError};
use crate::contract::{Answer, Request, Sender, UnknownPermission};
use crate::face::{Analyzer, FaceError};
use crate::gallery::{self, Gallery, OpenError};
use crate::mqtt::{Answering, ConnectError, EmbeddedError, Handler, LoginError, SettingsError};
use crate::outbox::{Outbox, OutboxError};
use crate::picture::allow::AllowList;
use crate::service::{self, Door, Service, WallClock};
use door::DoorWorker;
use door_events::DoorEvents;
use serving::{Lasting, Serving};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tracing::{error, info};
use watchdog::{Counter, Watchdog};

/// With a door, a start that failed is tried again after this: until then people can leave.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two looks whether files that a stop left open are closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// How long a stop may take, which with what the door did last is five seconds; systemd and people
/// pull the plug on what takes longer.
const STOP_PATIENCE: Duration = Duration::from_millis(3500);
/// How long the door and the record of what it did last may take.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data folder cannot be made.
    #[error("cannot make the folder device.data_dir = {path}: {reason}; name one you may write to")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The models.
    #[error(transparent)]
    Models(#[from] FaceError),
    /// The gallery.
    #[error(transparent)]
    Gallery(#[from] OpenError),
    /// The service.
    #[error(transparent)]
    Service(#[from] service::StartError),
    /// A permission that does not exist.
    #[error("mqtt.permissions: {0}")]
    Permission(#[from] UnknownPermission),
    /// A way to authenticate that does not exist.
    #[error("service.auth: {0}")]
    Auth(#[from] service::UnknownAuth),
    /// A table of clients that cannot be read.
    #[error("mqtt.clients: {0}")]
    Clients(#[from] service::BadClient),
    /// Two tables that say who may do what.
    #[error(
        "mqtt.clients is for service.auth = \"broker\"; under \"app-key\" each application has its \
         own permissions: empty mqtt.clients, or change service.auth"
    )]
    TwoAuthorities,
    /// The applications.
    #[error(transparent)]
    Applications(#[from] ApplicationsError),
    /// Camera settings that cannot be used.
    #[error(transparent)]
    CameraSettings(#[from] camera::SettingsError),
    /// The camera.
    #[error(transparent)]
    Camera(#[from] camera::CameraError),
    /// The control socket.
    #[error("cannot listen on {path}: {reason}")]
    Control {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// MQTT settings that cannot be used.
    #[error(transparent)]
    MqttSettings(#[from] SettingsError),
    /// The MQTT session.
    #[error(transparent)]
    Mqtt(#[from] ConnectError),
    /// The embedded broker.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The embedded broker's login, asked for by a client.
    #[error("no login of an embedded broker: {0}; start the daemon first, or set mqtt.host")]
    Login(#[from] LoginError),
    /// A group.
    #[error("access.groups: {0}")]
    Groups(#[from] GroupError),
    /// The zone.
    #[error("access.zone: {0}")]
    Zone(#[from] ZoneError),
    /// The policy.
    #[error("liveness.policy: {0}")]
    LivenessPolicy(#[from] UnknownPolicy),
    /// The door.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The events.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The system gives no signals or threads.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

impl DaemonError {
    /// Whether another process, or what is left of this one's last work, has the files.
    fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::Gallery(OpenError::InUse { .. }) | Self::Outbox(OutboxError::InUse { .. })
        )
    }

    /// Whether the configuration is to blame, or a file that it names.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::MqttSettings(_)
            | Self::Permission(_)
            | Self::Auth(_)
            | Self::Clients(_)
            | Self::TwoAuthorities
            | Self::Groups(_)
            | Self::Zone(_)
            | Self::LivenessPolicy(_)
            | Self::Door(_)
            | Self::CameraSettings(_)
            | Self::Mqtt(_) => true,
            Self::Service(error) => matches!(error, service::StartError::UrlAllow(_)),
            _ => false,
        }
    }
}

/// The service and the files behind it.
pub struct Opened {
    /// Answers requests.
    pub service: Arc<Service>,
    /// The networks.
    pub analyzer: Arc<Analyzer>,
    /// Who is enrolled.
    pub gallery: Arc<Gallery>,
    /// What happened.
    pub outbox: Arc<Outbox>,
}

/// What becomes of a start whose files of applications or events cannot be opened: recognition needs
/// neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFiles {
    /// There is none.
    Refused,
    /// It goes on without: no key is good, nothing is recorded, until the file can be opened.
    Tolerated,
}

/// Models, files and service, as `config` says: what `run` and a lone command line share. `door` is
/// what the service may unlock, `clock` what it knows the time by.
pub fn open_service(
    config: &Config,
    door: Option<Arc<dyn Door>>,
    clock: WallClock,
    bad_files: BadFiles,
) -> Result<Opened, DaemonError> {
    let data_dir = &config.device.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|reason| DaemonError::DataDir { path: data_dir.clone(), reason })?;
    let service_settings = settings::service(config)?;
    let analyzer = Arc::new(Analyzer::load()?.on(settings::cores(config)));
    let gallery_settings = gallery::Settings {
        model_id: analyzer.model_id().to_owned(),
        store_images: config.gallery.store_images,
    };
    let gallery = Arc::new(Gallery::open(&data_dir.join("gallery.redb"), gallery_settings)?);
    // Behind the gallery, whose lock says that nobody else is at work in this folder.
    let path = data_dir.join("applications.redb");
    let applications = match Applications::open(&path) {
        Err(error) if bad_files == BadFiles::Tolerated => {
            error!("{error}; until then no application's key is good");
            Applications::without_file(&path, error.to_string())?
        }
        opened => opened?,
    };
    let path = data_dir.join("events.redb");
    let outbox = match Outbox::open(&path, settings::outbox(config)) {
        Err(OutboxError::InUse { path }) => return Err(OutboxError::InUse { path }.into()),
        Err(error) if bad_files == BadFiles::Tolerated => {
            error!("{error}; until then nothing is recorded");
            Outbox::without_file(&path, settings::outbox(config))?
        }
        opened => opened?,
    };
    let outbox = Arc::new(outbox);
    let parts = service::Parts {
        analyzer: analyzer.clone(),
        gallery: gallery.clone(),
        applications,
        outbox: outbox.clone(),
        door,
        clock,
    };
    let service = Arc::new(Service::new(parts, service_settings)?);
    Ok(Opened { service, analyzer, gallery, outbox })
}

fn open_outbox(config: &Config) -> Result<Outbox, OutboxError> {
    Outbox::open(&config.device.data_dir.join("events.redb"), settings::outbox(config))
}

/// The configured camera, being opened; `None`: there is none.
fn start_camera(config: &Config) -> Result<Option<Camera>, DaemonError> {
    Ok(settings::camera(config)?.map(Camera::start).transpose()?)
}

/// Settings of a client of the daemon's broker: the configured one, or the embedded one with the
/// login that the daemon made.
pub fn client_settings(config: &Config) -> Result<crate::mqtt::Settings, DaemonError> {
    let settings = settings::mqtt(config)?;
    if settings.host.is_some() {
        return Ok(settings);
    }
    let login = crate::mqtt::Login::read(&config.device.data_dir)?;
    Ok(settings.aimed_at_embedded(settings.port(), &login))
}

/// Refuses a configuration with which the daemon would not start: values, and the files they name.
pub fn check(config: &Config) -> Result<(), DaemonError> {
    settings::service(config)?;
    AllowList::parse(&config.image_url.allow).map_err(service::StartError::from)?;
    crate::mqtt::check(&settings::mqtt(config)?)?;
    settings::access(config)?;
    settings::door(config)?;
    settings::camera(config)?;
    Ok(())
}

impl Handler for Arc<Service> {
    fn sender(&self, request: &Request) -> Result<Sender, Answer> {
        Service::sender(self, request)
    }

    fn handle(&self, request: Request) -> Answering {
        let service = self.clone();
        Box::pin(async move { service.as_ref().handle(request).await })
    }
}

/// What is wished for next.
enum Wish {
    /// The end, by this signal.
    Stop(&'static str),
    /// To go on with a configuration that can stand.
    Serve(Box<Config>),
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The signal that ends the daemon; one that reloads is left for [`Signals::next`].
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The signal that ends the daemon; `None` for the one that reloads the configuration.
    async fn next(&mut self) -> Option<&'static str> {
        tokio::select! {
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.interrupt.recv() => Some("SIGINT"),
            _ = self.hangup.recv() => None,
        }
    }
}

/// Runs until SIGTERM or SIGINT. On SIGHUP, `read` is asked for the configuration anew.
pub async fn run(
    config: Config,
    read: impl Fn() -> Result<Config, ConfigError>,
) -> Result<(), DaemonError> {
    let mut signals = Signals::new()?;
    let watchdog = Watchdog::start();
    let mut config = config;
    // What was served with before, to go back to.
    let mut last_good: Option<Config> = None;
    let mut door = FrontDoor::start(&config)?;
    loop {
        watchdog.watch(door.counter().into_iter().collect());
        let started = match started(&config, door.lasting(), &mut signals).await {
            Ok(started) => started,
            Err(BrokenOff { reason, outbox }) => {
                door.end(&config, outbox, reason).await;
                return Ok(());
            }
        };
        let (wish, outbox) = match started {
            Ok(serving) => {
                watchdog.watch(door.counter().into_iter().chain(serving.progress()).collect());
                watchdog::ready();
                last_good = Some(config.clone());
                let wish = wish(&mut signals, &read).await;
                watchdog.watch(door.counter().into_iter().collect());
                let outbox = serving.outbox();
                if timeout(STOP_PATIENCE, serving.stop()).await.is_err() {
                    error!("something in work did not end in time and was broken off");
                }
                (wish, Some(outbox))
            }
            // What was broken off still has the files: it ends by its own time limits.
            Err(error) if error.is_in_use() && last_good.is_some() => {
                info!("{error}; waiting");
                tokio::select! {
                    () = sleep(CLOSED_WITHIN) => continue,
                    wish = wish(&mut signals, &read) => (wish, None),
                }
            }
            Err(error) => {
                if let Some(good) = last_good.take() {
                    error!("{error}; going back to the last configuration");
                    config = good;
                    door.change(&config);
                    continue;
                }
                if door.worker.is_none() {
                    return Err(error);
                }
                // The door's thread works: what the way out does is told and shown.
                watchdog::ready();
                error!("{error}; until this works only the way out does");
                tokio::select! {
                    () = sleep(AGAIN) => continue,
                    wish = wish(&mut signals, &read) => (wish, None),
                }
            }
        };
        match wish {
            Wish::Stop(reason) => {
                door.end(&config, outbox, reason).await;
                return Ok(());
            }
            Wish::Serve(next) => {
                if let Some(outbox) = outbox {
                    let noted = move || record::stopping(&outbox, "reload");
                    let _ = timeout(LAST_PATIENCE, tokio::task::spawn_blocking(noted)).await;
                }
                config = *next;
                door.change(&config);
            }
        }
    }
}

/// A signal came before the start was done, and what was started has ended again as far as it does.
struct BrokenOff {
    reason: &'static str,
    outbox: Option<Arc<Outbox>>,
}

/// Starts serving, on a thread of its own: a disk that hangs must not keep the daemon from ending.
async fn started(
    config: &Config,
    lasting: Lasting,
    signals: &mut Signals,
) -> Result<Result<Serving, DaemonError>, BrokenOff> {
    let config = config.clone();
    let runtime = tokio::runtime::Handle::current();
    let start = move || runtime.block_on(Serving::start(&config, lasting));
    let mut starting = tokio::task::spawn_blocking(start);
    let reason = tokio::select! {
        started = &mut starting => {
            return Ok(started.unwrap_or_else(|panic| Err(io::Error::other(panic).into())));
        }
        reason = signals.end() => reason,
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
    Err(BrokenOff { reason, outbox })
}

/// Waits for a signal that ends the daemon, or that brings a configuration which can stand.
async fn wish(signals: &mut Signals, read: &impl Fn() -> Result<Config, ConfigError>) -> Wish {
    loop {
        if let Some(reason) = signals.next().await {
            info!(reason, "stopping");
            watchdog::stopping();
            return Wish::Stop(reason);
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
                return Wish::Serve(Box::new(next));
            }
            Err(error) => error!("the configuration stays as it is: {error}"),
        }
    }
}

/// The door's worker, what it was started with, what happened at it, and what was tried.
struct FrontDoor {
    settings: Option<door::Settings>,
    worker: Option<DoorWorker>,
    door_events: DoorEvents,
    lockout: Arc<Mutex<Lockout>>,
}

impl FrontDoor {
    fn start(config: &Config) -> Result<Self, DaemonError> {
        let settings = settings::door(config)?;
        let door_events = DoorEvents::default();
        let start = |settings| DoorWorker::start(settings, door_events.clone());
        let worker = settings.clone().map(start).transpose()?;
        Ok(Self { settings, worker, door_events, lockout: Arc::default() })
    }

    fn lasting(&self) -> Lasting {
        Lasting {
            door: self.worker.as_ref().map(DoorWorker::handle),
            door_events: self.door_events.clone(),
            lockout: self.lockout.clone(),
        }
    }

    fn counter(&self) -> Option<Counter> {
        self.worker.as_ref().map(|worker| watchdog::counter("door", worker.progress()))
    }

    /// The door of another configuration: the same where nothing about it has changed, else another,
    /// once the first has locked and let go of its lines. One that cannot be started leaves the first.
    fn change(&mut self, config: &Config) {
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
    async fn end(&mut self, config: &Config, outbox: Option<Arc<Outbox>>, reason: &'static str) {
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

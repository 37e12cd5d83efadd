//! Starts the workers in the order they need each other, and stops them in the reverse order.
//!
//! | worker | ends when |
//! |---|---|
//! | camera, if one is configured | its last handle is dropped |
//! | vision threads, behind the service's queue | the service is dropped |
//! | scrub of the gallery's file, from time to time | the runtime stops |
//! | embedded broker, if no other is configured | after the session |
//! | control socket | first: it finishes what is in work |
//! | MQTT session | with it: it does the same and says `stopped` |

mod control;
mod local;
mod scrub;
mod settings;

use control::Control;
pub use local::{Local, LocalError};

use crate::camera::{self, Camera, CameraError};
use crate::config::Config;
use crate::face::{Analyzer, FaceError};
use crate::gallery::{self, Gallery, OpenError};
use crate::mqtt::{
    Answering, ConnectError, Embedded, EmbeddedError, Handler, LoginError, Session, SettingsError,
};
use crate::picture::allow::AllowList;
use crate::service::{self, Answer, Applications, Request, Sender, Service};
use serde_json::Value;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

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
    Permission(#[from] service::UnknownPermission),
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
    Applications(#[from] service::ApplicationsError),
    /// Camera settings that cannot be used.
    #[error(transparent)]
    CameraSettings(#[from] camera::SettingsError),
    /// The camera.
    #[error(transparent)]
    Camera(#[from] CameraError),
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
    /// The system gives no signals or threads.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

impl DaemonError {
    /// Whether the configuration is to blame, or a file that it names.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::MqttSettings(_)
            | Self::Permission(_)
            | Self::Auth(_)
            | Self::Clients(_)
            | Self::TwoAuthorities
            | Self::CameraSettings(_)
            | Self::Mqtt(_) => true,
            Self::Service(error) => matches!(error, service::StartError::UrlAllow(_)),
            _ => false,
        }
    }
}

/// Models, gallery and service, as `config` says: what `run` and a lone command line share.
pub fn open_service(config: &Config) -> Result<(Arc<Service>, Arc<Gallery>), DaemonError> {
    let data_dir = &config.device.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|reason| DaemonError::DataDir { path: data_dir.clone(), reason })?;
    let service_settings = settings::service(config)?;
    let analyzer = Arc::new(Analyzer::load()?);
    let gallery_settings = gallery::Settings {
        model_id: analyzer.model_id().to_owned(),
        store_images: config.gallery.store_images,
    };
    let gallery = Arc::new(Gallery::open(&data_dir.join("gallery.redb"), gallery_settings)?);
    // Behind the gallery, whose lock says that nobody else is at work in this folder.
    let applications = Applications::open(&data_dir.join("applications.redb"))?;
    let service = Service::new(analyzer, gallery.clone(), applications, service_settings)?;
    Ok((Arc::new(service), gallery))
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
    settings::camera(config)?;
    crate::mqtt::check(&settings::mqtt(config)?)?;
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

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: &Config) -> Result<(), DaemonError> {
    let started = Instant::now();
    let mut mqtt = settings::mqtt(config)?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);

    // First, so that it finds its exposure while the models are loaded.
    let camera = start_camera(config)?;
    let (service, gallery) = open_service(config)?;
    if let Some(camera) = camera {
        service.attach(camera);
    }
    tokio::spawn(scrub::scrub_when_due(gallery));
    let data_dir = &config.device.data_dir;
    let control = Control::start(data_dir, service.clone())
        .map_err(|reason| DaemonError::Control { path: control::socket_path(data_dir), reason })?;

    let embedded = if mqtt.host.is_none() {
        let broker = Embedded::start(mqtt.port(), data_dir).await?;
        mqtt = mqtt.aimed_at_embedded(broker.port(), broker.login());
        Some(broker)
    } else {
        None
    };
    let health = {
        let service = service.clone();
        Arc::new(move || Value::Object(service.health()))
    };
    let session = Session::start(mqtt, service, health).await?;
    tracing::info!(
        device_id = config.device.id,
        ready_ms = started.elapsed().as_millis() as u64,
        "ready"
    );

    let reason = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(reason, "stopping");
    tokio::join!(session.stop(), control.stop());
    if let Some(broker) = embedded {
        broker.stop().await;
    }
    Ok(())
}

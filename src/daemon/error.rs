//! Why the daemon does not start.

use crate::access::{GroupError, UnknownPolicy, ZoneError};
use crate::applications::ApplicationsError;
use crate::camera;
use crate::contract::UnknownPermission;
use crate::face::FaceError;
use crate::gallery::OpenError;
use crate::mqtt::{ConnectError, EmbeddedError, LoginError, SettingsError};
use crate::outbox::OutboxError;
use crate::service;
use crate::terminal::DoorError;
use std::io;
use std::path::PathBuf;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data folder cannot be made.
    #[error("cannot make the folder device.data_dir = {path}: {reason}; name one you may write to")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// The models cannot be loaded.
    #[error(transparent)]
    Models(#[from] FaceError),
    /// The gallery cannot be opened.
    #[error(transparent)]
    Gallery(#[from] OpenError),
    /// The service cannot start.
    #[error(transparent)]
    Service(#[from] service::StartError),
    /// The permission does not exist.
    #[error("mqtt.permissions: {0}")]
    Permission(#[from] UnknownPermission),
    /// The way to authenticate does not exist.
    #[error("service.auth: {0}")]
    Auth(#[from] service::UnknownAuth),
    /// The table of clients cannot be read.
    #[error("mqtt.clients: {0}")]
    Clients(#[from] service::BadClient),
    /// There are two tables of permissions.
    #[error(
        "mqtt.clients is for service.auth = \"broker\"; under \"app-key\" each application has its \
         own permissions: empty mqtt.clients, or change service.auth"
    )]
    TwoAuthorities,
    /// The applications cannot be opened.
    #[error(transparent)]
    Applications(#[from] ApplicationsError),
    /// The camera settings cannot be used.
    #[error(transparent)]
    CameraSettings(#[from] camera::SettingsError),
    /// The camera cannot be opened.
    #[error(transparent)]
    Camera(#[from] camera::CameraError),
    /// The control socket cannot be created.
    #[error("cannot listen on {path}: {reason}")]
    Control {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// The HTTP settings cannot be used.
    #[error(transparent)]
    Http(#[from] crate::http::SettingsError),
    /// The MQTT settings cannot be used.
    #[error(transparent)]
    MqttSettings(#[from] SettingsError),
    /// The MQTT session cannot start.
    #[error(transparent)]
    Mqtt(#[from] ConnectError),
    /// The webhook cannot be used.
    #[error(transparent)]
    Webhook(#[from] crate::webhook::SettingsError),
    /// The embedded broker cannot start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// A client needs the embedded broker's login, and there is none.
    #[error("no login of an embedded broker: {0}; start the daemon first, or set mqtt.host")]
    Login(#[from] LoginError),
    /// A group cannot be read.
    #[error("access.groups: {0}")]
    Groups(#[from] GroupError),
    /// The zone cannot be read.
    #[error("access.zone: {0}")]
    Zone(#[from] ZoneError),
    /// The policy does not exist.
    #[error("liveness.policy: {0}")]
    LivenessPolicy(#[from] UnknownPolicy),
    /// The door cannot be used.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The events cannot be opened.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The system gives no signals or threads.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

impl DaemonError {
    /// Returns true if another process, or this one's unfinished last work, holds the files.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::Gallery(OpenError::InUse { .. }) | Self::Outbox(OutboxError::InUse { .. })
        )
    }

    /// Returns true if the cause is the configuration, or a file that it names.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::MqttSettings(_)
            | Self::Http(_)
            | Self::Permission(_)
            | Self::Auth(_)
            | Self::Clients(_)
            | Self::TwoAuthorities
            | Self::Groups(_)
            | Self::Zone(_)
            | Self::LivenessPolicy(_)
            | Self::Door(_)
            | Self::CameraSettings(_)
            | Self::Webhook(_)
            | Self::Mqtt(_) => true,
            Self::Service(error) => matches!(error, service::StartError::UrlAllow(_)),
            _ => false,
        }
    }
}

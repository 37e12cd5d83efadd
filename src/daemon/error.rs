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
    pub(super) fn is_in_use(&self) -> bool {
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

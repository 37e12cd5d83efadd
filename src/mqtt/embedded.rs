//! The broker inside the daemon, for a single terminal: listens on loopback only, restricts topics
//! by [`super::roles`] and keeps everything in memory. Several terminals need an external broker.

use super::roles::{Roles, TERMINAL, Trees};
use super::{Login, LoginError, MAX_PACKET, Settings};
use crate::service::KnowsApplication;
use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::server::BrokerShutdownHandle;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{error, info};

/// More connections than a terminal and its clients need, few enough for the memory.
const MOST_CLIENTS: usize = 64;
/// Messages queued for one client. An answer is small; a picture is not.
const MOST_WAITING: usize = 64;
/// How long a stop waits for connections to close.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// A broker on 127.0.0.1. Dropping it stops it at once; [`Embedded::stop`] stops it cleanly.
pub struct Embedded {
    port: u16,
    login: Login,
    terminal: Login,
    shutdown: BrokerShutdownHandle,
    task: JoinHandle<()>,
}

/// Why the embedded broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The port is in use.
    #[error(
        "port {0} of 127.0.0.1 is taken, so the embedded broker cannot start: set mqtt.port to a \
         free one, or mqtt.host = \"127.0.0.1\" to use the broker that runs there"
    )]
    PortTaken(u16),
    /// The system refuses to listen on the port.
    #[error("the embedded broker cannot listen on port {port} of 127.0.0.1 (mqtt.port): {source}")]
    Listen {
        /// The port.
        port: u16,
        /// The system's error.
        source: std::io::Error,
    },
    /// The login cannot be read or made.
    #[error("the embedded broker has no login: {0}")]
    Login(#[from] LoginError),
    /// The broker library refused.
    #[error("the embedded broker cannot start: {0}")]
    Broker(String),
}

impl Embedded {
    /// Starts the broker for the terminal that `settings` describe, on its port of 127.0.0.1 (0: any
    /// free one), with the clients' login kept in `data_dir`; `applications` log in as themselves.
    pub async fn start(
        settings: &Settings,
        data_dir: &Path,
        applications: Option<KnowsApplication>,
    ) -> Result<Self, EmbeddedError> {
        let port = settings.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // The library reports a taken port as text only; binding first gives the error kind.
        std::net::TcpListener::bind(address).map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => EmbeddedError::PortTaken(port),
            _ => EmbeddedError::Listen { port, source },
        })?;
        let login = Login::read_or_make(data_dir)?;
        let failed = |error: mqtt5::MqttError| EmbeddedError::Broker(error.to_string());
        let terminal = Login::random(TERMINAL)?;
        let roles = Roles {
            terminal: terminal.clone(),
            operator: login.clone(),
            applications,
            topics: Trees::of(settings),
        };
        let mut broker = MqttBroker::with_config(config(address))
            .await
            .map_err(failed)?
            // Replaces the library's own provider, which accepts everyone without a password file.
            .with_auth_provider(Arc::new(roles));
        let port = broker.local_addr().map_or(port, |address| address.port());
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                error!("the embedded broker stopped: {error}");
            }
        });
        if ready.wait_for(|ready| *ready).await.is_err() {
            return Err(EmbeddedError::Broker("it stopped at once".into()));
        }
        info!("embedded broker on 127.0.0.1:{port}");
        Ok(Self { port, login, terminal, shutdown, task })
    }

    /// Returns the port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the clients' login.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Returns the terminal's own login, which is new at each start.
    pub fn terminal(&self) -> &Login {
        &self.terminal
    }

    /// Closes the connections and ends.
    pub async fn stop(mut self) {
        self.shutdown.shutdown();
        let _ = tokio::time::timeout(STOP_PATIENCE, &mut self.task).await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(address: SocketAddr) -> BrokerConfig {
    let mut config = BrokerConfig::new()
        .with_bind_address(address)
        .with_max_packet_size(MAX_PACKET as usize)
        .with_max_clients(MOST_CLIENTS)
        .with_client_channel_capacity(MOST_WAITING)
        // Files would survive SIGKILL with acknowledged messages missing. Events have their own
        // outbox, and commands are never kept.
        .with_storage(StorageConfig::new().with_backend(StorageBackend::Memory));
    config.sys_topics_enabled = false;
    config
}

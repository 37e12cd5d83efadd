//! The broker inside the daemon, for a single terminal: listens on loopback only, restricts topics
//! by [`super::roles`] and keeps everything in memory. Several terminals need an external broker.

use super::listener::{Refusals, Shared};
use super::roles::{Roles, TERMINAL, Trees};
use super::{Login, LoginError, MAX_PACKET, Settings};
use crate::service::KnowsApplication;
use mqtt5::broker::BrokerConfig;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::{DynamicStorage, MemoryBackend, QueueLimits};
use mqtt5::broker::sys_topics::BrokerStats;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tracing::info;

/// Messages and bytes queued for one client. An answer is small; a picture is not, and only the
/// terminal gets pictures.
const MOST_WAITING: QueueLimits = QueueLimits { max_messages: 64, max_bytes: 16 * 1024 * 1024 };
/// Retained messages and bytes of one: the states of one device and its discovery.
const MOST_RETAINED: usize = 64;
const LARGEST_RETAINED: usize = 64 * 1024;
/// Subscriptions, and topics with an alias, of one client.
const MOST_SUBSCRIPTIONS: usize = 64;
const MOST_ALIASES: u16 = 16;
/// How long a stop waits for connections to close.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// A broker on 127.0.0.1. Dropping it stops it at once; [`Embedded::stop`] stops it cleanly.
pub struct Embedded {
    port: u16,
    login: Login,
    terminal: Login,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What happened at the embedded broker since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerCounts {
    /// Clients that are logged in, the terminal's own connections included.
    pub clients: usize,
    /// Logins with a wrong name or password.
    pub wrong_logins: u64,
    /// Right logins that were refused: another client's identifier, or too many clients.
    pub refused_clients: u64,
    /// Connections closed before a login.
    pub unfinished: u64,
    /// Connections closed after a packet that was too large.
    pub too_large: u64,
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
}

impl Embedded {
    /// Starts the broker for the terminal that `settings` describe, on its port of 127.0.0.1 (0:
    /// any free one), with the clients' login kept in `data_dir`; `applications` log in as
    /// themselves.
    pub async fn start(
        settings: &Settings,
        data_dir: &Path,
        applications: Option<KnowsApplication>,
    ) -> Result<Self, EmbeddedError> {
        let port = settings.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => EmbeddedError::PortTaken(port),
            _ => EmbeddedError::Listen { port, source },
        })?;
        let port = listener.local_addr().map_or(port, |address| address.port());
        let login = Login::read_or_make(data_dir)?;
        let terminal = Login::random(TERMINAL)?;
        let stats = Arc::new(BrokerStats::new());
        let topics = Trees::of(settings);
        let roles =
            Roles::new(terminal.clone(), login.clone(), applications, topics, stats.clone());
        let roles = Arc::new(roles);
        // Files would survive SIGKILL with acknowledged messages missing. Events have their own
        // outbox, and commands are never kept.
        let storage = MemoryBackend::with_queue_limits(MOST_WAITING);
        let storage = Arc::new(DynamicStorage::Memory(storage));
        let router = MessageRouter::with_storage(storage.clone())
            .with_fallback_queue_limits(MOST_WAITING)
            .with_event_handler(roles.clone())
            .with_retained_limits(MOST_RETAINED, LARGEST_RETAINED);
        let shared = Arc::new(Shared {
            config: Arc::new(config(address, roles.clone())),
            router: Arc::new(router),
            storage,
            stats,
            resources: Arc::new(ResourceMonitor::new(unlimited())),
            roles,
            shutdown: broadcast::channel(1).0,
            refusals: Refusals::default(),
        });
        let (stop, stop_seen) = watch::channel(false);
        let task = tokio::spawn(shared.clone().accept(listener, stop_seen));
        info!("embedded broker on 127.0.0.1:{port}");
        Ok(Self { port, login, terminal, shared, stop, task })
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

    /// Returns a function that counts what happened at this broker; it may outlive the broker.
    pub fn counts(&self) -> impl Fn() -> BrokerCounts + Send + Sync + use<> {
        let shared = self.shared.clone();
        move || BrokerCounts {
            clients: shared.stats.clients_connected.load(Ordering::Relaxed),
            wrong_logins: shared.roles.wrong_logins.total(),
            refused_clients: shared.roles.refused_clients.total(),
            unfinished: shared.refusals.unfinished.total(),
            too_large: shared.refusals.too_large.total(),
        }
    }

    /// Closes the connections and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(STOP_PATIENCE, &mut self.task).await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Limits only what one client may hold: every client of this broker has a login.
fn unlimited() -> ResourceLimits {
    ResourceLimits {
        max_message_rate_per_client: 0,
        max_bandwidth_per_client: 0,
        ..ResourceLimits::default()
    }
}

fn config(address: SocketAddr, roles: Arc<Roles>) -> BrokerConfig {
    let mut config = BrokerConfig::new()
        .with_bind_address(address)
        .with_max_packet_size(MAX_PACKET as usize)
        .with_client_channel_capacity(MOST_WAITING.max_messages)
        .with_max_subscriptions_per_client(MOST_SUBSCRIPTIONS)
        // QoS 2 holds each message until the client releases it.
        .with_maximum_qos(1)
        // No session of an absent client: any number of client identifiers could each fill a queue.
        .with_session_expiry(Duration::ZERO);
    config.topic_alias_maximum = MOST_ALIASES;
    config.sys_topics_enabled = false;
    config.event_handler = Some(roles);
    config
}

//! The service over HTTP/1.1 and HTTP/2: a second transport beside MQTT, for clients of the
//! original service, integrators and monitoring.
//!
//! ```text
//! listener ─► connections ─► router ─► incoming ─► exchange ─► the service
//!                              │                                   │
//!                              └──────────── outgoing ◄────────────┘
//! ```
//!
//! | file | purpose |
//! |---|---|
//! | `listener.rs` | accepts, TLS, the limits of a connection |
//! | `connections.rs` | which connections are held, and which one ends for a new one |
//! | `router.rs` | addresses, made from the table of operations |
//! | `checks.rs` | what every message passes: host, one reading, origin, headers of the answer |
//! | `incoming.rs` | a message becomes a [`crate::contract::Request`] |
//! | `body.rs` | reads a body within its limits |
//! | `exchange.rs` | authenticates, asks the service, makes no change twice |
//! | `guesses.rs` | slows addresses that send wrong keys |
//! | `outgoing.rs` | an answer becomes a message |
//! | `events.rs` | the live stream of the audit log |
//! | `pages.rs` | `/healthz`, `/readyz`, `/metrics`, `/openapi.json` |
//! | `tls.rs` | certificates |
//!
//! It checks the message and never judges a request's content. It knows neither gallery nor outbox
//! nor MQTT: what it shows of them comes by [`Sources`].

mod body;
mod checks;
mod connections;
mod events;
mod exchange;
mod guesses;
mod incoming;
mod listener;
mod outgoing;
mod pages;
mod router;
mod settings;
pub mod tls;

pub use listener::Server;
pub use settings::{Settings, SettingsError};

use std::sync::Arc;

/// What the interface shows besides the answers of the service.
#[derive(Clone)]
pub struct Sources {
    /// Number of the last line of the audit log. Never waits.
    pub last_line: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Why the terminal is not ready; `None` if it is. Never waits.
    pub not_ready: Arc<dyn Fn() -> Option<&'static str> + Send + Sync>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

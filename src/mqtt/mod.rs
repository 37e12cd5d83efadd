//! The service over MQTT 5.
//!
//! A [`Session`] keeps a connection to a broker, hands each request on `doorward/<device>/cmd/#`,
//! and from named clients on `doorward/<device>/from/<name>/cmd/#`, to the service, and publishes
//! the service's answers. It checks the envelope (topic, freshness, repetition, reply address) and
//! never a request's content.
//!
//! ```text
//! broker ──► lane ───► dispatcher ─► incoming ─► memory ─► the service's function
//!    ▲                                                            │
//!    └────────────────────── publisher ◄──────────────────────────┘
//! ```
//!
//! Where the strike may be moved remotely, `unlock` has a connection of its own, with an `echo`
//! that shows how old it may be. Events have their own connection too: `outbox ─► delivery ─►
//! broker`.
//!
//! Terms: a *command* is a message on a `cmd/` topic; a *reply address* is the topic and
//! Correlation Data an answer goes to; a *repeat* is a change that is requested again; *exposure*
//! says how far strangers can reach the broker.
//!
//! The event loop waits only for the network: anything else that may wait (the service, a full
//! queue towards the broker) is a task of its own, and the number of those tasks is bounded.

mod announcement;
mod backoff;
mod call;
mod connect;
mod counts;
mod delivery;
mod dispatcher;
mod echo;
mod embedded;
mod exposure;
mod homeassistant;
mod incoming;
mod lane;
mod listener;
mod login;
mod probe;
mod publisher;
mod roles;
mod session;
mod settings;
mod tally;
mod topics;

pub use call::{Call, CallError, call};
pub use connect::{ConnectError, check};
pub use counts::Counts;
pub use delivery::Delivery;
pub use embedded::{BrokerCounts, Embedded, EmbeddedError};
pub use exposure::Exposure;
pub use homeassistant::{DECISIONS, HomeAssistant, RemoveError, remove};
pub use login::{Login, LoginError};
pub use publisher::{PublishError, Publisher};
pub use session::{Health, Session};
pub use settings::{Settings, SettingsError, Tls};

/// The largest MQTT packet in either direction, in bytes.
pub const MAX_PACKET: u32 = crate::transport::MAX_REQUEST;

/// Log directives that keep the libraries quiet unless something is wrong: the embedded broker
/// reports every connection at `info`.
pub const QUIET_LOGS: &[&str] = &["mqtt5=error", "mqtt5_protocol=error", "rumqttc=error"];

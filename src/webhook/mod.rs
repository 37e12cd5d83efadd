//! Delivers events to one HTTP server of the operator: the webhook, in the form of Standard
//! Webhooks (<https://www.standardwebhooks.com>).
//!
//! The promise is that of MQTT: an event is on disk before it is sent, is sent again until the
//! server has acknowledged it with a 2xx, and in the order of `seq`. It may be sent twice, with the
//! same `webhook-id`, and is never lost within the bounds of the outbox, where the webhook has a
//! backlog of its own ([`crate::outbox::Consumer`]).
//!
//! One plain thread sends one event at a time. It must never delay another consumer or a decision:
//! it holds nothing of the outbox while it waits for the server. It must never log the secret, the
//! URL beyond its host, or a body.
//!
//! | file | purpose |
//! |---|---|
//! | `settings.rs` | the configuration, checked |
//! | `secret.rs` | the secret and the signature |
//! | `client.rs` | one request: its headers, the address policy, what the answer means |
//! | `retry.rs` | how long to wait after an answer |
//! | `delivery.rs` | the thread |
//! | `report.rs` | the state for health |

mod client;
mod delivery;
mod report;
mod retry;
mod secret;
mod settings;

pub use client::{Attempt, Client};
pub use delivery::Webhook;
pub use settings::{Settings, SettingsError};

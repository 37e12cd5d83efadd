//! Assembles the daemon: starts the workers in the order they need each other, watches them, and
//! stops them in the reverse order.
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
//! All but the door are [`Serving`](serving::Serving) one configuration; SIGHUP ends them and starts
//! them again with the next, and with the last good one if that fails.

mod control;
mod door_runtime;
mod error;
mod local;
mod maintenance;
mod open;
mod record;
mod run;
mod serving;
mod settings;
mod signals;
mod stopwatch;
mod watchdog;

pub use error::DaemonError;
pub use local::{Local, LocalError};
pub use open::{BadFiles, Opened, check, client_settings, open_service};
pub use run::run;

use open::start_camera;
use std::time::Duration;

/// How long the door and the record of what it did last may take.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

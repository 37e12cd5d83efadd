//! Assembles the daemon: starts the workers in the order in which they depend on each other,
//! watches them, and stops them in the reverse order.
//!
//! | worker | ends when |
//! |---|---|
//! | door | last: it depends on no other worker; then its last events are recorded |
//! | vision threads, behind the service's queue | the service is dropped |
//! | camera, judgement | before the service |
//! | maintenance of the gallery's file | with the service |
//! | embedded broker, if no other is configured | after the session |
//! | control socket | first: it finishes what is in work |
//! | MQTT session | with the control socket: it does the same and says `stopped` |
//!
//! All workers except the door are [`Serving`](serving::Serving) one configuration. SIGHUP ends
//! them and starts them again with the next configuration, or with the last good one if that fails.

mod control;
mod door_runtime;
mod error;
mod http;
mod local;
mod maintenance;
mod metrics;
mod open;
mod record;
mod run;
mod serving;
mod settings;
mod signals;
mod stopwatch;
mod watchdog;

pub(crate) use control::is_running;
pub use error::DaemonError;
pub use local::{Local, LocalError};
pub use open::{BadFiles, Opened, check, client_settings, open_service, warnings, webhook_client};
pub use run::run;

use open::start_camera;
use std::time::Duration;

/// How long the door and the recording of its last events may take.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

//! The command line's access to the service: through the running daemon, or with its own files.

use super::{BadFiles, DaemonError, control, maintenance, open_service, start_camera};
use crate::config::Config;
use crate::contract::{Answer, Operation};
use crate::gallery::{Gallery, OpenError};
use crate::outbox::OutboxError;
use crate::service::Service;
use crate::terminal::Clock;
use serde_json::{Map, Value};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait for a gallery in use: as long as starting, stopping and one command take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Executes one operation: in the daemon that serves the data folder, else in this process, which
/// opens the files.
pub struct Local {
    config: Config,
    own: Option<Own>,
}

/// The files that this process has opened.
struct Own {
    service: Arc<Service>,
    gallery: Arc<Gallery>,
}

impl Drop for Own {
    /// Removes the bytes of deleted faces, as a daemon does at its stop.
    fn drop(&mut self) {
        maintenance::scrub_after_command(&self.gallery);
    }
}

/// Why a local operation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The daemon's socket fails.
    #[error("cannot talk to the running daemon over {path}: {reason}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// The files cannot be opened.
    #[error(transparent)]
    Files(#[from] DaemonError),
    /// There is no answer, or it is not of the contract.
    #[error("the request has no answer; the daemon's log says why")]
    Unanswered,
}

impl Local {
    /// Checks if a daemon runs; opens the files if none does.
    ///
    /// Waits for a gallery that another process has open: a command that is about to end, or a
    /// daemon that is starting or stopping and does not listen.
    pub async fn connect(config: &Config) -> Result<Self, LocalError> {
        let data_dir = config.device.data_dir.clone();
        let started = Instant::now();
        // Not believed unless configured: a command is too short to find out.
        let clock = Clock::new();
        clock.trust(config.schedules.trust_clock);
        loop {
            let daemon = control::connect(&data_dir).await.map_err(|reason| {
                LocalError::Socket { path: control::socket_path(&data_dir), reason }
            })?;
            if daemon.is_some() {
                return Ok(Self { config: config.clone(), own: None });
            }
            match open_service(config, None, Arc::new(clock.wall()), BadFiles::Refused) {
                Ok(opened) => {
                    let own = Own { service: opened.service, gallery: opened.gallery };
                    return Ok(Self { config: config.clone(), own: Some(own) });
                }
                Err(
                    DaemonError::Gallery(OpenError::InUse { .. })
                    | DaemonError::Outbox(OutboxError::InUse { .. }),
                ) if started.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the answer of the contract.
    pub async fn ask(
        &self,
        operation: Operation,
        body: Map<String, Value>,
    ) -> Result<Answer, LocalError> {
        let (operation, body) = (operation.name(), Value::Object(body));
        if let Some(Own { service, .. }) = &self.own {
            let request = control::request(operation, &body);
            // The camera starts only for a request that needs it.
            if !service.has_camera()
                && request.uses_camera()
                && let Some(camera) = start_camera(&self.config)?
            {
                service.attach(camera);
            }
            return service.handle(request).await.ok_or(LocalError::Unanswered);
        }
        let data_dir = &self.config.device.data_dir;
        let path = control::socket_path(data_dir);
        let socket = |reason| LocalError::Socket { path: path.clone(), reason };
        let answer = control::ask(data_dir, operation, &body).await.map_err(socket)?;
        let answer = answer.ok_or_else(|| socket(io::ErrorKind::NotConnected.into()))?;
        Answer::from_json(answer).ok_or(LocalError::Unanswered)
    }
}

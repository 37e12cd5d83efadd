//! The command line's way to the service: the running daemon, else files of its own.

use super::{BadFiles, DaemonError, control, open_service, start_camera};
use crate::config::Config;
use crate::contract::{Answer, Operation};
use crate::gallery::OpenError;
use crate::outbox::OutboxError;
use crate::service::Service;
use serde_json::{Map, Value};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a gallery that is in use is waited for: what starting, stopping and one command take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One operation by whoever can do it: the daemon that serves the data folder, else this process
/// with files of its own.
pub struct Local {
    config: Config,
    own: Option<Arc<Service>>,
}

/// Why a local operation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The daemon's socket.
    #[error("cannot talk to the running daemon over {path}: {reason}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The files.
    #[error(transparent)]
    Files(#[from] DaemonError),
    /// No answer, or one that is not of the contract.
    #[error("the request has no answer; the daemon's log says why")]
    Unanswered,
}

impl Local {
    /// Finds out whether a daemon runs; opens the files if none does.
    ///
    /// A gallery that somebody else has open is waited for: another command that is about to end,
    /// or a daemon that does not listen yet, or no longer.
    pub async fn connect(config: &Config) -> Result<Self, LocalError> {
        let data_dir = config.device.data_dir.clone();
        let started = Instant::now();
        loop {
            let daemon = control::connect(&data_dir).await.map_err(|reason| {
                LocalError::Socket { path: control::socket_path(&data_dir), reason }
            })?;
            if daemon.is_some() {
                return Ok(Self { config: config.clone(), own: None });
            }
            match open_service(config, None, Arc::new(|| None), BadFiles::Refused) {
                Ok(opened) => {
                    return Ok(Self { config: config.clone(), own: Some(opened.service) });
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

    /// The answer of the contract.
    pub async fn ask(
        &self,
        operation: Operation,
        body: Map<String, Value>,
    ) -> Result<Answer, LocalError> {
        let (operation, body) = (operation.name(), Value::Object(body));
        if let Some(service) = &self.own {
            let request = control::request(operation, &body);
            // The camera starts only for a request that asks for it.
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

//! The command line's way to the service: the running daemon, else files of its own.

use super::{DaemonError, control, open_service};
use crate::config::Config;
use crate::service::Service;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// One operation by whoever can do it: the daemon that serves the data folder, else this process
/// with files of its own.
pub struct Local {
    data_dir: PathBuf,
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
}

impl Local {
    /// Finds out whether a daemon runs; opens the files if none does.
    pub async fn connect(config: &Config) -> Result<Self, LocalError> {
        let data_dir = config.device.data_dir.clone();
        let path = control::socket_path(&data_dir);
        let own = match tokio::net::UnixStream::connect(&path).await {
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(LocalError::Socket { path, reason: error });
            }
            Err(_) => Some(open_service(config)?),
        };
        Ok(Self { data_dir, own })
    }

    /// The answer of the contract, `status` first.
    pub async fn ask(&self, operation: &str, body: &Value) -> Result<Value, LocalError> {
        if let Some(service) = &self.own {
            let answer = service.handle(control::request(operation, body)).await;
            return Ok(answer.map_or(Value::Null, |answer| answer.with_status()));
        }
        let path = control::socket_path(&self.data_dir);
        let socket = |reason| LocalError::Socket { path: path.clone(), reason };
        control::ask(&self.data_dir, operation, body)
            .await
            .map_err(socket)?
            .ok_or_else(|| socket(io::ErrorKind::NotConnected.into()))
    }
}

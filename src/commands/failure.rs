//! Failures of a command and their exit codes.

use doorward::camera::CommandError;
use doorward::config::{ConfigError, EditError};
use doorward::daemon::{DaemonError, LocalError};
use doorward::evaluate::EvaluateError;
use doorward::face::FaceError;
use doorward::import::ImportError;
use doorward::log::LevelError;
use doorward::mqtt::{CallError, RemoveError};
use doorward_evaluate::calibrate::CalibrateError;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Face(#[from] FaceError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error(transparent)]
    Camera(#[from] CommandError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("cannot write {path}: {reason}")]
    Plot { path: PathBuf, reason: std::io::Error },
    #[error("cannot print the configuration: {0}")]
    Print(#[from] toml::ser::Error),
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

impl Failure {
    /// True if the reader of standard output is gone: `doorward audit list | head`.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// True if a file or folder on the command line does not exist.
    fn is_missing_path(&self) -> bool {
        match self {
            Self::Import(ImportError::Photographs(error))
            | Self::Calibrate(CalibrateError::Photographs(error)) => error.is_missing(),
            Self::Evaluate(EvaluateError::Photographs(error)) => error.is_missing(),
            _ => false,
        }
    }

    /// Returns the exit code. 2: the command line or the configuration is wrong; 4: something
    /// failed or cannot be reached.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_)
            | Self::Level(_)
            | Self::Usage(_)
            | Self::Camera(CommandError::NoCamera | CommandError::Settings(_))
            | Self::Import(ImportError::People(_))
            | Self::Edit(EditError::Text { .. }) => ExitCode::from(2),
            Self::Daemon(error) | Self::Local(LocalError::Files(error))
                if error.is_configuration() =>
            {
                ExitCode::from(2)
            }
            _ if self.is_missing_path() => ExitCode::from(2),
            Self::Call(CallError::Connect(_)) | Self::Remove(RemoveError::Connect(_)) => {
                ExitCode::from(2)
            }
            _ => ExitCode::from(4),
        }
    }
}

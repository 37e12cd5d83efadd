//! `cargo xtask train-NAME`: builds `models/train` and fits one of doorward's own models with it.

use crate::cargo::{self, CargoError};
use crate::workspace::{release, root};
use std::path::Path;
use std::process::Command;

/// Why there is no new model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The program that fits could not be built.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// It said why.
    #[error("the model was not fitted; the reason is above")]
    Failed,
}

/// Fits the model of that name on the photographs in `data`, or in `DOORWARD_DATA`.
pub fn run(name: &str, data: Option<&Path>) -> Result<(), TrainError> {
    cargo::run(cargo::BUILD)?;
    let mut command = Command::new(release("doorward-train"));
    command.current_dir(root()).arg(name);
    if let Some(data) = data {
        command.arg("--data").arg(data);
    }
    if command.status().is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(TrainError::Failed)
    }
}

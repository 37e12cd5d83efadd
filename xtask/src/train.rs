//! `cargo xtask train-…`: builds and runs `models/train`.

use crate::cargo::{self, CargoError};
use crate::workspace::{release, root};
use std::process::Command;

/// Why there is no new model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The program could not be built.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// The program failed and printed the reason.
    #[error("{0} was not fitted; the reason is above")]
    Failed(&'static str),
}

/// Fits the model of that name to the photographs of `DOORWARD_DATA`, and rebuilds the programs
/// that contain it.
pub fn run(model: &'static str) -> Result<(), TrainError> {
    cargo::run(cargo::BUILD)?;
    let program = release("doorward-train");
    let status = Command::new(program).current_dir(root()).arg(model).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(TrainError::Failed(model));
    }
    cargo::run(cargo::BUILD)?;
    Ok(())
}

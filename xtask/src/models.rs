//! `cargo xtask models`: builds and runs `models/convert`.

use crate::cargo::{self, CargoError};
use crate::workspace::{release, root};
use std::path::Path;
use std::process::Command;

/// Why there are no models.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The converter could not be built.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// It said why.
    #[error("the models were not made; the reason is above")]
    Failed,
}

/// Makes every model anew, or checks that the committed ones are what would be made.
pub fn run(check: bool) -> Result<(), ModelsError> {
    convert(&["models"], if check { &["--check"] } else { &[] })
}

/// Puts the fp32 original of a network into a folder.
pub fn original(name: &str, folder: &Path) -> Result<(), ModelsError> {
    convert(&["original", name], &[folder])
}

fn convert<Argument: AsRef<std::ffi::OsStr>>(
    command: &[&str],
    arguments: &[Argument],
) -> Result<(), ModelsError> {
    cargo::run(cargo::BUILD)?;
    let status = Command::new(release("doorward-convert"))
        .current_dir(root())
        .args(command)
        .args(arguments)
        .status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(ModelsError::Failed) }
}

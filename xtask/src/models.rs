//! `cargo xtask models`: builds and runs `models/convert`.

use crate::cargo::{self, CargoError};
use crate::workspace::{release, root};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// The networks that the converter makes.
const TWINS: [&str; 4] = ["yunet.gguf", "sface.gguf", "minifasnet-v2.gguf", "minifasnet-v1se.gguf"];
/// No arguments.
const NOTHING: &[&str] = &[];

/// Why there are no models.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The converter could not be built.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// The converter failed and printed the reason.
    #[error("the models were not made; the reason is above")]
    Failed,
}

/// Makes every model from scratch, or checks that the committed ones are identical.
pub fn run(check: bool) -> Result<(), ModelsError> {
    convert(&["models"], if check { &["--check"] } else { &[] }, Stdio::inherit())
}

/// Makes the unquantized twins of the models in `target/models-f32` if they are missing; messages
/// about it go to standard error.
pub fn twins() -> Result<(), ModelsError> {
    let made = TWINS.iter().all(|name| root().join("target/models-f32").join(name).exists());
    if made { Ok(()) } else { convert(&["models"], NOTHING, io::stderr().into()) }
}

/// Puts the fp32 original of a network into a folder.
pub fn original(name: &str, folder: &Path) -> Result<(), ModelsError> {
    convert(&["original", name], &[folder], Stdio::inherit())
}

fn convert<Argument: AsRef<std::ffi::OsStr>>(
    command: &[&str],
    arguments: &[Argument],
    out: Stdio,
) -> Result<(), ModelsError> {
    cargo::run(cargo::BUILD)?;
    let status = Command::new(release("doorward-convert"))
        .current_dir(root())
        .args(command)
        .args(arguments)
        .stdout(out)
        .status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(ModelsError::Failed) }
}

//! Cargo, run for a chore.

use crate::prerequisites::{self, Missing};
use std::ffi::OsStr;
use std::process::Command;

/// Builds every package but the benches, which only who compares waits for. Always all of them: cargo
/// gives a dependency the features that the selected packages ask for, and another selection would
/// compile candle again; the benches ask for none of their own.
pub const BUILD: &[&str] = &["build", "--release", "--workspace", "--exclude", "doorward-benches"];
/// Builds the benches as well.
pub const BUILD_BENCHES: &[&str] = &["build", "--release", "--workspace"];

/// A cargo run that failed.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It could not be started.
    #[error("cannot start cargo: {0}")]
    Start(#[from] std::io::Error),
    /// It ended with an error, which it has printed.
    #[error("cargo {0} failed; its output is above")]
    Failed(String),
}

/// The cargo that runs this chore, in the workspace's root.
pub fn cargo() -> Command {
    at_root(&std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Another cargo, in the workspace's root.
pub fn at_root(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::workspace::root());
    // What `cargo run` tells about xtask would reach build scripts that watch these variables (ring's
    // does), and everything above them would be compiled again at each change between cargo and xtask.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs it with its output shown, with what building takes.
pub fn run(arguments: &[&str]) -> Result<(), CargoError> {
    prerequisites::meet(prerequisites::BUILD)?;
    let status = cargo().args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(CargoError::Failed(arguments.join(" "))) }
}

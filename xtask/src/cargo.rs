//! Runs cargo for a task.

use crate::prerequisites::{self, Missing};
use std::ffi::OsStr;
use std::process::Command;

/// Builds every package except the benches, which only a comparison needs. Always the same
/// selection: cargo enables the features that the selected packages request, so another selection
/// would compile candle again; the benches request no features of their own.
pub const BUILD: &[&str] = &["build", "--release", "--workspace", "--exclude", "doorward-benches"];
/// Builds the benches as well.
pub const BUILD_BENCHES: &[&str] = &["build", "--release", "--workspace"];

/// A cargo run that failed.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Cargo could not be started.
    #[error("cannot start cargo: {0}")]
    Start(#[from] std::io::Error),
    /// Cargo failed and printed the reason.
    #[error("cargo {0} failed; its output is above")]
    Failed(String),
}

/// Returns the cargo that runs this task, in the workspace's root.
pub fn cargo() -> Command {
    at_root(&std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Returns another cargo, in the workspace's root.
pub fn at_root(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::workspace::root());
    // `cargo run` sets variables about xtask that build scripts watch (ring's does). If they were
    // passed on, everything that depends on those would be compiled again at each change between
    // cargo and xtask.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs cargo with its output shown, after installing what a build needs.
pub fn run(arguments: &[&str]) -> Result<(), CargoError> {
    prerequisites::meet(prerequisites::BUILD)?;
    let status = cargo().args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(CargoError::Failed(arguments.join(" "))) }
}

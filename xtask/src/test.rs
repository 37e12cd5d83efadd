//! `cargo xtask test`: runs every test and installs what the tests need.

use crate::cargo::{self, CargoError};
use crate::prerequisites::{self, Missing};

/// Why the tests did not pass.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The tests failed.
    #[error(transparent)]
    Cargo(#[from] CargoError),
}

/// Runs the tests in release mode, so that they share compiled dependencies with the demonstration;
/// `arguments` go to the test programs.
pub fn run(arguments: &[String]) -> Result<(), TestError> {
    prerequisites::meet(prerequisites::TESTS)?;
    let mut command = vec!["test", "--release", "--workspace", "--no-fail-fast"];
    command.extend(["--exclude", "doorward-benches", "--"]);
    command.extend(arguments.iter().map(String::as_str));
    cargo::run(&command)?;
    if std::env::var_os("DOORWARD_DATA").is_none() {
        println!(
            "DOORWARD_DATA is not set: tests on the development photographs were SKIPPED; \
             everything else passed"
        );
    }
    Ok(())
}

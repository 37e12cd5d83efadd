//! `cargo xtask test`: every test, with what they need.

use crate::cargo::{self, CargoError};
use crate::prerequisites::{self, Missing};

/// Why the tests did not pass.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// They failed.
    #[error(transparent)]
    Cargo(#[from] CargoError),
}

/// Runs them in release mode, whose dependencies the demonstration has compiled too; `filters` go to
/// `cargo test`.
pub fn run(filters: &[String]) -> Result<(), TestError> {
    prerequisites::meet(prerequisites::TESTS)?;
    let mut arguments = vec!["test", "--release", "--workspace", "--no-fail-fast"];
    arguments.extend(filters.iter().map(String::as_str));
    cargo::run(&arguments)?;
    if std::env::var_os("DOORWARD_DATA").is_none() {
        println!(
            "DOORWARD_DATA is not set: tests on the development photographs were SKIPPED; \
             everything else passed"
        );
    }
    Ok(())
}

//! Python for a task: a venv with exactly the packages that a file pins by hash.

use crate::workspace::root;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why there is no Python.
#[derive(Debug, thiserror::Error)]
pub enum VenvError {
    /// The venv could not be made.
    #[error(
        "python3 could not make a venv with pip: install it (Debian, Ubuntu: apt install \
         python3-venv)"
    )]
    NoVenv,
    /// The packages could not be installed.
    #[error(
        "pip install failed, see above: check the network, and that python3 is a version that {0} \
         has wheels for"
    )]
    Packages(&'static str),
}

/// Returns the interpreter of the venv in `folder`, which is made if it is missing. Both paths are
/// below the workspace's root.
pub fn venv(folder: &str, requirements: &'static str) -> Result<PathBuf, VenvError> {
    let venv = root().join(folder);
    let python = venv.join("bin/python");
    let pip_works = |python: &Path| {
        let output = Command::new(python).args(["-m", "pip", "--version"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !pip_works(&python) {
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).status();
        if !made.is_ok_and(|status| status.success()) || !pip_works(&python) {
            return Err(VenvError::NoVenv);
        }
    }
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(root().join(requirements))
        .status();
    match installed {
        Ok(status) if status.success() => Ok(python),
        _ => Err(VenvError::Packages(requirements)),
    }
}

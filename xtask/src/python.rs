//! Python for a chore: a venv that holds exactly the packages that a file pins by hash.

use crate::workspace::root;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why there is no Python.
#[derive(Debug, thiserror::Error)]
pub enum VenvError {
    /// No venv.
    #[error(
        "python3 could not make a venv with pip: install it (Debian, Ubuntu: apt install \
         python3-venv)"
    )]
    NoVenv,
    /// No packages.
    #[error(
        "pip install failed, see above: check the network, and that python3 is a version that {0} \
         has wheels for"
    )]
    Packages(&'static str),
}

/// The interpreter of the venv in `folder`, made if need be. Both paths are below the workspace's root.
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

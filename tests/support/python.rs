//! Packages of Python for tests, at pinned versions.

use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Installs the packages of a file in `tests/` into a folder for `PYTHONPATH`; `None`, and a line
/// that says that the test is skipped, without python3, pip or a network.
pub fn packages(test: &str, requirements: &str) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(requirements);
    let installed = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--require-hashes", "--target"])
        .arg(folder.path())
        .arg("--requirement")
        .arg(requirements)
        .stderr(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED {test}: no python3 with pip, or no network");
        return None;
    }
    Some(folder)
}

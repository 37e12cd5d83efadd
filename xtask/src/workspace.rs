//! Paths in the workspace.

use std::path::{Path, PathBuf};

/// Returns the workspace's root. Output of the tasks goes to `target/` below it, wherever cargo's
/// own target folder is.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask/ is a folder of the workspace").to_owned()
}

/// Returns a program that [`crate::cargo::BUILD`] has built.
pub fn release(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir));
    target.join("release").join(program)
}

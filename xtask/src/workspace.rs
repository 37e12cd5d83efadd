//! Where things stand in the workspace.

use std::path::{Path, PathBuf};

/// The workspace's root. What chores leave behind goes to `target/` below it, wherever cargo's
/// own target folder is.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask/ is a folder of the workspace").to_owned()
}

/// A program as [`crate::cargo::BUILD`] leaves it.
pub fn release(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir));
    target.join("release").join(program)
}

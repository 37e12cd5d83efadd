//! Where things stand in the workspace, and the hash that names them.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The workspace's root. What chores leave behind goes to `target/` below it, wherever cargo's
/// own target folder is.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask/ is a folder of the workspace").to_owned()
}

/// SHA-256 in lower-case hex, as `sha256sum` prints it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

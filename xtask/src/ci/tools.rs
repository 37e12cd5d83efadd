//! Cargo tools that the checks need and cargo does not include. A tool on the search path is used
//! as it is; otherwise it is built once into `target/tools`, unoptimised: it runs for seconds and
//! takes longer to build.

use crate::cargo;
use crate::workspace::root;
use std::ffi::OsString;
use std::path::PathBuf;

/// A tool and the newest version that was tested.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Licences, sources, bans and advisories, by deny.toml.
pub const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// Unused dependencies.
pub const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };

/// A tool is missing and could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Cargo could not be started.
    #[error("cannot start cargo: {0}")]
    Start(#[from] std::io::Error),
    /// The search path cannot be written.
    #[error("PATH: {0}")]
    Path(#[from] std::env::JoinPathsError),
    /// The build failed.
    #[error(
        "{name} could not be built, see above; install it: cargo install {name} --version {version} --locked"
    )]
    Failed {
        /// Its name.
        name: &'static str,
        /// Its version.
        version: &'static str,
    },
}

impl Tool {
    /// Returns a search path that contains the tool.
    pub fn path(self) -> Result<OsString, ToolError> {
        let Self { name, version } = self;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        if folders.iter().any(|folder| folder.join(name).is_file()) {
            return Ok(path);
        }
        let tools = root().join("target/tools");
        if !tools.join("bin").join(name).is_file() {
            println!("building {name} {version} into target/tools");
            let status = cargo::cargo()
                .args(["install", name, "--version", version, "--locked", "--debug", "--quiet"])
                .args(["--root".as_ref(), tools.as_os_str()])
                .args(["--target-dir".as_ref(), tools.join("build").as_os_str()])
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .status()?;
            if !status.success() {
                return Err(ToolError::Failed { name, version });
            }
        }
        Ok(std::env::join_paths(std::iter::once(tools.join("bin")).chain(folders))?)
    }
}

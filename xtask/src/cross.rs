//! `cargo xtask cross TARGET`: builds the daemon for ARM with Debian 12's own compiler and its
//! cross gcc, next to the machine's Rust and without docker. With docker, use `cross` with
//! `cross.toml`: see `docs/cross.md`.
//!
//! The output goes to `target/arm`, apart from the machine's own. It sets no CPU features: one
//! binary runs on every board of its architecture and detects further CPU features at run time.

use crate::cargo::{self, CargoError};
use crate::prerequisites::{self, Missing, Need};
use crate::workspace::root;
use clap::ValueEnum;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's compiler. By absolute path, because rustup's comes first on most developers' PATH.
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";
/// The most that a terminal's storage can hold for the program itself, without its weights, in MB.
const PROGRAM_LIMIT: f64 = 15.0;

/// The target of the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// 64-bit ARM: Raspberry Pi 4 and 5, Jetson
    Aarch64,
    /// 32-bit ARM with hardware floating point: Raspberry Pi OS of 32 bits
    Armv7,
}

impl Target {
    /// Returns the target by rustc's name.
    pub fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// Returns the target by the name of Debian's compilers.
    fn gnu(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-linux-gnu",
            Self::Armv7 => "arm-linux-gnueabihf",
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Aarch64 => prerequisites::AARCH64,
            Self::Armv7 => prerequisites::ARMV7,
        }
    }

    /// Returns the folder where [`build`] leaves its programs.
    pub fn folder(self, profile: Profile) -> PathBuf {
        root().join("target/arm").join(self.triple()).join(profile.name())
    }

    /// Returns Debian's cargo, set up for this target.
    fn cargo(self) -> Command {
        let (triple, gnu) = (self.triple(), self.gnu());
        let variable = triple.replace('-', "_");
        let mut command = cargo::at_root(OsStr::new(CARGO));
        command
            .env("RUSTC", RUSTC)
            .env("RUSTDOC", RUSTDOC)
            .env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), format!("{gnu}-gcc"))
            .env(format!("CC_{variable}"), format!("{gnu}-gcc"))
            .env(format!("AR_{variable}"), format!("{gnu}-ar"))
            .env(
                format!("BINDGEN_EXTRA_CLANG_ARGS_{variable}"),
                format!("--sysroot=/usr/{gnu} -I/usr/{gnu}/include"),
            );
        command
    }

    /// Returns a cargo command on these packages.
    fn of_packages(self, what: &str, packages: &[&str], profile: Profile) -> Command {
        let mut command = self.cargo();
        command.args([what, "--profile", profile.name()]);
        command.args(packages.iter().flat_map(|package| ["--package", package]));
        command.args(["--target", self.triple(), "--target-dir", "target/arm"]);
        command
    }
}

/// The build profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The profile that the tests use.
    Release,
    /// The profile of the released packages.
    Dist,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum CrossError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The build failed.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// The strip of the cross compiler failed.
    #[error("{0} failed; is binutils of the cross compiler installed?")]
    Strip(String),
    /// A file cannot be used.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// The program is larger than [`PROGRAM_LIMIT`].
    #[error(
        "the program has {program:.1} MB without models, over {PROGRAM_LIMIT} MB: find what grew"
    )]
    TooLarge {
        /// Without the models, in MB.
        program: f64,
    },
}

/// Builds the daemon and the lock controller, and prints how large the daemon is.
pub fn run(target: Target, profile: Profile) -> Result<(), CrossError> {
    build(target, profile, &["--bin", "doorward"])?;
    controller(target, profile)?;
    let binary = target.folder(profile).join("doorward");
    let stripped = stripped(target, &binary)?;
    let (full, stripped_size) = (size(&binary)?, size(&stripped)?);
    let models = models_size()?;
    let program = stripped_size - models;
    println!(
        "{}\n{full:.1} MB; stripped {stripped_size:.1} MB, of which {models:.1} MB are the models \
         and {program:.1} MB the program (at most {PROGRAM_LIMIT})",
        binary.display()
    );
    if profile == Profile::Dist && program > PROGRAM_LIMIT {
        return Err(CrossError::TooLarge { program });
    }
    Ok(())
}

/// Builds what cargo's arguments select from the daemon's package.
pub fn build(target: Target, profile: Profile, what: &[&str]) -> Result<(), CrossError> {
    prerequisites::meet(target.needs())?;
    let mut cargo = target.of_packages("build", &["doorward"], profile);
    succeed(target, cargo.args(what))
}

/// Builds the lock controller with a static C library, so that it has under 2 MB resident, and
/// returns its path.
pub fn controller(target: Target, profile: Profile) -> Result<PathBuf, CrossError> {
    prerequisites::meet(target.needs())?;
    let mut cargo = target.of_packages("rustc", &["doorward-board"], profile);
    cargo.args(["--bin", "doorward-lockd", "--", "-C", "target-feature=+crt-static"]);
    succeed(target, &mut cargo)?;
    Ok(target.folder(profile).join("doorward-lockd"))
}

fn succeed(target: Target, cargo: &mut Command) -> Result<(), CrossError> {
    if cargo.status().map_err(CargoError::from)?.success() {
        Ok(())
    } else {
        Err(CargoError::Failed(format!("build for {}", target.triple())).into())
    }
}

/// Builds the library tests of these packages and the tests in `tests/` with these names, in
/// release mode. Returns the programs by name, a library's under its own name.
pub fn tests(
    target: Target,
    packages: &[&str],
    names: &[&str],
) -> Result<Vec<(String, PathBuf)>, CrossError> {
    prerequisites::meet(target.needs())?;
    let mut cargo = target.of_packages("test", packages, Profile::Release);
    cargo.args(["--no-run", "--lib", "--message-format", "json-render-diagnostics"]);
    cargo.args(names.iter().flat_map(|name| ["--test", name]));
    let output = cargo.stderr(Stdio::inherit()).output().map_err(CargoError::from)?;
    if !output.status.success() {
        return Err(CargoError::Failed(format!("test for {}", target.triple())).into());
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    // Cargo also reports the daemon's program, because tests may start it.
    let built =
        messages.filter(|message| message["profile"]["test"] == true).filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        });
    Ok(built.collect())
}

/// Makes a copy without symbols, next to the program.
pub fn stripped(target: Target, binary: &Path) -> Result<PathBuf, CrossError> {
    let strip = format!("{}-strip", target.gnu());
    let copy = binary.with_extension("stripped");
    let status = Command::new(&strip).arg("-o").arg(&copy).arg(binary).status();
    if status.is_ok_and(|status| status.success()) {
        Ok(copy)
    } else {
        Err(CrossError::Strip(strip))
    }
}

/// Returns the size in MB.
fn size(path: &Path) -> Result<f64, CrossError> {
    let failed = |reason| CrossError::File { path: path.to_owned(), reason };
    Ok(std::fs::metadata(path).map_err(failed)?.len() as f64 / 1e6)
}

/// Returns the size of all compiled-in weights, in MB.
fn models_size() -> Result<f64, CrossError> {
    let folder = root().join("models");
    let failed = |reason| CrossError::File { path: folder.clone(), reason };
    let mut sum = 0.0;
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            sum += size(&path)?;
        }
    }
    Ok(sum)
}

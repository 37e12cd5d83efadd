//! `cargo xtask cross TARGET`: builds the daemon for ARM with Debian 12's own compiler and its cross
//! gcc, beside the machine's Rust and without docker. Where there is docker, users take `cross`
//! with `cross.toml`: see `docs/cross.md`.
//!
//! What it builds goes to `target/arm`, apart from the machine's own. It sets no CPU features: one
//! binary runs on every board of its architecture, and what a CPU can do more is asked at run time.

use crate::cargo::{self, CargoError};
use crate::prerequisites::{self, Missing, Need};
use crate::workspace::root;
use clap::ValueEnum;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's compiler. By their paths, since rustup's come first on most developers' PATH.
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";
/// What a terminal's storage can take for the program itself, without the weights in it, in MB.
const PROGRAM_LIMIT: f64 = 15.0;

/// What to build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// 64-bit ARM: Raspberry Pi 4 and 5, Jetson
    Aarch64,
    /// 32-bit ARM with hardware floating point: Raspberry Pi OS of 32 bits
    Armv7,
}

impl Target {
    /// The target as rustc names it.
    pub fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// The target as Debian's compilers name it.
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

    /// Where [`build`] leaves its programs.
    pub fn folder(self, profile: Profile) -> PathBuf {
        root().join("target/arm").join(self.triple()).join(profile.name())
    }

    /// Debian's cargo, set up for this target.
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

    /// A command of it on these packages.
    fn of_packages(self, what: &str, packages: &[&str], profile: Profile) -> Command {
        let mut command = self.cargo();
        command.args([what, "--profile", profile.name()]);
        command.args(packages.iter().flat_map(|package| ["--package", package]));
        command.args(["--target", self.triple(), "--target-dir", "target/arm"]);
        command
    }
}

/// How it is optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As everything here is tested.
    Release,
    /// As packages ship it.
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
    /// The build.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// The strip of the cross compiler.
    #[error("{0} failed; is binutils of the cross compiler installed?")]
    Strip(String),
    /// A file.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The bar.
    #[error(
        "the program has {program:.1} MB beside its models, more than {PROGRAM_LIMIT} MB: find out what grew"
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

/// Builds the lock controller with the C library inside, so that under 2 MB of it are resident, and
/// answers where it is.
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

/// Builds the tests of these packages' libraries and those of `tests/` with these names, in release
/// mode; the programs by name, a library's under its own.
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
    // The daemon's program is told of too, since tests may start it.
    let built =
        messages.filter(|message| message["profile"]["test"] == true).filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        });
    Ok(built.collect())
}

/// A copy without symbols, beside the program.
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

/// In MB.
fn size(path: &Path) -> Result<f64, CrossError> {
    let failed = |reason| CrossError::File { path: path.to_owned(), reason };
    Ok(std::fs::metadata(path).map_err(failed)?.len() as f64 / 1e6)
}

/// Of all weights that are compiled in, in MB.
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

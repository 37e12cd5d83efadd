//! `cargo xtask ci`: runs everything that a change must pass, part by part, with the time of each.
//! A server and a person run the same commands; each is printed before it runs.
//!
//! A part that cannot run is an error: no part is skipped silently.

mod log;
mod tools;

use crate::cargo;
use crate::prerequisites::{self, Missing};
use crate::workspace::root;
use clap::ValueEnum;
use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Instant;
use tools::{Tool, ToolError};

/// The full output of the tests.
const LOG: &str = "target/test.log";
/// Lines of the log that are printed last when the tests fail.
const TAIL: usize = 120;

/// A part of the checks, in the order in which they run: the part that fails soonest is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// rustfmt
    Format,
    /// Dependencies that are declared and not used
    Unused,
    /// Licences, sources and banned crates of the dependencies
    Deny,
    /// The main job on real portraits
    Demo,
    /// The committed models are what their pinned sources give, byte for byte
    Models,
    /// The numbers of OpenCV and onnxruntime that the parity tests compare with
    Reference,
    /// Every test
    Tests,
    /// A fuzzer of the HTTP interface, by its description
    Schemathesis,
    /// A build for 64-bit ARM
    Cross,
    /// Networks on emulated ARM processors
    Arm,
    /// The daemon on an emulated board
    VmTest,
    /// Lints; one checks that the code needs no newer Rust than Cargo.toml promises
    Clippy,
    /// Documentation without a warning
    Doc,
}

/// Why the checks did not pass.
#[derive(Debug, thiserror::Error)]
pub enum CiError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A cargo tool is missing.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file or a process failed.
    #[error("{what}: {reason}")]
    System {
        /// The operation.
        what: String,
        /// The system's error.
        reason: std::io::Error,
    },
    /// A command failed and printed the reason.
    #[error("`{0}` failed; its output is above")]
    Failed(String),
    /// Tests were skipped that must run.
    #[error("{0} tests were skipped although DOORWARD_DATA is set; they are named above")]
    Skipped(usize),
}

fn system(what: &str) -> impl FnOnce(std::io::Error) -> CiError {
    move |reason| CiError::System { what: what.to_owned(), reason }
}

impl Part {
    /// Returns the commands as typed in the workspace's root.
    fn commands(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Format => &[&["cargo", "fmt", "--all", "--check"]],
            Self::Unused => &[&["cargo", "machete"]],
            // cargo-deny prints pages of warnings about duplicate versions; they are not failures.
            Self::Deny => &[&[
                "cargo",
                "deny",
                "--locked",
                "--workspace",
                "--log-level",
                "error",
                "check",
                "bans",
                "licenses",
                "sources",
            ]],
            Self::Demo => &[&["cargo", "xtask", "demo"]],
            // Not `--check`: the parity tests need the f32 twins that this makes in target/.
            Self::Models => &[
                &["cargo", "xtask", "models"],
                &["git", "diff", "--exit-code", "--stat", "--", "models"],
            ],
            Self::Reference => &[&["cargo", "xtask", "reference"]],
            // --nocapture: shows which tests are skipped.
            Self::Tests => &[&["cargo", "xtask", "test", "--nocapture"]],
            Self::Schemathesis => &[&["cargo", "xtask", "schemathesis"]],
            Self::Cross => &[&["cargo", "xtask", "cross", "aarch64"]],
            Self::Arm => &[&["cargo", "xtask", "arm"]],
            Self::VmTest => &[&["cargo", "xtask", "vm-test"]],
            Self::Clippy => &[&[
                "cargo",
                "clippy",
                "--release",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ]],
            Self::Doc => &[&["cargo", "doc", "--release", "--workspace", "--no-deps", "--quiet"]],
        }
    }

    fn tool(self) -> Option<Tool> {
        match self {
            Self::Unused => Some(tools::MACHETE),
            Self::Deny => Some(tools::DENY),
            _ => None,
        }
    }

    fn run(self) -> Result<(), CiError> {
        match self {
            Self::Models | Self::Reference | Self::Schemathesis => {
                prerequisites::meet(prerequisites::PYTHON)?
            }
            // These compile the bindings to V4L2; the tasks install what they need.
            Self::Clippy | Self::Doc => prerequisites::meet(prerequisites::BUILD)?,
            _ => {}
        }
        let path = self.tool().map(Tool::path).transpose()?;
        for words in self.commands() {
            println!("$ {}", words.join(" "));
            let mut command = command(words, path.as_ref());
            if self == Self::Doc {
                command.env("RUSTDOCFLAGS", "-D warnings");
            }
            match self {
                Self::Tests => tests(&mut command)?,
                _ => succeed(command.status().map_err(system(words[0]))?.success(), words)?,
            }
        }
        Ok(())
    }
}

/// Runs the parts, or all if none is named, until one fails.
pub fn run(parts: &[Part]) -> Result<(), CiError> {
    let started = Instant::now();
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    for part in parts {
        let part_started = Instant::now();
        let name = part.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        println!("== {name}");
        part.run()?;
        println!("== {name}: {:.0} s", part_started.elapsed().as_secs_f32());
    }
    println!("== all passed in {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}

/// Returns the command, with `path` in front of the programs' search path.
fn command(words: &[&str], path: Option<&OsString>) -> Command {
    let mut command = match words[0] {
        "cargo" => cargo::cargo(),
        program => cargo::at_root(program.as_ref()),
    };
    command.args(&words[1..]);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command
}

fn succeed(success: bool, words: &[&str]) -> Result<(), CiError> {
    if success { Ok(()) } else { Err(CiError::Failed(words.join(" "))) }
}

/// Runs the README's test command, with its output in a file. Of failures it first prints the lines
/// that explain them, which the last lines may lack.
fn tests(command: &mut Command) -> Result<(), CiError> {
    let path = root().join(LOG);
    let cannot = || system("cannot write the log of the tests");
    let file = File::create(&path).map_err(cannot())?;
    let both = file.try_clone().map_err(cannot())?;
    let status = command.stdin(Stdio::null()).stdout(file).stderr(both).status();
    let success = status.map_err(system("cargo"))?.success();
    let bytes = fs::read(&path).map_err(system("cannot read the log of the tests"))?;
    // The output of a daemon under test may not be UTF-8.
    let text = String::from_utf8_lossy(&bytes);
    let skipped = log::skipped(&text);
    skipped.iter().for_each(|line| println!("{line}"));
    println!("{}, lines that say SKIPPED {}", log::Counts::of(&text), skipped.len());
    if !success {
        log::faults(&text).iter().for_each(|line| println!("{line}"));
        println!("-- the last lines of {LOG}");
        log::tail(&text, TAIL).iter().for_each(|line| println!("{line}"));
        return Err(CiError::Failed("cargo xtask test".into()));
    }
    match std::env::var_os("DOORWARD_DATA") {
        Some(_) if !skipped.is_empty() => Err(CiError::Skipped(skipped.len())),
        _ => Ok(()),
    }
}

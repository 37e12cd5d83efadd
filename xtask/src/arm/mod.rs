//! `cargo xtask arm`: runs networks, faces and gallery on 64-bit ARM, under qemu's user emulation,
//! on the processors of a Raspberry Pi 4, of a Raspberry Pi 5 and on one with all features of qemu.
//! Their tests must pass there, and the networks' results must be bit-identical to those on this
//! machine.
//!
//! Times under emulation are meaningless; instructions can be counted (`--count`).

mod count;
mod emulated;
mod parity;

use crate::cargo::{self, CargoError};
use crate::cross::{self, CrossError, Profile, Target};
use crate::prerequisites::{self, Missing};
use crate::vm::VmError;
use emulated::{Cpu, Program};
use std::path::PathBuf;
use std::time::Instant;

/// Packages whose library tests are run, and the modules of each; empty: all.
const LIBRARIES: [(&str, &[&str]); 3] =
    [("doorward-nn", &[]), ("doorward-face", &[]), ("doorward", &["gallery::"])];
/// Test programs that start no other program (it would be for the wrong machine) and measure no
/// time.
const QUICK: [&str; 1] = ["warm_pass"];
const ALL: [&str; 10] = [
    "warm_pass",
    "parity",
    "attributes",
    "liveness",
    "quality",
    "gallery_damage",
    "gallery_deletion",
    "gallery_restart",
    "gallery_search",
    "gallery_threads",
];

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Library tests on each processor's best level; the shipped networks on two portraits, on
    /// every level.
    Quick,
    /// Every test and every portrait on every level, and the networks in f32 too.
    All,
}

/// Why the check on ARM failed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The programs for ARM could not be built.
    #[error(transparent)]
    Cross(#[from] CrossError),
    /// The program for this machine could not be built.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// Debian's archive, for the counting emulator, failed.
    #[error(transparent)]
    Archive(#[from] VmError),
    /// A program could not be started.
    #[error("{command} does not start: {reason}")]
    Start {
        /// The command.
        command: String,
        /// The system's error.
        reason: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{command} failed:\n{output}")]
    Failed {
        /// The command.
        command: String,
        /// Its output.
        output: String,
    },
    /// A test program ran none of its tests.
    #[error(
        "{0} has no test of that name: what `cargo xtask arm` runs is listed in xtask/src/arm/mod.rs"
    )]
    NoTests(String),
    /// Two processors give different results for the same picture.
    #[error("{here} and {there} differ:\n{lines}")]
    Differ {
        /// Processor and level that are the reference.
        here: String,
        /// Processor and level that differ.
        there: String,
        /// Both results, shortened.
        lines: String,
    },
    /// This machine has no level to compare with.
    #[error(
        "this machine has no fused multiply-add level (x86-64 with AVX2 and FMA has one): results \
         of ARM cannot be compared here"
    )]
    NoReference,
    /// The emulator that counts printed no count.
    #[error(
        "the counting emulator printed no count but: {0}; delete target/arm-count and try again"
    )]
    NoCount(String),
}

/// Builds, runs and compares; prints the time of each part.
pub fn run(extent: Extent) -> Result<(), ArmError> {
    prerequisites::meet(prerequisites::USER_EMULATION)?;
    let tests = match extent {
        Extent::Quick => &QUICK[..],
        Extent::All => &ALL[..],
    };
    let started = Instant::now();
    let programs = cross::tests(Target::Aarch64, &LIBRARIES.map(|(package, _)| package), tests)?;
    let passes = passes()?;
    println!("programs built in {:.0} s", started.elapsed().as_secs_f64());
    parity::check(&passes, extent)?;
    for cpu in Cpu::ALL {
        let levels = passes.levels(cpu)?;
        let levels = match extent {
            Extent::Quick => &levels[levels.len() - 1..],
            Extent::All => &levels[..],
        };
        for level in levels {
            for (name, program) in &programs {
                let started = Instant::now();
                let library =
                    LIBRARIES.iter().find(|(package, _)| package.replace('-', "_") == *name);
                let filter = library.map_or(&[][..], |(_, modules)| modules);
                let passed = Program(program.clone()).tests(cpu, level, filter)?;
                let seconds = started.elapsed().as_secs_f64();
                println!("{cpu} {level}: {name}: {passed} tests passed in {seconds:.0} s");
            }
        }
    }
    println!("ARM passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Counts the instructions of a pass of each network and prints them as a table.
pub fn count() -> Result<(), ArmError> {
    count::print(&passes()?)
}

/// Builds the example that prints the networks' results, for ARM.
fn passes() -> Result<Program, ArmError> {
    let target = Target::Aarch64;
    cross::build(target, Profile::Release, &["--example", "passes"])?;
    Ok(Program(target.folder(Profile::Release).join("examples/passes")))
}

/// Builds the same for this machine.
fn passes_here() -> Result<PathBuf, ArmError> {
    cargo::run(&["build", "--release", "--workspace", "--example", "passes"])?;
    Ok(crate::workspace::release("examples/passes"))
}

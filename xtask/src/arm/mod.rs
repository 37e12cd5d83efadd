//! `cargo xtask arm`: networks, faces and gallery on 64-bit ARM, under qemu's user emulation, on the
//! processors of a Raspberry Pi 4, of a Raspberry Pi 5 and on one with all that qemu knows. Their
//! tests must pass there, and the networks must say to the last bit what they say on this machine.
//!
//! The time that emulation takes says nothing; instructions can be counted (`--count`).

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

/// Packages whose library's tests are run, and the modules of them, or all.
const LIBRARIES: [(&str, &[&str]); 3] =
    [("doorward-nn", &[]), ("doorward-face", &[]), ("doorward", &["gallery::"])];
/// Programs whose tests start no program themselves (which would be of the wrong machine), and time
/// nothing.
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

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The library's tests on each processor's best level; the shipped networks on two portraits, on
    /// every level.
    Quick,
    /// Every test and every portrait on every level, with the networks in f32 besides.
    All,
}

/// Why ARM is not as this machine.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// Something is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The programs for ARM.
    #[error(transparent)]
    Cross(#[from] CrossError),
    /// The program for this machine.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// Debian's archive, for the emulator that counts.
    #[error(transparent)]
    Archive(#[from] VmError),
    /// A program could not be started.
    #[error("{command} does not start: {reason}")]
    Start {
        /// What was run.
        command: String,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{command} failed:\n{output}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        output: String,
    },
    /// A test program ran none of its tests.
    #[error(
        "{0} has no test of that name: what `cargo xtask arm` runs is listed in xtask/src/arm/mod.rs"
    )]
    NoTests(String),
    /// Two processors see the same picture differently.
    #[error("{here} and {there} differ:\n{lines}")]
    Differ {
        /// Processor and level that are the reference.
        here: String,
        /// Those that say something else.
        there: String,
        /// What each says, shortened.
        lines: String,
    },
    /// Nothing to compare with.
    #[error(
        "this machine has no level that fuses a product and a sum (x86-64 with AVX2 and FMA has): what \
         ARM says cannot be compared here"
    )]
    NoReference,
    /// The emulator that counts printed no count.
    #[error(
        "the counting emulator printed no count but: {0}; delete target/arm-count and try again"
    )]
    NoCount(String),
}

/// Builds, runs, compares; with the time of each part.
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

/// The example that prints what the networks say, for ARM.
fn passes() -> Result<Program, ArmError> {
    let target = Target::Aarch64;
    cross::build(target, Profile::Release, &["--example", "passes"])?;
    Ok(Program(target.folder(Profile::Release).join("examples/passes")))
}

/// The same for this machine.
fn passes_here() -> Result<PathBuf, ArmError> {
    cargo::run(&["build", "--release", "--workspace", "--example", "passes"])?;
    Ok(crate::workspace::release("examples/passes"))
}

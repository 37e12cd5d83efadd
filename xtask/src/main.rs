//! doorward's development tasks: `cargo xtask COMMAND`.

mod accuracy;
mod arm;
mod bench;
mod cargo;
mod ci;
mod cross;
mod demo;
mod document;
mod models;
mod prerequisites;
mod python;
mod reference;
mod schemathesis;
mod test;
mod train;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "doorward's development tasks")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make models/*.gguf and models/manifest.toml from the pinned fp32 originals
    Models {
        /// Write nothing: fail if models/ does not hold exactly what would be written
        #[arg(long)]
        check: bool,
    },
    /// Make the numbers of tests/parity/ with OpenCV and onnxruntime, in a Python venv
    Reference,
    /// Fit models/liveness.gguf to the photographs of DOORWARD_DATA and write its report
    TrainLiveness,
    /// Fit models/attributes.gguf, the heads for sunglasses, mask, veil and hat, and write its report
    TrainAttributes,
    /// Choose the networks' byte ranges by the portraits of the tests: models/ranges.toml, from
    /// which `cargo xtask models` makes them
    TrainRanges,
    /// Evaluate on $DOORWARD_DATA and rewrite the tables of docs/accuracy.md
    Accuracy {
        /// The parts to measure; all of them by default
        #[arg(value_enum)]
        parts: Vec<accuracy::Part>,
    },
    /// Compare with other engines
    Bench {
        /// What to compare with
        #[command(subcommand)]
        with: bench::With,
    },
    /// Run the main job on real portraits: enroll, verify and search over MQTT
    Demo,
    /// Build for ARM with Debian's compiler, on a machine without docker for `cross`
    Cross {
        /// The target of the build
        #[arg(value_enum)]
        target: cross::Target,
        /// Build the released packages' profile: smaller, and much slower to build
        #[arg(long)]
        dist: bool,
    },
    /// Test networks, faces and gallery on emulated ARM processors; the networks' results must be
    /// bit-identical to those on this machine
    Arm {
        /// Every level of every processor, with more tests and portraits
        #[arg(long)]
        all: bool,
        /// Only count the instructions of a pass of each network
        #[arg(long, conflicts_with = "all")]
        count: bool,
    },
    /// Let a fuzzer that knows only /openapi.json ask the live daemon over HTTP
    Schemathesis,
    /// Test the daemon on an emulated board with a real kernel, checked from outside
    VmTest,
    /// Run everything that a change must pass, with the time of each part
    Ci {
        /// The parts to run; all of them by default
        #[arg(value_enum)]
        parts: Vec<ci::Part>,
    },
    /// Run every test
    Test {
        /// Arguments for the test programs, such as the name of a test, or --nocapture
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error>> = match Arguments::parse().command {
        Command::Models { check } => models::run(check).map_err(Into::into),
        Command::Reference => reference::run().map_err(Into::into),
        Command::TrainLiveness => train::run("liveness").map_err(Into::into),
        Command::TrainAttributes => train::run("attributes").map_err(Into::into),
        Command::TrainRanges => train::run("ranges").map_err(Into::into),
        Command::Accuracy { parts } => accuracy::run(&parts).map_err(Into::into),
        Command::Bench { with } => bench::run(&with).map_err(Into::into),
        Command::Demo => demo::run().map_err(Into::into),
        Command::Cross { target, dist } => {
            let profile = if dist { cross::Profile::Dist } else { cross::Profile::Release };
            cross::run(target, profile).map_err(Into::into)
        }
        Command::Arm { count: true, .. } => arm::count().map_err(Into::into),
        Command::Arm { all, .. } => {
            let extent = if all { arm::Extent::All } else { arm::Extent::Quick };
            arm::run(extent).map_err(Into::into)
        }
        Command::Schemathesis => schemathesis::run().map_err(Into::into),
        Command::VmTest => vm::run().map_err(Into::into),
        Command::Ci { parts } => ci::run(&parts).map_err(Into::into),
        Command::Test { arguments } => test::run(&arguments).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

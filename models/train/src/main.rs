//! Fits doorward's own small models on the development photographs; `cargo xtask train-liveness` and
//! `cargo xtask train-attributes` run it.
//!
//! ```text
//! logistic    the only kind of model that is fitted
//! folds       assigns groups to cross-validation folds
//! liveness    fits the margins of the liveness networks
//! attributes  sunglasses, mask, veil, hat
//! ranges      finds the value ranges of the networks' byte maps
//! ```
//!
//! The first two commands write two files each: the weights `models/NAME.gguf`, and the report
//! `models/NAME.toml`: hash and size of the weights, the photographs they were fitted on, and the
//! errors on those photographs from out-of-fold predictions only. The same photographs give the
//! same bytes. `ranges` needs only the portraits of the tests.

mod attributes;
mod folds;
mod liveness;
mod logistic;
mod ranges;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "doorward-train", about = "Fits doorward's own small models")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Folder of the development photographs; without it the variable DOORWARD_DATA names it
    #[arg(long, global = true)]
    data: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Write models/liveness.gguf and its report
    Liveness,
    /// Write models/attributes.gguf, the heads for sunglasses, mask, veil and hat, and its report
    Attributes,
    /// Write models/ranges.toml, the value ranges of the networks' byte maps
    Ranges,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let data = || {
        let data = arguments.data.or_else(|| std::env::var_os("DOORWARD_DATA").map(PathBuf::from));
        data.ok_or("no photographs: give --data DIR or set DOORWARD_DATA")
    };
    let result: Result<(), Box<dyn std::error::Error>> = match arguments.command {
        Command::Liveness => data()
            .map_err(Into::into)
            .and_then(|data| liveness::run(&data, &PathBuf::from("models")).map_err(Into::into)),
        Command::Attributes => {
            data().map_err(Into::into).and_then(|data| attributes::train(&data).map_err(Into::into))
        }
        Command::Ranges => ranges::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doorward-train: {error}");
            ExitCode::FAILURE
        }
    }
}

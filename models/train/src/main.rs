//! Fits doorward's own small models on the development photographs; `cargo xtask train-liveness` and
//! `cargo xtask train-attributes` run it.
//!
//! ```text
//! logistic    the one kind of model that is fitted
//! folds       who is judged by which model
//! attributes  sunglasses, mask, veil, hat
//! ```
//!
//! Each command writes three files: the weights `models/NAME.gguf`, and `models/NAME.toml`, the
//! report: hash and size of the weights, what they were fitted on, and the errors on those
//! photographs from out-of-fold predictions alone. The same photographs give the same bytes.

mod attributes;
mod folds;
mod logistic;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "doorward-train", about = "Fits doorward's own small models")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fit the heads for sunglasses, mask, veil and hat, and write models/attributes.{gguf,toml}
    Attributes {
        /// The development photographs; without it, $DOORWARD_DATA
        #[arg(long)]
        data: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Command::Attributes { data } = Arguments::parse().command;
    let Some(data) = data.or_else(|| std::env::var_os("DOORWARD_DATA").map(PathBuf::from)) else {
        eprintln!("doorward-train: give the photographs with --data DIR or in DOORWARD_DATA");
        return ExitCode::FAILURE;
    };
    match attributes::train(&data) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doorward-train: {error}");
            ExitCode::FAILURE
        }
    }
}

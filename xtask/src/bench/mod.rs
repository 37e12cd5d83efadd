//! `cargo xtask bench peers`: compares doorward with other engines, in alternating turns on one
//! core of this machine, and rewrites the tables of `docs/performance.md`; the prose around them
//! stays.
//!
//! `benches/peers/compare.py` measures; this module prepares its inputs and formats its report. A
//! ratio that is a loss is a row like any other.

mod tables;

use crate::cargo::{self, CargoError};
use crate::document::{Document, DocumentError};
use crate::models::{self, ModelsError};
use crate::python::{self, VenvError};
use crate::workspace::{release, root};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const SCRIPT: &str = "benches/peers/compare.py";
const REQUIREMENTS: &str = "benches/peers/requirements.txt";
const VENV: &str = "target/peers-venv";
/// The networks, pictures and vectors that all engines get, and the report.
const WORK: &str = "target/peers";
/// By the authors' names.
const ORIGINALS: [(&str, &str); 2] = [
    ("yunet", "face_detection_yunet_2023mar.onnx"),
    ("sface", "face_recognition_sface_2021dec.onnx"),
];
const DOCUMENT: &str = "docs/performance.md";

/// What doorward is compared with.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum With {
    /// onnxruntime, OpenCV, ncnn, faiss and usearch, from PyPI
    Peers {
        /// Fewer turns; the document is not changed
        #[arg(long)]
        quick: bool,
        /// Print the ratios of our time to the best peer's, as one line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// Why there is no comparison; the document is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The build failed.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// The networks could not be made.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// The peers could not be installed.
    #[error(transparent)]
    Venv(#[from] VenvError),
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// The script failed and printed the reason.
    #[error("{SCRIPT} failed; the reason is above")]
    Failed,
    /// The report lacks a field that the tables need.
    #[error(
        "the report of {SCRIPT} has no {0}; the script and this program are of different versions"
    )]
    Report(String),
    /// The document cannot be changed.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Measures and prints; without `quick` also writes the document.
pub fn run(with: &With) -> Result<(), BenchError> {
    let With::Peers { quick, json } = *with;
    let report = measured(quick)?;
    let tables = tables::of(&report)?;
    if json {
        println!("{}", tables::at(&report, &["ratios"])?);
    } else {
        for (_, table) in &tables {
            println!("{table}");
        }
    }
    if !quick {
        let mut document = Document::read(&root().join(DOCUMENT))?;
        for (name, table) in &tables {
            document.replace(name, table)?;
        }
        document.write()?;
    }
    Ok(())
}

fn measured(quick: bool) -> Result<Value, BenchError> {
    cargo::run(cargo::BUILD_BENCHES)?;
    let python = python::venv(VENV, REQUIREMENTS)?;
    let work = root().join(WORK);
    let originals = work.join("original");
    let mut script = Command::new(python);
    script.arg(root().join(SCRIPT));
    models::twins()?;
    for (name, file) in ORIGINALS {
        models::original(name, &originals)?;
        script.arg(format!("--{name}")).arg(originals.join(file));
    }
    let report = work.join("report.json");
    script.arg("--worker").arg(release("doorward-benches"));
    script.arg("--twins").arg(root().join("target/models-f32"));
    script.arg("--portraits").arg(root().join("tests/portraits"));
    script.arg("--work").arg(&work).arg("--out").arg(&report);
    // The run leaves no files in the project.
    script.env("PYTHONDONTWRITEBYTECODE", "1");
    // OpenCV warns once per network that it ignores a target that was never set.
    script.env("OPENCV_LOG_LEVEL", "ERROR");
    if quick {
        script.arg("--quick");
    }
    if !script.status().is_ok_and(|status| status.success()) {
        return Err(BenchError::Failed);
    }
    let text = std::fs::read_to_string(&report)
        .map_err(|reason| BenchError::File { path: report.clone(), reason })?;
    serde_json::from_str(&text).map_err(|_| BenchError::Report("JSON".to_owned()))
}

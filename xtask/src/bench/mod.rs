//! `cargo xtask bench peers`: doorward beside other engines, by turns on one core of this machine, and the
//! tables of `docs/performance.md` made anew; the prose around them stays.
//!
//! `benches/peers/compare.py` measures; here is what it needs, and what becomes of its report. A ratio
//! that is a loss is a row like any other.

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
/// Networks, pictures and vectors that all of them are given, and the report.
const WORK: &str = "target/peers";
/// As the authors name them.
const ORIGINALS: [(&str, &str); 2] = [
    ("yunet", "face_detection_yunet_2023mar.onnx"),
    ("sface", "face_recognition_sface_2021dec.onnx"),
];
const DOCUMENT: &str = "docs/performance.md";

/// With whom doorward is compared.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum With {
    /// onnxruntime, OpenCV, ncnn, faiss and usearch, from PyPI
    Peers {
        /// Fewer turns; the document stays as it is
        #[arg(long)]
        quick: bool,
        /// Print the ratios, our time to the best peer's, as one line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// Why there is no comparison; the document is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The build.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// The networks.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// The peers.
    #[error(transparent)]
    Venv(#[from] VenvError),
    /// A file.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// It said why.
    #[error("{SCRIPT} failed; the reason is above")]
    Failed,
    /// Not the report that the tables are made of.
    #[error(
        "the report of {SCRIPT} has no {0}; the script and this program do not belong together"
    )]
    Report(String),
    /// The document.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Measures and shows; without `quick` into the document too.
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
    // Nothing of a run stays in the project.
    script.env("PYTHONDONTWRITEBYTECODE", "1");
    // OpenCV warns once a network that it ignores a target nobody set.
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

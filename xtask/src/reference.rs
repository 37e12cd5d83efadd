//! `cargo xtask reference`: makes the numbers that the parity tests compare our networks with.
//!
//! OpenCV and onnxruntime run the authors' fp32 files; `models/reference/reference.py` describes
//! what it measures. The numbers of the portraits are committed as `tests/parity/portraits.json`.
//! With `DOORWARD_DATA` set, the same is measured on a hundred people of `$DOORWARD_DATA/lfw` into
//! `target/reference/lfw.json`, which is not committed: we may not publish those photographs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::models::{self, ModelsError};
use crate::python::{self, VenvError};
use crate::workspace::root;

const SCRIPT: &str = "models/reference/reference.py";
const REQUIREMENTS: &str = "models/reference/requirements.txt";
/// The authors' file names.
const DETECTOR: &str = "face_detection_yunet_2023mar.onnx";
const EMBEDDER: &str = "face_recognition_sface_2021dec.onnx";
const VENV: &str = "target/reference-venv";
const WORK: &str = "target/reference";
/// The parity test checks the quantized path face by face on this many people.
const PEOPLE: &str = "100";

/// Makes the venv if it is missing, then the numbers.
pub fn run() -> Result<(), Error> {
    let work = root().join(WORK);
    models::original("yunet", &work)?;
    models::original("sface", &work)?;
    let (detector, embedder) = (work.join(DETECTOR), work.join(EMBEDDER));
    let python = python::venv(VENV, REQUIREMENTS)?;
    let measure = |folder: &Path, out: &Path, more: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(root().join(SCRIPT)).args([&detector, &embedder]).args([folder, out]);
        // The detector's engine warns once per network that it ignores a target that was never set.
        succeed(command.args(more).env("OPENCV_LOG_LEVEL", "ERROR"), SCRIPT)
    };
    measure(&root().join("tests/portraits"), &root().join("tests/parity/portraits.json"), &[])?;
    let Some(data) = std::env::var_os("DOORWARD_DATA") else {
        println!("DOORWARD_DATA is not set: skipped the numbers of its folder lfw");
        return Ok(());
    };
    let lfw = Path::new(&data).join("lfw");
    let labels = lfw.join("labels.csv");
    let labels = labels.to_str().ok_or_else(|| Error::Path(labels.clone()))?;
    measure(&lfw, &work.join("lfw.json"), &["--labels", labels, "--people", PEOPLE])
}

fn succeed(command: &mut Command, what: &'static str) -> Result<(), Error> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Error::Failed(what)),
    }
}

/// Why the reference numbers could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error(transparent)]
    Venv(#[from] VenvError),
    #[error("{0} failed, see above")]
    Failed(&'static str),
    #[error("{0:?} is not a path of UTF-8 letters: set DOORWARD_DATA to one that is")]
    Path(PathBuf),
}

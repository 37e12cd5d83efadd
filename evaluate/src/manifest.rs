//! The CSV files that label photographs: paths are relative to a root folder.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The labels are not as expected.
    #[error("cannot read the labels {path}: {reason}")]
    Labels {
        /// The CSV file.
        path: PathBuf,
        /// The fault.
        reason: csv::Error,
    },
    /// There are no rows to measure.
    #[error("{0} has no rows to measure")]
    Empty(PathBuf),
    /// None of the needed columns exists.
    #[error("the labels {path} have none of the columns {}", .wanted.join(", "))]
    Columns {
        /// The CSV file.
        path: PathBuf,
        /// One of these is needed.
        wanted: &'static [&'static str],
    },
    /// A photograph cannot be read.
    #[error("cannot read the photograph {path}: {reason}")]
    Photograph {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// A network failed.
    #[error(transparent)]
    Face(#[from] doorward_face::FaceError),
}

impl EvaluateError {
    /// True if the file with the labels does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Labels { reason, .. } => match reason.kind() {
                csv::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
                _ => false,
            },
            _ => false,
        }
    }
}

/// Columns `path, identity`: the person that a photograph shows.
#[derive(Deserialize)]
pub struct Identified {
    /// The photograph.
    pub path: String,
    /// The person it shows.
    pub identity: String,
}

/// Reads all rows of a CSV file with a header line.
pub fn rows<Row: DeserializeOwned>(path: &Path) -> Result<Vec<Row>, EvaluateError> {
    let labels = |reason| EvaluateError::Labels { path: path.to_owned(), reason };
    let rows: Vec<Row> = csv::Reader::from_path(path)
        .map_err(labels)?
        .into_deserialize()
        .collect::<Result<_, _>>()
        .map_err(labels)?;
    if rows.is_empty() { Err(EvaluateError::Empty(path.to_owned())) } else { Ok(rows) }
}

//! The CSV files that label photographs: paths are relative to a root folder.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Why an evaluation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The labels are not as expected.
    #[error("cannot read the labels {path}: {reason}")]
    Labels {
        /// The CSV file.
        path: PathBuf,
        /// What is wrong.
        reason: csv::Error,
    },
    /// Nothing to measure.
    #[error("{0} has no rows to measure")]
    Empty(PathBuf),
    /// None of the columns that the evaluation is about.
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
        /// What is wrong.
        reason: String,
    },
    /// A network failed.
    #[error(transparent)]
    Face(#[from] doorward_face::FaceError),
}

/// Columns `path, identity`: whose face a photograph shows.
#[derive(Deserialize)]
pub struct Identified {
    /// The photograph.
    pub path: String,
    /// Whom it shows.
    pub identity: String,
}

/// All rows of a CSV file with a header line.
pub fn rows<Row: DeserializeOwned>(path: &Path) -> Result<Vec<Row>, EvaluateError> {
    let labels = |reason| EvaluateError::Labels { path: path.to_owned(), reason };
    let rows: Vec<Row> = csv::Reader::from_path(path)
        .map_err(labels)?
        .into_deserialize()
        .collect::<Result<_, _>>()
        .map_err(labels)?;
    if rows.is_empty() { Err(EvaluateError::Empty(path.to_owned())) } else { Ok(rows) }
}

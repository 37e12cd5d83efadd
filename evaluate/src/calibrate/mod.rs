//! Computes what the thresholds mean for the user's own people and camera, for `doorward
//! calibrate`.
//!
//! Few photographs prove little, so every figure comes with its sample size. The *rule of 30*: an
//! error rate is known to ±30 % (with 90 % confidence) once 30 errors have been seen (G. R.
//! Doddington et al., "The NIST speaker recognition evaluation", 2000). The *rule of 3*: if none of
//! n has failed, the rate is below 3/n (with 95 % confidence).
//!
//! Terms: *FMR*, the share of pairs of different people that match; *FNMR*, the share of pairs of
//! one person that do not match; *APCER*, *BPCER* and *EER* as in [`crate`]. A *DET* curve plots
//! one error over the other.

mod chart;
mod command;
mod liveness;
mod people;

pub use chart::ChartError;
pub use command::{Command, Part};
pub use liveness::{LivenessCalibration, liveness};
pub use people::{PeopleCalibration, people};

use crate::EvaluateError;
use crate::folder::FolderError;
use std::path::PathBuf;

/// Why the calibration failed.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// The folders cannot be used.
    #[error(transparent)]
    Photographs(#[from] FolderError),
    /// A photograph or a network failed.
    #[error(transparent)]
    Look(#[from] EvaluateError),
    /// The chart cannot be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// There are too few people, or too few photographs of them.
    #[error(
        "{dir} shows {people} people with a face, {pairs} pairs of photographs of the same person: \
         two people are needed, and two photographs of at least one of them; one folder a person"
    )]
    TooFewPeople {
        /// The folder.
        dir: PathBuf,
        /// People with a photograph that shows a face.
        people: usize,
        /// Genuine pairs.
        pairs: usize,
    },
    /// There are too few pictures to find an operating point.
    #[error("{dir} has {faces} pictures that show a face; at least {needed} are needed")]
    TooFewFaces {
        /// The folder of live pictures, or of spoofs.
        dir: PathBuf,
        /// Pictures with a face.
        faces: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Spoofs score higher than live people.
    #[error(
        "spoofs score higher than live people (area under the ROC {0:.2}): are the folders swapped?"
    )]
    Swapped(f64),
}

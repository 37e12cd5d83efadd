//! `doorward evaluate`: measures the accuracy of the face networks with [`doorward_evaluate`], and
//! of the door's whole decision on approaches made of photographs and on clips. Must never be part
//! of a request.

mod approaches;
mod clips;
mod command;

pub use approaches::{Population, approaches};
pub use clips::clips;
pub use command::Command;

use crate::face::FaceError;

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The photographs or their labels are faulty.
    #[error(transparent)]
    Photographs(#[from] doorward_evaluate::EvaluateError),
    /// The approaches could not be made.
    #[error("the approaches cannot be made: {0}")]
    Approach(String),
    /// A network failed.
    #[error(transparent)]
    Face(#[from] FaceError),
}

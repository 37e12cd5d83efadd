//! What `doorward evaluate` prints: the accuracy of faces, measured by [`doorward_evaluate`], and that of
//! the door's whole judgement, on approaches made of photographs and on clips. Must never be part of a
//! request.

mod approaches;
mod clips;
mod command;

pub use approaches::{Population, approaches};
pub use clips::clips;
pub use command::Command;

use crate::face::FaceError;

/// Why an evaluation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The photographs or their labels.
    #[error(transparent)]
    Photographs(#[from] doorward_evaluate::EvaluateError),
    /// The approaches could not be made.
    #[error("the approaches cannot be made: {0}")]
    Approach(String),
    /// A network failed.
    #[error(transparent)]
    Face(#[from] FaceError),
}

//! The networks and what they mean: detection, alignment, embedding, liveness, attributes, quality. Knows pixels and
//! vectors; never requests, files, topics or the clock: the same picture gives the same result.
//!
//! Terms. A *detection* is one face found; its *landmarks* are eyes, nose tip and mouth corners. An
//! *aligned crop* is the face turned, scaled and shifted to a fixed template of 112×112 pixels. An
//! *embedding* is the unit vector that stands for a person's face; the cosine of two says how alike.

mod align;
mod analyzer;
mod attributes;
mod cores;
mod detection;
mod detector;
mod embedder;
mod embedding;
mod liveness;
mod minifasnet;
mod observer;
mod picture;
mod portrait;
mod quality;
pub mod similarity;

pub use align::{aligned_crop, template_to_picture};
pub use analyzer::{Analyzer, Faces, ModelFiles, SHIPPED};
pub use attributes::{AttributeFeatures, Attributes, Coverings};
pub use cores::Cores;
pub use detection::Detection;
pub use detector::Detector;
pub use embedder::{Embedder, Trunk};
pub use embedding::{EMBEDDING_LEN, Embedding};
pub use liveness::{Liveness, LivenessModel, OPERATING_POINTS};
pub use minifasnet::MiniFasNet;
pub use observer::Observer;
pub use picture::{Border, Picture};
pub use portrait::Portrait;
pub use quality::Quality;

/// A network failed: a bug or a damaged model file, never the picture's fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FaceError(String);

impl FaceError {
    fn one_point() -> Self {
        Self("the landmarks are one point".into())
    }

    fn no_direction() -> Self {
        Self("the embedding has no direction".into())
    }

    fn network(error: candle_core::Error) -> Self {
        Self(format!("a network failed: {error}"))
    }
}

impl<'a> From<&'a Picture> for doorward_nn::Pixels<'a> {
    fn from(picture: &'a Picture) -> Self {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        Self { rgb: picture.rgb(), height, width }
    }
}

impl From<doorward_nn::WeightsError> for FaceError {
    fn from(error: doorward_nn::WeightsError) -> Self {
        Self(error.to_string())
    }
}

//! Face analysis on pixels: detection, alignment, embedding and its similarity scale, liveness,
//! attributes, quality. Knows pixels and vectors; never requests, files, topics or the clock: the
//! same picture gives the same result.
//!
//! Terms. A *detection* is one face found; its *landmarks* are eyes, nose tip and mouth corners. An
//! *aligned crop* is the face rotated, scaled and shifted to a fixed template of 112×112 pixels. An
//! *embedding* is the unit vector that represents a person's face; the cosine of two is their
//! likeness.

// All unsafe code is in `doorward-nn`.
#![forbid(unsafe_code)]

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
mod prominence;
mod quality;
mod second_look;
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

/// A network failed, which is a bug or a damaged model file; or the face cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// The landmarks do not span a plane.
    #[error("the landmarks are one point")]
    OnePoint,
    /// The box and the picture do not overlap.
    #[error("the box of the face holds no pixel")]
    NoPixel,
    /// All values are 0, or one is not finite.
    #[error("the embedding has no direction")]
    NoDirection,
    /// A tensor operation failed.
    #[error("a network failed: {0}")]
    Network(#[source] candle_core::Error),
    /// The weights are not those of the network.
    #[error(transparent)]
    Weights(#[from] doorward_nn::WeightsError),
}

impl<'a> From<&'a Picture> for doorward_nn::Pixels<'a> {
    fn from(picture: &'a Picture) -> Self {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        Self { rgb: picture.rgb(), height, width }
    }
}

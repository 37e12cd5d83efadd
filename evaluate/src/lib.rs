//! Accuracy on labelled photographs, and what the thresholds mean for the user's own people and camera
//! ([`calibrate`]). Must never be part of a request.
//!
//! Terms. A *genuine* pair shows one person, an *impostor* pair two. *FMR* is the share of impostor
//! pairs at or above a threshold, *TAR* that of genuine pairs. A *mated* probe's person is in the
//! gallery. *FPIR* is the share of non-mated probes with any candidate above a threshold, *FNIR*
//! that of mated probes whose mate is not the best candidate or is below the threshold. *BPCER* is
//! the share of live faces that are refused, *APCER* that of presentation attacks (spoofs) that are
//! accepted; a *species* is one kind of attack (ISO/IEC 30107-3). *TPR* is the share of faces with
//! a property for which it is reported, *FPR* the share of faces without the property for which it
//! is reported, *EER* the error where the two kinds are equal.
//!
//! A photograph without a detected face is an error wherever a face should have been found: its
//! cosine to anything counts as 0, a live person is refused, a covering is missed. Only a spoof
//! without a face counts as stopped. `no_face` counts them separately in every result. Names that
//! end in `_95` are 95 % confidence intervals.

// All unsafe code is in `doorward-nn`.
#![forbid(unsafe_code)]

mod attributes;
pub mod calibrate;
mod detection;
mod embeddings;
pub mod folder;
mod liveness;
pub mod manifest;
pub mod photographs;
mod quality;
mod rates;
mod recognised;
mod search;
mod verification;

pub use attributes::attributes;
pub use detection::detection;
pub use embeddings::{Embedded, Embeddings};
pub use liveness::{LivenessThreshold, liveness};
pub use manifest::EvaluateError;
pub use photographs::FaceChoice;
pub use quality::quality;
pub use rates::{Rate, area_under_roc, rounded};
pub use search::search;
pub use verification::{anchors, verification};

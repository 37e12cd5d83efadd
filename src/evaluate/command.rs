//! The command line of `doorward evaluate`.

use super::{EvaluateError, Population};
use crate::face::Analyzer;
use clap::{Args, Subcommand};
use doorward_evaluate::{FaceChoice, LivenessThreshold};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// The measurements.
#[derive(Subcommand)]
pub enum Command {
    /// Measure 1:1 over labelled pairs.
    Verification {
        /// The photographs.
        #[command(flatten)]
        photographs: Photographs,
        /// CSV with columns path_a, path_b, same.
        #[arg(long)]
        pairs: PathBuf,
        /// CSV with columns path, identity: TAR is then over all of its pairs.
        #[arg(long)]
        labels: Option<PathBuf>,
    },
    /// Measure 1:N of labelled probes against a labelled gallery.
    Search {
        /// The photographs.
        #[command(flatten)]
        photographs: Photographs,
        /// CSV with columns path, identity.
        #[arg(long)]
        gallery: PathBuf,
        /// CSV with columns path, identity, mated.
        #[arg(long)]
        probes: PathBuf,
    },
    /// Compute the cosines of the similarity scale.
    Anchors {
        /// The photographs.
        #[command(flatten)]
        photographs: Photographs,
        /// CSV with columns path, identity.
        #[arg(long)]
        labels: PathBuf,
    },
    /// Measure refused live people and accepted spoofs: BPCER, APCER, EER, by species of attack and
    /// by group.
    Liveness {
        /// The photographs.
        #[command(flatten)]
        photographs: Photographs,
        /// CSV with columns path, live; optionally attack_type and subject or source_group.
        #[arg(long)]
        labels: PathBuf,
        /// Lowest probability that is live, 0–100.
        #[arg(long, default_value = "50", value_parser = percent)]
        threshold: f32,
        /// The camera's operating point in log-odds, as in liveness.operating_point.
        #[arg(long, default_value = "0", value_parser = finite, allow_negative_numbers = true)]
        operating_point: f32,
    },
    /// Measure the detection of face coverings: sunglasses, mask, veil, hat.
    Attributes {
        /// The photographs.
        #[command(flatten)]
        photographs: Photographs,
        /// CSV with path and any of sunglasses, mask, veil, hat, class, eyewear, headwear.
        #[arg(long)]
        labels: PathBuf,
    },
    /// Measure approaches of residents and strangers to the door, made of photographs: false grants
    /// and false denials, each listed, and the time to a decision.
    Approaches {
        /// Folder that the paths are relative to.
        #[arg(long)]
        root: PathBuf,
        /// CSV with columns path, identity.
        #[arg(long)]
        labels: PathBuf,
        /// Number of subjects enrolled.
        #[arg(long, default_value = "1000")]
        enrolled: usize,
        /// Number of additional subjects with random templates, to enlarge the gallery.
        #[arg(long, default_value = "0")]
        besides: usize,
        /// Number of approaches of enrolled people.
        #[arg(long, default_value = "300")]
        residents: usize,
        /// Number of approaches of people who are not enrolled.
        #[arg(long, default_value = "500")]
        strangers: usize,
        /// Accepted probability that a stranger is taken for a subject, as search.target_fpir.
        #[arg(long, default_value = "0.001")]
        target_fpir: f64,
    },
    /// Measure the door's decisions, liveness included, on clips of people and of replays: each
    /// shows a resident.
    Clips {
        /// Folder that contains the clips' folders of frames.
        #[arg(long)]
        root: PathBuf,
        /// CSV with columns file, live.
        #[arg(long)]
        labels: PathBuf,
        /// Frames per second.
        #[arg(long, default_value = "10")]
        fps: f64,
    },
    /// Measure the detection of blur, darkness and grayscale.
    Quality {
        /// The photographs.
        #[command(flatten)]
        photographs: Photographs,
        /// CSV with path and any of quality, blur, dark, grayscale.
        #[arg(long)]
        labels: PathBuf,
    },
    /// Measure face detection: faces found and false detections.
    Detection {
        /// Folder that the paths are relative to.
        #[arg(long)]
        root: PathBuf,
        /// CSV with columns path, n_faces; rows without a number are left out.
        #[arg(long)]
        labels: PathBuf,
    },
}

/// The photographs and the face to use in each.
#[derive(Args)]
pub struct Photographs {
    /// Folder that the paths are relative to.
    #[arg(long)]
    root: PathBuf,
    /// The face to use if there are several.
    #[arg(long, value_enum, default_value = "centre")]
    face: FaceChoice,
}

impl Command {
    /// Measures, with progress on standard error.
    pub fn run(self, analyzer: Arc<Analyzer>) -> Result<Value, EvaluateError> {
        let analyzer = &analyzer;
        let measured = match self {
            Self::Approaches {
                root,
                labels,
                enrolled,
                besides,
                residents,
                strangers,
                target_fpir,
            } => {
                let crowd = Population { enrolled, besides, residents, strangers, target_fpir };
                return super::approaches(analyzer, &root, &labels, crowd);
            }
            Self::Clips { root, labels, fps } => {
                return super::clips(analyzer, &root, &labels, fps);
            }
            Self::Verification { photographs: Photographs { root, face }, pairs, labels } => {
                doorward_evaluate::verification(analyzer, &root, &pairs, labels.as_deref(), face)
            }
            Self::Search { photographs: Photographs { root, face }, gallery, probes } => {
                doorward_evaluate::search(analyzer, &root, &gallery, &probes, face)
            }
            Self::Anchors { photographs: Photographs { root, face }, labels } => {
                doorward_evaluate::anchors(analyzer, &root, &labels, face)
            }
            Self::Liveness {
                photographs: Photographs { root, face },
                labels,
                threshold,
                operating_point,
            } => {
                let threshold = LivenessThreshold { probability: threshold, operating_point };
                doorward_evaluate::liveness(analyzer, &root, &labels, threshold, face)
            }
            Self::Attributes { photographs: Photographs { root, face }, labels } => {
                doorward_evaluate::attributes(analyzer, &root, &labels, face)
            }
            Self::Quality { photographs: Photographs { root, face }, labels } => {
                doorward_evaluate::quality(analyzer, &root, &labels, face)
            }
            Self::Detection { root, labels } => {
                doorward_evaluate::detection(analyzer, &root, &labels)
            }
        };
        Ok(measured?)
    }
}

fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("not a number".to_owned()),
    }
}

fn percent(text: &str) -> Result<f32, String> {
    let value = finite(text)?;
    if (0.0..=100.0).contains(&value) { Ok(value) } else { Err("0 to 100".to_owned()) }
}

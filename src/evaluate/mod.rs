//! Accuracy on labelled photographs: what `doorward evaluate` prints.
//!
//! Terms. A *genuine* pair shows one person, an *impostor* pair two. *FMR* is the share of impostor
//! pairs at or above a threshold, *TAR* that of genuine pairs. A *mated* probe's person is in the
//! gallery. *FPIR* is the share of non-mated probes with any candidate above a threshold, *FNIR* that
//! of mated probes whose mate is not the best candidate or lies below it. A photograph without a
//! face is an error in every figure: its cosine to anything counts as 0.

mod embeddings;
mod manifest;
mod search;
mod verification;

pub use embeddings::{Embeddings, FaceChoice};
pub use manifest::EvaluateError;
pub use search::search;
pub use verification::{anchors, verification};

/// The cosine above which the share `rate` of the scores lies, and no more: of `n` scores, the
/// ⌊rate · n⌋-th best, not counting it. `None` when there are none.
fn threshold_at(scores: &mut [f32], rate: f64) -> Option<f32> {
    let allowed = (rate * scores.len() as f64).floor() as usize;
    let rank = allowed.min(scores.len().checked_sub(1)?);
    let (_, threshold, _) = scores.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
    Some(*threshold)
}

/// The share of the scores above the threshold.
fn share_above(scores: &[f32], threshold: f32) -> f64 {
    scores.iter().filter(|score| **score > threshold).count() as f64 / scores.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_lets_no_more_than_the_rate_above_it() {
        let mut scores: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let threshold = threshold_at(&mut scores, 0.01).unwrap();
        assert_eq!(threshold, 0.989);
        assert_eq!(share_above(&scores, threshold), 0.01);
        let threshold = threshold_at(&mut scores, 0.0).unwrap();
        assert_eq!(share_above(&scores, threshold), 0.0);
        assert_eq!(threshold_at(&mut [], 0.5), None);
    }
}

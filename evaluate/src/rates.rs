//! Errors as counts and shares, with confidence intervals for small samples.

use serde_json::{Value, json};

/// Standard normal quantile of 97.5 %: both tails of a 95 % interval.
const Z: f64 = 1.959_964;

/// `k` of `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// The number of cases.
    pub k: usize,
    /// The number of samples.
    pub n: usize,
}

impl Rate {
    /// Counts the `true` ones.
    pub fn of(outcomes: impl IntoIterator<Item = bool>) -> Self {
        outcomes.into_iter().fold(Self::default(), |rate, happened| Self {
            k: rate.k + usize::from(happened),
            n: rate.n + 1,
        })
    }

    /// Returns 0–1; `None` without samples.
    pub fn share(self) -> Option<f64> {
        (self.n > 0).then(|| self.k as f64 / self.n as f64)
    }

    /// Returns the 95 % confidence interval of the true share (E. B. Wilson, "Probable inference,
    /// the law of succession, and statistical inference", 1927). It holds for independent samples:
    /// the frames of one clip are worth fewer samples than their number.
    pub fn interval(self) -> Option<[f64; 2]> {
        let (share, n) = (self.share()?, self.n as f64);
        let middle = share + Z * Z / (2.0 * n);
        let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let bound = |sum: f64| (sum / (1.0 + Z * Z / n)).clamp(0.0, 1.0);
        Some([bound(middle - spread), bound(middle + spread)])
    }

    /// Returns the share as printed, `null` without samples.
    pub fn to_json(self) -> Value {
        json!(self.share().map(rounded))
    }

    /// Returns the interval as printed, `null` without samples.
    pub fn interval_to_json(self) -> Value {
        json!(self.interval().map(|bounds| bounds.map(rounded)))
    }
}

/// Rounds to four decimals: the precision of a few thousand samples.
pub fn rounded(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// Returns the score that at most the share `rate` of the scores exceeds: of `n` scores, the ⌊rate
/// · n⌋-th best, not counting it. `None` when there are none.
pub fn threshold_at(scores: &mut [f32], rate: f64) -> Option<f32> {
    let allowed = (rate * scores.len() as f64).floor() as usize;
    let rank = allowed.min(scores.len().checked_sub(1)?);
    let (_, threshold, _) = scores.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
    Some(*threshold)
}

/// Returns the share of the scores above the threshold.
pub fn share_above(scores: &[f32], threshold: f32) -> f64 {
    scores.iter().filter(|score| **score > threshold).count() as f64 / scores.len().max(1) as f64
}

/// The point where the two errors of a score are closest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balance {
    /// Scores at or above this are accepted: the middle between two neighbouring scores.
    pub threshold: f32,
    /// Positives refused.
    pub refused: Rate,
    /// Negatives accepted.
    pub accepted: Rate,
}

impl Balance {
    /// Finds the threshold at which the larger error is least; of several, the middle of the widest
    /// gap between neighbouring scores. A score of −∞ is refused at every threshold. `None` unless
    /// each class has a finite score.
    pub fn of(positives: &[f32], negatives: &[f32]) -> Option<Self> {
        let finite = |scores: &[f32]| scores.iter().any(|score| score.is_finite());
        if !finite(positives) || !finite(negatives) {
            return None;
        }
        let mut scores: Vec<(f32, bool)> = positives
            .iter()
            .map(|score| (*score, true))
            .chain(negatives.iter().map(|score| (*score, false)))
            .collect();
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut refused = Rate { k: 0, n: positives.len() };
        let mut accepted = Rate { k: negatives.len(), n: negatives.len() };
        let mut best: Option<(Self, f32)> = None;
        let mut below = f32::NEG_INFINITY;
        for (score, positive) in scores {
            if score > below && score.is_finite() {
                // No score below: the score itself.
                let (threshold, gap) = match below.is_finite() {
                    true => (below + (score - below) / 2.0, score - below),
                    false => (score, 0.0),
                };
                let better = best.is_none_or(|(best, best_gap)| {
                    let (present, known) = (larger(refused, accepted), best.equal_error_rate());
                    present < known || (present == known && gap > best_gap)
                });
                if better {
                    best = Some((Self { threshold, refused, accepted }, gap));
                }
                below = score;
            }
            match positive {
                true => refused.k += 1,
                false => accepted.k -= 1,
            }
        }
        best.map(|(balance, _)| balance)
    }

    /// Returns the equal error rate: the larger of the two errors at its minimum. In a finite
    /// sample the two are rarely equal.
    pub fn equal_error_rate(&self) -> f64 {
        larger(self.refused, self.accepted)
    }
}

fn larger(a: Rate, b: Rate) -> f64 {
    a.share().unwrap_or(0.0).max(b.share().unwrap_or(0.0))
}

/// Returns the area under the ROC: the probability that a positive scores higher than a negative,
/// equal scores counting half. `None` without both.
pub fn area_under_roc(positives: &[f32], negatives: &[f32]) -> Option<f64> {
    let mut negatives = negatives.to_vec();
    negatives.sort_by(f32::total_cmp);
    let pairs = positives.len() * negatives.len();
    let won: f64 = positives
        .iter()
        .map(|score| {
            let below = negatives.partition_point(|negative| negative < score);
            let not_above = negatives.partition_point(|negative| negative <= score);
            (below + not_above) as f64 / 2.0
        })
        .sum();
    (pairs > 0).then(|| won / pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_the_rate_is_above_the_threshold() {
        let mut scores: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let threshold = threshold_at(&mut scores, 0.01).unwrap();
        assert_eq!(threshold, 0.989);
        assert_eq!(share_above(&scores, threshold), 0.01);
        let threshold = threshold_at(&mut scores, 0.0).unwrap();
        assert_eq!(share_above(&scores, threshold), 0.0);
        assert_eq!(threshold_at(&mut [], 0.5), None);
    }

    #[test]
    fn wilson_intervals_match_published_values() {
        // 0 of 10 and 10 of 100, as in R's prop.test(correct = FALSE).
        let [low, high] = Rate { k: 0, n: 10 }.interval().unwrap();
        assert!(low == 0.0 && (high - 0.2775).abs() < 1e-4, "{high}");
        let [low, high] = Rate { k: 10, n: 100 }.interval().unwrap();
        assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4, "{low} {high}");
        // R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
        for (k, n, published) in [
            (81, 263, [0.2553, 0.3662]),
            (15, 148, [0.0624, 0.1605]),
            (0, 20, [0.0, 0.1611]),
            (1, 29, [0.0061, 0.1718]),
        ] {
            assert_eq!(Rate { k, n }.interval().map(|bounds| bounds.map(rounded)), Some(published));
        }
        assert_eq!(Rate { k: 0, n: 0 }.interval(), None);
        assert_eq!(Rate::of([true, false, true]), Rate { k: 2, n: 3 });
    }

    #[test]
    fn separable_classes_are_split_in_the_middle_of_the_gap() {
        let balance = Balance::of(&[3.0, 5.0, 4.0], &[-3.0, -1.0]).unwrap();
        assert_eq!(balance.threshold, 1.0);
        assert_eq!(balance.equal_error_rate(), 0.0);
    }

    #[test]
    fn where_classes_overlap_the_larger_error_is_least() {
        // One of four positives lies below two of the negatives.
        let balance = Balance::of(&[0.0, 5.0, 6.0, 7.0], &[-2.0, -1.0, 1.0, 2.0]).unwrap();
        assert_eq!((balance.refused.k, balance.accepted.k), (1, 0));
        assert_eq!((balance.threshold, balance.equal_error_rate()), (3.5, 0.25));
    }

    #[test]
    fn a_missing_score_is_refused_at_every_threshold() {
        let none = f32::NEG_INFINITY;
        let balance = Balance::of(&[none, 2.0], &[none, 1.0]).unwrap();
        assert_eq!(balance.threshold, 1.5);
        assert_eq!((balance.refused, balance.accepted.k), (Rate { k: 1, n: 2 }, 0));
        assert_eq!(Balance::of(&[none], &[1.0]), None);
        assert_eq!(Balance::of(&[], &[1.0]), None);
    }

    #[test]
    fn the_area_counts_ties_half() {
        assert_eq!(area_under_roc(&[2.0, 3.0], &[0.0, 1.0]), Some(1.0));
        assert_eq!(area_under_roc(&[1.0], &[1.0]), Some(0.5));
        assert_eq!(area_under_roc(&[0.0, 3.0], &[1.0, 2.0]), Some(0.5));
        assert_eq!(area_under_roc(&[], &[1.0]), None);
    }
}

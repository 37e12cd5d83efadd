//! The similarity scale of the embedder: a monotone map from the cosine of two embeddings to 0–100,
//! whose marks correspond to false-match rates (FMR). It belongs to one embedding network and must
//! change with it.

/// Cosine and similarity of each mark; linear in between.
///
/// The inner three are measured for the shipped embedding network (`sface-2021dec-i8`) over the
/// 14.2 million impostor pairs of the development half of LFW, a template and an embedding each:
/// FMR 1e-3 at 75, 1e-4 at 82, and 1e-6 at 90, the last extrapolated along the straight line of
/// log10 FMR over cosine through 1e-3, 1e-4 and 1e-5. The command is `doorward evaluate anchors
/// --root "$DOORWARD_DATA/lfw" --labels "$DOORWARD_DATA/lfw/labels.csv"`.
const ANCHORS: [(f64, f64); 5] =
    [(-1.0, 0.0), (0.3666, 75.0), (0.4223, 82.0), (0.5243, 90.0), (1.0, 100.0)];

/// log10 of the false-match rate at each cosine, linear in between, for 1:N at the door: 1e-3 to
/// 1e-5 measured, 1e-6 extrapolated, as above. Rarer false matches are unknown: label errors hide
/// them.
const FMR: [(f64, f64); 4] = [(0.3666, -3.0), (0.4223, -4.0), (0.4708, -5.0), (0.5243, -6.0)];

/// The lowest threshold of 1:N at the door, even for the smallest gallery.
const LOWEST_AT_DOOR: Level = Level::Moderate;

/// The threshold of 1:N at the door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DoorThreshold {
    /// The lowest similarity that passes.
    pub similarity: f64,
    /// The probability that a stranger passes: templates × FMR at that similarity, 0 for an empty
    /// gallery.
    pub fpir: f64,
    /// False when even the last entry of the table of false-match rates does not reach the target.
    /// Then the last entry is the threshold, `fpir` is above the target, and the operator must be
    /// warned.
    pub reaches_target: bool,
}

/// Returns the threshold of 1:N at the door in a gallery of `templates`: the higher of 82 and the
/// lowest similarity with templates × FMR ≤ `target_fpir`, as far as the false-match rates are
/// known.
pub fn at_door(templates: usize, target_fpir: f64) -> DoorThreshold {
    let wanted = (target_fpir / templates.max(1) as f64).log10();
    let lowest = cosine(LOWEST_AT_DOOR.similarity());
    // By rate the cosines descend: both sides change their sign.
    let by_rate = FMR.map(|(cosine, log_rate)| (-log_rate, cosine));
    let threshold = interpolate(-wanted, by_rate).max(lowest);
    let fpir = templates as f64 * 10f64.powf(interpolate(threshold, FMR));
    DoorThreshold {
        similarity: interpolate(threshold, ANCHORS),
        fpir,
        reaches_target: wanted >= FMR[FMR.len() - 1].1,
    }
}

/// The required certainty of a 1:1 comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// FMR 1e-3.
    Basic,
    /// FMR 1e-4.
    Moderate,
    /// FMR 1e-6, extrapolated.
    High,
}

impl Level {
    /// Returns the lowest similarity that passes.
    pub fn similarity(self) -> f64 {
        match self {
            Level::Basic => 75.0,
            Level::Moderate => 82.0,
            Level::High => 90.0,
        }
    }
}

/// Returns the similarity 0–100 of a cosine; values that rounding puts outside −1 to 1 count as −1
/// or 1.
pub fn similarity(cosine: f32) -> f64 {
    interpolate(f64::from(cosine), ANCHORS)
}

/// Returns the cosine of a [`similarity`].
pub fn cosine(similarity: f64) -> f64 {
    interpolate(similarity, ANCHORS.map(|(cosine, similarity)| (similarity, cosine)))
}

/// Interpolates linearly between the two anchors around `x`; beyond the ends, returns the end. NaN
/// gives the lowest value.
fn interpolate<const N: usize>(x: f64, anchors: [(f64, f64); N]) -> f64 {
    let mut low = anchors[0];
    if x.is_nan() || x <= low.0 {
        return low.1;
    }
    for high in anchors {
        if x < high.0 {
            return low.1 + (high.1 - low.1) * (x - low.0) / (high.0 - low.0);
        }
        low = high;
    }
    low.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_met_exactly() {
        for (at, expected) in ANCHORS {
            assert_eq!(interpolate(at, ANCHORS), expected);
            assert_eq!(cosine(expected), at);
        }
        assert_eq!(similarity(-1.0), 0.0);
        assert_eq!(similarity(1.0), 100.0);
        for level in [Level::Basic, Level::Moderate, Level::High] {
            assert!(ANCHORS.iter().any(|anchor| anchor.1 == level.similarity()));
        }
    }

    #[test]
    fn similarity_rises_and_stays_in_range() {
        let mut last = -1.0;
        for step in -1000..=1000 {
            let value = similarity(step as f32 / 1000.0);
            assert!(value > last, "{step}");
            last = value;
        }
        assert_eq!(similarity(1.000_001), 100.0);
        assert_eq!(similarity(-1.000_001), 0.0);
        assert_eq!(similarity(f32::NAN), 0.0);
    }

    #[test]
    fn cosine_is_the_inverse() {
        for step in 0..=100 {
            let value = f64::from(step);
            assert!((similarity(cosine(value) as f32) - value).abs() < 1e-3, "{step}");
        }
    }

    #[test]
    fn the_door_threshold_rises_with_the_gallery() {
        for (templates, similarity, fpir) in [
            (0, 82.0, 0.0),
            (1, 82.0, 1e-4),
            (10, 82.0, 1e-3),
            (100, 85.803_922, 1e-3),
            (1000, 90.0, 1e-3),
        ] {
            let door = at_door(templates, 0.001);
            assert!((door.similarity - similarity).abs() < 1e-3, "{templates}: {door:?}");
            assert!((door.fpir - fpir).abs() < 1e-9, "{templates}: {door:?}");
            assert!(door.reaches_target, "{templates}: {door:?}");
        }
        let mut last = 0.0;
        for templates in 0..2000 {
            let door = at_door(templates, 0.001);
            assert!(door.similarity >= last && door.similarity <= 90.0, "{templates}");
            assert!(!door.reaches_target || door.fpir <= 0.001 + 1e-12, "{templates}: {door:?}");
            last = door.similarity;
        }
    }

    #[test]
    fn beyond_the_table_its_end_is_used_and_reported() {
        let door = at_door(10_000, 0.001);
        assert_eq!((door.similarity, door.reaches_target), (90.0, false));
        assert!((door.fpir - 0.01).abs() < 1e-9);
        assert!(at_door(10_000, 0.1).reaches_target);
    }
}

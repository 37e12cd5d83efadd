//! 1:1 accuracy: labelled pairs at the shipped threshold, and all pairs of a labelled set.

use super::manifest::{Identified, rows};
use super::rates::{rounded, share_above, threshold_at};
use super::{Embeddings, EvaluateError, FaceChoice};
use doorward_face::Analyzer;
use doorward_face::similarity::{self, Level};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The false-match rates at which TAR is given.
const RATES: [(&str, f64); 4] = [("1e-2", 1e-2), ("1e-3", 1e-3), ("1e-4", 1e-4), ("1e-5", 1e-5)];

#[derive(Deserialize)]
struct Pair {
    path_a: String,
    path_b: String,
    same: u8,
}

/// `pairs` has columns `path_a, path_b, same`; in every pair the first is enrolled and the second
/// is compared with it. If `labels` (`path, identity`) is given, TAR is over all of its pairs, else
/// over `pairs`.
pub fn verification(
    analyzer: &Analyzer,
    root: &Path,
    pairs: &Path,
    labels: Option<&Path>,
    choice: FaceChoice,
) -> Result<Value, EvaluateError> {
    let pairs: Vec<Pair> = rows(pairs)?;
    let labels: Vec<Identified> = labels.map(rows).transpose()?.unwrap_or_default();
    let paths = pairs
        .iter()
        .flat_map(|pair| [&pair.path_a, &pair.path_b])
        .chain(labels.iter().map(|row| &row.path))
        .map(String::as_str);
    let embeddings = Embeddings::compute(analyzer, root, paths, choice)?;

    let threshold = similarity::cosine(Level::Basic.similarity()) as f32;
    let scored: Vec<(bool, f32)> = pairs
        .iter()
        .map(|pair| (pair.same != 0, embeddings.cosine(&pair.path_a, &pair.path_b)))
        .collect();
    let right = pairs
        .iter()
        .zip(&scored)
        .filter(|(pair, (same, score))| {
            let both = embeddings.get(&pair.path_a).and(embeddings.get(&pair.path_b)).is_some();
            both && *same == (*score >= threshold)
        })
        .count();
    let mut scores = if labels.is_empty() {
        Scores::of_pairs(&scored)
    } else {
        Scores::of_all(&embeddings, &labels)
    };
    let tar: Map<String, Value> = RATES
        .iter()
        .map(|(name, rate)| {
            let tar = threshold_at(&mut scores.impostor, *rate)
                .map(|threshold| rounded(share_above(&scores.genuine, threshold)));
            ((*name).to_owned(), json!(tar))
        })
        .collect();
    Ok(json!({
        "pairs": pairs.len(),
        "same": scored.iter().filter(|(same, _)| *same).count(),
        "no_face": embeddings.without_face(),
        "threshold_cosine": threshold,
        "accuracy": rounded(right as f64 / pairs.len() as f64),
        "tar": tar,
    }))
}

/// Measures the cosines of the similarity scale's anchors on all impostor pairs of `labels` (`path,
/// identity`): FMR 1e-3 and 1e-4 measured, 1e-6 on the straight line of log10 FMR over cosine
/// through 1e-3, 1e-4 and 1e-5 (least squares).
pub fn anchors(
    analyzer: &Analyzer,
    root: &Path,
    labels: &Path,
    choice: FaceChoice,
) -> Result<Value, EvaluateError> {
    let labels: Vec<Identified> = rows(labels)?;
    let paths = labels.iter().map(|row| row.path.as_str());
    let embeddings = Embeddings::compute(analyzer, root, paths, choice)?;
    let mut scores = Scores::of_all(&embeddings, &labels);
    let measured: Vec<(f64, f64)> = [-3.0, -4.0, -5.0]
        .into_iter()
        .filter_map(|log| {
            let threshold = threshold_at(&mut scores.impostor, 10f64.powf(log))?;
            Some((f64::from(threshold), log))
        })
        .collect();
    let extrapolated = line_through(&measured).map(|(slope, offset)| (-6.0 - offset) / slope);
    Ok(json!({
        "photographs": labels.len(),
        "no_face": embeddings.without_face(),
        "impostor_pairs": scores.impostor.len(),
        "genuine_pairs": scores.genuine.len(),
        "cosine_at_fmr": {
            "1e-3": measured.first().map(|point| point.0),
            "1e-4": measured.get(1).map(|point| point.0),
            "1e-5": measured.get(2).map(|point| point.0),
            "1e-6 (extrapolated)": extrapolated,
        },
    }))
}

/// Returns slope and offset of the least-squares line through points (x, y).
fn line_through(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread;
    slope.is_finite().then_some((slope, mean_y - slope * mean_x))
}

/// Cosines of genuine and of impostor pairs.
struct Scores {
    genuine: Vec<f32>,
    impostor: Vec<f32>,
}

impl Scores {
    fn of_pairs(scored: &[(bool, f32)]) -> Self {
        let of = |wanted: bool| {
            scored.iter().filter(|(same, _)| *same == wanted).map(|(_, score)| *score).collect()
        };
        Self { genuine: of(true), impostor: of(false) }
    }

    fn of_all(embeddings: &Embeddings, labels: &[Identified]) -> Self {
        let mut scores = Self { genuine: Vec::new(), impostor: Vec::new() };
        let rows: Vec<_> =
            labels.iter().map(|row| (&row.identity, embeddings.get(&row.path))).collect();
        for (index, (identity, embedding)) in rows.iter().enumerate() {
            for (other, other_embedding) in &rows[index + 1..] {
                let cosine = match (embedding, other_embedding) {
                    (Some(a), Some(b)) => a.cosine(b),
                    _ => 0.0,
                };
                let side =
                    if identity == other { &mut scores.genuine } else { &mut scores.impostor };
                side.push(cosine);
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_goes_through_its_points() {
        let (slope, offset) = line_through(&[(0.1, -3.0), (0.2, -4.0), (0.3, -5.0)]).unwrap();
        assert!((slope + 10.0).abs() < 1e-9 && (offset + 2.0).abs() < 1e-9);
        assert!(line_through(&[(0.1, -3.0)]).is_none());
    }
}

//! Fits the heads of sunglasses, mask, veil and hat.
//!
//! Every labelled photograph gives two samples: itself and a worse version. People without any
//! label get drawings for more positives, and are used without drawings for more negatives. A head
//! is fitted five times, each time without one fold of the groups, which it then judges, and once
//! with all: the last is shipped, the others give its report. A fold's threshold is chosen on the
//! judgements of the other folds. Only original photographs count in the report, never a drawing.

mod chance;
mod overlay;
mod photos;
mod report;

use crate::folds::fold;
use crate::logistic::{Logistic, Sample};
use chance::Chance;
use doorward_evaluate::FaceChoice;
use doorward_face::{Analyzer, Attributes, Detection, Embedding, FaceError, Portrait};
use doorward_picture::{self as picture, Limits, Picture};
use overlay::Thing;
use photos::Photo;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const HEADS: usize = Attributes::NAMES.len();
const FOLDS: u64 = 5;
/// Number of drawings of each thing.
const DRAWINGS: usize = 250;
/// The weight of a worse version relative to its photograph, and of a drawing or its worse version.
/// Drawings keep the heads from memorising the few things of few people, but they are not
/// photographs.
const WORSE: f64 = 0.5;
const DRAWN: f64 = 0.15;
/// The weight of the original of a drawing as a negative for attributes without a label.
const UNSEEN: f64 = 0.25;
/// Strength of the fit's penalty, per head. Sunglasses differ less from spectacles; veils are few,
/// and look like hair and curtains.
const PENALTY: [f64; HEADS] = [10.0, 100.0, 1000.0, 100.0];
/// The rates by which a threshold weighs misses and false alarms, per head: the acceptable rates.
const RIGHT: [(f64, f64); HEADS] = [(0.02, 0.01), (0.03, 0.02), (0.03, 0.03), (0.10, 0.03)];
/// From this cosine two photographs from the web show one person. With a lower value, coverings
/// join people: at 0.42 nearly all veils are one group, and no fold is left to fit on.
const LOOK_ALIKE: f32 = 0.6;

/// Why no heads were fitted.
#[derive(Debug, thiserror::Error)]
pub enum AttributesError {
    /// The labels are not as expected.
    #[error("cannot read the labels {path}: {reason}")]
    Labels {
        /// The CSV file.
        path: PathBuf,
        /// The fault.
        reason: csv::Error,
    },
    /// A photograph cannot be read.
    #[error("cannot read the photograph {path}: {reason}")]
    Photograph {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// A network failed.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// A head has no samples of one class.
    #[error("no photographs to fit {0} on; is this the data's folder?")]
    NoSamples(&'static str),
    /// The weights could not be encoded.
    #[error("cannot encode the weights: {0}")]
    Encode(#[from] candle_core::Error),
    /// The report could not be encoded.
    #[error("cannot encode the report: {0}")]
    Report(#[from] toml::ser::Error),
    /// A file could not be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: std::io::Error,
    },
}

/// The samples of one photograph.
struct Seen {
    /// One vector per head; for a drawing, only that of its head.
    features: [Option<Vec<f32>>; HEADS],
    /// The same for the worse version.
    worse: [Option<Vec<f32>>; HEADS],
    embedding: Option<Embedding>,
}

/// One head: its model and its judgements of the photographs it was not fitted on.
pub struct Fitted {
    /// Fitted on everything; log-odds 0 is the operating point.
    pub model: Logistic,
    /// Log-odds of each photograph by a model that has not seen its group, minus the threshold that
    /// was chosen without its fold; `None` without a face.
    pub judged: Vec<Option<f32>>,
}

/// Fits all heads and writes `models/attributes.gguf` and `models/attributes.toml`.
pub fn train(data: &Path) -> Result<(), AttributesError> {
    let analyzer = Analyzer::load()?;
    let mut photos = photos::labelled(data)?;
    let mut bases = photos::bare(data, &photos)?;
    bases.truncate(DRAWINGS * HEADS);
    eprintln!("{} photographs, {} to draw on", photos.len(), bases.len());
    let seen = each(&photos, |_, photo| photographed(&analyzer, data, photo))?;
    let undrawn = each(&bases, |_, photo| photographed(&analyzer, data, photo))?;
    let drawn = each(&bases, |index, photo| drawing(&analyzer, data, photo, index % HEADS))?;
    let from_web: Vec<bool> = photos.iter().map(|photo| photo.set().starts_with("attr_")).collect();
    let cosine = |a: usize, b: usize| {
        let of = |i: usize| seen[i].as_ref().filter(|_| from_web[i])?.embedding.as_ref();
        Some(of(a)?.cosine(of(b)?))
    };
    photos::join_look_alikes(&mut photos, cosine, LOOK_ALIKE);

    let fitted = Mutex::new(std::array::from_fn::<_, HEADS, _>(|_| None));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let head = next.fetch_add(1, Ordering::Relaxed);
                    if head >= HEADS {
                        return;
                    }
                    let one = fit(head, &photos, &seen, &bases, [&undrawn, &drawn]);
                    fitted.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[head] = one;
                    eprintln!("{} is fitted", Attributes::NAMES[head]);
                }
            });
        }
    });
    let mut heads = Vec::new();
    let fitted = fitted.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (name, fitted) in Attributes::NAMES.into_iter().zip(fitted) {
        heads.push(fitted.ok_or(AttributesError::NoSamples(name))?);
    }
    report::write(&photos, bases.len(), &heads)
}

/// Runs the same work for each photograph on all cores; returns the results in the photographs'
/// order.
fn each<Result: Send>(
    photos: &[Photo],
    work: impl Fn(usize, &Photo) -> std::result::Result<Result, AttributesError> + Sync,
) -> std::result::Result<Vec<Result>, AttributesError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(photos.len()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(photo) = photos.get(index) else { return };
                    let one = work(index, photo);
                    let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    done.push((index, one));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, one)| one).collect()
}

/// Returns the upright picture and its central face.
fn face(
    analyzer: &Analyzer,
    data: &Path,
    photo: &Photo,
) -> Result<Option<(Picture, Detection)>, AttributesError> {
    let path = data.join(&photo.path);
    let unreadable = |reason: String| AttributesError::Photograph { path: path.clone(), reason };
    let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    let picture = picture::decode(&bytes, &Limits::default())
        .map_err(|error| unreadable(error.to_string()))?;
    let found = analyzer.detect(&picture)?;
    let upright = found.turned.unwrap_or(picture);
    Ok(FaceChoice::Centre.pick(&found.faces, &upright).copied().map(|face| (upright, face)))
}

fn photographed(
    analyzer: &Analyzer,
    data: &Path,
    photo: &Photo,
) -> Result<Option<Seen>, AttributesError> {
    let Some((picture, face)) = face(analyzer, data, photo)? else { return Ok(None) };
    let portrait = analyzer.portrait(&picture, &face)?;
    let worse = chance::worse(&picture, &mut Chance::of(&photo.path));
    Ok(Some(Seen {
        features: features(&portrait)?,
        worse: features(&analyzer.portrait(&worse, &face)?.mirrored())?,
        embedding: Some(portrait.embedding()?),
    }))
}

fn drawing(
    analyzer: &Analyzer,
    data: &Path,
    photo: &Photo,
    head: usize,
) -> Result<Option<Seen>, AttributesError> {
    let Some((picture, face)) = face(analyzer, data, photo)? else { return Ok(None) };
    let Some(matrix) = doorward_face::template_to_picture(&face.landmarks) else {
        return Ok(None);
    };
    let mut chance = Chance::of(&photo.path);
    let drawn = overlay::worn(&picture, &matrix, Thing::ALL[head], &mut chance);
    let worse = chance::worse(&drawn, &mut chance);
    let only = |portrait: Portrait<'_>| -> Result<_, AttributesError> {
        let mut features = features(&portrait)?;
        features.iter_mut().enumerate().filter(|(i, _)| *i != head).for_each(|(_, f)| *f = None);
        Ok(features)
    };
    Ok(Some(Seen {
        features: only(analyzer.portrait(&drawn, &face)?)?,
        worse: only(analyzer.portrait(&worse, &face)?.mirrored())?,
        embedding: None,
    }))
}

fn features(portrait: &Portrait<'_>) -> Result<[Option<Vec<f32>>; HEADS], AttributesError> {
    let features = portrait.attribute_features()?;
    let mut vectors = [const { None }; HEADS];
    for (head, vector) in vectors.iter_mut().enumerate() {
        *vector = Some(features.of(head)?);
    }
    Ok(vectors)
}

/// Fits one head; `None` without photographs of both classes.
fn fit(
    head: usize,
    photos: &[Photo],
    seen: &[Option<Seen>],
    bases: &[Photo],
    [undrawn, drawn]: [&[Option<Seen>]; 2],
) -> Option<Fitted> {
    let mut samples: Vec<(u64, Sample)> = Vec::new();
    let mut add = |photo: &Photo, seen: &Seen, positive: bool, weights: [f64; 2]| {
        for (features, weight) in [&seen.features, &seen.worse].into_iter().zip(weights) {
            if let Some(features) = features[head].clone() {
                samples.push((fold(&photo.group, FOLDS), Sample { features, positive, weight }));
            }
        }
    };
    for (photo, seen) in photos.iter().zip(seen) {
        if let (Some(seen), Some(positive)) = (seen, photo.labels[head]) {
            add(photo, seen, positive, [1.0, WORSE]);
        }
    }
    for (photo, (undrawn, drawn)) in bases.iter().zip(undrawn.iter().zip(drawn)) {
        if let (Some(undrawn), Some(positive)) = (undrawn, photo.labels[head]) {
            add(photo, undrawn, positive, [UNSEEN; 2]);
        }
        if let Some(drawn) = drawn {
            add(photo, drawn, true, [DRAWN; 2]);
        }
    }
    let without = |fold: Option<u64>| {
        let chosen: Vec<&Sample> =
            samples.iter().filter(|(of, _)| Some(*of) != fold).map(|(_, sample)| sample).collect();
        let chosen = balanced(&chosen);
        Logistic::fit(&chosen.iter().collect::<Vec<_>>(), PENALTY[head])
    };
    let models = (0..FOLDS).map(|fold| without(Some(fold))).collect::<Option<Vec<_>>>()?;
    let judged: Vec<Option<f32>> = photos
        .iter()
        .zip(seen)
        .map(|(photo, seen)| {
            let features = seen.as_ref()?.features[head].as_ref()?;
            Some(models[fold(&photo.group, FOLDS) as usize].log_odds(features))
        })
        .collect();
    // Chosen on judgements of unseen photographs; for a fold's photographs, without that fold.
    let threshold = |left_out: Option<u64>| {
        let scores = photos.iter().zip(&judged).filter_map(|(photo, judged)| {
            let known = Some(fold(&photo.group, FOLDS)) != left_out;
            known.then_some((judged.as_ref().copied()?, photo.labels[head]?))
        });
        best_threshold(scores.collect(), RIGHT[head])
    };
    let of_fold: Vec<f32> = (0..FOLDS).map(|fold| threshold(Some(fold))).collect();
    let judged = photos
        .iter()
        .zip(&judged)
        .map(|(photo, judged)| Some((*judged)? - of_fold[fold(&photo.group, FOLDS) as usize]))
        .collect();
    let mut model = without(None)?;
    model.bias -= threshold(None);
    Some(Fitted { model, judged })
}

/// Returns the samples with weights scaled so that each class has half of the total.
fn balanced(samples: &[&Sample]) -> Vec<Sample> {
    let weight = |positive: bool| {
        samples.iter().filter(|s| s.positive == positive).map(|s| s.weight).sum::<f64>()
    };
    let (positive, negative) = (weight(true), weight(false));
    let half = (positive + negative) / 2.0;
    samples
        .iter()
        .map(|sample| {
            let of_class = if sample.positive { positive } else { negative };
            Sample { weight: sample.weight * half / of_class, ..(*sample).clone() }
        })
        .collect()
}

/// Returns the log-odds between two neighbouring scores with the lowest weighted sum of misses and
/// false alarms, each divided by its acceptable rate; in the middle where several are equal.
fn best_threshold(mut scores: Vec<(f32, bool)>, (right_misses, right_false): (f64, f64)) -> f32 {
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scores.iter().filter(|(_, positive)| *positive).count().max(1) as f64;
    let negatives = scores.iter().filter(|(_, positive)| !positive).count().max(1) as f64;
    let (mut missed, mut falsely) = (0.0, negatives);
    let mut best: (f64, Vec<f32>) = (f64::INFINITY, Vec::new());
    for pair in scores.windows(2) {
        if pair[0].1 {
            missed += 1.0;
        } else {
            falsely -= 1.0;
        }
        let cost = missed / positives / right_misses + falsely / negatives / right_false;
        let middle = (pair[0].0 + pair[1].0) / 2.0;
        if cost < best.0 - 1e-9 {
            best = (cost, vec![middle]);
        } else if cost < best.0 + 1e-9 {
            best.1.push(middle);
        }
    }
    best.1.get(best.1.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_minimises_the_weighted_errors() {
        let scores = |wrong: f32| vec![(-3.0, false), (-1.0, false), (wrong, true), (2.0, true)];
        assert_eq!(best_threshold(scores(1.0), (0.1, 0.1)), 0.0);
        // A miss weighs more than a false alarm, so the positive at −2 is kept …
        assert_eq!(best_threshold(scores(-2.0), (0.01, 0.1)), -2.5);
        // … unless it weighs less.
        assert_eq!(best_threshold(scores(-2.0), (0.1, 0.01)), 0.5);
    }

    #[test]
    fn balancing_equalises_classes_and_keeps_the_total() {
        let sample = |positive| Sample { features: vec![0.0], positive, weight: 1.0 };
        let samples = [sample(true), sample(false), sample(false), sample(false)];
        let balanced = balanced(&samples.iter().collect::<Vec<_>>());
        let weights: Vec<f64> = balanced.iter().map(|sample| sample.weight).collect();
        assert_eq!(weights, [2.0, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
    }
}

//! Fits liveness: the weights of the two networks' margins, and the operating point.
//!
//! Fitted on faces of two sets: webcam frames of people and of their prints, and frames and photos
//! of people and of screens. A *group* is a person or a source: frames of one clip are not
//! independent, so a group counts as twenty photographs at most, and each set and class has the
//! same weight. Every error in the report was made by a model, fit and operating point, that had
//! not seen the group.

mod faces;
mod report;

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::logistic::{Logistic, Sample};
use faces::Face;
use report::Report;

/// Attacks that the networks cannot detect: a mask looks live to them in every presentation, and
/// paper masks are three-dimensional. Fitting on such attacks would only refuse more live people.
const BEYOND: [&str; 5] =
    ["replay (mask worn)", "paper mask", "3d paper mask", "paper outline", "3d paper outline"];
/// Most photographs that a group counts as.
const MOST_OF_GROUP: f64 = 20.0;
/// The number of photographs that a set's class counts as.
const CLASS_WEIGHT: f64 = 100.0;
/// Strong for two features and hundreds of photographs, because they come from few sources.
const PENALTY: f64 = 3.0;
/// The operating point is midway between the quantiles of live and of attacks beyond which this
/// share lies.
const OUTLIERS: f64 = 0.01;
/// Rows of a matrix in the file are padded to whole blocks, as in every doorward weights file.
const BLOCK: usize = 32;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum LivenessError {
    /// Labels or photographs cannot be read.
    #[error("{0}: {1}; is --data the folder of the development photographs?")]
    Data(PathBuf, String),
    /// A network failed.
    #[error(transparent)]
    Face(#[from] doorward_face::FaceError),
    /// There is no data to fit on.
    #[error("the photographs of {0} do not hold both live faces and attacks of several groups")]
    OneClass(&'static str),
    /// The weights could not be encoded.
    #[error("cannot make the weights: {0}")]
    Encode(#[from] candle_core::Error),
    /// The report could not be encoded.
    #[error("cannot make the report: {0}")]
    Report(#[from] toml::ser::Error),
    /// A file could not be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, std::io::Error),
}

/// Fits, and writes `liveness.gguf` and `liveness.toml` into the folder.
pub fn run(data: &Path, models: &Path) -> Result<(), LivenessError> {
    let faces = faces::labelled(data)?;
    let all: Vec<&Face> = faces.iter().collect();
    let fitted = fit(&all).ok_or(LivenessError::OneClass("both sets"))?;
    let judged = out_of_fold(&faces).ok_or(LivenessError::OneClass("a fold"))?;
    let weights = encode(&fitted)?;
    let mut report = Report::new(&fitted, &weights, &faces);
    report.out_of_fold(&faces, &judged);
    for (from, to) in [(faces::PRINTS, faces::SCREENS), (faces::SCREENS, faces::PRINTS)] {
        let of = |set: &'static str| faces.iter().filter(move |face| face.set == set);
        let other = fit(&of(from).collect::<Vec<_>>()).ok_or(LivenessError::OneClass(from))?;
        let judged: Vec<Judged> = of(to).map(|face| face.judged_by(&other)).collect();
        report.across(from, to, &of(to).collect::<Vec<_>>(), &judged);
    }
    for (set, photographs) in faces::genuine(data)? {
        let judged: Vec<Judged> = photographs.iter().map(|face| face.judged_by(&fitted)).collect();
        report.genuine(set, &judged);
    }
    write(&models.join("liveness.gguf"), &weights)?;
    write(&models.join("liveness.toml"), report.to_toml()?.as_bytes())
}

/// Log-odds of a face; `None` if no face was found.
type Judged = Option<f32>;

impl Face {
    fn judged_by(&self, model: &Logistic) -> Judged {
        self.features.map(|features| model.log_odds(&features))
    }

    /// Returns true if a model is fitted on it.
    fn teaches(&self) -> bool {
        self.features.is_some() && (self.live || !BEYOND.contains(&self.species.as_str()))
    }
}

/// Fits a model whose 0 is the operating point. `None` without both classes in several groups.
fn fit(faces: &[&Face]) -> Option<Logistic> {
    let faces: Vec<&Face> = faces.iter().copied().filter(|face| face.teaches()).collect();
    let samples = weighed(&faces);
    let mut odds = Vec::new();
    for (set, group) in groups(&faces) {
        let belongs = |face: &&Face| (face.set, face.group.as_str()) == (set, group);
        let rest = faces.iter().zip(&samples).filter(|(face, _)| !belongs(face));
        let model = Logistic::fit(&rest.map(|(_, sample)| sample).collect::<Vec<_>>(), PENALTY)?;
        for (_, sample) in faces.iter().zip(&samples).filter(|(face, _)| belongs(face)) {
            odds.push((model.log_odds(&sample.features), sample.positive, sample.weight));
        }
    }
    let mut model = Logistic::fit(&samples.iter().collect::<Vec<_>>(), PENALTY)?;
    model.bias -= operating_point(odds);
    Some(model)
}

/// Returns the point midway between the lowest live and the highest attack, without outliers.
fn operating_point(mut odds: Vec<(f32, bool, f64)>) -> f32 {
    odds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let beyond = |odds: &mut dyn Iterator<Item = (f32, bool, f64)>, live: bool| {
        let class: Vec<_> = odds.filter(|(_, positive, _)| *positive == live).collect();
        let allowed = OUTLIERS * class.iter().map(|(_, _, weight)| weight).sum::<f64>();
        let mut passed = 0.0;
        let found = class.iter().find(|(_, _, weight)| {
            passed += weight;
            passed > allowed
        });
        found.map_or(0.0, |(odds, _, _)| *odds)
    };
    let lowest_live = beyond(&mut odds.iter().copied(), true);
    let highest_attack = beyond(&mut odds.iter().rev().copied(), false);
    (lowest_live + highest_attack) / 2.0
}

/// Judges each face by a model that has not seen its group. `None` when one cannot be fitted.
fn out_of_fold(faces: &[Face]) -> Option<Vec<Judged>> {
    let mut judged = vec![None; faces.len()];
    for (set, group) in groups(&faces.iter().collect::<Vec<_>>()) {
        let belongs = |face: &Face| (face.set, face.group.as_str()) == (set, group);
        let model = fit(&faces.iter().filter(|face| !belongs(face)).collect::<Vec<_>>())?;
        for (face, judged) in faces.iter().zip(&mut judged) {
            if belongs(face) {
                *judged = face.judged_by(&model);
            }
        }
    }
    Some(judged)
}

fn groups<'a>(faces: &[&'a Face]) -> BTreeSet<(&'static str, &'a str)> {
    faces.iter().map(|face| (face.set, face.group.as_str())).collect()
}

/// Returns the samples of found faces, each with its weight.
fn weighed(faces: &[&Face]) -> Vec<Sample> {
    let kin = |a: &Face, b: &Face| (a.set, a.live) == (b.set, b.live);
    let share = |face: &Face| {
        let same = faces.iter().filter(|other| kin(face, other) && other.group == face.group);
        (MOST_OF_GROUP / same.count() as f64).min(1.0)
    };
    let shares: Vec<f64> = faces.iter().map(|face| share(face)).collect();
    let weight = |face: &Face, own: f64| {
        let class = faces.iter().zip(&shares).filter(|(other, _)| kin(face, other));
        CLASS_WEIGHT * own / class.map(|(_, share)| share).sum::<f64>()
    };
    let sample = |(face, &own): (&&Face, &f64)| {
        face.features.map(|features| Sample {
            features: features.to_vec(),
            positive: face.live,
            weight: weight(face, own),
        })
    };
    faces.iter().zip(&shares).filter_map(sample).collect()
}

/// Returns the file that [`doorward_face::LivenessModel`] reads.
fn encode(model: &Logistic) -> Result<Vec<u8>, LivenessError> {
    let mut row = model.weights.clone();
    row.resize(BLOCK, 0.0);
    let f32s = |values: Vec<f32>, shape: &[usize]| {
        QTensor::quantize(&Tensor::from_vec(values, shape, &Device::Cpu)?, GgmlDType::F32)
    };
    let weight = f32s(row, &[1, BLOCK])?;
    let bias = f32s(vec![model.bias], &[1])?;
    let name = Value::String("liveness".to_owned());
    let mut file = Cursor::new(Vec::new());
    let tensors = [("live.weight", &weight), ("live.bias", &bias)];
    gguf_file::write(&mut file, &[("general.name", &name)], &tensors)?;
    Ok(file.into_inner())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), LivenessError> {
    println!("{}", path.display());
    fs::write(path, bytes).map_err(|error| LivenessError::Write(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(group: &str, live: bool, margin: f32) -> Face {
        let species = if live { "live" } else { "print" }.to_owned();
        Face { set: "a", group: group.to_owned(), species, live, features: Some([margin; 2]) }
    }

    #[test]
    fn the_operating_point_is_midway_and_ignores_outliers() {
        let even = |odds: f32| (odds, odds > 0.0, 1.0);
        let mut odds: Vec<_> = [-4.0, -2.0, 1.0, 3.0].map(even).to_vec();
        assert_eq!(operating_point(odds.clone()), -0.5);
        odds.push((-9.0, true, 0.001));
        odds.push((9.0, false, 0.001));
        assert_eq!(operating_point(odds), -0.5);
    }

    #[test]
    fn a_group_counts_as_twenty_and_classes_weigh_the_same() {
        let mut faces: Vec<Face> = (0..60).map(|_| face("clip", true, 1.0)).collect();
        faces.extend((0..20).map(|_| face("person", true, 1.0)));
        faces.push(face("print", false, -1.0));
        let samples = weighed(&faces.iter().collect::<Vec<_>>());
        let sum = |range: std::ops::Range<usize>| {
            samples[range].iter().map(|sample| sample.weight).sum::<f64>()
        };
        assert!((sum(0..60) - 50.0).abs() < 1e-9 && (sum(60..80) - 50.0).abs() < 1e-9);
        assert!((sum(80..81) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_face_is_judged_by_a_model_that_has_not_seen_its_group() {
        let mut faces: Vec<Face> = ["a", "b", "c"]
            .into_iter()
            .flat_map(|g| [face(g, true, 3.0), face(g, false, -3.0)])
            .collect();
        // In group c live and attack are swapped: a model that has seen it would judge it better.
        faces[4].features = Some([-3.0; 2]);
        faces[5].features = Some([3.0; 2]);
        let judged = out_of_fold(&faces).unwrap();
        assert!(judged[4].unwrap() < 0.0 && judged[5].unwrap() > 0.0, "{judged:?}");
    }

    #[test]
    fn a_face_that_was_not_found_stays_unjudged() {
        let mut faces: Vec<Face> = ["a", "b", "c", "d"]
            .into_iter()
            .flat_map(|g| [face(g, true, 3.0), face(g, false, -3.0)])
            .collect();
        faces[0].features = None;
        assert_eq!(out_of_fold(&faces).unwrap()[0], None);
    }
}

//! Computes FMR and FNMR over the similarity, for the user's own people and camera.

use super::CalibrateError;
use super::chart::{Chart, ChartError, Scale, svg};
use crate::folder;
use crate::photographs;
use crate::rates::{Balance, Rate, rounded, threshold_at};
use crate::{Embedded, FaceChoice};
use doorward_face::Analyzer;
use doorward_face::similarity::{self, DoorThreshold, Level};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const LEVELS: [(&str, Level); 3] =
    [("basic", Level::Basic), ("moderate", Level::Moderate), ("high", Level::High)];
/// False-match rates whose threshold is reported, if there are enough pairs.
const RATES: [(&str, f64); 3] = [("1e-2", 1e-2), ("1e-3", 1e-3), ("1e-4", 1e-4)];
/// Similarities of the printed table.
const TABLE: [f64; 14] =
    [50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 78.0, 80.0, 82.0, 84.0, 86.0, 88.0, 90.0, 95.0];
/// Most pairs listed as look-alikes, or as unlike.
const NAMED: usize = 10;
/// Points of a drawn curve.
const POINTS: usize = 600;

/// A pair of photographs and their similarity.
struct Pair {
    similarity: f32,
    files: [PathBuf; 2],
}

/// The comparisons of the photographs.
pub struct PeopleCalibration {
    people: usize,
    photographs: usize,
    no_face: Vec<PathBuf>,
    genuine: Vec<f32>,
    impostor: Vec<f32>,
    /// Pairs of different people at or above `moderate`, most alike first.
    look_alikes: Vec<Pair>,
    /// Pairs of one person below `basic`, least alike first.
    unlike: Vec<Pair>,
    templates: usize,
    target_fpir: f64,
    door: DoorThreshold,
}

/// Compares every photograph below `dir` (one folder per person, or one file per person) with every
/// other. If a photograph shows several faces the most prominent counts, as in `enroll`. `templates` is
/// the size of the gallery, for the threshold that `target_fpir` gives there.
pub fn people(
    analyzer: &Analyzer,
    dir: &Path,
    templates: usize,
    target_fpir: f64,
) -> Result<PeopleCalibration, CalibrateError> {
    let files: Vec<(String, PathBuf)> = folder::photographs(dir)?
        .into_iter()
        .flat_map(|(person, files)| files.into_iter().map(move |file| (person.clone(), file)))
        .collect();
    let paths: Vec<&PathBuf> = files.iter().map(|(_, file)| file).collect();
    let seen = photographs::each(&paths, |picture| {
        FaceChoice::Largest.judge(analyzer, picture, Embedded::of)
    })?;
    let mut no_face = Vec::new();
    let mut faces: Vec<(&str, &PathBuf, Embedded)> = Vec::new();
    for ((person, file), embedding) in files.iter().zip(seen) {
        match embedding {
            Some(embedding) => faces.push((person, file, embedding)),
            None => no_face.push(file.clone()),
        }
    }
    // Files are sorted by person, so equal names are neighbours.
    let mut names: Vec<&str> = faces.iter().map(|(person, ..)| *person).collect();
    names.dedup();

    let (mut genuine, mut impostor) = (Vec::new(), Vec::new());
    let (mut look_alikes, mut unlike) = (Vec::new(), Vec::new());
    for (index, (person, file, embedding)) in faces.iter().enumerate() {
        for (other, other_file, other_embedding) in &faces[index + 1..] {
            let similarity = similarity::similarity(embedding.cosine(other_embedding)) as f32;
            let pair = || Pair { similarity, files: [(*file).clone(), (*other_file).clone()] };
            if person == other {
                genuine.push(similarity);
                if f64::from(similarity) < Level::Basic.similarity() {
                    unlike.push(pair());
                }
            } else {
                impostor.push(similarity);
                if f64::from(similarity) >= Level::Moderate.similarity() {
                    look_alikes.push(pair());
                }
            }
        }
    }
    if names.len() < 2 || genuine.is_empty() {
        let (dir, people, pairs) = (dir.to_owned(), names.len(), genuine.len());
        return Err(CalibrateError::TooFewPeople { dir, people, pairs });
    }
    look_alikes.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    unlike.sort_by(|a, b| a.similarity.total_cmp(&b.similarity));
    Ok(PeopleCalibration {
        people: names.len(),
        photographs: files.len(),
        no_face,
        genuine,
        impostor,
        look_alikes,
        unlike,
        templates,
        target_fpir,
        door: similarity::at_door(templates, target_fpir),
    })
}

impl PeopleCalibration {
    /// Returns FMR and FNMR of a threshold: a pair matches at or above it.
    fn errors(&self, similarity: f64) -> (Rate, Rate) {
        let matches = |score: &f32| f64::from(*score) >= similarity;
        (
            Rate::of(self.impostor.iter().map(matches)),
            Rate::of(self.genuine.iter().map(|score| !matches(score))),
        )
    }

    /// `{"people", "photographs", "no_face": [FILE], "genuine_pairs", "impostor_pairs", "levels":
    /// {NAME: {"similarity", "fmr", "fnmr", "false_matches", "false_non_matches", "fmr_95",
    /// "fnmr_95"}}, "fmr": {RATE: the same and "rule_of_30"}, "eer": {"rate", "similarity"},
    /// "thresholds": [{"similarity", "fmr", "fnmr"}], "door": {"templates", "target_fpir",
    /// "similarity", "fpir", "reaches_target", "fmr", "fnmr"}, "look_alikes", "unlike", "notes"}`
    pub fn to_json(&self) -> Value {
        let levels: Map<String, Value> = LEVELS
            .iter()
            .map(|(name, level)| ((*name).to_owned(), self.figures(level.similarity()).into()))
            .collect();
        let by_rate: Map<String, Value> =
            RATES.iter().map(|(name, rate)| ((*name).to_owned(), self.at_rate(*rate))).collect();
        let eer = Balance::of(&self.genuine, &self.impostor).map(|balance| {
            json!({
                "rate": rounded(balance.equal_error_rate()),
                "similarity": hundredths(balance.threshold.into()),
            })
        });
        let table: Vec<Value> = TABLE
            .iter()
            .map(|similarity| {
                let (fmr, fnmr) = self.errors(*similarity);
                json!({ "similarity": similarity, "fmr": share(fmr), "fnmr": fnmr.to_json() })
            })
            .collect();
        let (fmr, fnmr) = self.errors(self.door.similarity);
        json!({
            "people": self.people,
            "photographs": self.photographs,
            "no_face": self.no_face.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
            "genuine_pairs": self.genuine.len(),
            "impostor_pairs": self.impostor.len(),
            "levels": levels,
            "fmr": by_rate,
            "eer": eer,
            "thresholds": table,
            "door": {
                "templates": self.templates,
                "target_fpir": self.target_fpir,
                "similarity": hundredths(self.door.similarity),
                "fpir": significant(self.door.fpir),
                "reaches_target": self.door.reaches_target,
                "fmr": share(fmr),
                "fnmr": fnmr.to_json(),
            },
            "look_alikes": named(&self.look_alikes),
            "unlike": named(&self.unlike),
            "notes": self.notes(),
        })
    }

    fn figures(&self, similarity: f64) -> Map<String, Value> {
        let (fmr, fnmr) = self.errors(similarity);
        let figures = json!({
            "similarity": similarity,
            "fmr": share(fmr),
            "fnmr": fnmr.to_json(),
            "false_matches": fmr.k,
            "false_non_matches": fnmr.k,
            "fmr_95": fmr.interval().map(|bounds| bounds.map(significant)),
            "fnmr_95": fnmr.interval_to_json(),
        });
        match figures {
            Value::Object(figures) => figures,
            _ => Map::new(),
        }
    }

    /// Returns the lowest similarity, in hundredths, at which at most `rate` of the strangers
    /// match; `null` if that would be less than one pair: so rare a match cannot be seen.
    fn at_rate(&self, rate: f64) -> Value {
        let expected = rate * self.impostor.len() as f64;
        let mut scores = self.impostor.clone();
        match threshold_at(&mut scores, rate).filter(|_| expected >= 1.0) {
            Some(threshold) => {
                let above = ((f64::from(threshold) * 100.0).floor() + 1.0) / 100.0;
                let mut figures = self.figures(above);
                figures.insert("rule_of_30".into(), (expected >= 30.0).into());
                Value::Object(figures)
            }
            None => Value::Null,
        }
    }

    /// Returns the evidence behind the figures, as text.
    fn notes(&self) -> Vec<String> {
        let pairs = self.impostor.len();
        let mut notes = vec![format!(
            "{pairs} pairs of different people: false-match rates from {:.1e} up are known to ±30 % \
             (rule of 30); where none matched, the rate is below {:.1e} (rule of 3)",
            (30.0 / pairs as f64).min(1.0),
            (3.0 / pairs as f64).min(1.0),
        )];
        notes.push(format!(
            "pairs share photographs: {} people are fewer independent samples than {pairs} pairs, and \
             the intervals are wider than they look",
            self.people
        ));
        if !self.no_face.is_empty() {
            notes.push(
                "photographs in no_face show no face and are in no rate: at the door they would be \
                 refused"
                    .into(),
            );
        }
        if !self.look_alikes.is_empty() {
            notes.push(
                "look_alikes are pairs of different people that match at `moderate`: one person in \
                 two folders, or people to be told apart by a higher threshold"
                    .into(),
            );
        }
        if !self.unlike.is_empty() {
            notes.push(
                "unlike are pairs of one person that do not even match at `basic`: another face in \
                 the picture, or a photograph to replace"
                    .into(),
            );
        }
        if !self.door.reaches_target {
            notes.push(format!(
                "search.target_fpir = {} is not reached with {} templates: the table of false-match \
                 rates ends at similarity {}, where {:.1e} of the strangers are taken for somebody",
                self.target_fpir, self.templates, self.door.similarity, self.door.fpir
            ));
        }
        notes
    }

    /// Returns FMR and FNMR over the similarity, and the DET curve, as an SVG file.
    pub fn to_svg(&self) -> Result<String, ChartError> {
        let all = || self.genuine.iter().chain(&self.impostor).copied().map(f64::from);
        let low = (all().fold(100.0, f64::min) / 10.0).floor() * 10.0;
        let at = (0..=POINTS).map(|i| low + (100.0 - low) * i as f64 / POINTS as f64);
        let errors: Vec<(f64, f64, f64)> = at
            .map(|similarity| {
                let (fmr, fnmr) = self.errors(similarity);
                (similarity, fmr.share().unwrap_or(0.0), fnmr.share().unwrap_or(0.0))
            })
            .collect();
        let decade = |n: usize| -((n.max(10) as f64).log10().ceil() as i32).min(6);
        let (fmr_scale, fnmr_scale) =
            (Scale::Log(decade(self.impostor.len()), 0), Scale::Log(decade(self.genuine.len()), 0));
        let lowest = Scale::Log(decade(self.impostor.len().max(self.genuine.len())), 0);
        let mut marks: Vec<(f64, String)> =
            LEVELS.iter().map(|(name, level)| (level.similarity(), (*name).to_owned())).collect();
        marks.push((self.door.similarity, format!("door, {} templates", self.templates)));
        svg(&[
            Chart {
                title: "Errors over the threshold",
                x: ("similarity from which on two faces match", Scale::Linear(low, 100.0)),
                y: ("share of pairs", lowest),
                curves: vec![
                    ("FMR: strangers", errors.iter().map(|e| (e.0, e.1)).collect()),
                    ("FNMR: same person", errors.iter().map(|e| (e.0, e.2)).collect()),
                ],
                marks,
            },
            Chart {
                title: "DET",
                x: ("FMR: strangers that match", fmr_scale),
                y: ("FNMR: same person, no match", fnmr_scale),
                curves: vec![("DET", errors.iter().map(|e| (e.1, e.2)).collect())],
                marks: Vec::new(),
            },
        ])
    }
}

fn named(pairs: &[Pair]) -> Vec<Value> {
    let first = pairs.iter().take(NAMED);
    first
        .map(|pair| {
            let files = pair.files.each_ref().map(|file| file.to_string_lossy());
            json!({ "similarity": hundredths(pair.similarity.into()), "files": files })
        })
        .collect()
}

fn hundredths(similarity: f64) -> f64 {
    (similarity * 100.0).round() / 100.0
}

/// Formats a false-match rate, which may be too small for four decimals.
fn share(fmr: Rate) -> Value {
    json!(fmr.share().map(significant))
}

/// Rounds to two significant digits.
fn significant(share: f64) -> f64 {
    if share == 0.0 {
        return 0.0;
    }
    let unit = 10f64.powi(share.abs().log10().floor() as i32 - 1);
    // Through text: 0.00021 and not 0.00020999999999999998.
    format!("{:.1e}", (share / unit).round() * unit).parse().unwrap_or(share)
}

//! Finds the operating point of liveness at the user's own camera.
//!
//! The raw score differs from camera to camera, so the log-odds at which live begins are fitted to
//! pictures of this camera: live people and spoofs. Few spoofs prove little about untested attacks;
//! [`loosest`] bounds the risk.

use super::CalibrateError;
use super::chart::{Chart, ChartError, Scale, svg};
use crate::FaceChoice;
use crate::folder;
use crate::photographs;
use crate::rates::{Balance, Rate, area_under_roc, rounded};
use doorward_face::{Analyzer, OPERATING_POINTS};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Pictures with a face that each class needs: with fewer, one odd picture decides.
const NEEDED: usize = 10;
/// From this many of each, an error of 10 % is seen with near certainty (0.9^30 = 4 %).
const ENOUGH: usize = 30;
/// With an equal error rate above this the score hardly separates spoofs from people at this
/// camera.
const POOR: f64 = 0.1;

/// One picture: the folder it is in (a person, a recording), and its log-odds, −∞ without a face.
struct Scored {
    group: String,
    log_odds: f32,
}

/// The scores of the pictures.
pub struct LivenessCalibration {
    live: Vec<Scored>,
    spoof: Vec<Scored>,
    fitted: Fitted,
}

/// Judges the pictures of two folders. Each may hold pictures, or folders of pictures (one per
/// person or recording), which are left out together when errors are estimated.
pub fn liveness(
    analyzer: &Analyzer,
    live: &Path,
    spoof: &Path,
) -> Result<LivenessCalibration, CalibrateError> {
    let (live, spoof) = (scored(analyzer, live)?, scored(analyzer, spoof)?);
    LivenessCalibration::fit(live, spoof)
}

/// Scores the pictures of a folder; at least [`NEEDED`] must show a face.
fn scored(analyzer: &Analyzer, dir: &Path) -> Result<Vec<Scored>, CalibrateError> {
    let files: Vec<(String, PathBuf)> = folder::photographs(dir)?
        .into_iter()
        .flat_map(|(group, files)| files.into_iter().map(move |file| (group.clone(), file)))
        .collect();
    let paths: Vec<&PathBuf> = files.iter().map(|(_, file)| file).collect();
    let seen = photographs::each(&paths, |picture| {
        FaceChoice::Largest.judge(analyzer, picture, |portrait| Ok(portrait.liveness()?.log_odds))
    })?;
    let faces = seen.iter().flatten().count();
    if faces < NEEDED {
        return Err(CalibrateError::TooFewFaces { dir: dir.to_owned(), faces, needed: NEEDED });
    }
    let scored = files.into_iter().zip(seen).map(|((group, _), log_odds)| Scored {
        group,
        log_odds: log_odds.unwrap_or(f32::NEG_INFINITY),
    });
    Ok(scored.collect())
}

/// Returns the lowest operating point that `attacks` can justify, at most 0.
///
/// A face at log-odds −d is, to the shipped model, a spoof at e^d : 1. The evidence for accepting
/// it is n attacks, all of which this camera detected: by the rule of 3 they bound the share that
/// passes at 3/n, odds of about n/3 : 1. The evidence goes no further than that: e^d ≤ n/3. Ten
/// attacks lower the point to −1.2, a hundred to −3.5. An attack is a folder: the frames of one
/// recording count as one.
fn loosest(attacks: usize) -> f32 {
    -(attacks.max(3) as f32 / 3.0).ln()
}

/// An operating point and its derivation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fitted {
    /// The point where the two errors balance; the middle of the gap if the classes do not overlap.
    balance: Balance,
    /// [`loosest`] of the spoofs.
    bound: f32,
    /// The result: the balance within the bounds, rounded up to hundredths.
    point: f32,
}

impl Fitted {
    /// Fits the log-odds of live pictures and of spoofs, which come from this many attacks; `None`
    /// unless each has a face.
    fn of(live: &[f32], spoof: &[f32], attacks: usize) -> Option<Self> {
        let balance = Balance::of(live, spoof)?;
        let highest_spoof = spoof.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let told_apart = balance.equal_error_rate() <= POOR;
        // Below 0 no spoof may pass, because the rule of 3 would not apply.
        let above_spoofs = (highest_spoof + 0.01).min(0.0);
        let bound = if told_apart { loosest(attacks).max(above_spoofs) } else { 0.0 };
        let (low, high) = (*OPERATING_POINTS.start() as f32, *OPERATING_POINTS.end() as f32);
        let point = (balance.threshold.max(bound) * 100.0).ceil() / 100.0;
        Some(Self { balance, bound, point: point.clamp(low, high) })
    }
}

/// Returns the number of folders with a face, without the one left out.
fn attacks(pictures: &[Scored], left_out: Option<&str>) -> usize {
    let seen = pictures.iter().filter(|picture| picture.log_odds.is_finite());
    let groups: BTreeSet<&str> = seen.map(|picture| picture.group.as_str()).collect();
    groups.into_iter().filter(|group| Some(*group) != left_out).count()
}

/// Returns the log-odds of the pictures, without one folder if it is left out.
fn scores(pictures: &[Scored], left_out: Option<&str>) -> Vec<f32> {
    let kept = pictures.iter().filter(|picture| Some(picture.group.as_str()) != left_out);
    kept.map(|picture| picture.log_odds).collect()
}

impl LivenessCalibration {
    fn fit(live: Vec<Scored>, spoof: Vec<Scored>) -> Result<Self, CalibrateError> {
        let (live_scores, spoof_scores) = (scores(&live, None), scores(&spoof, None));
        let area = area_under_roc(&live_scores, &spoof_scores).unwrap_or(0.0);
        match Fitted::of(&live_scores, &spoof_scores, attacks(&spoof, None)) {
            Some(fitted) if area >= 0.5 => Ok(Self { live, spoof, fitted }),
            _ => Err(CalibrateError::Swapped(area)),
        }
    }

    /// Returns the log-odds from which a face is live at this camera.
    pub fn operating_point(&self) -> f64 {
        // Through text: −1.2 as f32 is not −1.2 as f64.
        format!("{:.2}", self.fitted.point).parse().unwrap_or(f64::from(self.fitted.point))
    }

    /// Returns live refused and spoofs accepted at an operating point.
    fn errors(&self, point: f32) -> (Rate, Rate) {
        (
            Rate::of(self.live.iter().map(|s| s.log_odds < point)),
            Rate::of(self.spoof.iter().map(|s| s.log_odds >= point)),
        )
    }

    /// Returns the errors on pictures of folders that were not used for their operating point: each
    /// folder is left out once. `None` when too little is left to fit.
    fn out_of_fold(&self) -> Option<(Rate, Rate)> {
        let groups: BTreeSet<&str> =
            self.live.iter().chain(&self.spoof).map(|s| s.group.as_str()).collect();
        let (mut refused, mut accepted) = (Rate::default(), Rate::default());
        for group in groups {
            let left = |pictures| scores(pictures, Some(group));
            let attacks = attacks(&self.spoof, Some(group));
            let point = Fitted::of(&left(&self.live), &left(&self.spoof), attacks)?.point;
            for judged in self.live.iter().filter(|picture| picture.group == group) {
                refused.n += 1;
                refused.k += usize::from(judged.log_odds < point);
            }
            for judged in self.spoof.iter().filter(|picture| picture.group == group) {
                accepted.n += 1;
                accepted.k += usize::from(judged.log_odds >= point);
            }
        }
        Some((refused, accepted))
    }

    /// `{"live", "spoof", "no_face": {"live", "spoof"}, "operating_point", "balanced", "bound",
    /// "eer", "fitted": {"bpcer", "apcer", "refused", "accepted", "bpcer_95", "apcer_95"},
    /// "out_of_fold": the same, "as_shipped": the same, "notes"}`. `fitted` is on the very pictures
    /// the point was fitted to, so `out_of_fold` is the one to expect.
    pub fn to_json(&self) -> Value {
        let no_face = |of: &[Scored]| of.iter().filter(|s| !s.log_odds.is_finite()).count();
        json!({
            "live": self.live.len(),
            "spoof": self.spoof.len(),
            "no_face": { "live": no_face(&self.live), "spoof": no_face(&self.spoof) },
            "operating_point": self.operating_point(),
            "balanced": rounded(self.fitted.balance.threshold.into()),
            "bound": rounded(self.fitted.bound.into()),
            "eer": rounded(self.fitted.balance.equal_error_rate()),
            "fitted": errors_to_json(self.errors(self.fitted.point)),
            "out_of_fold": self.out_of_fold().map(errors_to_json),
            "as_shipped": errors_to_json(self.errors(0.0)),
            "notes": self.notes(),
        })
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let faces = |of: &[Scored]| of.iter().filter(|s| s.log_odds.is_finite()).count();
        let spoofs = faces(&self.spoof);
        for (name, faces) in [("live", faces(&self.live)), ("spoof", spoofs)] {
            if faces < ENOUGH {
                notes.push(format!(
                    "{faces} {name} pictures: an error of 10 % can go unseen; take {ENOUGH} or more, \
                     of several people, at day and at night"
                ));
            }
        }
        if self.fitted.balance.threshold < self.fitted.bound {
            notes.push(format!(
                "the errors balance at {:.2}, but these {} attacks justify no point below {:.2}: \
                 untested attacks must not pass",
                self.fitted.balance.threshold,
                attacks(&self.spoof, None),
                self.fitted.bound
            ));
        }
        if self.fitted.balance.equal_error_rate() > POOR {
            notes.push(
                "the score hardly tells spoofs from people in these pictures: look for backlight, \
                 small or masked faces, and wrong folders before you trust any point"
                    .into(),
            );
        }
        notes.push(
            "only the kinds of attack in these pictures were tried; frames of one recording count \
             as one, so put each into a folder of its own"
                .into(),
        );
        notes
    }

    /// Returns APCER and BPCER over the operating point, and the DET curve, as an SVG file.
    pub fn to_svg(&self) -> Result<String, ChartError> {
        let finite = || {
            let all = self.live.iter().chain(&self.spoof).map(|s| f64::from(s.log_odds));
            all.filter(|score| score.is_finite()).chain([0.0])
        };
        let (low, high) =
            (finite().fold(0.0, f64::min).floor() - 1.0, finite().fold(0.0, f64::max).ceil() + 1.0);
        let errors: Vec<(f64, f64, f64)> = (0..=600)
            .map(|i| {
                let point = low + (high - low) * f64::from(i) / 600.0;
                let (bpcer, apcer) = self.errors(point as f32);
                (point, 100.0 * apcer.share().unwrap_or(0.0), 100.0 * bpcer.share().unwrap_or(0.0))
            })
            .collect();
        let percent = Scale::Linear(0.0, 100.0);
        svg(&[
            Chart {
                title: "Errors over the operating point",
                x: ("log-odds from which on a face is live", Scale::Linear(low, high)),
                y: ("share of pictures, %", percent),
                curves: vec![
                    ("APCER: spoofs let in", errors.iter().map(|e| (e.0, e.1)).collect()),
                    ("BPCER: people refused", errors.iter().map(|e| (e.0, e.2)).collect()),
                ],
                marks: vec![
                    (0.0, "as shipped".into()),
                    (self.operating_point(), format!("found: {}", self.operating_point())),
                ],
            },
            Chart {
                title: "DET",
                x: ("APCER: spoofs let in, %", percent),
                y: ("BPCER: people refused, %", percent),
                curves: vec![("DET", errors.iter().map(|e| (e.1, e.2)).collect())],
                marks: Vec::new(),
            },
        ])
    }
}

fn errors_to_json((bpcer, apcer): (Rate, Rate)) -> Value {
    json!({
        "bpcer": bpcer.to_json(),
        "apcer": apcer.to_json(),
        "refused": bpcer.k,
        "accepted": apcer.k,
        "bpcer_95": bpcer.interval_to_json(),
        "apcer_95": apcer.interval_to_json(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts each score in a group of its own.
    fn alone(class: &str, scores: impl IntoIterator<Item = f32>) -> Vec<Scored> {
        let numbered = scores.into_iter().enumerate();
        numbered.map(|(i, log_odds)| Scored { group: format!("{class} {i}"), log_odds }).collect()
    }

    fn fit(live: &[f32], spoof: &[f32]) -> LivenessCalibration {
        let live = alone("live", live.iter().copied());
        LivenessCalibration::fit(live, alone("spoof", spoof.iter().copied())).unwrap()
    }

    #[test]
    fn a_gap_is_split_in_the_middle() {
        let found = fit(&[4.0; 10], &[1.0; 10]);
        assert_eq!(found.operating_point(), 2.5);
        assert_eq!(found.to_json()["fitted"]["apcer"], 0.0);
        assert_eq!(found.out_of_fold(), Some((Rate { k: 0, n: 10 }, Rate { k: 0, n: 10 })));
    }

    #[test]
    fn few_spoofs_lower_the_point_only_a_little() {
        // The middle of the gap would be −8.
        let found = fit(&[-6.0; 20], &[-10.0; 10]);
        assert_eq!(found.operating_point(), -1.2);
        assert_eq!(found.errors(found.fitted.point), (Rate { k: 20, n: 20 }, Rate { k: 0, n: 10 }));
        assert!(found.notes().iter().any(|note| note.contains("justify")));
        // More spoofs may lower it further, to the lowest allowed point.
        assert_eq!(fit(&[-6.0; 20], &[-10.0; 100]).operating_point(), -3.5);
        assert_eq!(fit(&[-6.0; 20], &[-10.0; 10_000]).operating_point(), -4.0);
        assert_eq!(fit(&[20.0; 10], &[19.0; 10]).operating_point(), 8.0);
        assert_eq!(loosest(0), 0.0);
    }

    #[test]
    fn one_recording_counts_once_and_below_zero_no_spoof_passes() {
        let clip = (0..400).map(|_| Scored { group: "clip".into(), log_odds: -10.0 }).collect();
        let found = LivenessCalibration::fit(alone("live", [-6.0; 20]), clip).unwrap();
        assert_eq!(found.operating_point(), 0.0);
        // One of a hundred lies among the live scores: the point stays above it.
        let mut spoof = vec![-10.0; 99];
        spoof.push(-1.0);
        let found = fit(&[-1.5; 100], &spoof);
        assert_eq!(found.operating_point(), -0.99);
        // If the classes are not separated, the point is not lowered.
        let mixed: Vec<f32> = (0..100).map(|i| -5.0 + 0.02 * i as f32).collect();
        let live: Vec<f32> = mixed.iter().map(|odds| odds + 0.1).collect();
        assert_eq!(fit(&live, &mixed).operating_point(), 0.0);
    }

    #[test]
    fn a_spoof_without_a_face_does_not_count() {
        let mut spoof = vec![f32::NEG_INFINITY; 1000];
        spoof.extend([-10.0; 10]);
        assert_eq!(fit(&[-6.0; 20], &spoof).operating_point(), -1.2);
    }

    #[test]
    fn errors_are_out_of_fold_by_folder() {
        // Only the one high spoof decides: judged by the point of the others, it passes.
        let mut spoof = vec![-3.0; 19];
        spoof.push(3.0);
        let found = fit(&[4.0; 20], &spoof);
        assert_eq!(found.operating_point(), 3.5);
        assert_eq!(found.errors(3.5).1, Rate { k: 0, n: 20 });
        assert_eq!(found.out_of_fold().unwrap().1, Rate { k: 1, n: 20 });
        // One folder: no other folder is left to fit.
        let one = |scores: &[f32]| -> Vec<Scored> {
            scores.iter().map(|s| Scored { group: "a".into(), log_odds: *s }).collect()
        };
        let found = LivenessCalibration::fit(one(&[4.0; 10]), one(&[1.0; 10])).unwrap();
        assert_eq!(found.to_json()["out_of_fold"], Value::Null);
    }

    #[test]
    fn swapped_folders_are_an_error() {
        let result = LivenessCalibration::fit(alone("live", [-3.0; 10]), alone("spoof", [3.0; 10]));
        assert!(matches!(result, Err(CalibrateError::Swapped(_))));
    }
}

//! The report next to the weights: the photographs they were fitted on, and the errors as counts
//! with 95 % confidence intervals, in the terms of ISO/IEC 30107-3. APCER: share of the attacks of
//! one species that pass as live. BPCER: share of live people who are refused.

use std::collections::BTreeMap;

use doorward_evaluate::{Rate, rounded};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{BEYOND, Face, Judged, LivenessError, OUTLIERS, PENALTY};
use crate::logistic::Logistic;

const HEADING: &str = "\
# Written by `cargo xtask train-liveness`. docs/liveness.md explains it.
#
# Every error was made by a model that has seen nothing of the person or source it judged, its
# operating point included. `low` and `high` bound the share with 95 % confidence (Wilson), as if the
# photographs were independent; those of one group are not, so the truth is less certain.
";

#[derive(Serialize)]
pub struct Report {
    file: File,
    fitted: Fitted,
    #[serde(rename = "live")]
    bona_fide: Vec<BonaFide>,
    attack: Vec<Attack>,
    group: Vec<Group>,
    across: Vec<Across>,
    genuine: Vec<BonaFide>,
}

#[derive(Serialize)]
struct File {
    name: &'static str,
    sha256: String,
    bytes: usize,
    licence: &'static str,
}

#[derive(Serialize)]
struct Fitted {
    near: f32,
    far: f32,
    bias: f32,
    penalty: f64,
    outliers: f64,
    live: usize,
    attacks: usize,
    left_out: [&'static str; 5],
}

/// Live people; a photograph without a found face counts as refused.
#[derive(Serialize)]
struct BonaFide {
    set: &'static str,
    species: String,
    n: usize,
    refused: usize,
    no_face: usize,
    bpcer: f64,
    low: f64,
    high: f64,
}

/// Attacks of one species; without a found face they count as stopped.
#[derive(Serialize)]
struct Attack {
    set: &'static str,
    species: String,
    fitted: bool,
    n: usize,
    passed: usize,
    no_face: usize,
    apcer: f64,
    low: f64,
    high: f64,
}

/// One person or source.
#[derive(Serialize)]
struct Group {
    set: &'static str,
    name: String,
    live: usize,
    refused: usize,
    attacks: usize,
    passed: usize,
}

/// A model that has seen only one set, evaluated on the other; only attacks that are fitted on.
#[derive(Serialize)]
struct Across {
    fitted_on: &'static str,
    judged: &'static str,
    live: usize,
    refused: usize,
    attacks: usize,
    passed: usize,
}

impl Report {
    pub fn new(model: &Logistic, weights: &[u8], faces: &[Face]) -> Self {
        let sha256 = Sha256::digest(weights).iter().map(|byte| format!("{byte:02x}")).collect();
        let taught = |live: bool| faces.iter().filter(|f| f.teaches() && f.live == live).count();
        Self {
            file: File {
                name: "liveness.gguf",
                sha256,
                bytes: weights.len(),
                licence: "MIT OR Apache-2.0",
            },
            fitted: Fitted {
                near: model.weights[0],
                far: model.weights[1],
                bias: model.bias,
                penalty: PENALTY,
                outliers: OUTLIERS,
                live: taught(true),
                attacks: taught(false),
                left_out: BEYOND,
            },
            bona_fide: Vec::new(),
            attack: Vec::new(),
            group: Vec::new(),
            across: Vec::new(),
            genuine: Vec::new(),
        }
    }

    pub fn out_of_fold(&mut self, faces: &[Face], judged: &[Judged]) {
        let mut species: BTreeMap<_, Vec<(&Face, Judged)>> = BTreeMap::new();
        let mut groups: BTreeMap<_, Vec<(&Face, Judged)>> = BTreeMap::new();
        for (face, &judged) in faces.iter().zip(judged) {
            let of = (face.set, !face.live, face.species.clone());
            species.entry(of).or_default().push((face, judged));
            groups.entry((face.set, face.group.clone())).or_default().push((face, judged));
        }
        for ((set, attack, name), rows) in species {
            let judged: Vec<Judged> = rows.iter().map(|(_, judged)| *judged).collect();
            if !attack {
                self.bona_fide.push(bona_fide(set, name, &judged));
                continue;
            }
            let passed = judged.iter().filter(|judged| passes(judged)).count();
            let [apcer, low, high] = share(passed, judged.len());
            self.attack.push(Attack {
                set,
                fitted: !BEYOND.contains(&name.as_str()),
                species: name,
                n: judged.len(),
                passed,
                no_face: judged.iter().filter(|judged| judged.is_none()).count(),
                apcer,
                low,
                high,
            });
        }
        for ((set, name), rows) in groups {
            let [live, refused, attacks, passed] = counts(rows.into_iter());
            self.group.push(Group { set, name, live, refused, attacks, passed });
        }
    }

    pub fn across(
        &mut self,
        fitted_on: &'static str,
        set: &'static str,
        faces: &[&Face],
        judged: &[Judged],
    ) {
        let rows = faces.iter().copied().zip(judged.iter().copied());
        let fitted = |face: &Face| face.live || face.teaches();
        let [live, refused, attacks, passed] = counts(rows.filter(|(face, _)| fitted(face)));
        self.across.push(Across { fitted_on, judged: set, live, refused, attacks, passed });
    }

    pub fn genuine(&mut self, set: &'static str, judged: &[Judged]) {
        self.genuine.push(bona_fide(set, "live".to_owned(), judged));
    }

    pub fn to_toml(&self) -> Result<String, LivenessError> {
        Ok(format!("{HEADING}\n{}", toml::to_string(self)?))
    }
}

fn passes(judged: &Judged) -> bool {
    judged.is_some_and(|log_odds| log_odds >= 0.0)
}

fn bona_fide(set: &'static str, species: String, judged: &[Judged]) -> BonaFide {
    let refused = judged.iter().filter(|judged| !passes(judged)).count();
    let [bpcer, low, high] = share(refused, judged.len());
    let no_face = judged.iter().filter(|judged| judged.is_none()).count();
    BonaFide { set, species, n: judged.len(), refused, no_face, bpcer, low, high }
}

/// Counts live, refused live, attacks and passed attacks.
fn counts<'a>(rows: impl Iterator<Item = (&'a Face, Judged)>) -> [usize; 4] {
    let mut counts = [0; 4];
    for (face, judged) in rows {
        let at = if face.live { 0 } else { 2 };
        counts[at] += 1;
        counts[at + 1] += usize::from(passes(&judged) != face.live);
    }
    counts
}

/// Returns k of n with its 95 % interval, to four decimals; without samples the interval is
/// everything.
fn share(k: usize, n: usize) -> [f64; 3] {
    let rate = Rate { k, n };
    let [low, high] = rate.interval().unwrap_or([0.0, 1.0]);
    [rate.share().unwrap_or(0.0), low, high].map(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_found_face_live_is_refused_and_attacks_are_stopped() {
        let live = bona_fide("a", "live".to_owned(), &[None, Some(0.0), Some(-0.1)]);
        assert_eq!((live.n, live.refused, live.no_face), (3, 2, 1));
        assert!(!passes(&None) && passes(&Some(0.0)));
    }
}

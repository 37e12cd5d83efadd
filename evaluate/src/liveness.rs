//! Measures liveness: are live people accepted and presentation attacks stopped?

use super::manifest::rows;
use super::rates::{Balance, Rate, rounded};
use super::{EvaluateError, FaceChoice, photographs};
use doorward_face::Analyzer;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Labelled {
    path: String,
    live: u8,
    /// The species of a spoof.
    attack_type: Option<String>,
    subject: Option<String>,
    source_group: Option<String>,
}

impl Labelled {
    fn group(&self) -> Option<&str> {
        [&self.subject, &self.source_group]
            .into_iter()
            .find_map(|column| column.as_deref().filter(|name| !name.is_empty()))
    }
}

/// The threshold of live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LivenessThreshold {
    /// Lowest probability that counts as live, 0–100.
    pub probability: f32,
    /// The camera's operating point in log-odds, 0 as shipped.
    pub operating_point: f32,
}

/// The label, the decision, and the score: −∞ without a face.
struct Judged<'a> {
    row: &'a Labelled,
    log_odds: f32,
    accepted: bool,
}

/// `labels` has columns `path, live` (0 or 1), and may have `attack_type` (the species of a spoof)
/// and `subject` or `source_group`.
///
/// `{"live", "spoof", "no_face", "threshold", "bpcer", "apcer", "eer", "species": {NAME: {"n",
/// "apcer"}}, "groups": {NAME: {"live", "spoof", "bpcer", "apcer"}}}` with the numbers `refused`
/// and `accepted` and intervals next to the rates, and the `operating_point`. A live photograph
/// without a face is refused, a spoof without one is stopped. `apcer` is over all spoofs; ISO/IEC
/// 30107-3 uses the worst species. `eer` is `null` unless both classes have a face.
pub fn liveness(
    analyzer: &Analyzer,
    root: &Path,
    labels: &Path,
    threshold: LivenessThreshold,
    choice: FaceChoice,
) -> Result<Value, EvaluateError> {
    let rows: Vec<Labelled> = rows(labels)?;
    let files: Vec<PathBuf> = rows.iter().map(|row| root.join(&row.path)).collect();
    let seen = photographs::each(&files, |picture| {
        choice.judge(analyzer, picture, |portrait| portrait.liveness())
    })?;
    let judged: Vec<Judged> = rows
        .iter()
        .zip(&seen)
        .map(|(row, seen)| Judged {
            row,
            log_odds: seen.as_ref().map_or(f32::NEG_INFINITY, |seen| seen.log_odds),
            accepted: seen.as_ref().is_some_and(|seen| {
                seen.probability(threshold.operating_point) >= threshold.probability
            }),
        })
        .collect();

    let (mut species, mut groups) = (BTreeMap::new(), BTreeMap::new());
    for judged in &judged {
        if judged.row.live == 0 {
            let name = judged.row.attack_type.as_deref().filter(|name| !name.is_empty());
            species.entry(name.unwrap_or("unnamed")).or_insert_with(Vec::new).push(judged);
        }
        if let Some(name) = judged.row.group() {
            groups.entry(name).or_insert_with(Vec::new).push(judged);
        }
    }
    let all: Vec<&Judged> = judged.iter().collect();
    let scores = |live: bool| -> Vec<f32> {
        let of = judged.iter().filter(|judged| (judged.row.live != 0) == live);
        of.map(|judged| judged.log_odds).collect()
    };
    let balance = Balance::of(&scores(true), &scores(false));
    let (bpcer, apcer) = errors(&all);
    let mut figures = Map::new();
    let mut set = |name: &str, value: Value| figures.insert(name.to_owned(), value);
    set("live", json!(bpcer.n));
    set("spoof", json!(apcer.n));
    set("no_face", json!(seen.iter().filter(|seen| seen.is_none()).count()));
    set("threshold", json!(threshold.probability));
    set("operating_point", json!(threshold.operating_point));
    set("bpcer", bpcer.to_json());
    set("apcer", apcer.to_json());
    set("eer", json!(balance.map(|balance| rounded(balance.equal_error_rate()))));
    set("refused", json!(bpcer.k));
    set("accepted", json!(apcer.k));
    set("bpcer_95", bpcer.interval_to_json());
    set("apcer_95", apcer.interval_to_json());
    set(
        "species",
        by_name(&species, |judged| {
            let (_, apcer) = errors(judged);
            json!({
                "n": apcer.n,
                "apcer": apcer.to_json(),
                "accepted": apcer.k,
                "apcer_95": apcer.interval_to_json(),
            })
        }),
    );
    set(
        "groups",
        by_name(&groups, |judged| {
            let (bpcer, apcer) = errors(judged);
            json!({
                "live": bpcer.n,
                "spoof": apcer.n,
                "bpcer": bpcer.to_json(),
                "apcer": apcer.to_json(),
                "refused": bpcer.k,
                "accepted": apcer.k,
                "bpcer_95": bpcer.interval_to_json(),
                "apcer_95": apcer.interval_to_json(),
            })
        }),
    );
    Ok(Value::Object(figures))
}

/// Counts live refused and spoofs accepted.
fn errors(judged: &[&Judged]) -> (Rate, Rate) {
    let of = |live: bool| {
        let of = judged.iter().filter(|judged| (judged.row.live != 0) == live);
        Rate::of(of.map(|judged| judged.accepted != live))
    };
    (of(true), of(false))
}

fn by_name<'a>(
    names: &BTreeMap<&str, Vec<&Judged<'a>>>,
    figures: impl Fn(&[&Judged<'a>]) -> Value,
) -> Value {
    names.iter().map(|(name, judged)| ((*name).to_owned(), figures(judged))).collect()
}

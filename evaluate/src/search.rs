//! 1:N accuracy: labelled probes against a labelled gallery.

use super::manifest::{Identified, rows};
use super::rates::{rounded, threshold_at};
use super::{Embedded, Embeddings, EvaluateError, FaceChoice};
use doorward_face::Analyzer;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The false-positive identification rates at which FNIR is given.
const RATES: [(&str, f64); 2] = [("0.01", 0.01), ("0.003", 0.003)];

#[derive(Deserialize)]
struct Probe {
    path: String,
    identity: String,
    mated: u8,
}

/// `gallery` has columns `path, identity`, `probes` also `mated`.
pub fn search(
    analyzer: &Analyzer,
    root: &Path,
    gallery: &Path,
    probes: &Path,
    choice: FaceChoice,
) -> Result<Value, EvaluateError> {
    let gallery: Vec<Identified> = rows(gallery)?;
    let probes: Vec<Probe> = rows(probes)?;
    let paths = gallery.iter().map(|row| &row.path).chain(probes.iter().map(|row| &row.path));
    let embeddings = Embeddings::compute(analyzer, root, paths.map(String::as_str), choice)?;
    let templates: Vec<(&str, Option<&Embedded>)> =
        gallery.iter().map(|row| (row.identity.as_str(), embeddings.get(&row.path))).collect();

    let mut mates = Vec::new();
    let mut strangers = Vec::new();
    for probe in &probes {
        let (identity, cosine) = best(embeddings.get(&probe.path), &templates);
        if probe.mated == 0 {
            strangers.push(cosine);
        } else {
            // A mate that is not the best candidate is missed at every threshold.
            mates.push(if identity == probe.identity { cosine } else { f32::NEG_INFINITY });
        }
    }
    let share = |count: usize| rounded(count as f64 / mates.len().max(1) as f64);
    let fnir: Map<String, Value> = RATES
        .iter()
        .map(|(name, rate)| {
            let fnir = threshold_at(&mut strangers, *rate).map(|threshold| {
                share(mates.iter().filter(|cosine| **cosine <= threshold).count())
            });
            ((*name).to_owned(), json!(fnir))
        })
        .collect();
    Ok(json!({
        "gallery": gallery.len(),
        "mated": mates.len(),
        "non_mated": strangers.len(),
        "no_face": embeddings.without_face(),
        "rank1": share(mates.iter().filter(|cosine| cosine.is_finite()).count()),
        "fnir": fnir,
    }))
}

/// Returns the best candidate and its cosine; no candidate and 0 when the probe shows no face.
fn best<'a>(
    probe: Option<&Embedded>,
    templates: &[(&'a str, Option<&Embedded>)],
) -> (&'a str, f32) {
    let Some(probe) = probe else { return ("", 0.0) };
    templates
        .iter()
        .map(|(identity, template)| {
            (*identity, template.map_or(0.0, |template| template.cosine(probe)))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or(("", 0.0))
}

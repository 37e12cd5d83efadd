//! Writes the heads and their error report.

use super::photos::Photo;
use super::{AttributesError, DRAWINGS, FOLDS, Fitted, HEADS};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use doorward_evaluate::{Rate, area_under_roc, rounded};
use doorward_face::Attributes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Rows of weights are padded to a multiple of this: the reader's layout.
const BLOCK: usize = 32;

#[derive(Serialize)]
struct Report {
    file: File,
    fitted_on: FittedOn,
    out_of_fold: BTreeMap<&'static str, Errors>,
}

#[derive(Serialize)]
struct File {
    name: &'static str,
    sha256: String,
    bytes: usize,
    licence: &'static str,
}

#[derive(Serialize)]
struct FittedOn {
    photographs: usize,
    drawings_of_each: usize,
    people_drawn_on: usize,
    folds: u64,
    groups: usize,
    sets: BTreeMap<String, usize>,
}

/// A positive without a face counts as missed; a negative without one is in `negatives` and counts
/// as right.
#[derive(Default, Serialize)]
struct Errors {
    positives: usize,
    missed: usize,
    missed_without_face: usize,
    negatives: usize,
    #[serde(rename = "false")]
    falsely: usize,
    negatives_without_face: usize,
    tpr: f64,
    tpr_95: [f64; 2],
    fpr: f64,
    fpr_95: [f64; 2],
    auc: f64,
    by_set: BTreeMap<String, Counts>,
}

#[derive(Default, Serialize)]
struct Counts {
    positives: usize,
    missed: usize,
    negatives: usize,
    #[serde(rename = "false")]
    falsely: usize,
}

/// Writes `models/attributes.gguf` and `.toml` and prints the errors.
pub fn write(photos: &[Photo], bases: usize, heads: &[Fitted]) -> Result<(), AttributesError> {
    let bytes = encode(heads)?;
    let mut sets = BTreeMap::new();
    for photo in photos {
        *sets.entry(photo.set().to_owned()).or_default() += 1;
    }
    let mut groups: Vec<&str> = photos.iter().map(|photo| photo.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    let report = Report {
        file: File {
            name: "attributes.gguf",
            sha256: Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
            bytes: bytes.len(),
            licence: "MIT OR Apache-2.0",
        },
        fitted_on: FittedOn {
            photographs: photos.len(),
            drawings_of_each: DRAWINGS,
            people_drawn_on: bases,
            folds: FOLDS,
            groups: groups.len(),
            sets,
        },
        out_of_fold: Attributes::NAMES
            .into_iter()
            .enumerate()
            .map(|(head, name)| (name, errors(photos, head, &heads[head])))
            .collect(),
    };
    let text = format!(
        "# Written by `cargo xtask train-attributes`, which makes the same file again from the same\n\
         # photographs. Errors come from models that had not seen the photograph's group.\n\n{}",
        toml::to_string(&report)?
    );
    eprint!("{text}");
    put("attributes.gguf", &bytes)?;
    put("attributes.toml", text.as_bytes())
}

fn put(name: &str, bytes: &[u8]) -> Result<(), AttributesError> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::write(&path, bytes).map_err(|reason| AttributesError::Write { path, reason })
}

fn encode(heads: &[Fitted]) -> Result<Vec<u8>, AttributesError> {
    let mut tensors = Vec::with_capacity(2 * HEADS);
    for (name, head) in Attributes::NAMES.into_iter().zip(heads) {
        let mut row = head.model.weights.clone();
        row.resize(row.len().next_multiple_of(BLOCK), 0.0);
        let columns = row.len();
        let weight = Tensor::from_vec(row, (1, columns), &Device::Cpu)?;
        let bias = Tensor::from_vec(vec![head.model.bias], 1, &Device::Cpu)?;
        tensors.push((format!("{name}.weight"), QTensor::quantize(&weight, GgmlDType::F32)?));
        tensors.push((format!("{name}.bias"), QTensor::quantize(&bias, GgmlDType::F32)?));
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let name = Value::String("attributes".into());
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &[("general.name", &name)], &tensors)?;
    Ok(file.into_inner())
}

fn errors(photos: &[Photo], head: usize, fitted: &Fitted) -> Errors {
    let mut errors = Errors::default();
    let (mut worn, mut bare) = (Vec::new(), Vec::new());
    for (photo, judged) in photos.iter().zip(&fitted.judged) {
        let Some(positive) = photo.labels[head] else { continue };
        let of_set = errors.by_set.entry(photo.set().to_owned()).or_default();
        let called = judged.is_some_and(|log_odds| log_odds >= 0.0);
        if positive {
            let missed = usize::from(!called);
            errors.positives += 1;
            errors.missed += missed;
            errors.missed_without_face += usize::from(judged.is_none());
            of_set.positives += 1;
            of_set.missed += missed;
            worn.push(judged.unwrap_or(f32::NEG_INFINITY));
        } else {
            errors.negatives += 1;
            errors.falsely += usize::from(called);
            errors.negatives_without_face += usize::from(judged.is_none());
            of_set.negatives += 1;
            of_set.falsely += usize::from(called);
            bare.push(judged.unwrap_or(f32::NEG_INFINITY));
        }
    }
    let found = Rate { k: errors.positives - errors.missed, n: errors.positives };
    (errors.tpr, errors.tpr_95) = share(found);
    (errors.fpr, errors.fpr_95) = share(Rate { k: errors.falsely, n: errors.negatives });
    // A face that was not found ranks below all others.
    errors.auc = rounded(area_under_roc(&worn, &bare).unwrap_or(0.0));
    errors
}

/// Returns the share and its 95 % interval; without samples the interval is everything.
fn share(rate: Rate) -> (f64, [f64; 2]) {
    let interval = rate.interval().unwrap_or([0.0, 1.0]);
    (rounded(rate.share().unwrap_or(0.0)), interval.map(rounded))
}

//! Measures detection: are all faces found, and nothing else?

use super::manifest::rows;
use super::rates::Rate;
use super::{EvaluateError, photographs};
use doorward_face::Analyzer;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Labelled {
    path: String,
    /// `None` where no one has counted.
    n_faces: Option<usize>,
}

/// `labels` has columns `path, n_faces`; rows without a number are left out.
///
/// `{"images", "faces", "found", "false", "nface_right", "no_face", "nface_right_95",
/// "uncounted"}`: `images` with a number, `faces` in them, how many of those were `found` and how
/// many were too many (`false`): by their number in each picture, because no label has the place of
/// a face. `nface_right` counts pictures with the right number, `no_face` those with none found,
/// `uncounted` the rows left out.
pub fn detection(analyzer: &Analyzer, root: &Path, labels: &Path) -> Result<Value, EvaluateError> {
    let all: Vec<Labelled> = rows(labels)?;
    let counted: Vec<(PathBuf, usize)> =
        all.iter().filter_map(|row| Some((root.join(&row.path), row.n_faces?))).collect();
    if counted.is_empty() {
        return Err(EvaluateError::Columns { path: labels.to_owned(), wanted: &["n_faces"] });
    }
    let files: Vec<&PathBuf> = counted.iter().map(|(file, _)| file).collect();
    let seen = photographs::each(&files, |picture| Ok(analyzer.detect(picture)?.faces.len()))?;
    let pairs = || counted.iter().map(|(_, faces)| *faces).zip(seen.iter().copied());
    let right = Rate::of(pairs().map(|(faces, seen)| faces == seen));
    Ok(json!({
        "images": counted.len(),
        "faces": pairs().map(|(faces, _)| faces).sum::<usize>(),
        "found": pairs().map(|(faces, seen)| faces.min(seen)).sum::<usize>(),
        "false": pairs().map(|(faces, seen)| seen.saturating_sub(faces)).sum::<usize>(),
        "nface_right": right.k,
        "no_face": seen.iter().filter(|seen| **seen == 0).count(),
        "nface_right_95": right.interval_to_json(),
        "uncounted": all.len() - counted.len(),
    }))
}

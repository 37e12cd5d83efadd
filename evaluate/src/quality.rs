//! Measures quality: are blurred, dark and colourless faces reported, and only those?

use super::manifest::rows;
use super::photographs;
use super::rates::Rate;
use super::recognised::Recognised;
use super::{EvaluateError, FaceChoice};
use doorward_face::{Analyzer, Quality};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One of these columns is needed.
const COLUMNS: &[&str] = &["quality", "blur", "dark", "grayscale"];

#[derive(Deserialize)]
struct Labelled {
    path: String,
    /// Names joined by `+`: `good`, `soft_blur`, `blur`, `dark`, `grayscale`, `low_luma_but_lit`.
    quality: Option<String>,
    blur: Option<u8>,
    dark: Option<u8>,
    grayscale: Option<u8>,
}

impl Labelled {
    /// Returns the row's labels for blur, dark and grayscale; `None` where it has none.
    fn says(&self) -> [Option<bool>; 3] {
        let named = |name: &str| self.names().any(|label| label == name);
        let said = |column: Option<u8>, yes: bool, no: bool| {
            let by_name = if yes { Some(true) } else { no.then_some(false) };
            column.map(|value| value != 0).or(by_name)
        };
        let good = named("good");
        [
            said(self.blur, named("blur") || named("soft_blur"), good),
            said(self.dark, named("dark"), good || named("low_luma_but_lit")),
            said(self.grayscale, named("grayscale"), good),
        ]
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.quality.iter().flat_map(|names| names.split('+')).map(str::trim)
    }
}

/// `labels` has `path` and `quality`, or any of `blur`, `dark` and `grayscale` (0 or 1).
///
/// Of the names in `quality`, `good` means none of the three, `low_luma_but_lit` is not dark, and
/// the others are literal; `soft_blur` is mild blur. Properties without a label are not judged.
///
/// `{"blur", "dark", "grayscale", "no_face", "labels"}`: the first three if they have labels, each
/// as in [`super::attributes()`], the AUC by sharpness, brightness and chroma; `labels` counts the
/// results for each name in `quality`.
pub fn quality(
    analyzer: &Analyzer,
    root: &Path,
    labels: &Path,
    choice: FaceChoice,
) -> Result<Value, EvaluateError> {
    let rows: Vec<Labelled> = rows(labels)?;
    if rows.iter().all(|row| row.says() == [None; 3]) {
        return Err(EvaluateError::Columns { path: labels.to_owned(), wanted: COLUMNS });
    }
    let files: Vec<PathBuf> = rows.iter().map(|row| root.join(&row.path)).collect();
    let seen = photographs::each(&files, |picture| {
        choice.judge(analyzer, picture, |portrait| Ok(portrait.quality()))
    })?;

    let mut all = [("blur", 0), ("dark", 1), ("grayscale", 2)]
        .map(|(name, index)| (name, index, Recognised::default()));
    let mut by_label: BTreeMap<&str, Vec<Option<Quality>>> = BTreeMap::new();
    for (row, quality) in rows.iter().zip(&seen) {
        // A lower measure means more of the fault.
        let judged = quality
            .map(|q| [(-q.sharpness, q.blur), (-q.brightness, q.dark), (-q.chroma, q.grayscale)]);
        for (_, index, recognised) in &mut all {
            if let Some(present) = row.says()[*index] {
                recognised.add(present, judged.map(|judged| judged[*index]));
            }
        }
        for name in row.names().filter(|name| !name.is_empty()) {
            by_label.entry(name).or_default().push(*quality);
        }
    }
    let mut figures = Map::new();
    for (name, index, recognised) in &all {
        if rows.iter().any(|row| row.says()[*index].is_some()) {
            figures.insert((*name).to_owned(), recognised.to_json());
        }
    }
    figures.insert("no_face".into(), seen.iter().filter(|seen| seen.is_none()).count().into());
    let by_label: Map<String, Value> =
        by_label.into_iter().map(|(name, seen)| (name.to_owned(), said_of(&seen))).collect();
    if !by_label.is_empty() {
        figures.insert("labels".into(), by_label.into());
    }
    Ok(Value::Object(figures))
}

/// Counts the results of each kind.
fn said_of(seen: &[Option<Quality>]) -> Value {
    let count = |said: fn(&Quality) -> bool| {
        Rate::of(seen.iter().map(|quality| quality.as_ref().is_some_and(said))).k
    };
    json!({
        "n": seen.len(),
        "blur": count(|q| q.blur),
        "dark": count(|q| q.dark),
        "grayscale": count(|q| q.grayscale),
        "no_face": seen.iter().filter(|seen| seen.is_none()).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_name_labels_only_its_own_properties() {
        let says = |quality: &str| {
            let quality = Some(quality.to_owned());
            Labelled { path: String::new(), quality, blur: None, dark: None, grayscale: None }
                .says()
        };
        assert_eq!(says("good"), [Some(false); 3]);
        assert_eq!(says("grayscale"), [None, None, Some(true)]);
        assert_eq!(says("soft_blur+low_luma_but_lit"), [Some(true), Some(false), None]);
        assert_eq!(says("unchecked"), [None; 3]);
        let (path, quality) = (String::new(), Some("good".to_owned()));
        let row = Labelled { path, quality, blur: None, dark: Some(1), grayscale: None };
        assert_eq!(row.says(), [Some(false), Some(true), Some(false)]);
    }
}

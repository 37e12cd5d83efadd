//! Measures attributes: are coverings of a face reported, and only those?

use super::manifest::rows;
use super::photographs;
use super::recognised::Recognised;
use super::{EvaluateError, FaceChoice};
use doorward_face::{Analyzer, Attributes};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// One of these columns is needed.
const COLUMNS: &[&str] = &["sunglasses", "mask", "veil", "hat", "class", "eyewear", "headwear"];
/// Marks of rows with uncertain labels.
const LEFT_OUT: [&str; 2] = ["unchecked", "tinted"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labelled {
    path: String,
    sunglasses: Option<u8>,
    mask: Option<u8>,
    veil: Option<u8>,
    hat: Option<u8>,
    /// `hijab`, `niqab`, `hijab_mask` or `niqab_sunglasses`.
    class: Option<String>,
    /// `sunglasses`, `tinted`, `eyeglasses`, `none` or `unchecked`.
    eyewear: Option<String>,
    /// `hat`, `headcloth`, `none` or `unchecked`.
    headwear: Option<String>,
}

impl Labelled {
    /// Returns the row's label for each of [`Attributes::NAMES`]; `None` where it has none.
    fn says(&self) -> [Option<bool>; 4] {
        fn text(column: &Option<String>) -> &str {
            column.as_deref().map_or("", str::trim)
        }
        let (class, eyewear, headwear) =
            (text(&self.class), text(&self.eyewear), text(&self.headwear));
        if LEFT_OUT.iter().any(|mark| [class, eyewear, headwear].contains(mark)) {
            return [None; 4];
        }
        // A class is a kind of veil, alone or with the additions in its name.
        const CLASSES: [&str; 4] = ["hijab", "niqab", "hijab_mask", "niqab_sunglasses"];
        let veiled = CLASSES.contains(&class);
        let of_class = |name: &str| veiled.then(|| class.ends_with(name));
        let flag = |column: Option<u8>| column.map(|value| value != 0);
        let sunglasses = match eyewear {
            "sunglasses" => Some(true),
            "eyeglasses" | "none" => Some(false),
            _ => of_class("_sunglasses"),
        };
        let veil = match headwear {
            "none" | "hat" => Some(false),
            _ => veiled.then_some(true),
        };
        let hat = match headwear {
            "hat" => Some(true),
            "none" => Some(false),
            _ => None,
        };
        [
            flag(self.sunglasses).or(sunglasses),
            flag(self.mask).or_else(|| of_class("_mask")),
            flag(self.veil).or(veil),
            flag(self.hat).or(hat),
        ]
    }
}

/// `labels` has `path` and any of `sunglasses`, `mask`, `veil`, `hat` (0 or 1), `class` (`hijab`,
/// `niqab`, `hijab_mask`, `niqab_sunglasses`), `eyewear` (`sunglasses`; `eyeglasses` and `none` are
/// negatives) and `headwear` (`hat`; `none` is a negative, and both are negatives of veil;
/// `headcloth` is neither). Rows marked `unchecked` or `tinted` are left out; attributes without a
/// label are not judged.
///
/// `{NAME: {"positives", "negatives", "tpr", "fpr", "auc", "hits", "false_alarms", "no_face",
/// "tpr_95", "fpr_95"}, …, "no_face"}` for those of sunglasses, mask, veil and hat that have
/// labels.
pub fn attributes(
    analyzer: &Analyzer,
    root: &Path,
    labels: &Path,
    choice: FaceChoice,
) -> Result<Value, EvaluateError> {
    let mut rows: Vec<Labelled> = rows(labels)?;
    rows.retain(|row| row.says() != [None; 4]);
    if rows.is_empty() {
        return Err(EvaluateError::Columns { path: labels.to_owned(), wanted: COLUMNS });
    }
    let files: Vec<PathBuf> = rows.iter().map(|row| root.join(&row.path)).collect();
    let seen = photographs::each(&files, |picture| {
        choice.judge(analyzer, picture, |portrait| portrait.attributes())
    })?;
    let mut figures = Map::new();
    for (index, name) in Attributes::NAMES.into_iter().enumerate() {
        let mut recognised = Recognised::default();
        let mut told = false;
        for (row, seen) in rows.iter().zip(&seen) {
            let Some(present) = row.says()[index] else { continue };
            told = true;
            recognised.add(
                present,
                seen.as_ref().map(|seen| {
                    let score = [seen.sunglasses, seen.mask, seen.veil, seen.hat][index];
                    (score, score >= Attributes::WORN)
                }),
            );
        }
        if told {
            figures.insert(name.to_owned(), recognised.to_json());
        }
    }
    figures.insert("no_face".into(), seen.iter().filter(|seen| seen.is_none()).count().into());
    Ok(Value::Object(figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(row: Labelled) -> [Option<bool>; 4] {
        row.says()
    }

    fn head(eyewear: &str, headwear: &str) -> Labelled {
        let (eyewear, headwear) = (Some(eyewear.to_owned()), Some(headwear.to_owned()));
        Labelled { eyewear, headwear, ..Labelled::default() }
    }

    fn class(name: &str) -> Labelled {
        Labelled { class: Some(name.to_owned()), ..Labelled::default() }
    }

    #[test]
    fn eyewear_and_headwear() {
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(says(head("sunglasses", "hat")), [yes, None, no, yes]);
        assert_eq!(says(head("eyeglasses", "none")), [no, None, no, no]);
        assert_eq!(says(head("none", "headcloth")), [no, None, None, None]);
        assert_eq!(says(head("tinted", "none")), [None; 4]);
        assert_eq!(says(head("unchecked", "hat")), [None; 4]);
        assert_eq!(says(head("sunglasses", "unchecked")), [None; 4]);
    }

    #[test]
    fn veil_classes_also_label_mask_and_sunglasses() {
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(says(class("hijab")), [no, no, yes, None]);
        assert_eq!(says(class("niqab")), [no, no, yes, None]);
        assert_eq!(says(class("hijab_mask")), [no, yes, yes, None]);
        assert_eq!(says(class("niqab_sunglasses")), [yes, no, yes, None]);
    }

    #[test]
    fn own_columns_win_and_missing_labels_stay_missing() {
        let mask = Labelled { mask: Some(0), ..Labelled::default() };
        assert_eq!(says(mask), [None, Some(false), None, None]);
        assert_eq!(says(Labelled::default()), [None; 4]);
        let row = Labelled { veil: Some(0), ..class("hijab") };
        assert_eq!(says(row)[2], Some(false));
    }
}

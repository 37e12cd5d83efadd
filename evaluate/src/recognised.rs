//! Accuracy of a yes-or-no property of a face: the common part of attributes and quality.

use super::rates::{Rate, area_under_roc, rounded};
use serde_json::{Value, json};

/// A property's scores on the photographs that have a label for it.
#[derive(Default)]
pub(super) struct Recognised {
    positives: Vec<Judged>,
    negatives: Vec<Judged>,
}

/// One photograph's score, higher for yes, and the decision; `None` without a face.
pub(super) type Judged = Option<(f32, bool)>;

impl Recognised {
    /// Counts a photograph with the label `present`.
    pub fn add(&mut self, present: bool, judged: Judged) {
        if present { self.positives.push(judged) } else { self.negatives.push(judged) }
    }

    /// `{"positives", "negatives", "tpr", "fpr", "auc", "hits", "false_alarms", "no_face",
    /// "tpr_95", "fpr_95"}`; a rate without samples is `null`. A positive without a face is a miss,
    /// a negative without one is not a false alarm; in the AUC both rank below all scores.
    pub fn to_json(&self) -> Value {
        let said = |judged: &[Judged]| {
            Rate::of(judged.iter().map(|judged| judged.is_some_and(|(_, said)| said)))
        };
        let scores = |judged: &[Judged]| -> Vec<f32> {
            judged
                .iter()
                .map(|judged| judged.map_or(f32::NEG_INFINITY, |(score, _)| score))
                .collect()
        };
        let (tpr, fpr) = (said(&self.positives), said(&self.negatives));
        let auc = area_under_roc(&scores(&self.positives), &scores(&self.negatives));
        let all = self.positives.iter().chain(&self.negatives);
        json!({
            "positives": self.positives.len(),
            "negatives": self.negatives.len(),
            "tpr": tpr.to_json(),
            "fpr": fpr.to_json(),
            "auc": auc.map(rounded),
            "hits": tpr.k,
            "false_alarms": fpr.k,
            "no_face": all.filter(|judged| judged.is_none()).count(),
            "tpr_95": tpr.interval_to_json(),
            "fpr_95": fpr.interval_to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_that_is_not_found_is_a_miss_not_a_false_alarm() {
        let mut hat = Recognised::default();
        for judged in [Some((0.9, true)), Some((0.4, false)), None, Some((0.8, true))] {
            hat.add(true, judged);
        }
        for judged in [None, Some((0.6, true))] {
            hat.add(false, judged);
        }
        let figures = hat.to_json();
        assert_eq!((&figures["tpr"], &figures["fpr"]), (&json!(0.5), &json!(0.5)));
        assert_eq!((&figures["no_face"], &figures["hits"]), (&json!(2), &json!(2)));
        // 2 wins against 0.6, 3 against the found ones and half a tie against the one without a
        // face.
        assert_eq!(figures["auc"], json!(rounded(5.5 / 8.0)));
    }

    #[test]
    fn a_rate_without_samples_is_null() {
        let figures = Recognised::default().to_json();
        assert_eq!((&figures["positives"], &figures["tpr"]), (&json!(0), &Value::Null));
        assert_eq!((&figures["auc"], &figures["fpr_95"]), (&Value::Null, &Value::Null));
    }
}

//! How well a yes-or-no property of a face is recognised: what attributes and quality have in common.

use super::rates::{Rate, area_under_roc, rounded};
use serde_json::{Value, json};

/// What a property scored on the photographs whose label tells whether it is there.
#[derive(Default)]
pub(super) struct Recognised {
    positives: Vec<Judged>,
    negatives: Vec<Judged>,
}

/// One photograph's score, higher for yes, and the decision; none without a face.
pub(super) type Judged = Option<(f32, bool)>;

impl Recognised {
    /// Counts a photograph whose label says `present`.
    pub fn add(&mut self, present: bool, judged: Judged) {
        if present { self.positives.push(judged) } else { self.negatives.push(judged) }
    }

    /// `{"positives", "negatives", "tpr", "fpr", "auc", "hits", "false_alarms", "no_face", "tpr_95",
    /// "fpr_95"}`; a rate of nothing is `null`. A positive without a face is a miss, a negative
    /// without one no false alarm; in the AUC both rank below everything seen.
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
    fn a_face_that_is_not_found_is_a_miss_and_no_false_alarm() {
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
        // Wins 2 against 0.6, 3 of the found and half a tie against the one that is not.
        assert_eq!(figures["auc"], json!(rounded(5.5 / 8.0)));
    }

    #[test]
    fn of_nothing_there_is_no_rate() {
        let figures = Recognised::default().to_json();
        assert_eq!((&figures["positives"], &figures["tpr"]), (&json!(0), &Value::Null));
        assert_eq!((&figures["auc"], &figures["fpr_95"]), (&Value::Null, &Value::Null));
    }
}

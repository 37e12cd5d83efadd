//! Check results of a probe: the blocks of the answer, the failed checks (step 10), and the raw
//! scores.

use crate::contract::answer_fields::{
    self, AttributeScores, CheckBlocks, LivenessBlock, LivenessScores, QualityScores, Scores,
};
use crate::contract::{Checks, Failed, Operation};
use crate::face::{Attributes, Detection, Liveness, Quality};

/// The computed results: only those that were requested.
#[derive(Default)]
pub(super) struct CheckResults {
    pub quality: Option<Quality>,
    pub attributes: Option<Attributes>,
    /// With its probability, 0 to 100, for this camera.
    pub liveness: Option<(Liveness, f32)>,
}

/// Lowest probability at which a face is live.
pub(super) const LIVE: f32 = 50.0;

/// Makes the block `liveness` of an answer.
pub(super) fn liveness_block(probability: f32) -> LivenessBlock {
    // Truncated, not rounded: a face shown with 50 is live.
    let shown = (f64::from(probability) * 100.0).floor() / 100.0;
    LivenessBlock { status: probability >= LIVE, probability: format!("{shown:.2}") }
}

impl CheckResults {
    /// Checks for a face whose liveness was judged and that is not live.
    pub fn is_spoof(&self) -> bool {
        self.liveness.is_some_and(|(_, probability)| probability < LIVE)
    }

    /// Returns the blocks of the answer.
    pub fn blocks(&self) -> CheckBlocks {
        let on = |probability: f32| probability >= Attributes::WORN;
        CheckBlocks {
            image_quality: self.quality.map(|Quality { blur, dark, grayscale, .. }| {
                answer_fields::ImageQuality { blur, dark, grayscale }
            }),
            attributes: self.attributes.map(|worn| answer_fields::Attributes {
                sunglasses_on: on(worn.sunglasses),
                mask_on: on(worn.mask),
                veil_on: on(worn.veil),
                hat_on: on(worn.hat),
            }),
            liveness: self.liveness.map(|(_, probability)| liveness_block(probability)),
        }
    }
}

/// Step 10: returns the failed checks.
pub(super) fn failed(
    checks: &Checks,
    operation: Operation,
    check_results: &CheckResults,
    nface: usize,
) -> Failed {
    // search reports grayscale and never fails on it; nothing fails on a veil or a hat.
    let gray_counts = operation != Operation::Search;
    // A requested result that is missing has not passed.
    let good =
        check_results.quality.is_some_and(|q| !(q.blur || q.dark || (q.grayscale && gray_counts)));
    let bare = check_results
        .attributes
        .is_some_and(|worn| worn.sunglasses < Attributes::WORN && worn.mask < Attributes::WORN);
    let live = check_results.liveness.is_some_and(|(_, probability)| probability >= LIVE);
    Failed::default()
        .and(Failed::LIVENESS, checks.validate_liveness && !live)
        .and(Failed::ATTRIBUTE, checks.validate_attribute && !bare)
        .and(Failed::QUALITY, checks.validate_quality && !good)
        .and(Failed::NFACE, checks.validate_nface && nface > 1)
}

/// Returns the raw scores.
pub(super) fn scores(
    face: &Detection,
    check_results: &CheckResults,
    cosine: Option<f32>,
) -> Scores {
    Scores {
        detection: rounded(face.score),
        quality: check_results.quality.map(|quality| QualityScores {
            sharpness: rounded(quality.sharpness),
            fineness: rounded(quality.fineness),
            brightness: rounded(quality.brightness),
            chroma: rounded(quality.chroma),
        }),
        attributes: check_results.attributes.map(|worn| AttributeScores {
            sunglasses: rounded(worn.sunglasses),
            mask: rounded(worn.mask),
            veil: rounded(worn.veil),
            hat: rounded(worn.hat),
        }),
        liveness: check_results.liveness.map(|(liveness, _)| LivenessScores {
            liveness: rounded(liveness.log_odds),
            liveness_raw: rounded(liveness.raw),
        }),
        cosine: cosine.map(rounded),
    }
}

/// Rounds to four decimals: the rest is noise of the quantized networks.
pub(super) fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CHECKS: Checks = Checks {
        is_quality: true,
        is_attribute: true,
        is_liveness: true,
        validate_quality: true,
        validate_attribute: true,
        validate_liveness: true,
        validate_nface: true,
    };

    const BARE: Attributes = Attributes { sunglasses: 0.1, mask: 0.1, veil: 0.1, hat: 0.1 };

    fn quality(blur: bool, dark: bool, grayscale: bool) -> Quality {
        let (sharpness, fineness, brightness, chroma) = (0.0, 0.0, 0.0, 0.0);
        Quality { blur, dark, grayscale, sharpness, fineness, brightness, chroma }
    }

    /// Makes the liveness result for a camera with that operating point.
    fn liveness(log_odds: f32, operating_point: f32) -> Option<(Liveness, f32)> {
        let liveness = Liveness { log_odds, ..Liveness::default() };
        Some((liveness, liveness.probability(operating_point)))
    }

    /// Makes the results of a live face of that quality, without sunglasses or mask.
    fn check_results(quality: Quality) -> CheckResults {
        CheckResults {
            quality: Some(quality),
            attributes: Some(BARE),
            liveness: liveness(3.0, 0.0),
        }
    }

    fn good() -> CheckResults {
        check_results(quality(false, false, false))
    }

    #[test]
    fn quality_fails_on_blur_dark_and_grayscale_except_in_search() {
        let code = |operation, blur, dark, gray| {
            failed(&CHECKS, operation, &check_results(quality(blur, dark, gray)), 1).code()
        };
        for operation in [
            Operation::Enroll,
            Operation::Verify,
            Operation::Search,
            Operation::Liveness,
            Operation::Compare,
        ] {
            assert_eq!(code(operation, true, false, false), "FAIL_ON_4");
            assert_eq!(code(operation, false, true, false), "FAIL_ON_4");
            assert_eq!(code(operation, false, false, false), "FAIL_ON_0");
            let gray = if operation == Operation::Search { "FAIL_ON_0" } else { "FAIL_ON_4" };
            assert_eq!(code(operation, false, false, true), gray);
        }
    }

    #[test]
    fn attributes_fail_only_on_sunglasses_and_masks() {
        let code = |worn: Attributes| {
            let check_results = CheckResults { attributes: Some(worn), ..good() };
            failed(&CHECKS, Operation::Verify, &check_results, 1).code()
        };
        assert_eq!(code(Attributes { sunglasses: 0.5, ..BARE }), "FAIL_ON_2");
        assert_eq!(code(Attributes { mask: 0.5, ..BARE }), "FAIL_ON_2");
        assert_eq!(code(Attributes { veil: 1.0, hat: 1.0, ..BARE }), "FAIL_ON_0");
    }

    #[test]
    fn liveness_fails_below_fifty_at_the_cameras_operating_point() {
        let at =
            |operating_point| CheckResults { liveness: liveness(1.0, operating_point), ..good() };
        assert!(failed(&CHECKS, Operation::Verify, &at(1.0), 1).none());
        assert_eq!(failed(&CHECKS, Operation::Verify, &at(1.1), 1).code(), "FAIL_ON_1");
        let shown = |check_results: &CheckResults| {
            serde_json::to_value(check_results.blocks()).unwrap()["liveness"].clone()
        };
        assert_eq!(shown(&at(1.0)), json!({"status": true, "probability": "50.00"}));
        assert_eq!(shown(&at(1.0001)), json!({"status": false, "probability": "49.99"}));
    }

    #[test]
    fn failed_checks_add_up_and_only_requested_checks_fail() {
        let worst = CheckResults {
            quality: Some(quality(true, true, true)),
            attributes: Some(Attributes { sunglasses: 0.9, ..BARE }),
            liveness: liveness(-3.0, 0.0),
        };
        assert_eq!(failed(&CHECKS, Operation::Enroll, &good(), 2).code(), "FAIL_ON_8");
        assert_eq!(failed(&CHECKS, Operation::Enroll, &worst, 2).code(), "FAIL_ON_15");
        let off = Checks {
            validate_quality: false,
            validate_attribute: false,
            validate_liveness: false,
            validate_nface: false,
            ..CHECKS
        };
        assert!(failed(&off, Operation::Enroll, &worst, 9).none());
        // Requested but not computed results must never appear passed.
        let nothing = CheckResults::default();
        assert_eq!(failed(&CHECKS, Operation::Enroll, &nothing, 1).code(), "FAIL_ON_7");
    }

    #[test]
    fn scores_contain_only_the_checks_that_ran() {
        let face = Detection {
            x: 0.0,
            y: 0.0,
            width: 1.0,
            height: 1.0,
            landmarks: [[0.0; 2]; 5],
            score: 0.912_345,
        };
        let nothing = CheckResults::default();
        let shown = |check_results, cosine| {
            serde_json::to_value(scores(&face, check_results, cosine)).unwrap()
        };
        assert_eq!(shown(&nothing, None), json!({"detection": 0.9123}));
        let all = shown(&good(), Some(0.5));
        let names: Vec<_> = all.as_object().unwrap().keys().cloned().collect();
        let expected = [
            "detection",
            "sharpness",
            "fineness",
            "brightness",
            "chroma",
            "sunglasses",
            "mask",
            "veil",
            "hat",
            "liveness",
            "liveness_raw",
            "cosine",
        ];
        assert_eq!(names, expected);
    }
}

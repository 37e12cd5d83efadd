//! Judges whether a face is live or a picture of one. Two networks look at the face with its
//! surroundings, and a small model fitted on photographs of both kinds weighs their results.
//!
//! `docs/liveness.md` measures how reliable the result is against each attack. A *margin* is a
//! network's log-odds of live against all attacks, bounded.

use super::cores::Cores;
use super::minifasnet::{CLASSES, MiniFasNet};
use super::{Detection, FaceError};
use crate::Picture;
use doorward_nn::{Weights, WeightsError};
use std::ops::RangeInclusive;

/// The liveness of a face.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Liveness {
    /// Log-odds of "live" by the fitted model; 0 is the shipped operating point. For several frames
    /// of one face the mean counts.
    pub log_odds: f32,
    /// Mean of the two networks' softmax for "live", 0–1: the authors' raw score, of the detector's
    /// unchanged box.
    pub raw: f32,
    /// Margin of MiniFASNetV2, which sees a closer crop; −6 to 6.
    pub near: f32,
    /// Margin of MiniFASNetV1SE, which sees more of the surroundings; −6 to 6.
    pub far: f32,
}

impl Liveness {
    /// Returns 100 · σ(log_odds − operating_point): a face counts as live from 50.
    /// `operating_point` is the camera's own, 0 as shipped.
    pub fn probability(&self, operating_point: f32) -> f32 {
        100.0 / (1.0 + (operating_point - self.log_odds).exp())
    }
}

/// The useful operating points in log-odds. Below them, faces that the model considers spoofs at
/// 50:1 would pass; above them, hardly any face would.
pub const OPERATING_POINTS: RangeInclusive<f64> = -4.0..=8.0;

/// The networks were trained on crops around the boxes of another detector, and near the picture's
/// border only the box's proportions decide what a crop shows. Two box widths, judged separately,
/// separate live from attack better than either, and reduce the effect of unsteady boxes.
const BOX_WIDTHS: [f32; 2] = [1.0, 1.2];
/// Beyond this a margin only means "sure": prints reach −30, and would dominate the screens.
const MOST_MARGIN: f32 = 6.0;

/// The networks and the fitted model, loaded.
pub struct LivenessModel {
    near: MiniFasNet,
    far: MiniFasNet,
    /// Weights of the margins near and far.
    weights: [f32; 2],
    bias: f32,
}

impl LivenessModel {
    /// Reads `minifasnet-v2.gguf`, `minifasnet-v1se.gguf` and `liveness.gguf`.
    pub fn load(
        near: &Weights<'_>,
        far: &Weights<'_>,
        fitted: &Weights<'_>,
    ) -> Result<Self, WeightsError> {
        let weights = fitted.matrix("live", 1, 2)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self {
            near: MiniFasNet::load(near)?,
            far: MiniFasNet::load(far)?,
            weights: [weights[0], weights[1]],
            bias: fitted.bias("live", 1)?[0],
        })
    }

    /// Judges one face of an upright picture.
    pub fn judge(
        &self,
        picture: &Picture,
        face: &Detection,
        cores: Cores,
    ) -> Result<Liveness, FaceError> {
        let [near, far] = [&self.near, &self.far].map(|of| move || look(of, picture, face));
        let (near, far) = cores.both(near, far);
        let ((near, near_raw), (far, far_raw)) = (near?, far?);
        Ok(Liveness {
            log_odds: self.bias + self.weights[0] * near + self.weights[1] * far,
            raw: (near_raw + far_raw) / 2.0,
            near,
            far,
        })
    }
}

/// Returns the network's margin, the mean over the box widths, and its softmax of live for the
/// unchanged box.
fn look(
    network: &MiniFasNet,
    picture: &Picture,
    face: &Detection,
) -> Result<(f32, f32), FaceError> {
    let mut odds = [0.0; BOX_WIDTHS.len()];
    for (odds, times) in odds.iter_mut().zip(BOX_WIDTHS) {
        let crop = network.crop(picture, &face.widened(times))?;
        *odds = log_odds(network.logits(&crop)?, network.live_class());
    }
    let margin = odds.iter().map(|odds| odds.clamp(-MOST_MARGIN, MOST_MARGIN)).sum::<f32>();
    Ok((margin / odds.len() as f32, 1.0 / (1.0 + (-odds[0]).exp())))
}

/// Returns the log-odds of one class against all others: ln(softmax / (1 − softmax)), exact where a
/// softmax would round to 0 or 1.
fn log_odds(logits: [f32; CLASSES], class: usize) -> f32 {
    let others = || logits.iter().enumerate().filter(|(other, _)| *other != class).map(|(_, l)| *l);
    let largest = others().fold(f32::NEG_INFINITY, f32::max);
    logits[class] - largest - others().map(|logit| (logit - largest).exp()).sum::<f32>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_begins_at_probability_fifty() {
        let liveness = Liveness { log_odds: 1.5, raw: 0.9, near: 3.0, far: 3.0 };
        assert_eq!(liveness.probability(1.5), 50.0);
        assert!(liveness.probability(0.0) > 81.0 && liveness.probability(3.0) < 19.0);
        let sure = Liveness { log_odds: 200.0, ..liveness };
        assert_eq!((sure.probability(0.0), sure.probability(400.0)), (100.0, 0.0));
    }

    #[test]
    fn log_odds_worked_by_hand() {
        // Softmax 1/3: one to two.
        assert!((log_odds([7.0; 3], 1) + 2f32.ln()).abs() < 1e-6);
        // Softmax of ln 2, ln 6, ln 2 is 0.2, 0.6, 0.2: three to two.
        let logits = [2f32.ln(), 6f32.ln(), 2f32.ln()];
        assert!((log_odds(logits, 1) - 1.5f32.ln()).abs() < 1e-6);
        assert_eq!(log_odds([-500.0, 500.0, 0.0], 1), 500.0);
    }
}

//! Is this a living face, or a picture of one? Two networks look at the face with its surroundings.
//!
//! What the answer is worth against which attack is measured in `docs/liveness.md`.

use super::minifasnet::{CLASSES, MiniFasNet};
use super::{Detection, FaceError};
use crate::nn::{Weights, WeightsError};
use crate::picture::Picture;

/// How live a face looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Liveness {
    /// Log-odds of "live" by the fitted model; 0 is the shipped operating point. Of several frames
    /// of one face the mean counts.
    pub log_odds: f32,
    /// Mean of the two networks' softmax for "live", 0–1: the authors' raw score.
    pub raw: f32,
}

impl Liveness {
    /// 100 · σ(log_odds − operating_point): 50 is where live begins. `operating_point` is the
    /// camera's own, 0 as shipped.
    pub fn probability(&self, operating_point: f32) -> f32 {
        100.0 / (1.0 + (operating_point - self.log_odds).exp())
    }
}

/// The networks, loaded.
pub struct LivenessModel {
    networks: [MiniFasNet; 2],
}

impl LivenessModel {
    /// Reads `minifasnet-v2.gguf` and `minifasnet-v1se.gguf`.
    pub fn load(networks: [&Weights<'_>; 2]) -> Result<Self, WeightsError> {
        let [v2, v1se] = networks;
        Ok(Self { networks: [MiniFasNet::load(v2)?, MiniFasNet::load(v1se)?] })
    }

    /// Judges one face of an upright picture.
    pub fn judge(&self, picture: &Picture, face: &Detection) -> Result<Liveness, FaceError> {
        let mut raw = 0.0;
        for network in &self.networks {
            let logits = network.logits(&network.crop(picture, face)?)?;
            raw += softmax(logits)[network.live_class()] / self.networks.len() as f32;
        }
        // Bounded: a softmax may round to 1.
        let bounded = raw.clamp(1e-6, 1.0 - 1e-6);
        Ok(Liveness { log_odds: (bounded / (1.0 - bounded)).ln(), raw })
    }
}

/// Shares that sum to 1.
fn softmax(logits: [f32; CLASSES]) -> [f32; CLASSES] {
    let largest = logits.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.map(|logit| (logit - largest).exp());
    let sum: f32 = powers.iter().sum();
    powers.map(|power| power / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_is_where_live_begins() {
        let liveness = Liveness { log_odds: 1.5, raw: 0.9 };
        assert_eq!(liveness.probability(1.5), 50.0);
        assert!(liveness.probability(0.0) > 81.0 && liveness.probability(3.0) < 19.0);
        let sure = Liveness { log_odds: 200.0, raw: 1.0 };
        assert_eq!((sure.probability(0.0), sure.probability(400.0)), (100.0, 0.0));
    }

    #[test]
    fn a_softmax_sums_to_one() {
        assert_eq!(softmax([7.0; 3]), [1.0 / 3.0; 3]);
        assert_eq!(softmax([200.0, 0.0, -200.0]), [1.0, 0.0, 0.0]);
    }
}

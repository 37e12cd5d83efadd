//! What covers a face: sunglasses, mask, veil, hat. Four linear heads read the middle of the
//! embedder's network, which knows edges and textures there and not yet persons: on the aligned crop
//! for what lies on the face, on a wider and coarser one for what lies around it.
//!
//! Terms. A *map* is what a block of the network puts out, `[height, width, channels]`. A *band* is
//! the mean of a map over some of its rows: what is worn on the eyes is looked for at the eyes. The
//! *head view* is the crop from above the crown to below the chin.

use super::align::{CROP, View, aligned_view};
use super::embedder::{LAST_CHANNELS, MIDDLE_CHANNELS, Trunk};
use super::{FaceError, Portrait};
use crate::nn::{Activation, Linear, Weights, WeightsError};
use candle_core::{Result, Tensor};
use candle_nn::Module;

/// From above a hat to below the chin, at little more than half the face's own resolution.
const HEAD: View = View { side: CROP, scale: 1.8, origin: [-45.0, -64.0] };

/// Rows of the face's middle map, of 14: from the brows to the middle of the nose …
const EYES: (usize, usize) = (4, 8);
/// … of its last map, of 7, which sees farther: around them …
const AROUND_EYES: (usize, usize) = (2, 5);
/// … and from the middle of the nose to the chin, in the middle map again.
const MOUTH: (usize, usize) = (7, 14);
/// Rows of the head's map, of 14: above the hair line, the face, below the mouth.
const HEAD_BANDS: [(usize, usize); 3] = [(0, 5), (5, 10), (10, 14)];
/// Columns of the head's map that a head and what it wears fill; beside them is background.
const HEAD_COLUMNS: (usize, usize) = (3, 11);

/// What covers a face: probabilities 0–1, calibrated so that 0.5 is the shipped operating point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attributes {
    /// Dark or mirrored glasses; plain spectacles are none.
    pub sunglasses: f32,
    /// A cloth or respirator over mouth and nose.
    pub mask: f32,
    /// A cloth over hair and neck, or all but the eyes: hijab, niqab.
    pub veil: f32,
    /// A hat, cap or helmet.
    pub hat: f32,
}

impl Attributes {
    /// From this probability on it is worn.
    pub const WORN: f32 = 0.5;
    /// The names of the heads in `attributes.gguf`, in the order of the fields.
    pub const NAMES: [&str; 4] = ["sunglasses", "mask", "veil", "hat"];
}

/// What the heads read, one vector a head; the training program fits on the same.
pub struct AttributeFeatures([Tensor; 4]);

impl AttributeFeatures {
    /// The features of the head of that place in [`Attributes::NAMES`].
    pub fn of(&self, head: usize) -> std::result::Result<Vec<f32>, FaceError> {
        self.0[head].flatten_all().and_then(|row| row.to_vec1()).map_err(FaceError::network)
    }
}

/// The heads, loaded.
pub(super) struct AttributeHeads([Linear; 4]);

impl AttributeHeads {
    /// Reads `attributes.gguf`.
    pub(super) fn load(weights: &Weights<'_>) -> std::result::Result<Self, WeightsError> {
        let head = |name, inputs| Linear::load(weights, name, inputs, 1, Activation::Identity);
        let [sunglasses, mask, veil, hat] = Attributes::NAMES;
        let around = HEAD_BANDS.len() * MIDDLE_CHANNELS;
        Ok(Self([
            head(sunglasses, MIDDLE_CHANNELS + LAST_CHANNELS)?,
            head(mask, MIDDLE_CHANNELS)?,
            head(veil, around)?,
            head(hat, around)?,
        ]))
    }

    fn judge(&self, features: &AttributeFeatures) -> Result<Attributes> {
        let probability = |head: usize| -> Result<f32> {
            let log_odds =
                self.0[head].forward(&features.0[head])?.flatten_all()?.to_vec1::<f32>()?;
            Ok(log_odds.iter().map(|x| 1.0 / (1.0 + (-x).exp())).sum())
        };
        Ok(Attributes {
            sunglasses: probability(0)?,
            mask: probability(1)?,
            veil: probability(2)?,
            hat: probability(3)?,
        })
    }
}

impl Portrait<'_> {
    /// What covers the face.
    pub fn attributes(&self) -> std::result::Result<Attributes, FaceError> {
        let features = self.attribute_features()?;
        self.analyzer().attribute_heads().judge(&features).map_err(FaceError::network)
    }

    /// What [`Portrait::attributes`] is judged by.
    pub fn attribute_features(&self) -> std::result::Result<AttributeFeatures, FaceError> {
        let view =
            aligned_view(self.picture(), self.face(), HEAD).ok_or_else(FaceError::one_point)?;
        let head = self.analyzer().embedder().middle(&view)?;
        features(self.trunk()?, &head).map_err(FaceError::network)
    }
}

fn features(face: &Trunk, head: &Tensor) -> Result<AttributeFeatures> {
    let (left, right) = HEAD_COLUMNS;
    let head = head.narrow(1, left, right - left)?;
    let bands = HEAD_BANDS.map(|rows| band(&head, rows)).into_iter().collect::<Result<Vec<_>>>()?;
    let around = Tensor::cat(&bands, 1)?;
    let eyes = [band(face.middle(), EYES)?, band(face.last_map(), AROUND_EYES)?];
    Ok(AttributeFeatures([
        Tensor::cat(&eyes, 1)?,
        band(face.middle(), MOUTH)?,
        around.clone(),
        around,
    ]))
}

/// The mean of a map over the rows from `start` up to, not including, `end`: `[1, channels]`.
fn band(map: &Tensor, (start, end): (usize, usize)) -> Result<Tensor> {
    map.narrow(0, start, end - start)?.mean((0, 1))?.unsqueeze(0)
}

//! Detects what covers a face: sunglasses, mask, veil, hat. Four linear heads read the middle of
//! the embedder's network, which responds there to edges and textures and not yet to persons. They
//! read the aligned crop for coverings on the face, and a wider and coarser crop for those around
//! it.
//!
//! Terms. A *map* is the output of a block of the network, `[height, width, channels]`. Heads read
//! the means of *regions* of a map: a covering of the eyes is searched at the eyes. The *head view*
//! is the crop from above the crown to below the chin.

use super::align::{View, aligned_view};
use super::embedder::{LAST_CHANNELS, MIDDLE_CHANNELS, Trunk};
use super::{FaceError, Portrait};
use candle_core::{Result, Tensor};
use candle_nn::Module;
use doorward_nn::{Linear, Weights, WeightsError, with_values};

/// From above a hat to below the chin, at slightly less than half the face's own resolution.
const HEAD: View = View { side: 96, scale: 2.1, origin: [-45.0, -64.0] };

/// In the face's middle map of 14×14: from the brows to the middle of the nose …
const EYES: Region = Region { rows: (4, 8), columns: (2, 12) };
/// … in its last map of 7×7, which sees farther: around them …
const AROUND_EYES: Region = Region { rows: (2, 5), columns: (1, 6) };
/// … and from the middle of the nose to the chin, in the middle map again.
const MOUTH: Region = Region { rows: (7, 14), columns: (0, 14) };
/// In the head's map of 12×12: above the hair line, the face, below the mouth. The background on
/// both sides is left out, because it shows where a picture was taken and not what is worn.
const HEAD_REGIONS: [Region; 3] = [
    Region { rows: (0, 4), columns: (3, 9) },
    Region { rows: (4, 8), columns: (3, 9) },
    Region { rows: (8, 12), columns: (3, 9) },
];

/// In the face's last map of 7×7: all of it.
const FACE: Region = Region { rows: (0, 7), columns: (0, 7) };

/// Cells of a map; each range excludes its second number.
struct Region {
    rows: (usize, usize),
    columns: (usize, usize),
}

impl Region {
    /// Returns the mean of a map over the region: `[1, channels]`.
    fn mean(&self, map: &Tensor) -> Result<Tensor> {
        let ((top, bottom), (left, right)) = (self.rows, self.columns);
        let (_, width, channels) = map.dims3()?;
        let mut mean = vec![0.0; channels];
        with_values(map, |values| {
            for row in values.chunks_exact(width * channels).take(bottom).skip(top) {
                for cell in row.chunks_exact(channels).take(right).skip(left) {
                    mean.iter_mut().zip(cell).for_each(|(sum, value)| *sum += value);
                }
            }
            Ok(())
        })?;
        let cells = ((bottom - top) * (right - left)) as f32;
        mean.iter_mut().for_each(|sum| *sum /= cells);
        Tensor::from_vec(mean, (1, channels), map.device())
    }
}

/// Coverings of a face: probabilities 0–1, calibrated so that 0.5 is the shipped operating point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attributes {
    /// Dark or mirrored glasses; plain spectacles do not count.
    pub sunglasses: f32,
    /// A cloth or respirator over mouth and nose.
    pub mask: f32,
    /// A cloth over hair and neck, or all but the eyes: hijab, niqab.
    pub veil: f32,
    /// A hat, cap or helmet.
    pub hat: f32,
}

impl Attributes {
    /// From this probability the item counts as worn.
    pub const WORN: f32 = 0.5;
    /// The names of the heads in `attributes.gguf`, in the order of the fields.
    pub const NAMES: [&str; 4] = ["sunglasses", "mask", "veil", "hat"];
}

/// Coverings that lie on a face and hide who it is: the [`Attributes`] that do not need the head
/// view, which costs as much as the embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverings {
    /// Same as [`Attributes::sunglasses`].
    pub sunglasses: f32,
    /// Same as [`Attributes::mask`].
    pub mask: f32,
}

/// The inputs of the heads, one vector per head; the training program fits on the same.
pub struct AttributeFeatures([Tensor; 4]);

impl AttributeFeatures {
    /// Returns the features of the head at that place in [`Attributes::NAMES`].
    pub fn of(&self, head: usize) -> std::result::Result<Vec<f32>, FaceError> {
        self.0[head].flatten_all().and_then(|row| row.to_vec1()).map_err(FaceError::Network)
    }
}

/// The heads, loaded.
pub(super) struct AttributeHeads([Linear; 4]);

impl AttributeHeads {
    /// Reads `attributes.gguf`.
    pub(super) fn load(weights: &Weights<'_>) -> std::result::Result<Self, WeightsError> {
        let head = |name, inputs| Linear::load(weights, name, inputs, 1);
        let [sunglasses, mask, veil, hat] = Attributes::NAMES;
        let around = HEAD_REGIONS.len() * MIDDLE_CHANNELS;
        Ok(Self([
            head(sunglasses, MIDDLE_CHANNELS + LAST_CHANNELS)?,
            head(mask, MIDDLE_CHANNELS)?,
            head(veil, around + LAST_CHANNELS)?,
            head(hat, around)?,
        ]))
    }

    /// Returns the probability from the head at that place in [`Attributes::NAMES`].
    fn probability(&self, head: usize, features: &Tensor) -> Result<f32> {
        let log_odds = self.0[head].forward(features)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(log_odds.iter().map(|x| 1.0 / (1.0 + (-x).exp())).sum())
    }

    fn judge(&self, AttributeFeatures(features): &AttributeFeatures) -> Result<Attributes> {
        Ok(Attributes {
            sunglasses: self.probability(0, &features[0])?,
            mask: self.probability(1, &features[1])?,
            veil: self.probability(2, &features[2])?,
            hat: self.probability(3, &features[3])?,
        })
    }

    fn judge_face(&self, face: &Trunk) -> Result<Coverings> {
        let [eyes, mouth] = on_face(face)?;
        let (sunglasses, mask) = (self.probability(0, &eyes)?, self.probability(1, &mouth)?);
        Ok(Coverings { sunglasses, mask })
    }
}

impl Portrait<'_> {
    /// Returns the coverings of the face and the head.
    pub fn attributes(&self) -> std::result::Result<Attributes, FaceError> {
        let features = self.attribute_features()?;
        self.analyzer().attribute_heads().judge(&features).map_err(FaceError::Network)
    }

    /// Returns the coverings on the face itself; the same values as [`Portrait::attributes`].
    pub fn coverings(&self) -> std::result::Result<Coverings, FaceError> {
        let heads = self.analyzer().attribute_heads();
        heads.judge_face(self.trunk()?).map_err(FaceError::Network)
    }

    /// Returns the features that [`Portrait::attributes`] is judged by.
    pub fn attribute_features(&self) -> std::result::Result<AttributeFeatures, FaceError> {
        let (analyzer, picture, face) = (self.analyzer(), self.picture(), self.face());
        let head = || {
            let view = aligned_view(picture, face, HEAD).ok_or(FaceError::OnePoint)?;
            analyzer.embedder().middle(&view)
        };
        let (trunk, head) = analyzer.cores().both(|| self.trunk(), head);
        features(trunk?, &head?).map_err(FaceError::Network)
    }
}

/// Returns the features of the heads for sunglasses and masks.
fn on_face(face: &Trunk) -> Result<[Tensor; 2]> {
    let eyes = [EYES.mean(face.middle())?, AROUND_EYES.mean(face.last_map())?];
    Ok([Tensor::cat(&eyes, 1)?, MOUTH.mean(face.middle())?])
}

fn features(face: &Trunk, head: &Tensor) -> Result<AttributeFeatures> {
    let regions: Result<Vec<_>> = HEAD_REGIONS.iter().map(|region| region.mean(head)).collect();
    let around = Tensor::cat(&regions?, 1)?;
    let [eyes, mouth] = on_face(face)?;
    Ok(AttributeFeatures([
        eyes,
        mouth,
        Tensor::cat(&[&around, &FACE.mean(face.last_map())?], 1)?,
        around,
    ]))
}

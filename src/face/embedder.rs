//! SFace: an aligned crop to a 128-d embedding.
//!
//! Y. Zhong, W. Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss
//! for Robust Face Recognition", 2021, in the wide MobileNet of OpenCV Zoo.

use super::{EMBEDDING_LEN, Embedding, FaceError};
use crate::nn::{Activation, Dense, Depthwise, Linear, Pointwise, Weights, WeightsError};
use crate::picture::Picture;
use candle_core::{Device, Result, Tensor};
use candle_nn::Module;

/// Input and output channels and stride of the thirteen depthwise-separable blocks, `conv_2` on.
const BLOCKS: [(usize, usize, usize); 13] = [
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    (512, 512, 1),
    (512, 512, 1),
    (512, 512, 1),
    (512, 512, 1),
    (512, 512, 1),
    (512, 1024, 2),
    (1024, 1024, 1),
];

/// Values of the last activation map, 7×7×1024.
const LAST_MAP: usize = 7 * 7 * 1024;

/// Blocks up to the middle of the network: `conv_12` is the last that knows forms better than persons.
const MIDDLE: usize = 11;
/// Channels of the map after the middle.
pub(super) const MIDDLE_CHANNELS: usize = BLOCKS[MIDDLE - 1].1;
/// Channels of the last map.
pub(super) const LAST_CHANNELS: usize = BLOCKS[BLOCKS.len() - 1].1;

/// What the network has seen before its last matrix reduces it to a person.
pub struct Trunk {
    /// `[14, 14, 512]`, after the middle.
    middle: Tensor,
    /// `[7, 7, 1024]`.
    last_map: Tensor,
}

impl Trunk {
    /// The map after the middle, `[14, 14, 512]`.
    pub(super) fn middle(&self) -> &Tensor {
        &self.middle
    }

    /// The last map, `[7, 7, 1024]`.
    pub(super) fn last_map(&self) -> &Tensor {
        &self.last_map
    }
}

/// The network, loaded.
pub struct Embedder {
    first: Dense,
    blocks: Vec<(Depthwise, Pointwise)>,
    last: Linear,
}

impl Embedder {
    /// Reads `sface.gguf`.
    pub fn load(weights: &Weights<'_>) -> std::result::Result<Self, WeightsError> {
        let first = Dense::load(weights, "conv_1", (3, 32), 1, weights.prelu("conv_1", 32)?)?;
        let mut blocks = Vec::new();
        for (index, (inputs, outputs, stride)) in BLOCKS.into_iter().enumerate() {
            let depthwise = format!("conv_{}.depthwise", index + 2);
            let pointwise = format!("conv_{}.pointwise", index + 2);
            let slopes = weights.prelu(&pointwise, outputs)?;
            blocks.push((
                Depthwise::load(
                    weights,
                    &depthwise,
                    inputs,
                    stride,
                    weights.prelu(&depthwise, inputs)?,
                )?,
                Linear::load(weights, &pointwise, inputs, outputs, slopes)?.into(),
            ));
        }
        let last =
            Linear::load(weights, "embedding", LAST_MAP, EMBEDDING_LEN, Activation::Identity)?;
        Ok(Self { first, blocks, last })
    }

    /// Runs all but the last matrix on a 112×112 crop aligned by [`super::align`].
    pub fn trunk(&self, crop: &Picture) -> std::result::Result<Trunk, FaceError> {
        let maps = || {
            let middle = self.up_to_middle(crop)?;
            let last_map = through(&self.blocks[MIDDLE..], middle.clone())?;
            Ok(Trunk { middle, last_map })
        };
        maps().map_err(FaceError::network)
    }

    /// Runs the network to its middle on a square crop: `[side / 8, side / 8, 512]`, rounded up.
    pub(super) fn middle(&self, crop: &Picture) -> std::result::Result<Tensor, FaceError> {
        self.up_to_middle(crop).map_err(FaceError::network)
    }

    /// The embedding of a crop, from what [`Embedder::trunk`] made of it.
    pub fn embed(&self, trunk: &Trunk) -> std::result::Result<Embedding, FaceError> {
        let values = || {
            let row = trunk.last_map.reshape((1, LAST_MAP))?;
            self.last.forward(&row)?.flatten_all()?.to_vec1()
        };
        Embedding::normalized(values().map_err(FaceError::network)?)
            .ok_or_else(|| FaceError("the embedding has no direction".into()))
    }

    fn up_to_middle(&self, crop: &Picture) -> Result<Tensor> {
        let shape = (crop.height() as usize, crop.width() as usize, 3);
        // (x − 127.5) / 128; the border of the convolutions is 0 after this step, not before.
        let values = crop.rgb().iter().map(|&v| (f32::from(v) - 127.5) / 128.0).collect();
        let x = self.first.forward(&Tensor::from_vec(values, shape, &Device::Cpu)?)?;
        through(&self.blocks[..MIDDLE], x)
    }
}

fn through(blocks: &[(Depthwise, Pointwise)], mut x: Tensor) -> Result<Tensor> {
    for (depthwise, pointwise) in blocks {
        x = pointwise.forward(&depthwise.forward(&x)?)?;
    }
    Ok(x)
}

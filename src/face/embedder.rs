//! SFace: an aligned crop to a 128-d embedding.
//!
//! Y. Zhong, W. Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss
//! for Robust Face Recognition", 2021, in the wide MobileNet of OpenCV Zoo.

use super::align::CROP;
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

/// What the network has seen before its last matrix reduces it to a person.
pub struct Trunk {
    /// `[7, 7, 1024]`.
    last_map: Tensor,
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
        self.last_map(crop).map(|last_map| Trunk { last_map }).map_err(FaceError::network)
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

    fn last_map(&self, crop: &Picture) -> Result<Tensor> {
        let side = CROP as usize;
        // (x − 127.5) / 128; the border of the convolutions is 0 after this step, not before.
        let values = crop.rgb().iter().map(|&v| (f32::from(v) - 127.5) / 128.0).collect();
        let mut x = Tensor::from_vec(values, (side, side, 3), &Device::Cpu)?;
        x = self.first.forward(&x)?;
        for (depthwise, pointwise) in &self.blocks {
            x = pointwise.forward(&depthwise.forward(&x)?)?;
        }
        Ok(x)
    }
}

//! SFace: turns an aligned crop into a 128-d embedding.
//!
//! Y. Zhong, W. Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss
//! for Robust Face Recognition", 2021, in the wide MobileNet of OpenCV Zoo.

use super::{EMBEDDING_LEN, Embedding, FaceError};
use crate::Picture;
use candle_core::{Result, Tensor};
use doorward_nn::{
    Bordered, Depthwise, Map, PixelFormat, Pointwise, Pool, Projection, Stem, Weights, WeightsError,
};

/// R, G, B as (byte − 127.5) / 128; the border of the convolutions is 0 after this step, not
/// before.
const FORMAT: PixelFormat =
    PixelFormat { bgr: false, scale: 1.0 / 128.0, offset: -127.5 / 128.0, multiple: 1 };

/// Input and output channels and stride of the thirteen depthwise-separable blocks, from `conv_2`.
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

/// Blocks up to the middle of the network: `conv_12` is the last that represents shapes better than
/// persons.
const MIDDLE: usize = 11;
/// Channels of the map after the middle.
pub(super) const MIDDLE_CHANNELS: usize = BLOCKS[MIDDLE - 1].1;
/// Channels of the last map.
pub(super) const LAST_CHANNELS: usize = BLOCKS[BLOCKS.len() - 1].1;

/// The network's activations before its last matrix reduces them to a person.
pub struct Trunk {
    /// `[14, 14, 512]`, after the middle.
    middle: Tensor,
    /// `[7, 7, 1024]`.
    last_map: Tensor,
}

impl Trunk {
    /// Returns the map after the middle, `[14, 14, 512]`.
    pub(super) fn middle(&self) -> &Tensor {
        &self.middle
    }

    /// Returns the last map, `[7, 7, 1024]`.
    pub(super) fn last_map(&self) -> &Tensor {
        &self.last_map
    }
}

/// The working memory of a forward pass.
struct Maps {
    pixels: Bordered,
    x: Map,
    between: Map,
}

impl Maps {
    fn new() -> Result<Self> {
        Ok(Self { pixels: Bordered::new()?, x: Map::new()?, between: Map::new()? })
    }
}

/// A depthwise convolution, then a pointwise one.
struct Block {
    depthwise: Depthwise,
    pointwise: Pointwise,
}

impl Block {
    fn load(
        weights: &Weights<'_>,
        name: &str,
        (inputs, outputs, stride): (usize, usize, usize),
    ) -> std::result::Result<Self, WeightsError> {
        let (depthwise, pointwise) = (format!("{name}.depthwise"), format!("{name}.pointwise"));
        let slopes = weights.prelu(&depthwise, inputs)?;
        Ok(Self {
            depthwise: Depthwise::load(weights, &depthwise, inputs, stride, slopes)?,
            pointwise: Pointwise::load(
                weights,
                &pointwise,
                inputs,
                outputs,
                weights.prelu(&pointwise, outputs)?,
            )?,
        })
    }
}

/// The network, loaded.
pub struct Embedder {
    stem: Stem,
    blocks: Vec<Block>,
    last: Projection,
    maps: Pool<Maps>,
}

impl Embedder {
    /// Reads `sface.gguf`.
    pub fn load(weights: &Weights<'_>) -> std::result::Result<Self, WeightsError> {
        let stem = Stem::load(weights, "conv_1", 32, 1, FORMAT, weights.prelu("conv_1", 32)?)?;
        let blocks = BLOCKS.into_iter().zip(2..);
        let blocks = blocks.map(|(shape, n)| Block::load(weights, &format!("conv_{n}"), shape));
        let blocks = blocks.collect::<std::result::Result<_, _>>()?;
        let last = Projection::load(weights, "embedding", LAST_MAP, EMBEDDING_LEN)?;
        Ok(Self { stem, blocks, last, maps: Pool::new(Maps::new) })
    }

    /// Runs all layers except the last matrix on a 112×112 crop aligned by [`crate::aligned_crop`].
    pub fn trunk(&self, crop: &Picture) -> std::result::Result<Trunk, FaceError> {
        let trunk = self.maps.lend(|maps| {
            self.up_to_middle(crop, maps)?;
            let middle = maps.x.to_tensor()?;
            through(&self.blocks[MIDDLE..], maps)?;
            Ok(Trunk { middle, last_map: maps.x.to_tensor()? })
        });
        trunk.map_err(FaceError::Network)
    }

    /// Runs the network to its middle on a square crop: `[side / 8, side / 8, 512]`, rounded up.
    pub(super) fn middle(&self, crop: &Picture) -> std::result::Result<Tensor, FaceError> {
        let middle = self.maps.lend(|maps| {
            self.up_to_middle(crop, maps)?;
            maps.x.to_tensor()
        });
        middle.map_err(FaceError::Network)
    }

    /// Returns the embedding of a crop from the result of [`Embedder::trunk`].
    pub fn embed(&self, trunk: &Trunk) -> std::result::Result<Embedding, FaceError> {
        let values = self.last.forward(&trunk.last_map).map_err(FaceError::Network)?;
        Embedding::normalized(values).ok_or(FaceError::NoDirection)
    }

    fn up_to_middle(&self, crop: &Picture, maps: &mut Maps) -> Result<()> {
        self.stem.forward(crop.into(), &mut maps.pixels, &mut maps.x)?;
        through(&self.blocks[..MIDDLE], maps)
    }
}

fn through(blocks: &[Block], Maps { x, between, .. }: &mut Maps) -> Result<()> {
    for block in blocks {
        block.depthwise.forward(x, between)?;
        block.pointwise.forward(between, x)?;
    }
    Ok(())
}

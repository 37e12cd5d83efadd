//! Operators that see a whole activation map at once: its weighted sum, and weights a channel that
//! the map gives itself.

use super::{Activation, Linear, Weights, WeightsError};
use candle_core::{Result, Tensor};
use candle_nn::Module;
use candle_nn::ops::sigmoid;

/// A depthwise convolution whose filters are as large as the map: one number a channel.
pub struct WholeDepthwise {
    /// `[height · width, channels]`.
    taps: Tensor,
    /// `[1, channels]`.
    bias: Tensor,
}

impl WholeDepthwise {
    /// Reads the layer of that name, for maps of `side` × `side`.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        channels: usize,
        side: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let taps = weights.matrix(layer, channels, side * side)?.t()?.contiguous()?;
        let bias = Tensor::from_vec(weights.bias(layer, channels)?, (1, channels), taps.device())?;
        Ok(Self { taps, bias })
    }
}

impl Module for WholeDepthwise {
    /// `x` is `[side, side, channels]`; the result `[1, channels]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, channels) = x.dims3()?;
        let products = (x.reshape((height * width, channels))? * &self.taps)?;
        products.sum_keepdim(0)? + &self.bias
    }
}

/// Squeeze and excite: two linear layers make a weight 0–1 a channel of the channels' means.
///
/// J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", 2018.
pub struct SqueezeExcite {
    squeeze: Linear,
    excite: Linear,
}

impl SqueezeExcite {
    /// Reads the layers `{name}.fc1` and `{name}.fc2`.
    pub fn load(
        weights: &Weights<'_>,
        name: &str,
        channels: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let (first, second) = (format!("{name}.fc1"), format!("{name}.fc2"));
        let hidden = weights.outputs(&first)?;
        Ok(Self {
            squeeze: Linear::load(weights, &first, channels, hidden, Activation::Relu)?,
            excite: Linear::load(weights, &second, hidden, channels, Activation::Identity)?,
        })
    }
}

impl Module for SqueezeExcite {
    /// `x` is `[height, width, channels]`, and so is the result.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, channels) = x.dims3()?;
        let pixels = x.reshape((height * width, channels))?;
        let means = pixels.mean_keepdim(0)?;
        let shares = sigmoid(&self.excite.forward(&self.squeeze.forward(&means)?)?)?;
        pixels.broadcast_mul(&shares)?.reshape((height, width, channels))
    }
}

//! Layers that are a matrix product: pointwise and dense convolutions, and the final linear layer.

use super::activation::Epilogue;
use super::{Activation, Weights, WeightsError, values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use candle_nn::Module;

/// A fully connected layer: `[rows, inputs]` to `[rows, outputs]`.
pub struct Linear {
    /// `[inputs, outputs]`, a transposed view of the rows as stored.
    weight: Tensor,
    bias: Vec<f32>,
    activation: Activation,
}

impl Linear {
    /// Reads the layer of that name and shape.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        inputs: usize,
        outputs: usize,
        activation: Activation,
    ) -> std::result::Result<Self, WeightsError> {
        let weight = weights.matrix(layer, outputs, inputs)?.t()?;
        Ok(Self { weight, bias: weights.bias(layer, outputs)?, activation })
    }

    /// Several layers over the same input as one, their outputs in the order given. None of them
    /// has an activation.
    pub fn load_side_by_side(
        weights: &Weights<'_>,
        inputs: usize,
        layers: &[(String, usize)],
    ) -> std::result::Result<Self, WeightsError> {
        let mut matrices = Vec::new();
        let mut bias = Vec::new();
        for (layer, outputs) in layers {
            matrices.push(weights.matrix(layer, *outputs, inputs)?);
            bias.extend(weights.bias(layer, *outputs)?);
        }
        let weight = Tensor::cat(&matrices, 0)?.t()?;
        Ok(Self { weight, bias, activation: Activation::Identity })
    }
}

impl Module for Linear {
    /// `x` is `[rows, inputs]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight)?;
        y.inplace_op1(&Epilogue { bias: &self.bias, activation: &self.activation })?;
        Ok(y)
    }
}

/// A 1×1 convolution: the same linear layer at every pixel.
pub struct Pointwise(Linear);

impl From<Linear> for Pointwise {
    fn from(linear: Linear) -> Self {
        Self(linear)
    }
}

impl Module for Pointwise {
    /// `x` is `[height, width, inputs]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, inputs) = x.dims3()?;
        let y = self.0.forward(&x.reshape((height * width, inputs))?)?;
        y.reshape((height, width, ()))
    }
}

/// A dense 3×3 convolution with a border of one zero pixel.
pub struct Dense {
    linear: Linear,
    stride: usize,
}

impl Dense {
    /// Reads the layer of that name and shape.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        (inputs, outputs): (usize, usize),
        stride: usize,
        activation: Activation,
    ) -> std::result::Result<Self, WeightsError> {
        Ok(Self { linear: Linear::load(weights, layer, 9 * inputs, outputs, activation)?, stride })
    }
}

impl Module for Dense {
    /// `x` is `[height, width, inputs]`; the result's sides are divided by the stride, rounded up.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, _) = x.dims3()?;
        let patches = x.apply_op1_no_bwd(&Patches { stride: self.stride })?;
        let y = self.linear.forward(&patches)?;
        y.reshape((height.div_ceil(self.stride), width.div_ceil(self.stride), ()))
    }
}

/// Lays the 3×3 neighbourhood of each output pixel into one row (im2col).
struct Patches {
    stride: usize,
}

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches-3x3"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (height, width, channels) = layout.shape().dims3()?;
        let x = values(storage, layout)?;
        let (out_height, out_width) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let row_len = 9 * channels;
        let mut patches = vec![0f32; out_height * out_width * row_len];
        for (pixel, patch) in patches.chunks_exact_mut(row_len).enumerate() {
            let (oy, ox) = (pixel / out_width, pixel % out_width);
            for (tap, cell) in patch.chunks_exact_mut(channels).enumerate() {
                // Shifted by one so that the border's -1 stays an unsigned 0.
                let (y, x1) = (oy * self.stride + tap / 3, ox * self.stride + tap % 3);
                if (1..=height).contains(&y) && (1..=width).contains(&x1) {
                    let at = ((y - 1) * width + x1 - 1) * channels;
                    cell.copy_from_slice(&x[at..at + channels]);
                }
            }
        }
        Ok((CpuStorage::F32(patches), Shape::from((out_height * out_width, row_len))))
    }
}

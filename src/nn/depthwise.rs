//! Depthwise 3×3 convolution with bias and activation.

use super::{Activation, Weights, WeightsError, values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use candle_nn::Module;

/// One 3×3 filter a channel, a border of one zero pixel.
pub struct Depthwise {
    /// `[9, channels]`: tap by tap, so that the inner loop runs over channels.
    taps: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
    stride: usize,
}

impl Depthwise {
    /// Reads the layer of that name.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        channels: usize,
        stride: usize,
        activation: Activation,
    ) -> std::result::Result<Self, WeightsError> {
        let taps = taps_first(weights, layer, channels)?.flatten_all()?.to_vec1()?;
        Ok(Self { taps, bias: weights.bias(layer, channels)?, activation, stride })
    }

    /// Several layers side by side as one over all their channels, stride 1, no activation.
    pub fn load_side_by_side(
        weights: &Weights<'_>,
        layers: &[(String, usize)],
    ) -> std::result::Result<Self, WeightsError> {
        let mut taps = Vec::new();
        let mut bias = Vec::new();
        for (layer, channels) in layers {
            taps.push(taps_first(weights, layer, *channels)?);
            bias.extend(weights.bias(layer, *channels)?);
        }
        let taps = Tensor::cat(&taps, 1)?.flatten_all()?.to_vec1()?;
        Ok(Self { taps, bias, activation: Activation::Identity, stride: 1 })
    }
}

impl Module for Depthwise {
    /// `x` is `[height, width, channels]`; the result's sides are divided by the stride, rounded up.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(self)
    }
}

fn taps_first(
    weights: &Weights<'_>,
    layer: &str,
    channels: usize,
) -> std::result::Result<Tensor, WeightsError> {
    Ok(weights.matrix(layer, channels, 9)?.t()?.contiguous()?)
}

impl CustomOp1 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise-3x3"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (height, width, channels) = layout.shape().dims3()?;
        let x = values(storage, layout)?;
        let (out_height, out_width) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let mut y = Vec::with_capacity(out_height * out_width * channels);
        for oy in 0..out_height {
            for ox in 0..out_width {
                let start = y.len();
                y.extend_from_slice(&self.bias);
                let pixel = &mut y[start..];
                for (tap, weights) in self.taps.chunks_exact(channels).enumerate() {
                    // Shifted by one so that the border's -1 stays an unsigned 0.
                    let (iy, ix) = (oy * self.stride + tap / 3, ox * self.stride + tap % 3);
                    if (1..=height).contains(&iy) && (1..=width).contains(&ix) {
                        let at = ((iy - 1) * width + ix - 1) * channels;
                        let input = &x[at..at + channels];
                        for ((sum, weight), x) in pixel.iter_mut().zip(weights).zip(input) {
                            *sum += weight * x;
                        }
                    }
                }
                self.activation.apply(pixel);
            }
        }
        Ok((CpuStorage::F32(y), Shape::from((out_height, out_width, channels))))
    }
}

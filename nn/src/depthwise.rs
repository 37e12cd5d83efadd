//! Depthwise 3×3 convolution with bias and activation.

use super::kernel::{ByteDepthwise, ByteFilters, DepthwiseRows, Filters, Range, Rounding};
use super::level::Level;
use super::spans::Watch;
use super::{Activation, Map, Weights, WeightsError};
use candle_core::{Result, bail};

/// One 3×3 filter per channel, with a border of one zero pixel. Its file determines whether it
/// computes in f32 or in bytes.
pub struct Depthwise {
    arithmetic: Arithmetic,
    channels: usize,
    stride: usize,
    level: Level,
    watch: Watch,
}

enum Arithmetic {
    Values(Filters),
    Bytes { filters: ByteFilters, input: Range, output: Range },
}

impl Depthwise {
    /// Reads the layer of that name; `stride` is 1 or 2.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        channels: usize,
        stride: usize,
        activation: Activation,
    ) -> std::result::Result<Self, WeightsError> {
        assert!(matches!(stride, 1 | 2), "a stride of {stride}");
        let bias = weights.bias(layer, channels)?;
        let arithmetic = match weights.ranges([layer])? {
            Some((input, Some(output))) => {
                let (rows, scales) = weights.byte_rows(layer, channels, 9)?;
                let rounding = Rounding::new(&scales, &bias, &activation, input, Some(output));
                let filters = ByteFilters::pack(&rows, input.zero, rounding);
                Arithmetic::Bytes { filters, input, output }
            }
            _ => {
                let rows = weights.rows(layer, channels, 9)?;
                Arithmetic::Values(Filters::pack(&rows, bias, activation))
            }
        };
        let (level, watch) = (weights.level(), weights.watch(&[layer]));
        Ok(Self { arithmetic, channels, stride, level, watch })
    }

    /// Reads several layers side by side as one over all their channels, stride 1, no activation.
    pub fn load_side_by_side(
        weights: &Weights<'_>,
        layers: &[(String, usize)],
    ) -> std::result::Result<Self, WeightsError> {
        let (mut rows, mut bias) = (Vec::new(), Vec::new());
        for (layer, channels) in layers {
            rows.extend(weights.rows(layer, *channels, 9)?);
            bias.extend(weights.bias(layer, *channels)?);
        }
        let channels = bias.len();
        let filters = Filters::pack(&rows, bias, Activation::Identity);
        let arithmetic = Arithmetic::Values(filters);
        let names: Vec<&str> = layers.iter().map(|(layer, _)| layer.as_str()).collect();
        let (level, watch) = (weights.level(), weights.watch(&names));
        Ok(Self { arithmetic, channels, stride: 1, level, watch })
    }

    /// Writes the filtered `x` to `y`, whose sides are those of `x` divided by the stride, rounded
    /// up.
    pub fn forward(&self, x: &Map, y: &mut Map) -> Result<()> {
        let (height, width, channels) = x.shape();
        if channels != self.channels {
            bail!("a layer of {} channels on a map of {channels}", self.channels);
        }
        let (rows, columns) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let shape = (rows, columns, channels);
        let stride = self.stride;
        match &self.arithmetic {
            Arithmetic::Values(filters) => {
                x.expect_range(None)?;
                y.fill_from(shape, None, x, |output: &mut [f32], input| {
                    self.level.run(DepthwiseRows { input, height, width, stride, filters, output });
                })?;
            }
            Arithmetic::Bytes { filters, input, output } => {
                x.expect_range(Some(*input))?;
                y.fill_from(shape, Some(*output), x, |output: &mut [u8], input| {
                    self.level.run(ByteDepthwise { input, height, width, stride, filters, output });
                })?;
            }
        }
        self.watch.see(Some(x), y)
    }
}

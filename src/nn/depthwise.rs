//! Depthwise 3×3 convolution with bias and activation.

use super::kernel::{DepthwiseRows, Filters};
use super::level::Level;
use super::{Activation, Map, Weights, WeightsError};
use candle_core::{Result, bail};

/// One 3×3 filter a channel, a border of one zero pixel.
pub struct Depthwise {
    filters: Filters,
    channels: usize,
    stride: usize,
    level: Level,
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
        let rows = weights.rows(layer, channels, 9)?;
        let filters = Filters::pack(&rows, weights.bias(layer, channels)?, activation);
        Ok(Self { filters, channels, stride, level: weights.level() })
    }

    /// Several layers side by side as one over all their channels, stride 1, no activation.
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
        Ok(Self { filters, channels, stride: 1, level: weights.level() })
    }

    /// `y` becomes the filtered `x`, its sides those of `x` divided by the stride, rounded up.
    pub fn forward(&self, x: &Map, y: &mut Map) -> Result<()> {
        let (height, width, channels) = x.shape();
        if channels != self.channels {
            bail!("a layer of {} channels on a map of {channels}", self.channels);
        }
        let (rows, columns) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        y.fill_from((rows, columns, channels), x, |output, input| {
            self.level.run(DepthwiseRows {
                input,
                height,
                width,
                stride: self.stride,
                filters: &self.filters,
                output,
            });
        })
    }
}

//! Operators over a whole activation map: its weighted sum, and channel weights computed from the
//! map itself.

use super::kernel::{Range, Weigh, WholeMap};
use super::lanes::BLOCK;
use super::level::Level;
use super::map::Element;
use super::spans::Watch;
use super::{Activation, Map, Pointwise, Weights, WeightsError};
use candle_core::{Result, bail};

/// A depthwise convolution whose filters are as large as the map: one number per channel.
pub struct WholeDepthwise {
    /// `[blocks, side, side, 16]`.
    taps: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
    side: usize,
    level: Level,
}

impl WholeDepthwise {
    /// Reads the layer of that name, for maps of `side` × `side`.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        channels: usize,
        side: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let pixels = side * side;
        let padded = channels.next_multiple_of(BLOCK);
        let mut taps = vec![0.0; padded * pixels];
        for (channel, filter) in
            weights.rows(layer, channels, pixels)?.chunks_exact(pixels).enumerate()
        {
            for (pixel, weight) in filter.iter().enumerate() {
                taps[(channel / BLOCK * pixels + pixel) * BLOCK + channel % BLOCK] = *weight;
            }
        }
        let mut bias = weights.bias(layer, channels)?;
        bias.resize(padded, 0.0);
        Ok(Self { taps, bias, channels, side, level: weights.level() })
    }

    /// `x` is `[side, side, channels]`; writes `[1, 1, channels]` to `y`.
    pub fn forward(&self, x: &Map, y: &mut Map) -> Result<()> {
        let Self { channels, side, .. } = *self;
        if x.shape() != (side, side, channels) {
            bail!("filters of {side}x{side}x{channels} on a map of {:?}", x.shape());
        }
        x.expect_range(None)?;
        y.fill_from((1, 1, channels), None, x, |output: &mut [f32], input| {
            let (taps, bias) = (&self.taps, &self.bias);
            self.level.run(WholeMap { input, pixels: side * side, taps, bias, output });
        })
    }
}

/// Squeeze and excite: two linear layers compute a weight 0–1 per channel from the channels' means.
///
/// J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", 2018.
pub struct SqueezeExcite {
    mean: WholeDepthwise,
    squeeze: Pointwise,
    excite: Pointwise,
    /// The range of its result, if that is bytes.
    output: Option<Range>,
    level: Level,
    watch: Watch,
}

/// The maps between a map and its weights.
pub struct Squeezed([Map; 3]);

impl Squeezed {
    /// Makes an empty one.
    pub fn new() -> Result<Self> {
        Ok(Self([Map::new()?, Map::new()?, Map::new()?]))
    }
}

impl SqueezeExcite {
    /// Reads the layers `{name}.fc1` and `{name}.fc2`, for maps of `side` × `side`.
    pub fn load(
        weights: &Weights<'_>,
        name: &str,
        channels: usize,
        side: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let (first, second) = (format!("{name}.fc1"), format!("{name}.fc2"));
        let hidden = weights.outputs(&first)?;
        let level = weights.level();
        let padded = channels.next_multiple_of(BLOCK);
        let pixels = side * side;
        Ok(Self {
            mean: WholeDepthwise {
                taps: vec![1.0 / pixels as f32; padded * pixels],
                bias: vec![0.0; padded],
                channels,
                side,
                level,
            },
            squeeze: Pointwise::load(weights, &first, channels, hidden, Activation::Relu)?,
            excite: Pointwise::load(weights, &second, hidden, channels, Activation::Identity)?,
            output: weights.range(&format!("{name}.output"))?,
            level,
            watch: weights.watch(&[name]),
        })
    }

    /// Writes `x` with weighted channels, plus `residual`, which has the same shape, to `y`. `x` is
    /// in values, the other two are in values or in bytes.
    pub fn forward_plus(
        &self,
        x: &Map,
        residual: &Map,
        y: &mut Map,
        between: &mut Squeezed,
    ) -> Result<()> {
        let [means, hidden, weights] = &mut between.0;
        self.mean.forward(x, means)?;
        self.squeeze.forward(means, hidden)?;
        self.excite.forward(hidden, means)?;
        weights.fill_from(means.shape(), None, means, |weights: &mut [f32], x: &[f32]| {
            for (weight, x) in weights.iter_mut().zip(x) {
                *weight = 1.0 / (1.0 + (-x).exp());
            }
        })?;
        if residual.shape() != x.shape() {
            bail!("a residual of {:?} for {:?}", residual.shape(), x.shape());
        }
        match (residual.range(), self.output) {
            (None, None) => {
                self.weigh::<f32>(x, weights, residual, [1.0, 1.0, 0.0], y)?;
            }
            (Some(range), Some(output)) => {
                let [factor, summand] = range.in_steps_of(output);
                let line = [1.0 / output.scale, factor, summand + output.zero_stored()];
                self.weigh::<u8>(x, weights, residual, line, y)?;
            }
            ranges => bail!("a residual and a sum of different forms: {ranges:?}"),
        }
        self.watch.see(Some(x), y)
    }

    fn weigh<T: Element>(
        &self,
        x: &Map,
        weights: &Map,
        residual: &Map,
        line: [f32; 3],
        y: &mut Map,
    ) -> Result<()> {
        let (height, width, _) = x.shape();
        let pixels = height * width;
        weights.read(|weights| {
            y.fill_from_two(x.shape(), self.output, (x, residual), |output: &mut [T], map, plus| {
                self.level.run(Weigh { map, pixels, weights, plus, line, output });
            })
        })?
    }
}

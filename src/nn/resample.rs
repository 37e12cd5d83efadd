//! Halving and doubling of activation maps.

use super::Map;
use super::kernel::{AddDoubled, HalveByMaximum};
use super::level::Level;
use candle_core::{Result, bail};

/// 2×2 maximum, stride 2, and its counterpart.
pub struct Resampler(pub Level);

impl Resampler {
    /// `y` becomes the maxima of 2×2 pixels of `x`, whose sides must be even.
    pub fn halve(&self, x: &Map, y: &mut Map) -> Result<()> {
        let (height, width, channels) = x.shape();
        if height % 2 != 0 || width % 2 != 0 {
            bail!("max-pool needs even sides, got {height}x{width}");
        }
        let rows = x.blocks() * height;
        x.expect_range(None)?;
        y.fill_from((height / 2, width / 2, channels), None, x, |output: &mut [f32], input| {
            self.0.run(HalveByMaximum { input, height: rows, width, output });
        })
    }

    /// Adds to `fine` the map of half its sides, doubled by repetition.
    pub fn add_doubled(&self, coarse: &Map, fine: &mut Map) -> Result<()> {
        let (height, width, channels) = fine.shape();
        if height % 2 != 0 || width % 2 != 0 || coarse.shape() != (height / 2, width / 2, channels)
        {
            bail!("{:?} cannot be added doubled to {:?}", coarse.shape(), fine.shape());
        }
        let rows = fine.blocks() * height;
        fine.expect_range(None)?;
        coarse.expect_range(None)?;
        fine.update_by(coarse, |fine: &mut [f32], coarse| {
            self.0.run(AddDoubled { fine, height: rows, width, coarse });
        })
    }
}

//! Halving and doubling of activation maps.

use super::Map;
use super::kernel::{AddDoubled, HalveByMaximum, Range};
use super::level::Level;
use super::map::Element;
use candle_core::{Result, bail};

/// 2×2 maximum with stride 2, and doubling by repetition.
pub struct Resampler(pub Level);

impl Resampler {
    /// Writes the maxima of 2×2 pixels of `x`, whose sides must be even, to `y`. Bytes stay bytes.
    pub fn halve(&self, x: &Map, y: &mut Map) -> Result<()> {
        match x.range() {
            None => self.halve_cells::<f32>(x, y),
            Some(_) => self.halve_cells::<u8>(x, y),
        }
    }

    fn halve_cells<T: Element>(&self, x: &Map, y: &mut Map) -> Result<()> {
        let (height, width, channels) = x.shape();
        if height % 2 != 0 || width % 2 != 0 {
            bail!("max-pool needs even sides, got {height}x{width}");
        }
        let rows = x.blocks() * height;
        let shape = (height / 2, width / 2, channels);
        y.fill_from(shape, x.range(), x, |output: &mut [T], input| {
            self.0.run(HalveByMaximum { input, height: rows, width, output });
        })
    }

    /// Adds to `fine` the map of half its sides, doubled by repetition. The sum of bytes is in
    /// `range`; if there is a range, both maps are in bytes.
    pub fn add_doubled(&self, coarse: &Map, fine: &mut Map, range: Option<Range>) -> Result<()> {
        match (coarse.range(), fine.range(), range) {
            (None, None, None) => self.add_cells::<f32>(coarse, fine, [1.0, 1.0, 0.0]),
            (Some(coarse_range), Some(fine_range), Some(range)) => {
                let [coarse_factor, coarse_summand] = coarse_range.in_steps_of(range);
                let [fine_factor, fine_summand] = fine_range.in_steps_of(range);
                let summand = coarse_summand + fine_summand + range.zero_stored();
                let line = [fine_factor, coarse_factor, summand];
                self.add_cells::<u8>(coarse, fine, line)?;
                fine.reinterpret(range);
                Ok(())
            }
            ranges => bail!("maps of different forms, or another sum: {ranges:?}"),
        }
    }

    fn add_cells<T: Element>(&self, coarse: &Map, fine: &mut Map, line: [f32; 3]) -> Result<()> {
        let (height, width, channels) = fine.shape();
        if height % 2 != 0 || width % 2 != 0 || coarse.shape() != (height / 2, width / 2, channels)
        {
            bail!("{:?} cannot be added doubled to {:?}", coarse.shape(), fine.shape());
        }
        let rows = fine.blocks() * height;
        fine.update_by(coarse, |fine: &mut [T], coarse| {
            self.0.run(AddDoubled { fine, height: rows, width, coarse, line });
        })
    }
}

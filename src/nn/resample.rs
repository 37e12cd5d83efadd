//! Halving and doubling of activation maps.

use super::values;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, bail};

/// 2×2 maximum, stride 2; sides must be even.
pub struct MaxPool2;

impl CustomOp1 for MaxPool2 {
    fn name(&self) -> &'static str {
        "max-pool-2x2"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (height, width, channels) = layout.shape().dims3()?;
        if height % 2 != 0 || width % 2 != 0 {
            bail!("max-pool needs even sides, got {height}x{width}");
        }
        let x = values(storage, layout)?;
        let (out_height, out_width) = (height / 2, width / 2);
        let mut y = Vec::with_capacity(out_height * out_width * channels);
        for oy in 0..out_height {
            let (upper, lower) =
                x[2 * oy * width * channels..][..2 * width * channels].split_at(width * channels);
            for ox in 0..out_width {
                let pair = 2 * ox * channels..(2 * ox + 2) * channels;
                let (a, b) = upper[pair.clone()].split_at(channels);
                let (c, d) = lower[pair].split_at(channels);
                y.extend(a.iter().zip(b).zip(c.iter().zip(d)).map(|((a, b), (c, d))| {
                    let (top, bottom) = (a.max(*b), c.max(*d));
                    top.max(bottom)
                }));
            }
        }
        Ok((CpuStorage::F32(y), Shape::from((out_height, out_width, channels))))
    }
}

/// The first map plus the second, which has half its sides, doubled by repetition.
pub struct UpsampleAdd;

impl CustomOp2 for UpsampleAdd {
    fn name(&self) -> &'static str {
        "upsample-add"
    }

    fn cpu_fwd(
        &self,
        fine: &CpuStorage,
        fine_layout: &Layout,
        coarse: &CpuStorage,
        coarse_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (height, width, channels) = fine_layout.shape().dims3()?;
        if coarse_layout.shape().dims3()? != (height / 2, width / 2, channels) {
            bail!("upsample-add of {:?} and {:?}", fine_layout.shape(), coarse_layout.shape());
        }
        let (fine, coarse) = (values(fine, fine_layout)?, values(coarse, coarse_layout)?);
        let mut y = Vec::with_capacity(fine.len());
        for row in 0..height {
            for column in 0..width {
                let at = (row * width + column) * channels;
                let from = (row / 2 * (width / 2) + column / 2) * channels;
                let pair = fine[at..at + channels].iter().zip(&coarse[from..from + channels]);
                y.extend(pair.map(|(a, b)| a + b));
            }
        }
        Ok((CpuStorage::F32(y), Shape::from((height, width, channels))))
    }
}

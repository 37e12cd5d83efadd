//! Bias and activation, added to the result of a matrix product in place.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, bail};

/// What follows a layer's sum.
#[derive(Clone, Debug)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(x, 0).
    Relu,
    /// x, or x times the channel's slope below zero.
    PRelu(Vec<f32>),
}

impl Activation {
    /// Applies to the channels of one pixel.
    pub(super) fn apply(&self, pixel: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Relu => pixel.iter_mut().for_each(|x| *x = x.max(0.0)),
            Self::PRelu(slopes) => {
                for (x, slope) in pixel.iter_mut().zip(slopes) {
                    *x = x.max(0.0) + slope * x.min(0.0);
                }
            }
        }
    }
}

/// Adds the bias to each pixel, then applies the activation.
pub(super) struct Epilogue<'a> {
    pub bias: &'a [f32],
    pub activation: &'a Activation,
}

impl InplaceOp1 for Epilogue<'_> {
    fn name(&self) -> &'static str {
        "epilogue"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("the epilogue needs a contiguous tensor, got {layout:?}");
        };
        let CpuStorage::F32(values) = storage else { bail!("the epilogue needs f32") };
        for pixel in values[start..end].chunks_exact_mut(self.bias.len()) {
            for (x, bias) in pixel.iter_mut().zip(self.bias) {
                *x += bias;
            }
            self.activation.apply(pixel);
        }
        Ok(())
    }
}

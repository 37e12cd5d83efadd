//! Weights from GGUF and the operators of our networks, on candle tensors. Knows tensors, not faces.
//!
//! Terms. An *activation map* is a tensor `[height, width, channels]` of f32, channels fastest
//! (NHWC without the N: one picture at a time). A *pointwise* convolution is 1×1, a *depthwise*
//! one has one 3×3 filter a channel, a *dense* one is an ordinary 3×3.
//!
//! Convolutions run as candle matrix products and a few custom operators, because candle's own
//! grouped convolution is split, convolved and joined group by group, which is 15–40 times slower.

mod activation;
mod depthwise;
mod matrix;
mod resample;
mod weights;
mod whole_map;

pub use activation::Activation;
pub use depthwise::Depthwise;
pub use matrix::{Dense, Linear, Pointwise};
pub use resample::{MaxPool2, UpsampleAdd};
pub use weights::{Weights, WeightsError};
pub use whole_map::{SqueezeExcite, WholeDepthwise};

use candle_core::{CpuStorage, Layout, Result, bail};

/// The f32 values behind a contiguous tensor argument of a custom operator.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the operator needs a contiguous tensor, got {layout:?}"),
    }
}

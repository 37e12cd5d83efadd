//! Weights from GGUF and the operators of our networks, on candle tensors. Knows tensors, not faces.
//!
//! Terms. An *activation map* ([`Map`]) is `[height, width, channels]` of one picture, stored as
//! planes of sixteen channels. A *pointwise* convolution is 1×1; a *depthwise* one has one 3×3
//! filter per channel; the *stem* is the first layer, an ordinary 3×3 convolution over the
//! picture's pixels. A *level* is a set of vector instructions of a processor.
//!
//! A forward pass is a sequence of in-place operators between maps of an earlier pass ([`Pool`]):
//! once warm, it allocates nothing, and the same picture gives the same bits. The operators are our
//! own for two reasons: candle's grouped convolution is split, convolved and joined group by group,
//! and its matrix product needs another pixel order than an efficient depthwise filter.
//!
//! [`Rows`] are separate from networks: vectors that are searched by their product with another
//! vector.

mod activation;
mod depthwise;
mod kernel;
mod lanes;
mod level;
mod linear;
mod map;
mod memory;
mod pointwise;
mod pool;
mod resample;
mod rows;
mod spans;
mod stem;
mod weights;
mod whole_map;

pub use activation::Activation;
pub use depthwise::Depthwise;
pub use kernel::Range;
pub use level::{Level, LevelError};
pub use linear::{Linear, Projection, with_values};
pub use map::{Bordered, Map};
pub use memory::give_back_large_buffers;
pub use pointwise::Pointwise;
pub use pool::Pool;
pub use resample::Resampler;
pub use rows::{Rows, dot};
pub use spans::Spans;
pub use stem::{PixelFormat, Pixels, Stem};
pub use weights::{Weights, WeightsError};
pub use whole_map::{SqueezeExcite, Squeezed, WholeDepthwise};

#[cfg(test)]
mod tests;

//! Weights from GGUF and the operators of our networks, on candle tensors. Knows tensors, not faces.
//!
//! Terms. An *activation map* ([`Map`]) is `[height, width, channels]` of one picture, kept as planes
//! of sixteen channels. A *pointwise* convolution is 1×1, a *depthwise* one has one 3×3 filter a
//! channel, the *stem* is the first, ordinary 3×3 over the picture's pixels. A *level* is what a
//! processor can do at once.
//!
//! A forward pass is a row of in-place operators between maps that were made by an earlier one
//! ([`Pool`]): warm, it allocates nothing, and the same picture gives the same bits. Operators are
//! our own because candle's grouped convolution is split, convolved and joined group by group, and
//! its matrix product asks for pixels in another order than a depthwise filter likes them.
//!
//! [`Rows`] are apart from networks: vectors that are found by their product with another.

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

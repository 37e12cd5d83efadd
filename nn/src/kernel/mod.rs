//! The inner loops, over plain slices: each kernel is a struct of its operands, and runs on a
//! level.
//!
//! Terms. A *plane* holds one block of channels of a map, pixel after pixel, row after row: a map
//! of 40 channels is three planes, the last padded with zeros. A pixel's next block is in the next
//! plane.
#![allow(unsafe_code, reason = "pointers, checked against the slices before the loops")]

mod byte_depthwise;
mod byte_multiply;
mod byte_scan;
mod depthwise;
mod multiply;
mod pixels;
mod reduce;
mod resample;
mod rounding;
mod whole_map;

pub(super) use byte_depthwise::{ByteDepthwise, ByteFilters};
pub(super) use byte_multiply::{ByteMatrix, ByteMultiply, Residual};
pub(super) use byte_scan::{ByteScan, ByteVector, GROUP, Group, QUAD, Quads, ZERO};
pub(super) use depthwise::{DepthwiseRows, Filters};
pub(super) use multiply::{Matrix, Multiply, Taps};
pub(super) use pixels::Scale;
pub(super) use reduce::{BytesTimes, Q8_0};
pub(super) use resample::{AddDoubled, HalveByMaximum};
pub use rounding::Range;
pub(super) use rounding::{Cell, Rounding};
pub(super) use whole_map::{Weigh, WholeMap};

use super::lanes::Lanes;

/// # Safety
/// The processor has the level of `V`.
#[inline(always)]
unsafe fn prelu<V: Lanes>(x: V, slope: V) -> V {
    // SAFETY: the caller guarantees it.
    unsafe {
        let zero = V::splat(0.0);
        x.smallest(zero).times_plus(slope, x.largest(zero))
    }
}

#[cfg(test)]
pub(super) mod tests;

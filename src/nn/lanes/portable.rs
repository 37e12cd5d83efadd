//! Plain Rust, for every processor.

use super::{BLOCK, Lanes};
use std::array::from_fn;

#[derive(Clone, Copy)]
pub(in crate::nn) struct Portable([f32; BLOCK]);

// SAFETY (all): the caller vouches for the pointers, see `Lanes`; any processor will do.
impl Lanes for Portable {
    const TILE: usize = 2;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { from.cast::<[f32; BLOCK]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; BLOCK]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; BLOCK])
    }
    #[inline(always)]
    unsafe fn times_plus(self, by: Self, and: Self) -> Self {
        Self(from_fn(|i| self.0[i] * by.0[i] + and.0[i]))
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn largest(self, other: Self) -> Self {
        Self(from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn smallest(self, other: Self) -> Self {
        Self(from_fn(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const i8) -> Self {
        let bytes = unsafe { from.cast::<[i8; BLOCK]>().read() };
        Self(bytes.map(f32::from))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0.iter().sum()
    }
}

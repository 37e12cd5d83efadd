//! Four registers of NEON, which every aarch64 has.

use super::Lanes;
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(in crate::nn) struct Neon([float32x4_t; 4]);

/// The same on each of the four registers.
macro_rules! each {
    ($quarter:ident) => {
        Self([$quarter(0), $quarter(1), $quarter(2), $quarter(3)])
    };
}

// SAFETY (all): the caller vouches for the processor and the pointers, see `Lanes`.
impl Lanes for Neon {
    const TILE: usize = 6;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        let quarter = |i: usize| unsafe { vld1q_f32(from.add(4 * i)) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for i in 0..4 {
            unsafe { vst1q_f32(to.add(4 * i), self.0[i]) }
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([unsafe { vdupq_n_f32(value) }; 4])
    }
    #[inline(always)]
    unsafe fn times_plus(self, by: Self, and: Self) -> Self {
        let quarter = |i: usize| unsafe { vfmaq_f32(and.0[i], self.0[i], by.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        let quarter = |i: usize| unsafe { vaddq_f32(self.0[i], other.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn largest(self, other: Self) -> Self {
        let quarter = |i: usize| unsafe { vmaxq_f32(self.0[i], other.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn smallest(self, other: Self) -> Self {
        let quarter = |i: usize| unsafe { vminq_f32(self.0[i], other.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const i8) -> Self {
        unsafe {
            let bytes = vld1q_s8(from);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes)));
            Self([
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))),
            ])
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let [a, b, c, d] = self.0;
            vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)))
        }
    }
}

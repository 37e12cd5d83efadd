//! Four registers of NEON, which every aarch64 has. Products of bytes use `sdot` on processors that
//! have it, and widening multiplications on others (Cortex-A72).
//!
//! Without `sdot`, the factors are in pairs: for eight lanes the first two bytes of each in one
//! register, the second two in the next, then the same for the other eight. So one multiplication
//! adds to the sums of another, and one addition serves both.

use super::Lanes;
use std::arch::aarch64::*;
use std::arch::asm;

/// `DOT`: the processor has `sdot`.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool>([float32x4_t; 4]);

/// The same on each of the four registers.
macro_rules! each {
    ($quarter:ident) => {
        Self([$quarter(0), $quarter(1), $quarter(2), $quarter(3)])
    };
}

impl<const DOT: bool> Lanes for Neon<DOT> {
    const TILE: usize = 6;
    // Sums, pixels and weights fit in 32 registers.
    const BYTE_TILE: usize = if DOT { 5 } else { 4 };

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees the level and sixteen values at `from`.
        let quarter = |i: usize| unsafe { vld1q_f32(from.add(4 * i)) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for i in 0..4 {
            // SAFETY: the caller guarantees the level and sixteen values to write at `to`.
            unsafe { vst1q_f32(to.add(4 * i), self.0[i]) }
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self([vdupq_n_f32(value); 4]) }
    }
    #[inline(always)]
    unsafe fn times_plus(self, by: Self, and: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let quarter = |i: usize| unsafe { vfmaq_f32(and.0[i], self.0[i], by.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let quarter = |i: usize| unsafe { vaddq_f32(self.0[i], other.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn largest(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let quarter = |i: usize| unsafe { vmaxq_f32(self.0[i], other.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn smallest(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let quarter = |i: usize| unsafe { vminq_f32(self.0[i], other.0[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const i8) -> Self {
        // SAFETY: the caller guarantees the level and sixteen bytes at `from`.
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
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe {
            let [a, b, c, d] = self.0;
            let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            vaddv_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
        }
    }

    type Sums = [int32x4_t; 4];
    type Quads = [int8x16_t; 4];
    type Pixel = int8x16_t;
    const SHIFT: i32 = 128;

    #[inline(always)]
    unsafe fn scaled_sums(from: *const i32, by: i32) -> [int32x4_t; 4] {
        // SAFETY: the caller guarantees the level and sixteen values at `from`.
        let quarter = |i: usize| unsafe { vmulq_n_s32(vld1q_s32(from.add(4 * i)), by) };
        [quarter(0), quarter(1), quarter(2), quarter(3)]
    }
    #[inline(always)]
    unsafe fn quads(from: *const i8) -> [int8x16_t; 4] {
        // SAFETY: the caller guarantees the level and 64 bytes at `from`.
        let quarter = |i: usize| unsafe { vld1q_s8(from.add(16 * i)) };
        let quads = [quarter(0), quarter(1), quarter(2), quarter(3)];
        if DOT {
            return quads;
        }
        // SAFETY: the caller guarantees the level; only registers are used.
        let [a, b, c, d] = quads.map(|quad| unsafe { vreinterpretq_s16_s8(quad) });
        // SAFETY: the caller guarantees the level; only registers are used.
        let pairs =
            unsafe { [vuzp1q_s16(a, b), vuzp2q_s16(a, b), vuzp1q_s16(c, d), vuzp2q_s16(c, d)] };
        // SAFETY: the caller guarantees the level; only registers are used.
        pairs.map(|pairs| unsafe { vreinterpretq_s8_s16(pairs) })
    }
    #[inline(always)]
    unsafe fn pixel(from: *const u8) -> int8x16_t {
        // SAFETY: the caller guarantees the level and sixteen bytes at `from`.
        unsafe { shifted(vld1q_u8(from)) }
    }
    #[inline(always)]
    unsafe fn turned(from: *const u8) -> [int8x16_t; 4] {
        // SAFETY: the caller guarantees the level and 64 bytes at `from`.
        unsafe {
            let pixel = |i: usize| shifted(vld1q_u8(from.add(16 * i)));
            let (a, b, c, d) = (pixel(0), pixel(1), pixel(2), pixel(3));
            let words = |bytes: int8x16_t| vreinterpretq_s16_s8(bytes);
            let (ab, cd) = (words(vzip1q_s8(a, b)), words(vzip1q_s8(c, d)));
            let (ab_high, cd_high) = (words(vzip2q_s8(a, b)), words(vzip2q_s8(c, d)));
            if !DOT {
                return [ab, cd, ab_high, cd_high].map(|pairs| vreinterpretq_s8_s16(pairs));
            }
            [
                vreinterpretq_s8_s16(vzip1q_s16(ab, cd)),
                vreinterpretq_s8_s16(vzip2q_s16(ab, cd)),
                vreinterpretq_s8_s16(vzip1q_s16(ab_high, cd_high)),
                vreinterpretq_s8_s16(vzip2q_s16(ab_high, cd_high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot(
        sums: [int32x4_t; 4],
        x: [int8x16_t; 4],
        weights: [int8x16_t; 4],
    ) -> [int32x4_t; 4] {
        if DOT {
            // SAFETY: the caller guarantees the level, which has `dotprod` where `DOT` is true.
            let quarter = |i: usize| unsafe { sdot(sums[i], x[i], weights[i]) };
            return [quarter(0), quarter(1), quarter(2), quarter(3)];
        }
        // Two products, each at most 128 · 127, fit 16 bits; pairs of such sums are added in 32.
        // SAFETY: the caller guarantees the level; only registers are used.
        let low = |i: usize| unsafe {
            let first = vmull_s8(vget_low_s8(x[i]), vget_low_s8(weights[i]));
            vmlal_s8(first, vget_low_s8(x[i + 1]), vget_low_s8(weights[i + 1]))
        };
        // SAFETY: the caller guarantees the level; only registers are used.
        let high = |i: usize| unsafe {
            vmlal_high_s8(vmull_high_s8(x[i], weights[i]), x[i + 1], weights[i + 1])
        };
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe {
            [
                vpadalq_s16(sums[0], low(0)),
                vpadalq_s16(sums[1], high(0)),
                vpadalq_s16(sums[2], low(2)),
                vpadalq_s16(sums[3], high(2)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot_same<const QUAD: usize>(
        sums: [int32x4_t; 4],
        pixel: int8x16_t,
        weights: [int8x16_t; 4],
    ) -> [int32x4_t; 4] {
        if DOT {
            // SAFETY: the caller guarantees the level, which has `dotprod` where `DOT` is true.
            let quarter = |i: usize| unsafe { sdot_same::<QUAD>(sums[i], weights[i], pixel) };
            return [quarter(0), quarter(1), quarter(2), quarter(3)];
        }
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe {
            let pairs = vreinterpretq_s16_s8(pixel);
            let (first, second) = match QUAD {
                0 => (vdupq_laneq_s16::<0>(pairs), vdupq_laneq_s16::<1>(pairs)),
                1 => (vdupq_laneq_s16::<2>(pairs), vdupq_laneq_s16::<3>(pairs)),
                2 => (vdupq_laneq_s16::<4>(pairs), vdupq_laneq_s16::<5>(pairs)),
                _ => (vdupq_laneq_s16::<6>(pairs), vdupq_laneq_s16::<7>(pairs)),
            };
            let (first, second) = (vreinterpretq_s8_s16(first), vreinterpretq_s8_s16(second));
            Self::dot(sums, [first, second, first, second], weights)
        }
    }
    #[inline(always)]
    unsafe fn values(sums: [int32x4_t; 4]) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let quarter = |i: usize| unsafe { vcvtq_f32_s32(sums[i]) };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn fused(self, by: Self, and: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { self.times_plus(by, and) }
    }
    #[inline(always)]
    unsafe fn choose(self, limit: Self, above: Self, below: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let quarter = |i: usize| unsafe {
            vbslq_f32(vcgtq_f32(self.0[i], limit.0[i]), above.0[i], below.0[i])
        };
        each!(quarter)
    }
    #[inline(always)]
    unsafe fn reaching(self, limit: Self) -> u16 {
        // SAFETY: the caller guarantees the level; four values are read from an array of four.
        unsafe {
            let bits = vld1q_u32([1, 2, 4, 8].as_ptr());
            let quarter = |i: usize| {
                let bits = vandq_u32(vcgeq_f32(self.0[i], limit.0[i]), bits);
                (vaddvq_u32(bits) as u16) << (4 * i)
            };
            quarter(0) | quarter(1) | quarter(2) | quarter(3)
        }
    }
    #[inline(always)]
    unsafe fn load_unsigned(from: *const u8) -> Self {
        // SAFETY: the caller guarantees the level and sixteen bytes at `from`.
        unsafe {
            let bytes = vld1q_u8(from);
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)));
            Self([
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                vcvtq_f32_u32(vmovl_u16(vget_high_u16(high))),
            ])
        }
    }
    #[inline(always)]
    unsafe fn store_shifted(self, to: *mut u8) {
        // SAFETY: the caller guarantees the level and sixteen bytes to write at `to`.
        unsafe {
            // Each of these rounds or saturates.
            let quarter = |i: usize| vqmovn_s32(vcvtnq_s32_f32(self.0[i]));
            let half = |i: usize| vqmovn_s16(vcombine_s16(quarter(i), quarter(i + 1)));
            let bytes = vreinterpretq_u8_s8(vcombine_s8(half(0), half(2)));
            vst1q_u8(to, veorq_u8(bytes, vdupq_n_u8(0x80)));
        }
    }
}

/// Subtracts 128 from bytes.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn shifted(bytes: uint8x16_t) -> int8x16_t {
    // SAFETY: the caller guarantees the level; only registers are used.
    unsafe { vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80))) }
}

/// Adds four signed products to each sum. The intrinsic is not stable.
///
/// # Safety
/// The processor has `dotprod`.
#[inline(always)]
unsafe fn sdot(mut sums: int32x4_t, x: int8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: the caller guarantees it; only registers are used.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {x:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums,
            x = in(vreg) x,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// The same with four bytes of `x` for every sum.
///
/// # Safety
/// The processor has `dotprod`.
#[inline(always)]
unsafe fn sdot_same<const QUAD: usize>(
    mut sums: int32x4_t,
    weights: int8x16_t,
    x: int8x16_t,
) -> int32x4_t {
    // SAFETY: the caller guarantees it; only registers are used.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.4b[{quad}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            quad = const QUAD,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

//! Plain Rust, for every processor.

use super::{BLOCK, Lanes};
use std::array::from_fn;

/// 2²³ + 2²²: near this number, f32 represents only integers.
const ROUNDING: f32 = 12_582_912.0;

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; BLOCK]);

// Any processor has this level, so the caller only has to guarantee the pointers.
impl Lanes for Portable {
    const TILE: usize = 2;
    const BYTE_TILE: usize = 2;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees sixteen values at `from`; any alignment will do.
        unsafe { Self(from.cast::<[f32; BLOCK]>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees sixteen values to write at `to`; any alignment will do.
        unsafe { to.cast::<[f32; BLOCK]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; BLOCK])
    }
    #[inline(always)]
    unsafe fn times_plus(self, by: Self, and: Self) -> Self {
        // Emulates a fused multiply-add: the product is exact in f64, and the rounding of the sum
        // changes the f32 result only once in 2²⁹, so that a picture gives the same bits as on
        // processors with FMA.
        Self(from_fn(|i| (f64::from(self.0[i]) * f64::from(by.0[i]) + f64::from(and.0[i])) as f32))
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
        // SAFETY: the caller guarantees sixteen bytes at `from`.
        let bytes = unsafe { from.cast::<[i8; BLOCK]>().read() };
        Self(bytes.map(f32::from))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut sums = self.0;
        for half in [8, 4, 2, 1] {
            (0..half).for_each(|i| sums[i] += sums[i + half]);
        }
        sums[0]
    }

    type Sums = [i32; BLOCK];
    /// Integers stored as f32. Without our levels, x86-64 processors multiply f32 faster than
    /// integers, and four products of bytes are exact in f32.
    type Quads = [[f32; 4]; BLOCK];
    type Pixel = [f32; BLOCK];
    const SHIFT: i32 = 0;

    #[inline(always)]
    unsafe fn scaled_sums(from: *const i32, by: i32) -> [i32; BLOCK] {
        // SAFETY: the caller guarantees sixteen values at `from`; any alignment will do.
        let sums = unsafe { from.cast::<[i32; BLOCK]>().read_unaligned() };
        sums.map(|sum| sum.wrapping_mul(by))
    }
    #[inline(always)]
    unsafe fn quads(from: *const i8) -> [[f32; 4]; BLOCK] {
        // SAFETY: the caller guarantees 64 bytes at `from`.
        let quads = unsafe { from.cast::<[[i8; 4]; BLOCK]>().read() };
        quads.map(|quad| quad.map(f32::from))
    }
    #[inline(always)]
    unsafe fn pixel(from: *const u8) -> [f32; BLOCK] {
        // SAFETY: the caller guarantees sixteen bytes at `from`.
        let bytes = unsafe { from.cast::<[u8; BLOCK]>().read() };
        bytes.map(f32::from)
    }
    #[inline(always)]
    unsafe fn turned(from: *const u8) -> [[f32; 4]; BLOCK] {
        // SAFETY: the caller guarantees 64 bytes at `from`.
        let pixels = unsafe { from.cast::<[[u8; BLOCK]; 4]>().read() };
        from_fn(|channel| from_fn(|pixel| pixels[pixel][channel].into()))
    }
    #[inline(always)]
    unsafe fn dot(
        sums: [i32; BLOCK],
        x: [[f32; 4]; BLOCK],
        weights: [[f32; 4]; BLOCK],
    ) -> [i32; BLOCK] {
        from_fn(|i| plus_products(sums[i], x[i], weights[i]))
    }
    #[inline(always)]
    unsafe fn dot_same<const QUAD: usize>(
        sums: [i32; BLOCK],
        pixel: [f32; BLOCK],
        weights: [[f32; 4]; BLOCK],
    ) -> [i32; BLOCK] {
        let x = from_fn(|i| pixel[4 * QUAD + i]);
        from_fn(|i| plus_products(sums[i], x, weights[i]))
    }
    #[inline(always)]
    unsafe fn values(sums: [i32; BLOCK]) -> Self {
        Self(sums.map(|sum| sum as f32))
    }
    #[inline(always)]
    unsafe fn fused(self, by: Self, and: Self) -> Self {
        Self(from_fn(|i| self.0[i].mul_add(by.0[i], and.0[i])))
    }
    #[inline(always)]
    unsafe fn choose(self, limit: Self, above: Self, below: Self) -> Self {
        Self(from_fn(|i| if self.0[i] > limit.0[i] { above.0[i] } else { below.0[i] }))
    }
    #[inline(always)]
    unsafe fn reaching(self, limit: Self) -> u16 {
        (0..BLOCK).fold(0, |lanes, i| lanes | u16::from(self.0[i] >= limit.0[i]) << i)
    }
    #[inline(always)]
    unsafe fn load_unsigned(from: *const u8) -> Self {
        // SAFETY: the caller guarantees sixteen bytes at `from`.
        let bytes = unsafe { from.cast::<[u8; BLOCK]>().read() };
        Self(bytes.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store_shifted(self, to: *mut u8) {
        // A cast to i8 saturates.
        let byte = |x: f32| (x.round_ties_even() as i8).cast_unsigned() ^ 0x80;
        // SAFETY: the caller guarantees sixteen bytes to write at `to`.
        unsafe { to.cast::<[u8; BLOCK]>().write(self.0.map(byte)) }
    }
}

/// sum + x · weights
#[inline(always)]
fn plus_products(sum: i32, x: [f32; 4], weights: [f32; 4]) -> i32 {
    let [a, b, c, d] = weights;
    let products = x[0] * a + x[1] * b + x[2] * c + x[3] * d;
    // Same result as a cast, which would also check for overflow: after adding 2²³ + 2²², the sum
    // is in the low bits.
    let whole = (products + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits());
    sum.wrapping_add(whole.cast_signed())
}

//! Sixteen f32 side by side, on every instruction level: the type that the kernels are written
//! with.
//!
//! A *block* is sixteen channels of one pixel. It takes one AVX-512 register, two of AVX2 or four
//! of NEON. The kernels have one source for all levels and are compiled once per level. The
//! portable level is the reference that the others are tested against.
//!
//! Every method is unsafe for two reasons: the processor must have the level's instructions, which
//! [`super::Level::run`] ensures, and a pointer must be valid for sixteen values, which the kernels
//! ensure.
#![allow(unsafe_code, reason = "instructions of one processor level")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;

/// Channels of a block.
pub(super) const BLOCK: usize = 16;

/// Sixteen values.
pub(super) trait Lanes: Copy {
    /// Pixels that the matrix kernel sums at once: limited by the registers.
    const TILE: usize;
    /// The same where bytes are multiplied.
    const BYTE_TILE: usize;

    /// # Safety
    /// The processor has the level; sixteen values can be read at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// The processor has the level; sixteen values can be written at `to`.
    unsafe fn store(self, to: *mut f32);
    /// # Safety
    /// The processor has the level.
    unsafe fn splat(value: f32) -> Self;
    /// self · by + and
    /// # Safety
    /// The processor has the level.
    unsafe fn times_plus(self, by: Self, and: Self) -> Self;
    /// # Safety
    /// The processor has the level.
    unsafe fn plus(self, other: Self) -> Self;
    /// # Safety
    /// The processor has the level.
    unsafe fn largest(self, other: Self) -> Self;
    /// # Safety
    /// The processor has the level.
    unsafe fn smallest(self, other: Self) -> Self;
    /// Sixteen signed bytes as f32.
    /// # Safety
    /// The processor has the level; sixteen bytes can be read at `from`.
    unsafe fn load_bytes(from: *const i8) -> Self;
    /// Returns the sum of the sixteen, in the same order on every level: the upper half is added to
    /// the lower one until one value is left.
    /// # Safety
    /// The processor has the level.
    unsafe fn sum(self) -> f32;

    /// Sixteen integers.
    type Sums: Copy;
    /// Sixteen times four bytes, in the level's own order; no weight is −128.
    type Quads: Copy;
    /// Sixteen bytes of one pixel, in the form for [`Lanes::dot_same`].
    type Pixel: Copy;
    /// The number that [`Lanes::pixel`] and [`Lanes::turned`] subtract from every byte they read:
    /// 0, or 128 on processors that multiply only signed bytes.
    const SHIFT: i32;

    /// from · by
    /// # Safety
    /// The processor has the level; sixteen values can be read at `from`.
    unsafe fn scaled_sums(from: *const i32, by: i32) -> Self::Sums;
    /// Weights.
    /// # Safety
    /// The processor has the level; 64 bytes can be read at `from`.
    unsafe fn quads(from: *const i8) -> Self::Quads;
    /// # Safety
    /// The processor has the level; sixteen bytes can be read at `from`, as long as the pixel is used.
    unsafe fn pixel(from: *const u8) -> Self::Pixel;
    /// Four pixels' blocks, transposed: for each channel its four pixels.
    /// # Safety
    /// The processor has the level; 64 bytes can be read at `from`.
    unsafe fn turned(from: *const u8) -> Self::Quads;
    /// Adds to each sum its four bytes of `x` times those of `weights`; exact.
    /// # Safety
    /// The processor has the level.
    unsafe fn dot(sums: Self::Sums, x: Self::Quads, weights: Self::Quads) -> Self::Sums;
    /// Adds to each sum the same four bytes of the pixel, those from 4 · `QUAD`, times those of
    /// `weights`; exact. `QUAD` is at most 3.
    /// # Safety
    /// The processor has the level; what [`Lanes::pixel`] read can still be read.
    unsafe fn dot_same<const QUAD: usize>(
        sums: Self::Sums,
        pixel: Self::Pixel,
        weights: Self::Quads,
    ) -> Self::Sums;
    /// # Safety
    /// The processor has the level.
    unsafe fn values(sums: Self::Sums) -> Self;
    /// self · by + and, rounded once on every level: for sums whose bits must not depend on the
    /// level.
    /// # Safety
    /// The processor has the level.
    unsafe fn fused(self, by: Self, and: Self) -> Self;
    /// For each lane `above` if self is greater than `limit`, else `below`.
    /// # Safety
    /// The processor has the level.
    unsafe fn choose(self, limit: Self, above: Self, below: Self) -> Self;
    /// Returns the lanes that are `limit` or greater: bit i for lane i.
    /// # Safety
    /// The processor has the level.
    unsafe fn reaching(self, limit: Self) -> u16;
    /// Sixteen unsigned bytes as f32.
    /// # Safety
    /// The processor has the level; sixteen bytes can be read at `from`.
    unsafe fn load_unsigned(from: *const u8) -> Self;
    /// Rounds to the nearest, ties to even, saturates to −128…127 and adds 128. Values lie within
    /// ±2³⁰.
    /// # Safety
    /// The processor has the level; sixteen bytes can be written at `to`.
    unsafe fn store_shifted(self, to: *mut u8);
    /// The same for four blocks, one after the other.
    /// # Safety
    /// The processor has the level; 64 bytes can be written at `to`.
    #[inline(always)]
    unsafe fn store_four_shifted(values: [Self; 4], to: *mut u8) {
        for (index, value) in values.into_iter().enumerate() {
            // SAFETY: the caller guarantees it.
            unsafe { value.store_shifted(to.add(index * BLOCK)) }
        }
    }
}

//! One register of AVX-512.

use super::Lanes;
use std::arch::asm;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

impl Lanes for Avx512 {
    const TILE: usize = 14;
    const BYTE_TILE: usize = 14;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees the level and sixteen values at `from`.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees the level and sixteen values to write at `to`.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn times_plus(self, by: Self, and: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm512_fmadd_ps(self.0, by.0, and.0)) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn largest(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn smallest(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const i8) -> Self {
        // SAFETY: the caller guarantees the level and sixteen bytes at `from`.
        unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    type Sums = __m512i;
    type Quads = __m512i;
    type Pixel = *const u8;
    const SHIFT: i32 = 0;

    #[inline(always)]
    unsafe fn scaled_sums(from: *const i32, by: i32) -> __m512i {
        // SAFETY: the caller guarantees the level and sixteen values at `from`.
        unsafe { _mm512_mullo_epi32(_mm512_loadu_si512(from.cast()), _mm512_set1_epi32(by)) }
    }
    #[inline(always)]
    unsafe fn quads(from: *const i8) -> __m512i {
        // SAFETY: the caller guarantees the level and 64 bytes at `from`.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn pixel(from: *const u8) -> *const u8 {
        from
    }
    #[inline(always)]
    unsafe fn turned(from: *const u8) -> __m512i {
        // SAFETY: the caller guarantees the level and 64 bytes at `from`.
        unsafe {
            // Moves four channels of the four pixels to each quarter, then transposes its bytes.
            let bytes = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let pixels = quarters(_mm512_loadu_si512(from.cast()));
            _mm512_shuffle_epi8(pixels, _mm512_broadcast_i32x4(bytes))
        }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, x: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { _mm512_dpbusd_epi32(sums, x, weights) }
    }
    #[inline(always)]
    unsafe fn dot_same<const QUAD: usize>(
        sums: __m512i,
        pixel: *const u8,
        weights: __m512i,
    ) -> __m512i {
        const { assert!(QUAD < 4, "a quad of the pixel") };
        // SAFETY: the caller guarantees the level and, since `pixel`, sixteen bytes at `pixel`;
        // these four are among them, as asserted.
        unsafe {
            let x = _mm512_set1_epi32(pixel.add(4 * QUAD).cast::<i32>().read_unaligned());
            Self::dot(sums, x, weights)
        }
    }
    #[inline(always)]
    unsafe fn values(sums: __m512i) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm512_cvtepi32_ps(sums)) }
    }
    #[inline(always)]
    unsafe fn fused(self, by: Self, and: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { self.times_plus(by, and) }
    }
    #[inline(always)]
    unsafe fn choose(self, limit: Self, above: Self, below: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe {
            let over = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, limit.0);
            Self(_mm512_mask_blend_ps(over, below.0, above.0))
        }
    }
    #[inline(always)]
    unsafe fn reaching(self, limit: Self) -> u16 {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, limit.0) }
    }
    #[inline(always)]
    unsafe fn load_unsigned(from: *const u8) -> Self {
        // SAFETY: the caller guarantees the level and sixteen bytes at `from`.
        unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn store_shifted(self, to: *mut u8) {
        // SAFETY: the caller guarantees the level and sixteen bytes to write at `to`.
        unsafe {
            let bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(self.0));
            _mm_storeu_si128(to.cast(), _mm_xor_si128(bytes, _mm_set1_epi8(i8::MIN)));
        }
    }
    #[inline(always)]
    unsafe fn store_four_shifted(values: [Self; 4], to: *mut u8) {
        // SAFETY: the caller guarantees the level and 64 bytes to write at `to`.
        unsafe {
            let [a, b, c, d] = values;
            let two = _mm512_packs_epi32(_mm512_cvtps_epi32(a.0), _mm512_cvtps_epi32(b.0));
            let more = _mm512_packs_epi32(_mm512_cvtps_epi32(c.0), _mm512_cvtps_epi32(d.0));
            // Each quarter has four channels of the four pixels.
            let bytes = quarters(_mm512_packs_epi16(two, more));
            let shifted = _mm512_xor_si512(bytes, _mm512_set1_epi8(i8::MIN));
            _mm512_storeu_si512(to.cast(), shifted);
        }
    }
}

/// Transposes four numbers of four quarters: the first of each goes to the first quarter, and so
/// on. As an intrinsic among other shuffles, LLVM makes nine instructions of these.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn quarters(values: __m512i) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let result;
    // SAFETY: the caller guarantees it; only registers are used.
    unsafe {
        asm!(
            "vpermd {result}, {order}, {values}",
            result = lateout(zmm_reg) result,
            order = in(zmm_reg) order,
            values = in(zmm_reg) values,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    result
}

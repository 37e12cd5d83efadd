//! Two registers of AVX2, with FMA.

use super::Lanes;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

impl Lanes for Avx2 {
    const TILE: usize = 6;
    const BYTE_TILE: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees the level and sixteen values at `from`.
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees the level and sixteen values to write at `to`.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let all = unsafe { _mm256_set1_ps(value) };
        Self(all, all)
    }
    #[inline(always)]
    unsafe fn times_plus(self, by: Self, and: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm256_fmadd_ps(self.0, by.0, and.0), _mm256_fmadd_ps(self.1, by.1, and.1)) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn largest(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn smallest(self, other: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const i8) -> Self {
        // SAFETY: the caller guarantees the level and sixteen bytes at `from`.
        unsafe {
            let half = |from: *const i8| {
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))
            };
            Self(half(from), half(from.add(8)))
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe {
            let eight = _mm256_add_ps(self.0, self.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    type Sums = [__m256i; 2];
    type Quads = [__m256i; 2];
    type Pixel = *const u8;
    const SHIFT: i32 = 0;

    #[inline(always)]
    unsafe fn scaled_sums(from: *const i32, by: i32) -> [__m256i; 2] {
        // SAFETY: the caller guarantees the level and sixteen values at `from`.
        unsafe {
            let by = _mm256_set1_epi32(by);
            [
                _mm256_mullo_epi32(_mm256_loadu_si256(from.cast()), by),
                _mm256_mullo_epi32(_mm256_loadu_si256(from.add(8).cast()), by),
            ]
        }
    }
    #[inline(always)]
    unsafe fn quads(from: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller guarantees the level and 64 bytes at `from`.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn pixel(from: *const u8) -> *const u8 {
        from
    }
    #[inline(always)]
    unsafe fn turned(from: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller guarantees the level and 64 bytes at `from`.
        unsafe {
            let pixel = |i: usize| _mm_loadu_si128(from.add(16 * i).cast());
            let (a, b, c, d) = (pixel(0), pixel(1), pixel(2), pixel(3));
            let (ab, cd) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
            let (ab_high, cd_high) = (_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d));
            [
                _mm256_set_m128i(_mm_unpackhi_epi16(ab, cd), _mm_unpacklo_epi16(ab, cd)),
                _mm256_set_m128i(
                    _mm_unpackhi_epi16(ab_high, cd_high),
                    _mm_unpacklo_epi16(ab_high, cd_high),
                ),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot(sums: [__m256i; 2], x: [__m256i; 2], weights: [__m256i; 2]) -> [__m256i; 2] {
        // Even and odd bytes apart, as 16 bits: `maddubs` would saturate.
        // SAFETY: the caller guarantees the level; only registers are used.
        let half = |sums: __m256i, x: __m256i, weights: __m256i| unsafe {
            let even = _mm256_madd_epi16(
                _mm256_and_si256(x, _mm256_set1_epi16(0xff)),
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)),
            );
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(weights));
            _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
        };
        [half(sums[0], x[0], weights[0]), half(sums[1], x[1], weights[1])]
    }
    #[inline(always)]
    unsafe fn dot_same<const QUAD: usize>(
        sums: [__m256i; 2],
        pixel: *const u8,
        weights: [__m256i; 2],
    ) -> [__m256i; 2] {
        const { assert!(QUAD < 4, "a quad of the pixel") };
        // SAFETY: the caller guarantees the level and, since `pixel`, sixteen bytes at `pixel`;
        // these four are among them, as asserted.
        unsafe {
            let x = [_mm256_set1_epi32(pixel.add(4 * QUAD).cast::<i32>().read_unaligned()); 2];
            Self::dot(sums, x, weights)
        }
    }
    #[inline(always)]
    unsafe fn values(sums: [__m256i; 2]) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { Self(_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])) }
    }
    #[inline(always)]
    unsafe fn fused(self, by: Self, and: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        unsafe { self.times_plus(by, and) }
    }
    #[inline(always)]
    unsafe fn choose(self, limit: Self, above: Self, below: Self) -> Self {
        // SAFETY: the caller guarantees the level; only registers are used.
        let half = |x, limit, above, below| unsafe {
            _mm256_blendv_ps(below, above, _mm256_cmp_ps::<_CMP_GT_OQ>(x, limit))
        };
        Self(half(self.0, limit.0, above.0, below.0), half(self.1, limit.1, above.1, below.1))
    }
    #[inline(always)]
    unsafe fn reaching(self, limit: Self) -> u16 {
        // SAFETY: the caller guarantees the level; only registers are used.
        let half =
            |x, limit| unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(x, limit)) as u16 };
        half(self.0, limit.0) | half(self.1, limit.1) << 8
    }
    #[inline(always)]
    unsafe fn load_unsigned(from: *const u8) -> Self {
        // SAFETY: the caller guarantees the level and sixteen bytes at `from`.
        unsafe {
            let half = |from: *const u8| {
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())))
            };
            Self(half(from), half(from.add(8)))
        }
    }
    #[inline(always)]
    unsafe fn store_shifted(self, to: *mut u8) {
        // SAFETY: the caller guarantees the level and sixteen bytes to write at `to`.
        unsafe {
            // Packing goes by halves of a register.
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            let bytes = _mm_xor_si128(_mm_packs_epi16(low, high), _mm_set1_epi8(i8::MIN));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
}

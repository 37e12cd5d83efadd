//! Halving and doubling of planes.

use super::rounding::Cell;
use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// 2×2 maximum, stride 2; all planes are stacked, so that `height` covers all of them.
pub(crate) struct HalveByMaximum<'a, T> {
    pub input: &'a [T],
    /// Rows of all planes together: even.
    pub height: usize,
    /// Even.
    pub width: usize,
    pub output: &'a mut [T],
}

impl<T: Cell> Kernel for HalveByMaximum<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { input, height, width, output } = self;
        assert!(height % 2 == 0 && width % 2 == 0, "even sides");
        assert_eq!(input.len(), height * width * BLOCK, "input of the maximum");
        assert_eq!(output.len() * 4, input.len(), "output of the maximum");
        if width == 0 {
            return;
        }
        let line = width * BLOCK;
        for (pair, to) in input.chunks_exact(2 * line).zip(output.chunks_exact_mut(line / 2)) {
            let (upper, lower) = pair.split_at(line);
            let pixels = upper.as_chunks().0.iter().zip(lower.as_chunks().0);
            for ((upper, lower), to) in pixels.zip(to.as_chunks_mut().0) {
                *to = largest(upper, lower);
            }
        }
    }
}

/// Returns the maximum of two rows of two pixels each.
#[inline(always)]
fn largest<T: Cell>(upper: &[T; 2 * BLOCK], lower: &[T; 2 * BLOCK]) -> [T; BLOCK] {
    std::array::from_fn(|channel| {
        let of = |row: &[T; 2 * BLOCK]| row[channel].larger(row[BLOCK + channel]);
        of(upper).larger(of(lower))
    })
}

/// Adds a map of half the sides, doubled by repetition, in place.
pub(crate) struct AddDoubled<'a, T> {
    pub fine: &'a mut [T],
    /// Rows of all planes together: even.
    pub height: usize,
    /// Even.
    pub width: usize,
    pub coarse: &'a [T],
    /// Factors of fine and coarse cells, and a summand, which convert the ranges of the two maps to
    /// steps of the sum's; 1, 1, 0 for values.
    pub line: [f32; 3],
}

impl<T: Cell> Kernel for AddDoubled<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { fine, height, width, coarse, line } = self;
        assert!(height % 2 == 0 && width % 2 == 0, "even sides");
        assert_eq!(fine.len(), height * width * BLOCK, "the fine map");
        assert_eq!(coarse.len() * 4, fine.len(), "the coarse map");
        if width == 0 {
            return;
        }
        let row_len = width * BLOCK;
        for (pair, from) in fine.chunks_exact_mut(2 * row_len).zip(coarse.chunks_exact(row_len / 2))
        {
            for row in pair.chunks_exact_mut(row_len) {
                for (pixels, from) in row.chunks_exact_mut(2 * BLOCK).zip(from.chunks_exact(BLOCK))
                {
                    // SAFETY: `pixels` has two pixels, `from` one; the caller guarantees the level.
                    unsafe {
                        let [fine, coarse, summand] = line.map(|x| V::splat(x));
                        let add = T::get::<V>(from.as_ptr()).fused(coarse, summand);
                        let to = pixels.as_mut_ptr();
                        T::put(T::get::<V>(to).fused(fine, add), to);
                        let to = to.add(BLOCK);
                        T::put(T::get::<V>(to).fused(fine, add), to);
                    }
                }
            }
        }
    }
}

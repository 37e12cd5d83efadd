//! Halving and doubling of planes.

use crate::nn::lanes::{BLOCK, Lanes};
use crate::nn::level::Kernel;

/// 2×2 maximum, stride 2; all planes one below the other, so that `height` is that of all.
pub(in crate::nn) struct HalveByMaximum<'a> {
    pub input: &'a [f32],
    /// Rows of all planes together: even.
    pub height: usize,
    /// Even.
    pub width: usize,
    pub output: &'a mut [f32],
}

impl Kernel for HalveByMaximum<'_> {
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
            let pixels =
                pair[..line].chunks_exact(2 * BLOCK).zip(pair[line..].chunks_exact(2 * BLOCK));
            for ((upper, lower), to) in pixels.zip(to.chunks_exact_mut(BLOCK)) {
                // SAFETY: each pair is two pixels long, `to` one; the level is the caller's.
                unsafe {
                    let upper = V::load(upper.as_ptr()).largest(V::load(upper[BLOCK..].as_ptr()));
                    let lower = V::load(lower.as_ptr()).largest(V::load(lower[BLOCK..].as_ptr()));
                    upper.largest(lower).store(to.as_mut_ptr());
                }
            }
        }
    }
}

/// Adds a map of half the sides, doubled by repetition, in place.
pub(in crate::nn) struct AddDoubled<'a> {
    pub fine: &'a mut [f32],
    /// Rows of all planes together: even.
    pub height: usize,
    /// Even.
    pub width: usize,
    pub coarse: &'a [f32],
}

impl Kernel for AddDoubled<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { fine, height, width, coarse } = self;
        assert!(height % 2 == 0 && width % 2 == 0, "even sides");
        assert_eq!(fine.len(), height * width * BLOCK, "the fine map");
        assert_eq!(coarse.len() * 4, fine.len(), "the coarse map");
        if width == 0 {
            return;
        }
        let line = width * BLOCK;
        for (pair, from) in fine.chunks_exact_mut(2 * line).zip(coarse.chunks_exact(line / 2)) {
            for row in pair.chunks_exact_mut(line) {
                for (pixels, from) in row.chunks_exact_mut(2 * BLOCK).zip(from.chunks_exact(BLOCK))
                {
                    // SAFETY: `pixels` is two pixels long, `from` one; the level is the caller's.
                    unsafe {
                        let add = V::load(from.as_ptr());
                        let to = pixels.as_mut_ptr();
                        V::load(to).plus(add).store(to);
                        V::load(to.add(BLOCK)).plus(add).store(to.add(BLOCK));
                    }
                }
            }
        }
    }
}

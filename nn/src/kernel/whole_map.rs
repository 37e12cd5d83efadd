//! Kernels over all pixels of a plane: their weighted sum, and one weight for all.

use super::rounding::Cell;
use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// The sum over the pixels of each channel, each pixel weighted.
pub(crate) struct WholeMap<'a> {
    /// Planes of `pixels` pixels.
    pub input: &'a [f32],
    pub pixels: usize,
    /// Has the shape of the input.
    pub taps: &'a [f32],
    /// One value per channel.
    pub bias: &'a [f32],
    pub output: &'a mut [f32],
}

impl Kernel for WholeMap<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { input, pixels, taps, bias, output } = self;
        assert_eq!(input.len(), output.len() * pixels, "the map");
        assert_eq!(taps.len(), input.len(), "the weights of the map");
        assert_eq!(bias.len(), output.len(), "bias");
        for (block, to) in output.chunks_exact_mut(BLOCK).enumerate() {
            // SAFETY: each pixel of each block lies within the slices, as asserted; the caller
            // guarantees the level.
            unsafe {
                let mut sum = V::load(bias.as_ptr().add(block * BLOCK));
                for pixel in block * pixels..(block + 1) * pixels {
                    let x = V::load(input.as_ptr().add(pixel * BLOCK));
                    sum = x.times_plus(V::load(taps.as_ptr().add(pixel * BLOCK)), sum);
                }
                sum.store(to.as_mut_ptr());
            }
        }
    }
}

/// Each channel times its weight, plus another map.
pub(crate) struct Weigh<'a, T> {
    /// Planes of `pixels` pixels.
    pub map: &'a [f32],
    pub pixels: usize,
    /// One value per channel.
    pub weights: &'a [f32],
    /// Has the shape of the map.
    pub plus: &'a [T],
    /// Factors of the map and of the cells of `plus`, and a summand, all in steps of the output; 1,
    /// 1, 0 for values.
    pub line: [f32; 3],
    /// Has the shape of the map.
    pub output: &'a mut [T],
}

impl<T: Cell> Kernel for Weigh<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { map, pixels, weights, plus, line, output } = self;
        assert_eq!(map.len(), weights.len() * pixels, "the map");
        assert_eq!(plus.len(), map.len(), "the map to add");
        assert_eq!(output.len(), map.len(), "the sum");
        for (block, weights) in weights.chunks_exact(BLOCK).enumerate() {
            // SAFETY: as in `WholeMap`.
            unsafe {
                let [map_factor, plus_factor, summand] = line.map(|x| V::splat(x));
                let weight = V::load(weights.as_ptr()).fused(map_factor, V::splat(0.0));
                for pixel in block * pixels..(block + 1) * pixels {
                    let at = pixel * BLOCK;
                    let plus = T::get::<V>(plus.as_ptr().add(at)).fused(plus_factor, summand);
                    let sum = V::load(map.as_ptr().add(at)).times_plus(weight, plus);
                    T::put(sum, output.as_mut_ptr().add(at));
                }
            }
        }
    }
}

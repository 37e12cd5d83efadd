//! The matrix product of [`super::Multiply`] in bytes: four products per lane and instruction,
//! exact sums.

use super::rounding::{Cell, RoundBlock, Rounding};
use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;
use std::ptr;

/// Inputs multiplied at once.
const QUAD: usize = 4;
/// Bytes of a map that stay in the L2 cache while all columns are computed over them.
const NEAR: usize = 256 << 10;

/// A layer's weights in the order in which the kernel reads them.
#[derive(Clone, Debug)]
pub(crate) struct ByteMatrix {
    /// `[blocks of outputs, inputs / 4, 16, 4]`.
    weights: Vec<i8>,
    /// Sums of each output's weights.
    sums: Vec<i32>,
    rounding: Rounding,
    /// The input's byte for 0.
    zero: u8,
    inputs: usize,
}

impl ByteMatrix {
    /// Packs `rows`, which is `[outputs, inputs]`; the inputs are whole blocks.
    pub fn pack(rows: &[i8], inputs: usize, zero: u8, rounding: Rounding) -> Self {
        assert_eq!(inputs % BLOCK, 0, "whole blocks of inputs");
        let padded = rounding.blocks() * BLOCK;
        assert!(rows.len() <= padded * inputs && rows.len() > (padded - BLOCK) * inputs, "outputs");
        let (mut weights, mut sums) = (vec![0; padded * inputs], vec![0; padded]);
        for (output, row) in rows.chunks_exact(inputs).enumerate() {
            let block = &mut weights[output / BLOCK * BLOCK * inputs..][..BLOCK * inputs];
            let quads = block.chunks_exact_mut(BLOCK * QUAD).zip(row.chunks_exact(QUAD));
            for (to, from) in quads {
                to[output % BLOCK * QUAD..][..QUAD].copy_from_slice(from);
            }
            sums[output] = row.iter().map(|weight| i32::from(*weight)).sum();
        }
        Self { weights, sums, rounding, zero, inputs }
    }
}

/// The matrix at every pixel of planes of `pixels` pixels.
pub(crate) struct ByteMultiply<'a, T> {
    pub input: &'a [u8],
    pub pixels: usize,
    pub matrix: &'a ByteMatrix,
    /// For a layer without activation.
    pub residual: Option<Residual<'a>>,
    pub output: &'a mut [T],
}

/// A map to be added.
#[derive(Clone, Copy)]
pub(crate) struct Residual<'a> {
    /// Has the shape of the output.
    pub map: &'a [u8],
    /// Factor and summand that convert its bytes to steps of the output.
    pub line: [f32; 2],
}

impl<T: Cell> Kernel for ByteMultiply<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { input, pixels, matrix, residual, output } = self;
        if pixels == 0 {
            return;
        }
        let blocks = matrix.rounding.blocks();
        assert_eq!(input.len(), matrix.inputs * pixels, "input of the matrix");
        assert_eq!(output.len(), blocks * BLOCK * pixels, "output of the matrix");
        assert!(residual.is_none_or(|added| added.map.len() == output.len()), "residual");
        let near = (NEAR / matrix.inputs).max(V::BYTE_TILE);
        for first in (0..pixels).step_by(near) {
            let count = near.min(pixels - first);
            let tiles = count.div_ceil(V::BYTE_TILE);
            let (each, more) = (count / tiles, count % tiles);
            for block in 0..blocks {
                // SAFETY: blocks and pixels lie within the slices, as asserted; the caller
                // guarantees the level.
                unsafe {
                    let mut tile = Tile {
                        input: input.as_ptr().add(first * BLOCK),
                        plane: pixels * BLOCK,
                        runs: matrix.inputs / BLOCK,
                        weights: matrix.weights.as_ptr().add(block * BLOCK * matrix.inputs),
                        start: V::scaled_sums(
                            matrix.sums.as_ptr().add(block * BLOCK),
                            V::SHIFT - i32::from(matrix.zero),
                        ),
                        rounding: matrix.rounding.block::<V>(block),
                        residual: residual.map_or(ptr::null(), |added| {
                            added.map.as_ptr().add((block * pixels + first) * BLOCK)
                        }),
                        residual_line: residual.map_or([0.0; 2], |added| added.line),
                        output: output.as_mut_ptr().add((block * pixels + first) * BLOCK),
                    };
                    for index in 0..tiles {
                        tile.of_pixels(each + usize::from(index < more));
                    }
                }
            }
        }
    }
}

/// Some pixels by one block of outputs; then moves on to the next pixels.
struct Tile<V: Lanes, T> {
    input: *const u8,
    plane: usize,
    runs: usize,
    weights: *const i8,
    start: V::Sums,
    rounding: RoundBlock<V>,
    /// Null for no residual.
    residual: *const u8,
    residual_line: [f32; 2],
    output: *mut T,
}

impl<V: Lanes, T: Cell> Tile<V, T> {
    /// # Safety
    /// The processor has the level of `V`; the pointers are valid for this many pixels.
    #[inline(always)]
    unsafe fn of_pixels(&mut self, pixels: usize) {
        macro_rules! one_of {
            ($($count:literal)*) => {
                match pixels {
                    // SAFETY: the caller guarantees it.
                    $($count if $count <= V::BYTE_TILE => unsafe { self.sum::<$count>() },)*
                    _ => unreachable!("a tile of {pixels} pixels"),
                }
            };
        }
        one_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        self.input = self.input.wrapping_add(pixels * BLOCK);
        self.output = self.output.wrapping_add(pixels * BLOCK);
        if !self.residual.is_null() {
            self.residual = self.residual.wrapping_add(pixels * BLOCK);
        }
    }

    /// # Safety
    /// As for [`Tile::of_pixels`].
    #[inline(always)]
    unsafe fn sum<const PIXELS: usize>(&self) {
        // SAFETY: the caller guarantees it.
        unsafe {
            let mut sums = [self.start; PIXELS];
            let mut weights = self.weights;
            let mut inputs = self.input;
            for _ in 0..self.runs {
                let mut x = [V::pixel(inputs); PIXELS];
                for (pixel, x) in x.iter_mut().enumerate() {
                    *x = V::pixel(inputs.add(pixel * BLOCK));
                }
                macro_rules! columns {
                    ($($quad:literal)*) => {$(
                        let column = V::quads(weights.add($quad * BLOCK * QUAD));
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = V::dot_same::<$quad>(*sum, x, column);
                        }
                    )*};
                }
                columns!(0 1 2 3);
                weights = weights.add(BLOCK * BLOCK);
                inputs = inputs.wrapping_add(self.plane);
            }
            let mut values = [V::values(self.start); PIXELS];
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = self.rounding.value(sum);
            }
            if !self.residual.is_null() {
                let [factor, summand] = self.residual_line.map(|x| V::splat(x));
                for (pixel, value) in values.iter_mut().enumerate() {
                    let residual = V::load_unsigned(self.residual.add(pixel * BLOCK));
                    *value = residual.fused(factor, value.plus(summand));
                }
            }
            T::put_all(values, self.output);
        }
    }
}

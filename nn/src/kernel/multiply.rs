//! A matrix product whose rows are the pixels of a map and whose columns are its next channels: the
//! pointwise convolution, and the first one, whose few channels are side by side (implicit GEMM).

use super::prelu;
use super::rounding::Cell;
use crate::activation::Activation;
use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;
use std::ptr;

/// Bytes of a map that stay in the L2 cache while all columns are computed over them.
const NEAR: usize = 256 << 10;

/// A layer's weights in the order in which the kernel reads them.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    /// `[blocks of outputs, inputs, 16]`.
    weights: Vec<f32>,
    /// Padded with zeros to whole blocks.
    bias: Vec<f32>,
    activation: Activation,
    inputs: usize,
}

impl Matrix {
    /// Packs `rows`, which is `[outputs, inputs]`, with one bias and slope per output.
    pub fn pack(rows: &[f32], inputs: usize, mut bias: Vec<f32>, activation: Activation) -> Self {
        let outputs = bias.len();
        assert_eq!(rows.len(), outputs * inputs, "weights of {outputs} outputs");
        let padded = outputs.next_multiple_of(BLOCK);
        let mut weights = vec![0.0; padded * inputs];
        for (output, row) in rows.chunks_exact(inputs).enumerate() {
            let block = &mut weights[output / BLOCK * BLOCK * inputs..][..BLOCK * inputs];
            for (column, weight) in block.chunks_exact_mut(BLOCK).zip(row) {
                column[output % BLOCK] = *weight;
            }
        }
        bias.resize(padded, 0.0);
        Self { weights, bias, activation: activation.padded(outputs), inputs }
    }

    /// Returns the number of output blocks.
    pub fn blocks(&self) -> usize {
        self.bias.len() / BLOCK
    }

    /// Returns the number of values that one output sums.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// The positions of a pixel's inputs: `runs` runs of values; each run begins `step` after the
/// previous one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    pub runs: usize,
    pub step: usize,
}

/// Runs of `RUN` values per pixel; the next pixel of a row is `PIXEL` values further.
pub(crate) struct Multiply<'a, T, const PIXEL: usize, const RUN: usize> {
    pub input: &'a [f32],
    pub taps: Taps,
    /// Rows of pixels, pixels per row, and the distance between rows in the input.
    pub rows: usize,
    pub columns: usize,
    pub row_step: usize,
    pub matrix: &'a Matrix,
    /// Added before the activation; has the shape of the output.
    pub residual: Option<&'a [f32]>,
    /// Added after the activation.
    pub offset: f32,
    /// Planes of rows · columns pixels.
    pub output: &'a mut [T],
}

impl<T: Cell, const PIXEL: usize, const RUN: usize> Kernel for Multiply<'_, T, PIXEL, RUN> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { input, taps, rows, columns, row_step, matrix, residual, offset, output } = self;
        if rows * columns == 0 {
            return;
        }
        let plane = rows * columns * BLOCK;
        assert_eq!(matrix.inputs, taps.runs * RUN, "inputs of the matrix");
        assert_eq!(output.len(), matrix.blocks() * plane, "output of the matrix");
        assert!(residual.is_none_or(|residual| residual.len() == output.len()), "residual");
        let last =
            (rows - 1) * row_step + (columns - 1) * PIXEL + (taps.runs - 1) * taps.step + RUN;
        assert!(last <= input.len(), "input of the matrix");
        let near = (NEAR / size_of::<f32>() / matrix.inputs).max(V::TILE);
        for row in 0..rows {
            for first in (0..columns).step_by(near) {
                let count = near.min(columns - first);
                let tiles = count.div_ceil(V::TILE);
                let (each, more) = (count / tiles, count % tiles);
                for block in 0..matrix.blocks() {
                    let mut pixel = first;
                    for tile in 0..tiles {
                        let pixels = each + usize::from(tile < more);
                        let at = (row * columns + pixel) * BLOCK + block * plane;
                        // SAFETY: the pixels' inputs end at or before `last`, their outputs are
                        // pixels of a block of the output, all within the slices as asserted.
                        unsafe {
                            let tile = Tile {
                                input: input.as_ptr().add(row * row_step + pixel * PIXEL),
                                taps,
                                weights: matrix.weights.as_ptr().add(block * BLOCK * matrix.inputs),
                                bias: matrix.bias.as_ptr().add(block * BLOCK),
                                activation: &matrix.activation,
                                block,
                                residual: residual.map_or(ptr::null(), |r| r.as_ptr().add(at)),
                                offset,
                                output: output.as_mut_ptr().add(at),
                            };
                            tile.of_pixels::<V, PIXEL, RUN>(pixels);
                        }
                        pixel += pixels;
                    }
                }
            }
        }
    }
}

/// Some pixels by one block of outputs; the sums stay in registers.
struct Tile<'a, T> {
    input: *const f32,
    taps: Taps,
    weights: *const f32,
    bias: *const f32,
    activation: &'a Activation,
    block: usize,
    /// Null for no residual.
    residual: *const f32,
    offset: f32,
    output: *mut T,
}

impl<T: Cell> Tile<'_, T> {
    /// # Safety
    /// As for [`Tile::sum`], for this many pixels.
    #[inline(always)]
    unsafe fn of_pixels<V: Lanes, const PIXEL: usize, const RUN: usize>(&self, pixels: usize) {
        macro_rules! one_of {
            ($($count:literal)*) => {
                match pixels {
                    // SAFETY: the caller guarantees it.
                    $($count if $count <= V::TILE => unsafe { self.sum::<V, $count, PIXEL, RUN>() },)*
                    _ => unreachable!("a tile of {pixels} pixels"),
                }
            };
        }
        one_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    /// # Safety
    /// The processor has the level of `V`; the pointers are valid for `PIXELS` pixels.
    #[inline(always)]
    unsafe fn sum<V: Lanes, const PIXELS: usize, const PIXEL: usize, const RUN: usize>(&self) {
        // SAFETY: the caller guarantees it.
        unsafe {
            let mut sums = [V::load(self.bias); PIXELS];
            let mut weights = self.weights;
            let mut inputs = self.input;
            for _ in 0..self.taps.runs {
                for tap in 0..RUN {
                    let column = V::load(weights);
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        let input = V::splat(*inputs.add(pixel * PIXEL + tap));
                        *sum = input.times_plus(column, *sum);
                    }
                    weights = weights.add(BLOCK);
                }
                inputs = inputs.wrapping_add(self.taps.step);
            }
            self.finish(sums);
        }
    }

    /// # Safety
    /// As for [`Tile::sum`].
    #[inline(always)]
    unsafe fn finish<V: Lanes, const PIXELS: usize>(&self, sums: [V; PIXELS]) {
        // SAFETY: the caller guarantees it.
        unsafe {
            let slope = match self.activation.slopes(self.block) {
                Some(slopes) => V::load(slopes.as_ptr()),
                None => V::splat(0.0),
            };
            let bends = !matches!(self.activation, Activation::Identity);
            let (offset, residual, output) = (V::splat(self.offset), self.residual, self.output);
            for (pixel, mut sum) in sums.into_iter().enumerate() {
                if !residual.is_null() {
                    sum = sum.plus(V::load(residual.add(pixel * BLOCK)));
                }
                if bends {
                    sum = prelu(sum, slope);
                }
                T::put(sum.plus(offset), output.add(pixel * BLOCK));
            }
        }
    }
}

//! One 3×3 filter a channel, in bytes: of four pixels of a row, the three taps of a channel come to
//! lie in one lane.

use super::rounding::{Cell, RoundBlock, Rounding};
use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// Taps of a filter's row, and of a filter.
const ROW: usize = 3;
const TAPS: usize = 9;
/// Pixels turned at once: those of the taps, and one more.
const QUAD: usize = 4;
/// Bytes of one row of taps of a block.
const QUADS: usize = BLOCK * QUAD;

/// A layer's filters in the order in which the kernel reads them.
#[derive(Clone, Debug)]
pub(crate) struct ByteFilters {
    /// `[blocks, 2, 3 rows, 16, 4]`: of the first of two neighbouring results, whose taps are the
    /// first three of four pixels, then of the second.
    taps: Vec<i8>,
    /// Of each channel's weights.
    sums: Vec<i32>,
    rounding: Rounding,
    /// The input's byte for 0.
    zero: u8,
}

impl ByteFilters {
    /// `rows` is `[channels, 9]`.
    pub fn pack(rows: &[i8], zero: u8, rounding: Rounding) -> Self {
        let padded = rounding.blocks() * BLOCK;
        let channels = rows.len() / TAPS;
        assert!(channels <= padded && channels + BLOCK > padded, "filters of {channels} channels");
        let (mut taps, mut sums) = (vec![0; padded * 2 * ROW * QUAD], vec![0; padded]);
        for (channel, filter) in rows.chunks_exact(TAPS).enumerate() {
            for (tap, weight) in filter.iter().enumerate() {
                for shift in 0..2 {
                    let row = (channel / BLOCK * 2 + shift) * ROW + tap / ROW;
                    taps[row * QUADS + channel % BLOCK * QUAD + tap % ROW + shift] = *weight;
                }
            }
            sums[channel] = filter.iter().map(|weight| i32::from(*weight)).sum();
        }
        Self { taps, sums, rounding, zero }
    }
}

/// The filters over a map with a border of one pixel that stands for 0; the result's sides are the
/// map's divided by the stride, rounded up.
pub(crate) struct ByteDepthwise<'a, T> {
    pub input: &'a [u8],
    pub height: usize,
    pub width: usize,
    /// 1 or 2.
    pub stride: usize,
    pub filters: &'a ByteFilters,
    pub output: &'a mut [T],
}

impl<T: Cell> Kernel for ByteDepthwise<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { input, height, width, stride, filters, output } = self;
        let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
        if rows * columns == 0 {
            return;
        }
        let blocks = filters.rounding.blocks();
        assert_eq!(input.len(), blocks * height * width * BLOCK, "input of the filters");
        assert_eq!(output.len(), blocks * rows * columns * BLOCK, "output of the filters");
        let beyond = [filters.zero; QUADS];
        let planes = input.chunks_exact(height * width * BLOCK);
        for (block, (plane, result)) in
            planes.zip(output.chunks_exact_mut(rows * columns * BLOCK)).enumerate()
        {
            // SAFETY: blocks lie within the filters; the level is the caller's.
            let mut line = unsafe {
                Line::<V> {
                    rows: [None; ROW],
                    beyond: &beyond,
                    taps: filters.taps.as_ptr().add(block * 2 * ROW * QUADS),
                    start: V::scaled_sums(
                        filters.sums.as_ptr().add(block * BLOCK),
                        V::SHIFT - i32::from(filters.zero),
                    ),
                    rounding: filters.rounding.block::<V>(block),
                    width,
                }
            };
            for (row, to) in result.chunks_exact_mut(columns * BLOCK).enumerate() {
                for (tap, line) in line.rows.iter_mut().enumerate() {
                    // Shifted by one so that the border's -1 stays an unsigned 0.
                    let at = row * stride + tap;
                    *line = (1..=height)
                        .contains(&at)
                        .then(|| &plane[(at - 1) * width * BLOCK..][..width * BLOCK]);
                }
                // SAFETY: rows are `width` pixels long, `to` holds the columns.
                unsafe {
                    match stride {
                        1 => line.every(to),
                        _ => line.every_other(to),
                    }
                }
            }
        }
    }
}

/// One row of results and the three rows it is made of, `None` beyond the border.
struct Line<'a, V: Lanes> {
    rows: [Option<&'a [u8]>; ROW],
    /// Pixels that stand for 0.
    beyond: &'a [u8; QUADS],
    taps: *const i8,
    start: V::Sums,
    rounding: RoundBlock<V>,
    width: usize,
}

impl<V: Lanes> Line<'_, V> {
    /// Stride 1, two results at once: both lie among the same four pixels.
    ///
    /// # Safety
    /// The processor has the level of `V`; `to` holds as many pixels as the rows.
    #[inline(always)]
    unsafe fn every<T: Cell>(&self, to: &mut [T]) {
        // SAFETY: the caller's.
        unsafe {
            let weights = [self.weights(0), self.weights(1)];
            let mut column = 0;
            while column < self.width {
                let mut sums = [self.start; 2];
                for row in 0..ROW {
                    let x = self.pixels(row, column);
                    for (sum, weights) in sums.iter_mut().zip(&weights) {
                        *sum = V::dot(*sum, x, weights[row]);
                    }
                }
                let to = to.as_mut_ptr().add(column * BLOCK);
                T::put(self.rounding.value(sums[0]), to);
                if column + 1 < self.width {
                    T::put(self.rounding.value(sums[1]), to.add(BLOCK));
                }
                column += 2;
            }
        }
    }

    /// Stride 2.
    ///
    /// # Safety
    /// The processor has the level of `V`; `to` holds half as many pixels as the rows, rounded up.
    #[inline(always)]
    unsafe fn every_other<T: Cell>(&self, to: &mut [T]) {
        // SAFETY: the caller's.
        unsafe {
            let weights = self.weights(0);
            for (column, to) in to.chunks_exact_mut(BLOCK).enumerate() {
                let mut sum = self.start;
                for (row, weights) in weights.iter().enumerate() {
                    sum = V::dot(sum, self.pixels(row, 2 * column), *weights);
                }
                T::put(self.rounding.value(sum), to.as_mut_ptr());
            }
        }
    }

    /// # Safety
    /// The processor has the level of `V`.
    #[inline(always)]
    unsafe fn weights(&self, shift: usize) -> [V::Quads; ROW] {
        // SAFETY: a block's taps are two times three rows; the level is the caller's.
        unsafe {
            let row = |row: usize| V::quads(self.taps.add((shift * ROW + row) * QUADS));
            [row(0), row(1), row(2)]
        }
    }

    /// Four pixels of a row, from the one before `column` on, turned.
    ///
    /// # Safety
    /// The processor has the level of `V`.
    #[inline(always)]
    unsafe fn pixels(&self, row: usize, column: usize) -> V::Quads {
        // SAFETY: four pixels are read within a row or the array; the level is the caller's.
        unsafe {
            let Some(row) = self.rows[row] else { return V::turned(self.beyond.as_ptr()) };
            if column >= 1 && column + 3 <= self.width {
                return V::turned(row.as_ptr().add((column - 1) * BLOCK));
            }
            let mut edge = *self.beyond;
            for (pixel, to) in edge.chunks_exact_mut(BLOCK).enumerate() {
                // Shifted by one, as above.
                let at = column + pixel;
                if (1..=self.width).contains(&at) {
                    to.copy_from_slice(&row[(at - 1) * BLOCK..at * BLOCK]);
                }
            }
            V::turned(edge.as_ptr())
        }
    }
}

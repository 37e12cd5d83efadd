//! One 3×3 filter per channel, in bytes: from four pixels of a row, the three taps of a channel are
//! moved into one lane.

use super::rounding::{Cell, RoundBlock, Rounding};
use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// Taps of a filter's row, and of a filter.
const ROW: usize = 3;
const TAPS: usize = 9;
/// Pixels transposed at once: those of the taps, and one more.
const QUAD: usize = 4;
/// Bytes of one row of taps of a block.
const QUADS: usize = BLOCK * QUAD;

/// A layer's filters in the order in which the kernel reads them.
#[derive(Clone, Debug)]
pub(crate) struct ByteFilters {
    /// `[blocks, 2, 3 rows, 16, 4]`: first the taps of the first of two neighbouring results, which
    /// are the first three of four pixels, then those of the second.
    taps: Vec<i8>,
    /// Sums of each channel's weights.
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

/// The filters over a map with a border of one pixel that represents 0; the result's sides are the
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
        let zero = filters.zero;
        let beyond = [zero; QUADS];
        let planes = input.chunks_exact(height * width * BLOCK);
        for (block, (plane, result)) in
            planes.zip(output.chunks_exact_mut(rows * columns * BLOCK)).enumerate()
        {
            let taps = &filters.taps[block * 2 * ROW * QUADS..][..2 * ROW * QUADS];
            // SAFETY: blocks lie within the filters; the caller guarantees the level.
            let (start, rounding) = unsafe {
                let sums = filters.sums.as_ptr().add(block * BLOCK);
                let start = V::scaled_sums(sums, V::SHIFT - i32::from(zero));
                (start, filters.rounding.block::<V>(block))
            };
            for (row, to) in result.chunks_exact_mut(columns * BLOCK).enumerate() {
                let mut rows = [Row::beyond(&beyond); ROW];
                for (tap, line) in rows.iter_mut().enumerate() {
                    // Shifted by one so that the border's -1 stays an unsigned 0.
                    let at = row * stride + tap;
                    if (1..=height).contains(&at) {
                        *line = Row::of(&plane[(at - 1) * width * BLOCK..][..width * BLOCK]);
                    }
                }
                // SAFETY: rows are `width` pixels long or beyond the border, `to` holds a block for
                // each result of such a stride, the caller guarantees the level.
                unsafe {
                    match stride {
                        1 => Filter::<V, 2>::new(taps, start, rounding).row(rows, width, zero, to),
                        2 => Filter::<V, 1>::new(taps, start, rounding).row(rows, width, zero, to),
                        other => unreachable!("a stride of {other}"),
                    }
                }
            }
        }
    }
}

/// A row of pixels, or its replacement beyond the border, which is the same array for every read.
#[derive(Clone, Copy)]
struct Row<'a> {
    pixels: &'a [u8],
    /// Distance from one pixel to the next.
    step: usize,
}

impl<'a> Row<'a> {
    fn of(pixels: &'a [u8]) -> Self {
        Self { pixels, step: BLOCK }
    }

    fn beyond(zeros: &'a [u8; QUADS]) -> Self {
        Self { pixels: zeros, step: 0 }
    }

    /// Returns four pixels from the one before `column`, zeros where they lie beyond the border.
    #[inline(always)]
    fn at_edge(self, column: usize, width: usize, zero: u8) -> [u8; QUADS] {
        let mut edge = [zero; QUADS];
        for (pixel, to) in edge.chunks_exact_mut(BLOCK).enumerate() {
            // Shifted by one, as above.
            let at = column + pixel;
            if (1..=width).contains(&at) {
                to.copy_from_slice(&self.pixels[(at - 1) * self.step..][..BLOCK]);
            }
        }
        edge
    }
}

/// A block's filter. Four pixels of a row hold the taps of two neighbouring results. A stride of 1
/// computes both, a stride of 2 the first.
#[derive(Clone, Copy)]
struct Filter<V: Lanes, const RESULTS: usize> {
    weights: [[V::Quads; ROW]; RESULTS],
    start: V::Sums,
    rounding: RoundBlock<V>,
}

impl<V: Lanes, const RESULTS: usize> Filter<V, RESULTS> {
    /// # Safety
    /// The processor has the level of `V`.
    #[inline(always)]
    unsafe fn new(taps: &[i8], start: V::Sums, rounding: RoundBlock<V>) -> Self {
        // SAFETY: a slice of 64 bytes; the caller guarantees the level.
        unsafe {
            let mut weights = [[V::quads(taps[..QUADS].as_ptr()); ROW]; RESULTS];
            for (result, weights) in weights.iter_mut().enumerate() {
                for (row, weights) in weights.iter_mut().enumerate() {
                    *weights = V::quads(taps[(result * ROW + row) * QUADS..][..QUADS].as_ptr());
                }
            }
            Self { weights, start, rounding }
        }
    }

    /// Computes a row of results from three rows of `width` pixels.
    ///
    /// # Safety
    /// The processor has the level of `V`; `to` holds a block for every result.
    #[inline(always)]
    unsafe fn row<T: Cell>(&self, rows: [Row<'_>; ROW], width: usize, zero: u8, to: &mut [T]) {
        // Each iteration advances by two pixels. For iterations away from the edges, all four
        // pixels lie within the row.
        let turns = width.div_ceil(2);
        let between = 1..(width.saturating_sub(1) / 2).max(1);
        // SAFETY: the caller guarantees it; four pixels are in a row, or in the array of an edge.
        unsafe {
            self.edge(rows, 0, width, zero, to);
            let mut from = rows.map(|row| row.pixels.as_ptr().wrapping_add(row.step));
            let mut result = to.as_mut_ptr().wrapping_add(RESULTS * BLOCK);
            for _ in between.clone() {
                let values = self.values(from);
                for value in values {
                    T::put(value, result);
                    result = result.wrapping_add(BLOCK);
                }
                for (from, row) in from.iter_mut().zip(rows) {
                    *from = from.wrapping_add(2 * row.step);
                }
            }
            for turn in between.end..turns {
                self.edge(rows, turn, width, zero, to);
            }
        }
    }

    /// Computes the results of an iteration at an edge of the row.
    ///
    /// # Safety
    /// The processor has the level of `V`.
    #[inline(always)]
    unsafe fn edge<T: Cell>(
        &self,
        rows: [Row<'_>; ROW],
        turn: usize,
        width: usize,
        zero: u8,
        to: &mut [T],
    ) {
        let mut pixels = [[zero; QUADS]; ROW];
        for (pixels, row) in pixels.iter_mut().zip(rows) {
            *pixels = row.at_edge(2 * turn, width, zero);
        }
        // SAFETY: arrays of four pixels, slices of a block; the caller guarantees the level.
        unsafe {
            let [above, at, below] = &pixels;
            let values = self.values([above.as_ptr(), at.as_ptr(), below.as_ptr()]);
            let to = to[turn * RESULTS * BLOCK..].chunks_exact_mut(BLOCK);
            for (value, to) in values.into_iter().zip(to) {
                T::put(value, to.as_mut_ptr());
            }
        }
    }

    /// Computes the results from four pixels of each row.
    ///
    /// # Safety
    /// The processor has the level of `V`; 64 bytes can be read at each pointer.
    #[inline(always)]
    unsafe fn values(&self, from: [*const u8; ROW]) -> [V; RESULTS] {
        // SAFETY: the caller guarantees it.
        unsafe {
            let mut sums = [self.start; RESULTS];
            for row in 0..ROW {
                let pixels = V::turned(from[row]);
                for (sum, weights) in sums.iter_mut().zip(&self.weights) {
                    *sum = V::dot(*sum, pixels, weights[row]);
                }
            }
            let mut values = [V::values(self.start); RESULTS];
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = self.rounding.value(sum);
            }
            values
        }
    }
}

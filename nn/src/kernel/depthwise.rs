//! One 3×3 filter per channel, plane by plane.

use super::prelu;
use crate::activation::Activation;
use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// Taps of a filter.
const TAPS: usize = 9;
/// Pixels summed at once.
const AT_ONCE: usize = 4;

/// A layer's filters in the order in which the kernel reads them.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    /// `[blocks, 9, 16]`.
    taps: Vec<f32>,
    /// Padded with zeros to whole blocks.
    bias: Vec<f32>,
    activation: Activation,
}

impl Filters {
    /// Packs `rows`, which is `[channels, 9]`, with one bias and slope per channel.
    pub fn pack(rows: &[f32], mut bias: Vec<f32>, activation: Activation) -> Self {
        let channels = bias.len();
        assert_eq!(rows.len(), channels * TAPS, "filters of {channels} channels");
        let padded = channels.next_multiple_of(BLOCK);
        let mut taps = vec![0.0; padded * TAPS];
        for (channel, filter) in rows.chunks_exact(TAPS).enumerate() {
            for (tap, weight) in filter.iter().enumerate() {
                taps[(channel / BLOCK * TAPS + tap) * BLOCK + channel % BLOCK] = *weight;
            }
        }
        bias.resize(padded, 0.0);
        Self { taps, bias, activation: activation.padded(channels) }
    }

    /// Returns the number of channel blocks.
    pub fn blocks(&self) -> usize {
        self.bias.len() / BLOCK
    }
}

/// The filters over a map with a border of one zero pixel; the result's sides are the map's divided by
/// the stride, rounded up.
pub(crate) struct DepthwiseRows<'a> {
    pub input: &'a [f32],
    pub height: usize,
    pub width: usize,
    /// 1 or 2.
    pub stride: usize,
    pub filters: &'a Filters,
    pub output: &'a mut [f32],
}

impl Kernel for DepthwiseRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        match self.stride {
            // SAFETY: the caller guarantees it.
            1 => unsafe { self.strided::<V, 1>() },
            // SAFETY: the caller guarantees it.
            2 => unsafe { self.strided::<V, 2>() },
            other => unreachable!("a stride of {other}"),
        }
    }
}

impl DepthwiseRows<'_> {
    /// # Safety
    /// The processor has the level of `V`.
    #[inline(always)]
    unsafe fn strided<V: Lanes, const STRIDE: usize>(self) {
        let Self { input, height, width, filters, output, .. } = self;
        let (rows, columns) = (height.div_ceil(STRIDE), width.div_ceil(STRIDE));
        if rows * columns == 0 {
            return;
        }
        let blocks = filters.blocks();
        assert_eq!(input.len(), blocks * height * width * BLOCK, "input of the filters");
        assert_eq!(output.len(), blocks * rows * columns * BLOCK, "output of the filters");
        for block in 0..blocks {
            let plane = &input[block * height * width * BLOCK..][..height * width * BLOCK];
            let result = &mut output[block * rows * columns * BLOCK..][..rows * columns * BLOCK];
            let slopes = filters.activation.slopes(block);
            for row in 0..rows {
                let mut line = Line {
                    rows: [&[]; 3],
                    taps: filters.taps[block * TAPS * BLOCK..].as_ptr(),
                    bias: filters.bias[block * BLOCK..].as_ptr(),
                    slopes: slopes.map(|slopes| slopes.as_ptr()),
                    straight: matches!(filters.activation, Activation::Identity),
                    width,
                };
                for tap in 0..3 {
                    // Shifted by one so that the border's -1 stays an unsigned 0.
                    let at = row * STRIDE + tap;
                    if (1..=height).contains(&at) {
                        line.rows[tap] = &plane[(at - 1) * width * BLOCK..][..width * BLOCK];
                    }
                }
                let to = &mut result[row * columns * BLOCK..][..columns * BLOCK];
                // SAFETY: rows are `width` pixels long or empty, `to` holds `columns` pixels.
                unsafe { line.filter::<V, STRIDE>(to) }
            }
        }
    }
}

/// One row of results and the three rows it is computed from; rows beyond the border are empty.
struct Line<'a> {
    rows: [&'a [f32]; 3],
    taps: *const f32,
    bias: *const f32,
    /// `None` means zeros.
    slopes: Option<*const f32>,
    straight: bool,
    width: usize,
}

impl Line<'_> {
    /// # Safety
    /// The processor has the level of `V`; `to` holds ⌈width / stride⌉ pixels, each of the rows none
    /// or `width`.
    #[inline(always)]
    unsafe fn filter<V: Lanes, const STRIDE: usize>(&self, to: &mut [f32]) {
        let columns = to.len() / BLOCK;
        // SAFETY: the caller guarantees it; `inner` columns have all three taps within the width.
        unsafe {
            let mut weights = [V::splat(0.0); TAPS];
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight = V::load(self.taps.add(tap * BLOCK));
            }
            // Their last tap, column · stride + 1, is below the width.
            let inner_end = ((self.width + STRIDE - 2) / STRIDE).clamp(1, columns);
            self.edge::<V, STRIDE>(&weights, 0, to);
            let mut column = 1;
            while column + AT_ONCE <= inner_end {
                self.inner::<V, STRIDE, AT_ONCE>(&weights, column, to);
                column += AT_ONCE;
            }
            while column < inner_end {
                self.inner::<V, STRIDE, 1>(&weights, column, to);
                column += 1;
            }
            while column < columns {
                self.edge::<V, STRIDE>(&weights, column, to);
                column += 1;
            }
        }
    }

    /// # Safety
    /// As for [`Line::filter`]; the taps of `COUNT` columns from `column` on lie within the width.
    #[inline(always)]
    unsafe fn inner<V: Lanes, const STRIDE: usize, const COUNT: usize>(
        &self,
        weights: &[V; TAPS],
        column: usize,
        to: &mut [f32],
    ) {
        // SAFETY: the caller guarantees it.
        unsafe {
            let mut sums = [V::load(self.bias); COUNT];
            for (row, weights) in self.rows.iter().zip(weights.chunks_exact(3)) {
                if row.is_empty() {
                    continue;
                }
                let from = row.as_ptr().add((column * STRIDE - 1) * BLOCK);
                for (tap, weight) in weights.iter().enumerate() {
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        let x = V::load(from.add((pixel * STRIDE + tap) * BLOCK));
                        *sum = x.times_plus(*weight, *sum);
                    }
                }
            }
            for (pixel, sum) in sums.into_iter().enumerate() {
                self.bent(sum).store(to.as_mut_ptr().add((column + pixel) * BLOCK));
            }
        }
    }

    /// # Safety
    /// As for [`Line::filter`].
    #[inline(always)]
    unsafe fn edge<V: Lanes, const STRIDE: usize>(
        &self,
        weights: &[V; TAPS],
        column: usize,
        to: &mut [f32],
    ) {
        // SAFETY: the caller guarantees it.
        unsafe {
            let mut sum = V::load(self.bias);
            for (row, weights) in self.rows.iter().zip(weights.chunks_exact(3)) {
                for (tap, weight) in weights.iter().enumerate() {
                    let at = column * STRIDE + tap;
                    if !row.is_empty() && (1..=self.width).contains(&at) {
                        let x = V::load(row.as_ptr().add((at - 1) * BLOCK));
                        sum = x.times_plus(*weight, sum);
                    }
                }
            }
            self.bent(sum).store(to.as_mut_ptr().add(column * BLOCK));
        }
    }

    /// # Safety
    /// As for [`Line::filter`].
    #[inline(always)]
    unsafe fn bent<V: Lanes>(&self, sum: V) -> V {
        // SAFETY: the caller guarantees it.
        unsafe {
            match (self.straight, self.slopes) {
                (true, _) => sum,
                (false, None) => sum.largest(V::splat(0.0)),
                (false, Some(slopes)) => prelu(sum, V::load(slopes)),
            }
        }
    }
}

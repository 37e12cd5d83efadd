//! A matrix in 8 bits times one vector: the embedder's last layer. Its weights are read once per
//! face, so the speed of memory limits it.

use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// Rows summed at once, so that the vector is read less often.
const AT_ONCE: usize = 4;

/// A matrix in GGUF's type Q8_0: bytes and one scale for each 32 of a row.
#[derive(Clone, Debug)]
pub(crate) struct Q8_0 {
    /// `[rows, columns]`.
    pub weights: Vec<i8>,
    /// `[rows, columns / 32]`.
    pub scales: Vec<f32>,
    pub columns: usize,
}

impl Q8_0 {
    /// Weights that share a scale.
    pub const GROUP: usize = 32;
}

const GROUP: usize = Q8_0::GROUP;

/// Multiplies each row by the vector.
pub(crate) struct BytesTimes<'a> {
    pub matrix: &'a Q8_0,
    pub vector: &'a [f32],
    pub output: &'a mut [f32],
}

impl Kernel for BytesTimes<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { matrix: Q8_0 { weights, scales, columns }, vector, output } = self;
        let (columns, rows) = (*columns, output.len());
        let groups = columns / GROUP;
        assert_eq!(columns % GROUP, 0, "whole groups");
        assert_eq!(vector.len(), columns, "vector");
        assert_eq!((weights.len(), scales.len()), (rows * columns, rows * groups), "matrix");
        let mut row = 0;
        while row < rows {
            // SAFETY: rows below `rows`, groups of whole columns; the caller guarantees the level.
            unsafe {
                let at = (weights.as_ptr().add(row * columns), scales.as_ptr().add(row * groups));
                if row + AT_ONCE <= rows {
                    let sums = rows_times::<V, AT_ONCE>(at, vector);
                    output[row..row + AT_ONCE].copy_from_slice(&sums);
                    row += AT_ONCE;
                } else {
                    output[row] = rows_times::<V, 1>(at, vector)[0];
                    row += 1;
                }
            }
        }
    }
}

/// # Safety
/// The processor has the level of `V`; the pointers are valid for `ROWS` rows of the vector's
/// length, which is of whole groups.
#[inline(always)]
unsafe fn rows_times<V: Lanes, const ROWS: usize>(
    (weights, scales): (*const i8, *const f32),
    vector: &[f32],
) -> [f32; ROWS] {
    // SAFETY: the caller guarantees it.
    unsafe {
        let groups = vector.len() / GROUP;
        let mut sums = [V::splat(0.0); ROWS];
        for group in 0..groups {
            let x = vector.as_ptr().add(group * GROUP);
            let (low, high) = (V::load(x), V::load(x.add(BLOCK)));
            for (row, sum) in sums.iter_mut().enumerate() {
                let bytes = weights.add(row * vector.len() + group * GROUP);
                let products = V::load_bytes(bytes.add(BLOCK))
                    .times_plus(high, V::load_bytes(bytes).times_plus(low, V::splat(0.0)));
                *sum = products.times_plus(V::splat(*scales.add(row * groups + group)), *sum);
            }
        }
        let mut totals = [0.0; ROWS];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = sum.sum();
        }
        totals
    }
}

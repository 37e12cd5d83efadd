//! Converts a picture's bytes to values, with the border that the first convolution reads.

use crate::lanes::Lanes;
use crate::level::Kernel;

/// Writes byte · scale + offset into rows that have a border of zeros.
pub(crate) struct Scale<'a> {
    /// Rows of `row` bytes.
    pub bytes: &'a [u8],
    pub row: usize,
    pub scale: f32,
    pub offset: f32,
    /// `[rows + 2 or more, row_step]`; the first value is at `[1, before]`.
    pub output: &'a mut [f32],
    pub row_step: usize,
    pub before: usize,
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let mut rows = self.bytes.chunks_exact(self.row);
        for (index, to) in self.output.chunks_exact_mut(self.row_step).enumerate() {
            let from = if index == 0 { None } else { rows.next() };
            let Some(from) = from else {
                to.fill(0.0);
                continue;
            };
            let (before, rest) = to.split_at_mut(self.before);
            let (inside, after) = rest.split_at_mut(self.row);
            before.fill(0.0);
            after.fill(0.0);
            for (value, byte) in inside.iter_mut().zip(from) {
                *value = f32::from(*byte) * self.scale + self.offset;
            }
        }
    }
}

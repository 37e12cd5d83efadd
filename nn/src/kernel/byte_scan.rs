//! Multiplies many rows in bytes by one vector in bytes, to find the rows that may reach a floor.
//!
//! Terms. A *group* is sixteen rows that share a scale, one row per lane: no sum crosses lanes, and
//! a group in which no row may reach the floor costs one comparison. A row *may* reach the floor
//! when the sum of its byte product and the *bound* does; the bound is the largest possible loss by
//! rounding to bytes. With `a` a row, `b` the vector, `â` and `b̂` the values of their bytes:
//!
//! ```text
//! a·b = â·b̂ + (a − â)·b + â·(b − b̂) ≤ â·b̂ + |a − â| |b| + |â| |b − b̂|      (Cauchy-Schwarz)
//! ```
//!
//! Memory is read once from start to end, which processors prefetch by themselves: prefetch
//! instructions gained nothing.

use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// Elements multiplied at once.
pub(crate) const QUAD: usize = 4;
/// Rows of a group.
pub(crate) const GROUP: usize = BLOCK;
/// The offset of the vector's bytes from the numbers they represent.
pub(crate) const ZERO: u8 = 128;

/// Four elements of each row of a group. Aligned, because a load across two cache lines counts as
/// two.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Quads(pub [[i8; QUAD]; GROUP]);

/// A group's data besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Group {
    /// Sums of each row's bytes.
    pub sums: [i32; GROUP],
    /// The value of a byte of 1.
    pub scale: f32,
    /// The greatest |â| of its rows.
    pub norm: f32,
    /// The greatest |a − â| of its rows.
    pub lost: f32,
}

/// The vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ByteVector<const COLUMNS: usize> {
    /// Each byte is its value in steps of the scale, plus [`ZERO`].
    pub bytes: [u8; COLUMNS],
    pub scale: f32,
    /// |b|
    pub norm: f32,
    /// |b − b̂|
    pub lost: f32,
    /// The rounding error in f32, added to the bound, as a share of |a| |b|.
    pub slack: f32,
}

/// Calls `reached` with each group that has rows which may reach the floor, and with these rows,
/// bit i for row i; `reached` returns the floor to use from there on. Sums are exact, and the same
/// on every level.
pub(crate) struct ByteScan<'a, const COLUMNS: usize, F> {
    /// `[groups, COLUMNS / 4]`
    pub rows: &'a [Quads],
    pub groups: &'a [Group],
    pub vector: &'a ByteVector<COLUMNS>,
    pub floor: f32,
    pub reached: F,
}

impl<const COLUMNS: usize, F: FnMut(usize, u16) -> f32> Kernel for ByteScan<'_, COLUMNS, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { rows, groups, vector, mut floor, mut reached } = self;
        let quads = const {
            assert!(COLUMNS.is_multiple_of(BLOCK));
            COLUMNS / QUAD
        };
        assert_eq!(rows.len(), groups.len() * quads, "rows of the scan");
        for (index, group) in groups.iter().enumerate() {
            // SAFETY: each group has COLUMNS / 4 quads, as asserted, and so has the vector; the
            // caller guarantees the level.
            let reaching = unsafe {
                let rows = rows.as_ptr().add(index * quads);
                let mut sums = V::scaled_sums(group.sums.as_ptr(), V::SHIFT - i32::from(ZERO));
                for block in 0..COLUMNS / BLOCK {
                    let x = V::pixel(vector.bytes.as_ptr().add(block * BLOCK));
                    let rows = rows.add(block * BLOCK / QUAD);
                    sums = V::dot_same::<0>(sums, x, V::quads(rows.cast()));
                    sums = V::dot_same::<1>(sums, x, V::quads(rows.add(1).cast()));
                    sums = V::dot_same::<2>(sums, x, V::quads(rows.add(2).cast()));
                    sums = V::dot_same::<3>(sums, x, V::quads(rows.add(3).cast()));
                }
                let bound = group.lost * vector.norm
                    + group.norm * vector.lost
                    + (group.norm + group.lost) * vector.norm * vector.slack;
                V::values(sums)
                    .times_plus(V::splat(group.scale * vector.scale), V::splat(bound))
                    .reaching(V::splat(floor))
            };
            if reaching != 0 {
                floor = reached(index, reaching);
            }
        }
    }
}

#[cfg(test)]
mod tests;

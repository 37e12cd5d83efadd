//! Many rows in bytes times one vector in bytes: which rows may reach a floor.
//!
//! Terms. A *group* is sixteen rows that share a scale, a row a lane: no sum goes across a register,
//! and a group of which no row may reach the floor costs one comparison. A row *may* reach it when
//! its product in bytes and the *bound*, the most that rounding to bytes can have taken, do. With
//! `a` a row, `b` the vector, `â` and `b̂` what their bytes stand for:
//!
//! ```text
//! a·b = â·b̂ + (a − â)·b + â·(b − b̂) ≤ â·b̂ + |a − â| |b| + |â| |b − b̂|      (Cauchy-Schwarz)
//! ```
//!
//! Memory is read once from its beginning to its end, which processors foresee: fetching ahead by
//! instruction gained nothing.

use crate::lanes::{BLOCK, Lanes};
use crate::level::Kernel;

/// Elements multiplied at once.
pub(crate) const QUAD: usize = 4;
/// Rows of a group.
pub(crate) const GROUP: usize = BLOCK;
/// What a byte of the vector is more than the number it stands for.
pub(crate) const ZERO: u8 = 128;

/// Four elements of each row of a group. Aligned, because a load across two lines of the cache is
/// two.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Quads(pub [[i8; QUAD]; GROUP]);

/// What the scan knows of a group beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Group {
    /// Of each row's bytes.
    pub sums: [i32; GROUP],
    /// What a byte of 1 stands for.
    pub scale: f32,
    /// |â| of the row where it is greatest.
    pub norm: f32,
    /// |a − â| of the row where it is greatest.
    pub lost: f32,
}

/// The vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ByteVector<const COLUMNS: usize> {
    /// Each [`ZERO`] more than what it stands for, in steps of the scale.
    pub bytes: [u8; COLUMNS],
    pub scale: f32,
    /// |b|
    pub norm: f32,
    /// |b − b̂|
    pub lost: f32,
    /// What rounding in f32 adds to the bound, as a part of |a| |b|.
    pub slack: f32,
}

/// Calls `reached` with each group of which rows may reach the floor, and with these rows, bit i for
/// row i; it answers the floor from there on. Sums are exact, and the same on every level.
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
            // SAFETY: each group has so many quads, as asserted, and so has the vector; the level is
            // the caller's.
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

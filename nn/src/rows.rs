//! Searches rows of f32 by their product with a vector: scans in bytes, returns exact products in
//! f32.
//!
//! Next to the rows are their bytes. A search reads only the bytes, a quarter of the memory, and
//! multiplies in f32 only the rows whose byte product is close enough to the floor that rounding
//! may have lowered it. The search is exact: rows it skips are below the floor by proof
//! (`kernel/byte_scan.rs`), not by experience.

use super::kernel::{ByteScan, ByteVector, GROUP, Group, QUAD, Quads, ZERO};
use super::level::Level;

/// The greatest byte of a row and of the vector: −128 has no positive counterpart.
const GREATEST: f32 = 127.0;

/// Rows of `COLUMNS` values, which are a multiple of 16; each row has a norm of about 1 (1/2 to 2).
#[derive(Clone, Debug)]
pub struct Rows<const COLUMNS: usize> {
    level: Level,
    rows: Vec<[f32; COLUMNS]>,
    /// `[groups, COLUMNS / 4]`; rows that pad the last group are 0.
    bytes: Vec<Quads>,
    groups: Vec<Group>,
}

impl<const COLUMNS: usize> Rows<COLUMNS> {
    /// Makes an empty table.
    pub fn new(level: Level) -> Self {
        Self { level, rows: Vec::new(), bytes: Vec::new(), groups: Vec::new() }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns a row as it was pushed.
    pub fn row(&self, row: usize) -> &[f32; COLUMNS] {
        &self.rows[row]
    }

    /// Adds a row after the last.
    pub fn push(&mut self, row: &[f32; COLUMNS]) {
        let (group, lane) = (self.rows.len() / GROUP, self.rows.len() % GROUP);
        self.rows.push(*row);
        if lane == 0 {
            self.groups.push(Group::default());
            self.bytes.resize(self.groups.len() * COLUMNS / QUAD, Quads([[0; QUAD]; GROUP]));
        }
        if scale_of(row) <= self.groups[group].scale {
            self.write(group, lane);
        } else {
            self.write_all(group);
        }
    }

    /// Removes a row and puts the last one in its place.
    pub fn swap_remove(&mut self, row: usize) {
        self.rows.swap_remove(row);
        let groups = self.rows.len().div_ceil(GROUP);
        self.groups.truncate(groups);
        self.bytes.truncate(groups * COLUMNS / QUAD);
        // The group that received the last row, and the group that lost it.
        for group in [Some(row / GROUP), groups.checked_sub(1)].into_iter().flatten() {
            if group < groups {
                self.write_all(group);
            }
        }
    }

    /// Calls `visit` with rows and their products ([`dot`]) with a vector of norm about 1. `visit`
    /// returns the floor: the lowest product of interest, at first −∞. It is called, in the order
    /// of the rows, at least for every row whose product is not below the floor.
    pub fn search(&self, vector: &[f32; COLUMNS], mut visit: impl FnMut(usize, f32) -> f32) {
        let mut floor = f32::NEG_INFINITY;
        self.level.run(ByteScan {
            rows: &self.bytes,
            groups: &self.groups,
            vector: &byte_vector(vector),
            floor,
            reached: |group, mut reaching: u16| {
                while reaching != 0 {
                    let row = group * GROUP + reaching.trailing_zeros() as usize;
                    reaching &= reaching - 1;
                    if let Some(values) = self.rows.get(row) {
                        floor = visit(row, dot(values, vector));
                    }
                }
                floor
            },
        });
    }

    /// Rewrites a group's bytes.
    fn write_all(&mut self, group: usize) {
        let count = GROUP.min(self.rows.len() - group * GROUP);
        let rows = &self.rows[group * GROUP..][..count];
        let scale = rows.iter().map(scale_of).fold(0.0, f32::max);
        self.groups[group] = Group { scale, ..Group::default() };
        self.bytes[group * COLUMNS / QUAD..][..COLUMNS / QUAD].fill(Quads([[0; QUAD]; GROUP]));
        for lane in 0..count {
            self.write(group, lane);
        }
    }

    /// Writes one row's bytes into a group whose scale fits the row.
    fn write(&mut self, group: usize, lane: usize) {
        let row = &self.rows[group * GROUP + lane];
        let quads = &mut self.bytes[group * COLUMNS / QUAD..][..COLUMNS / QUAD];
        let group = &mut self.groups[group];
        let Rounded { bytes, norm, lost } = Rounded::of(row, group.scale);
        for (quad, bytes) in quads.iter_mut().zip(bytes.as_chunks().0) {
            quad.0[lane] = *bytes;
        }
        group.sums[lane] = bytes.iter().map(|byte| i32::from(*byte)).sum();
        group.norm = group.norm.max(norm);
        group.lost = group.lost.max(lost);
    }
}

/// Returns the dot product of vectors whose length is a multiple of 8. It keeps eight independent
/// sums, so that the compiler may use vector registers: the order of a float sum is part of its
/// result, and one running sum cannot be split. The same bits on every level.
pub fn dot<const COLUMNS: usize>(a: &[f32; COLUMNS], b: &[f32; COLUMNS]) -> f32 {
    const { assert!(COLUMNS.is_multiple_of(8)) }
    let mut sums = [0.0f32; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// Returns the scale at which a row's greatest element is the greatest byte.
fn scale_of<const COLUMNS: usize>(row: &[f32; COLUMNS]) -> f32 {
    let mut greatest = [0.0f32; 8];
    for eight in row.as_chunks::<8>().0 {
        for lane in 0..8 {
            let value = eight[lane].abs();
            greatest[lane] = if value > greatest[lane] { value } else { greatest[lane] };
        }
    }
    greatest.into_iter().fold(0.0, f32::max) / GREATEST
}

/// A row in bytes.
struct Rounded<const COLUMNS: usize> {
    bytes: [i8; COLUMNS],
    /// Norm of the row that the bytes represent.
    norm: f32,
    /// Norm of the rounding error.
    lost: f32,
}

impl<const COLUMNS: usize> Rounded<COLUMNS> {
    /// Rounds a row. The scale is at least the row's own.
    fn of(row: &[f32; COLUMNS], scale: f32) -> Self {
        /// 2²³ + 2²²: adding it rounds a number to an integer, whose low byte is then the lowest
        /// byte of the sum.
        const ROUNDING: f32 = 12_582_912.0;
        let steps = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let bytes = row.map(|value| (value * steps + ROUNDING).to_bits() as i8);
        let stands_for = bytes.map(|byte| f32::from(byte) * scale);
        let mut rest = *row;
        rest.iter_mut().zip(&stands_for).for_each(|(rest, value)| *rest -= value);
        Self { bytes, norm: norm(&stands_for), lost: norm(&rest) }
    }
}

fn norm<const COLUMNS: usize>(vector: &[f32; COLUMNS]) -> f32 {
    dot(vector, vector).sqrt()
}

fn byte_vector<const COLUMNS: usize>(vector: &[f32; COLUMNS]) -> ByteVector<COLUMNS> {
    let scale = scale_of(vector);
    let rounded = Rounded::of(vector, scale);
    ByteVector {
        bytes: rounded.bytes.map(|byte| byte.cast_unsigned() ^ ZERO),
        scale,
        norm: norm(vector),
        lost: rounded.lost,
        // A sum of n products has a rounding error of at most n/2 · ε of the norms' product, and
        // `dot` sums fewer than COLUMNS / 8 + 8 at a time; twice COLUMNS covers it, the norms and
        // the bound as well.
        slack: COLUMNS as f32 * f32::EPSILON,
    }
}

#[cfg(test)]
mod tests;

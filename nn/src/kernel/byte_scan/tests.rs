//! Tests the scan on every level against its definition: explicit sums, every byte, every
//! remainder.

use super::*;
use crate::kernel::tests::Random;
use crate::level::Level;

/// Rows of arbitrary bytes, in the scan's layout and plain.
struct TestRows<const COLUMNS: usize> {
    quads: Vec<Quads>,
    groups: Vec<Group>,
    rows: Vec<[i8; COLUMNS]>,
}

impl<const COLUMNS: usize> TestRows<COLUMNS> {
    fn new(rows: Vec<[i8; COLUMNS]>) -> Self {
        let count = rows.len().div_ceil(GROUP);
        let mut quads = vec![Quads([[0; QUAD]; GROUP]); count * COLUMNS / QUAD];
        let mut groups = vec![Group { scale: 1.0, ..Group::default() }; count];
        for (index, row) in rows.iter().enumerate() {
            let (group, lane) = (index / GROUP, index % GROUP);
            for (element, byte) in row.iter().enumerate() {
                quads[(group * COLUMNS + element) / QUAD].0[lane][element % QUAD] = *byte;
            }
            groups[group].sums[lane] = row.iter().map(|byte| i32::from(*byte)).sum();
        }
        Self { quads, groups, rows }
    }

    /// Returns the rows that reach a floor on a level.
    fn reaching(&self, level: Level, vector: &ByteVector<COLUMNS>, floor: f32) -> Vec<usize> {
        let mut found = Vec::new();
        level.run(ByteScan {
            rows: &self.quads,
            groups: &self.groups,
            vector,
            floor,
            reached: |group, rows: u16| {
                let lanes = (0..GROUP).filter(|lane| rows >> lane & 1 == 1);
                found.extend(lanes.map(|lane| group * GROUP + lane));
                floor
            },
        });
        found
    }

    fn sum(&self, row: usize, vector: &ByteVector<COLUMNS>) -> i32 {
        let row = self.rows.get(row).map_or([0; COLUMNS], |row| *row);
        let products = row.iter().zip(vector.bytes);
        products.map(|(a, b)| i32::from(*a) * (i32::from(b) - i32::from(ZERO))).sum()
    }
}

/// A vector with a bound of zero: only the sums decide which rows reach the floor.
fn bare<const COLUMNS: usize>(bytes: [u8; COLUMNS]) -> ByteVector<COLUMNS> {
    ByteVector { bytes, scale: 1.0, norm: 0.0, lost: 0.0, slack: 0.0 }
}

/// A row reaches its own sum, and no row reaches a greater one: so each sum is the defined one.
fn sums_are_exact<const COLUMNS: usize>(random: &mut Random, count: usize) {
    let mut byte = || random.next().to_le_bytes()[3];
    let rows = (0..count).map(|_| [(); COLUMNS].map(|()| byte().cast_signed())).collect();
    let rows = TestRows::<COLUMNS>::new(rows);
    let vector = bare([(); COLUMNS].map(|()| byte()));
    let all = rows.groups.len() * GROUP;
    let sums: Vec<i32> = (0..all).map(|row| rows.sum(row, &vector)).collect();
    for level in Level::available() {
        for floor in sums.iter().flat_map(|sum| [*sum, sum + 1]) {
            let expected: Vec<usize> = (0..all).filter(|row| sums[*row] >= floor).collect();
            let found = rows.reaching(level, &vector, floor as f32);
            assert_eq!(found, expected, "{count} rows of {COLUMNS} on {level}, floor {floor}");
        }
    }
}

#[test]
fn sums_are_exact_for_every_remainder_of_rows() {
    let mut random = Random(1);
    for count in 0..=50 {
        sums_are_exact::<128>(&mut random, count);
    }
    for count in [1, 16, 33] {
        sums_are_exact::<16>(&mut random, count);
        sums_are_exact::<32>(&mut random, count);
        sums_are_exact::<48>(&mut random, count);
        sums_are_exact::<528>(&mut random, count);
    }
}

#[test]
fn the_greatest_bytes_do_not_overflow() {
    // Quantised rows have no −128.
    for (row, vector) in [(-127, 0), (-127, u8::MAX), (127, 0), (127, u8::MAX)] {
        let rows = TestRows::new(vec![[row; 128]; 16]);
        let vector = bare([vector; 128]);
        let sum = rows.sum(0, &vector);
        for level in Level::available() {
            assert_eq!(rows.reaching(level, &vector, sum as f32).len(), 16, "{level}: {sum}");
            assert!(rows.reaching(level, &vector, sum as f32 + 1.0).is_empty(), "{level}: {sum}");
        }
    }
}

#[test]
fn the_bound_is_that_of_the_group_and_the_vector() {
    let mut rows = TestRows::new(vec![[1; 16]; 16]);
    rows.groups[0] = Group { scale: 0.25, norm: 3.0, lost: 0.5, ..rows.groups[0] };
    let vector =
        ByteVector { bytes: [ZERO + 2; 16], scale: 0.5, norm: 2.0, lost: 0.125, slack: 1.0 };
    // 32 steps of 0.25 · 0.5, and 0.5 · 2 + 3 · 0.125 + 3.5 · 2 · 1 of bound.
    let most = 4.0_f32 + 1.0 + 0.375 + 7.0;
    for level in Level::available() {
        assert_eq!(rows.reaching(level, &vector, most).len(), 16, "{level}");
        assert!(rows.reaching(level, &vector, most.next_up()).is_empty(), "{level}");
    }
}

#[test]
fn the_floor_rises_while_the_scan_goes_on() {
    let rows = TestRows::new((0..64).map(|row| [row; 16]).collect());
    for level in Level::available() {
        let mut groups = Vec::new();
        level.run(ByteScan {
            rows: &rows.quads,
            groups: &rows.groups,
            vector: &bare([ZERO + 1; 16]),
            floor: f32::NEG_INFINITY,
            reached: |group, lanes| {
                groups.push((group, lanes));
                if group == 0 { 16.0 * 47.0 } else { f32::INFINITY }
            },
        });
        assert_eq!(groups, [(0, 0xffff), (2, 0x8000)], "{level}");
    }
}

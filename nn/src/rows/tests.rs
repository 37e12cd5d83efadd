//! Compares a search with all products computed directly, on every level.

use super::*;
use crate::kernel::tests::Random;

type Row = [f32; 128];

fn unit(mut row: Row) -> Row {
    let norm = norm(&row);
    row.iter_mut().for_each(|value| *value /= norm);
    row
}

fn random_row(random: &mut Random) -> Row {
    unit(random.values(128).try_into().unwrap())
}

/// Returns a row at a small distance from another row.
fn near(random: &mut Random, row: &Row, distance: f32) -> Row {
    let mut near = *row;
    near.iter_mut().zip(random.values(128)).for_each(|(value, by)| *value += distance * by);
    unit(near)
}

fn axis(at: usize, value: f32) -> Row {
    let mut row = [0.0; 128];
    row[at] = value;
    row
}

fn filled(level: Level, rows: &[Row]) -> Rows<128> {
    let mut filled = Rows::new(level);
    rows.iter().for_each(|row| filled.push(row));
    filled
}

/// Searches with one floor after another and expects all rows not below it, in order and
/// bit-identical.
fn expect_all_above(what: &str, rows: &[Row], vector: &Row) {
    let products: Vec<f32> = rows.iter().map(|row| dot(row, vector)).collect();
    for level in Level::available() {
        let filled = filled(level, rows);
        assert_eq!(filled.len(), rows.len());
        for floor in products.iter().flat_map(|floor| [*floor, floor.next_up()]) {
            let mut visited = Vec::new();
            filled.search(vector, |row, product| {
                assert_eq!(product.to_bits(), products[row].to_bits(), "{what} on {level}");
                visited.push(row);
                floor
            });
            assert!(visited.is_sorted_by(|a, b| a < b), "{what} on {level}: {visited:?}");
            for (row, product) in products.iter().enumerate() {
                assert!(
                    *product < floor || visited.contains(&row),
                    "{what} on {level}: row {row} has {product}, the floor is {floor}"
                );
            }
        }
    }
}

#[test]
fn no_row_above_the_floor_is_skipped() {
    let mut random = Random(2);
    for count in 0..=50 {
        let probe = random_row(&mut random);
        let rows: Vec<Row> = (0..count).map(|_| random_row(&mut random)).collect();
        expect_all_above("random", &rows, &probe);
        let rows: Vec<Row> = rows.iter().map(|row| near(&mut random, row, 1e-3)).collect();
        expect_all_above("random, probe enrolled", &rows, &rows.first().copied().unwrap_or(probe));
        let rows: Vec<Row> = (0..count).map(|_| near(&mut random, &probe, 1e-4)).collect();
        expect_all_above("near-duplicates", &rows, &probe);
        expect_all_above("duplicates", &vec![probe; count], &probe);
        let rows: Vec<Row> = (0..count).map(|at| axis(at, [1.0, -1.0][at % 2])).collect();
        expect_all_above("axes", &rows, &axis(3, -1.0));
        expect_all_above("axes and no axis", &rows, &probe);
        expect_all_above("opposite", &vec![probe.map(|value| -value); count], &probe);
    }
}

/// Whole steps of a scale, plus 0.49 in the direction of `signs` that rounding removes: the largest
/// possible rounding error, along one vector.
fn beyond_steps(random: &mut Random, signs: &Row) -> Row {
    let mut row = signs.map(|sign| (random.between(0, 60) as f32) - 30.0 + 0.49 * sign);
    // One element is 127 steps, and so determines the step size.
    row[random.between(0, 127)] = 127.0;
    unit(row)
}

#[test]
fn no_row_is_skipped_at_the_largest_rounding_error() {
    let mut random = Random(3);
    for _ in 0..20 {
        let signs: Row = [(); 128].map(|()| [1.0, -1.0][random.between(0, 1)]);
        let rows: Vec<Row> = (0..40).map(|_| beyond_steps(&mut random, &signs)).collect();
        expect_all_above("from rows", &rows, &unit(signs));
        expect_all_above("from the vector", &[unit(signs); 20], &rows[0]);
        expect_all_above("from both", &rows, &rows[0]);
    }
}

/// Equal elements have exact bytes; only f32 rounds the sums.
#[test]
fn no_row_is_skipped_where_bytes_are_exact() {
    let mut random = Random(6);
    let mut equal = || [(random.between(8_000, 9_500) as f32) * 1e-5; 128];
    for _ in 0..50 {
        let rows: Vec<Row> = (0..40).map(|_| equal()).collect();
        expect_all_above("equal elements", &rows, &equal());
    }
}

#[test]
fn most_rows_are_skipped() {
    let mut random = Random(4);
    let rows: Vec<Row> = (0..20_000).map(|_| random_row(&mut random)).collect();
    let probe = random_row(&mut random);
    for level in Level::available() {
        let (mut visited, mut best) = (0, f32::NEG_INFINITY);
        filled(level, &rows).search(&probe, |_, product| {
            visited += 1;
            best = best.max(product);
            best
        });
        assert!(visited < 200, "{visited} of {} on {level}", rows.len());
    }
}

#[test]
fn bytes_depend_only_on_the_current_rows() {
    let mut random = Random(5);
    let level = Level::available().last().unwrap();
    let mut rows = Rows::<128>::new(level);
    let mut expected: Vec<Row> = Vec::new();
    for step in 0..2_000 {
        // Grows to some hundred rows, then shrinks to zero.
        let pushes = if step < 1_000 { 6 } else { 3 };
        if expected.is_empty() || random.between(0, 9) < pushes {
            let row = match random.between(0, 3) {
                0 => axis(random.between(0, 127), 1.0),
                _ => random_row(&mut random),
            };
            rows.push(&row);
            expected.push(row);
        } else {
            let row = random.between(0, expected.len() - 1);
            rows.swap_remove(row);
            expected.swap_remove(row);
        }
        let fresh = filled(level, &expected);
        assert_eq!((&rows.rows, &rows.groups), (&fresh.rows, &fresh.groups), "step {step}");
        assert!(rows.bytes == fresh.bytes, "step {step}");
        assert_eq!((rows.len(), rows.is_empty()), (expected.len(), expected.is_empty()));
    }
}

#[test]
fn a_row_of_zeros_has_a_product_of_zero() {
    for level in Level::available() {
        let rows = filled(level, &[[0.0; 128], axis(0, 1.0), [0.0; 128]]);
        let mut visited = Vec::new();
        rows.search(&axis(1, 1.0), |row, product| {
            visited.push((row, product));
            0.0
        });
        assert_eq!(visited, [(0, 0.0), (1, 0.0), (2, 0.0)], "{level}");
    }
}

//! Tests every kernel on every level of this processor against the definition, computed in f64:
//! random shapes, and every number of pixels and channels that leaves a remainder.

mod bytes;

use super::*;
use crate::activation::Activation;
use crate::lanes::BLOCK;
use crate::level::Level;

/// xorshift64*: a fixed sequence of values.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() >> 33) as usize % (high - low + 1)
    }

    /// −1 to 1.
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }

    fn activation(&mut self, channels: usize) -> Activation {
        match self.between(0, 2) {
            0 => Activation::Identity,
            1 => Activation::Relu,
            _ => Activation::PRelu(self.values(channels)),
        }
    }
}

/// A map `[height, width, channels]` and its planes.
struct TestMap {
    shape: (usize, usize, usize),
    planes: Vec<f32>,
}

impl TestMap {
    fn random(random: &mut Random, shape: (usize, usize, usize)) -> Self {
        let (height, width, channels) = shape;
        let mut planes = vec![0.0; height * width * channels.next_multiple_of(BLOCK)];
        for (index, value) in random.values(height * width * channels).into_iter().enumerate() {
            planes[place(
                shape,
                index / channels / width,
                index / channels % width,
                index % channels,
            )] = value;
        }
        Self { shape, planes }
    }

    /// 0 beyond the border.
    fn at(&self, y: isize, x: isize, channel: usize) -> f64 {
        let (height, width, _) = self.shape;
        let inside = |at: isize, side: usize| usize::try_from(at).ok().filter(|at| *at < side);
        match (inside(y, height), inside(x, width)) {
            (Some(y), Some(x)) => self.planes[place(self.shape, y, x, channel)].into(),
            _ => 0.0,
        }
    }
}

fn place((height, width, _): (usize, usize, usize), y: usize, x: usize, channel: usize) -> usize {
    ((channel / BLOCK * height + y) * width + x) * BLOCK + channel % BLOCK
}

fn bent(activation: &Activation, channel: usize, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::PRelu(slopes) => x.max(0.0) + f64::from(slopes[channel]) * x.min(0.0),
    }
}

/// Compares each channel of each pixel with its definition, within the rounding error of a sum of
/// this many terms, and expects zeros in the channels that pad a block.
fn expect(
    what: &str,
    planes: &[f32],
    shape: (usize, usize, usize),
    terms: usize,
    defined: impl Fn(usize, usize, usize) -> f64,
) {
    let (height, width, channels) = shape;
    for y in 0..height {
        for x in 0..width {
            for channel in 0..channels.next_multiple_of(BLOCK) {
                let found = f64::from(planes[place(shape, y, x, channel)]);
                let expected = if channel < channels { defined(y, x, channel) } else { 0.0 };
                let tolerance = 1e-6 * (2.0 + terms as f64 / 4.0);
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{what}, {shape:?} at {y}, {x}, {channel}: {found}, defined {expected}"
                );
            }
        }
    }
}

fn pointwise(random: &mut Random, level: Level, pixels: usize, inputs: usize, outputs: usize) {
    let map = TestMap::random(random, (1, pixels, inputs));
    let padded = inputs.next_multiple_of(BLOCK);
    let (weights, bias) = (random.values(outputs * inputs), random.values(outputs));
    let activation = random.activation(outputs);
    let mut rows = vec![0.0; outputs * padded];
    for (row, from) in rows.chunks_exact_mut(padded).zip(weights.chunks_exact(inputs)) {
        row[..inputs].copy_from_slice(from);
    }
    let matrix = Matrix::pack(&rows, padded, bias.clone(), activation.clone());
    let shape = (1, pixels, outputs);
    let residual = TestMap::random(random, shape);
    let with_residual = random.between(0, 1) == 1;
    let mut output = vec![f32::NAN; pixels * outputs.next_multiple_of(BLOCK)];
    level.run(Multiply::<f32, BLOCK, BLOCK> {
        input: &map.planes,
        taps: Taps { runs: padded / BLOCK, step: pixels * BLOCK },
        rows: 1,
        columns: pixels,
        row_step: 0,
        matrix: &matrix,
        residual: with_residual.then_some(&residual.planes),
        offset: 0.0,
        output: &mut output,
    });
    expect(&format!("pointwise on {level}"), &output, shape, inputs, |_, x, channel| {
        let row = &weights[channel * inputs..][..inputs];
        let products = row.iter().zip(0..).map(|(w, i)| f64::from(*w) * map.at(0, x as isize, i));
        let added = if with_residual { residual.at(0, x as isize, channel) } else { 0.0 };
        bent(&activation, channel, products.sum::<f64>() + f64::from(bias[channel]) + added)
    });
}

#[test]
fn pointwise_is_a_matrix_at_every_pixel() {
    let mut random = Random(1);
    for level in Level::available() {
        for pixels in 1..=45 {
            pointwise(&mut random, level, pixels, 16, 16);
        }
        for channels in 1..=40 {
            pointwise(&mut random, level, 5, channels, 41 - channels);
        }
        for _ in 0..20 {
            let (pixels, inputs) = (random.between(1, 400), random.between(1, 300));
            let outputs = random.between(1, 100);
            pointwise(&mut random, level, pixels, inputs, outputs);
        }
        // More inputs than fit the L2 cache with all pixels: the pixels are split.
        pointwise(&mut random, level, 67, 1600, 33);
    }
}

#[test]
fn the_stem_filters_nine_pixels() {
    let mut random = Random(2);
    for level in Level::available() {
        for _ in 0..30 {
            let (height, width) = (random.between(1, 40), random.between(1, 40));
            let (stride, outputs) = (random.between(1, 2), random.between(1, 40));
            let bytes: Vec<u8> = (0..height * width * 3).map(|_| random.next() as u8).collect();
            let row_step = (width + 2) * 3;
            let mut input = vec![f32::NAN; (height + 2) * row_step];
            let (scale, offset) = (1.0 / 128.0, -127.5 / 128.0);
            level.run(Scale {
                bytes: &bytes,
                row: width * 3,
                scale,
                offset,
                output: &mut input,
                row_step,
                before: 3,
            });
            let (weights, bias) = (random.values(outputs * 27), random.values(outputs));
            let activation = random.activation(outputs);
            let matrix = Matrix::pack(&weights, 27, bias.clone(), activation.clone());
            let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
            let mut output = vec![f32::NAN; rows * columns * outputs.next_multiple_of(BLOCK)];
            let taps = Taps { runs: 3, step: row_step };
            match stride {
                1 => level.run(Multiply::<f32, 3, 9> {
                    input: &input,
                    taps,
                    rows,
                    columns,
                    row_step,
                    matrix: &matrix,
                    residual: None,
                    offset: 0.0,
                    output: &mut output,
                }),
                _ => level.run(Multiply::<f32, 6, 9> {
                    input: &input,
                    taps,
                    rows,
                    columns,
                    row_step: 2 * row_step,
                    matrix: &matrix,
                    residual: None,
                    offset: 0.0,
                    output: &mut output,
                }),
            }
            let shape = (rows, columns, outputs);
            expect(&format!("stem on {level}"), &output, shape, 27, |y, x, channel| {
                let mut sum = f64::from(bias[channel]);
                for tap in 0..27 {
                    // Shifted by one, so that the border is 0.
                    let (sy, sx) = (y * stride + tap / 9, x * stride + tap / 3 % 3);
                    if (1..=height).contains(&sy) && (1..=width).contains(&sx) {
                        let byte = bytes[((sy - 1) * width + sx - 1) * 3 + tap % 3];
                        let value = (f64::from(byte) - 127.5) / 128.0;
                        sum += value * f64::from(weights[channel * 27 + tap]);
                    }
                }
                bent(&activation, channel, sum)
            });
        }
    }
}

#[test]
fn depthwise_filters_nine_pixels_of_its_channel() {
    let mut random = Random(3);
    for level in Level::available() {
        let sides = (1..=12).flat_map(|height| (1..=12).map(move |width| (height, width)));
        for (height, width) in sides {
            let (stride, channels) = (random.between(1, 2), random.between(1, 40));
            let map = TestMap::random(&mut random, (height, width, channels));
            let (taps, bias) = (random.values(channels * 9), random.values(channels));
            let activation = random.activation(channels);
            let filters = Filters::pack(&taps, bias.clone(), activation.clone());
            let shape = (height.div_ceil(stride), width.div_ceil(stride), channels);
            let mut output = vec![f32::NAN; shape.0 * shape.1 * channels.next_multiple_of(BLOCK)];
            let (input, output_) = (&map.planes, &mut output);
            level.run(DepthwiseRows {
                input,
                height,
                width,
                stride,
                filters: &filters,
                output: output_,
            });
            expect(
                &format!("depthwise/{stride} on {level}"),
                &output,
                shape,
                9,
                |y, x, channel| {
                    let sum = (0..9).map(|tap| {
                        let (sy, sx) =
                            ((y * stride + tap / 3) as isize, (x * stride + tap % 3) as isize);
                        f64::from(taps[channel * 9 + tap]) * map.at(sy - 1, sx - 1, channel)
                    });
                    bent(&activation, channel, sum.sum::<f64>() + f64::from(bias[channel]))
                },
            );
        }
    }
}

#[test]
fn halving_takes_the_maximum_and_doubling_repeats() {
    let mut random = Random(4);
    for level in Level::available() {
        for _ in 0..20 {
            let (height, width) = (random.between(1, 9), random.between(1, 9));
            let channels = random.between(1, 40);
            let planes = channels.div_ceil(BLOCK);
            let fine = TestMap::random(&mut random, (2 * height, 2 * width, channels));
            let mut output = vec![f32::NAN; height * width * planes * BLOCK];
            let rows = 2 * height * planes;
            level.run(HalveByMaximum {
                input: &fine.planes,
                height: rows,
                width: 2 * width,
                output: &mut output,
            });
            expect(
                &format!("maximum on {level}"),
                &output,
                (height, width, channels),
                1,
                |y, x, c| {
                    let of = |dy, dx| fine.at((2 * y + dy) as isize, (2 * x + dx) as isize, c);
                    of(0, 0).max(of(0, 1)).max(of(1, 0)).max(of(1, 1))
                },
            );
            let coarse = TestMap::random(&mut random, (height, width, channels));
            let mut sum = fine.planes.clone();
            let (coarse_planes, width) = (&coarse.planes, 2 * width);
            level.run(AddDoubled {
                fine: &mut sum,
                height: rows,
                width,
                coarse: coarse_planes,
                line: [1.0, 1.0, 0.0],
            });
            expect(&format!("doubling on {level}"), &sum, fine.shape, 2, |y, x, c| {
                let (y, x) = (y as isize, x as isize);
                fine.at(y, x, c) + coarse.at(y / 2, x / 2, c)
            });
        }
    }
}

#[test]
fn whole_maps_are_summed_and_weighted() {
    let mut random = Random(5);
    for level in Level::available() {
        for pixels in 1..=26 {
            let channels = random.between(1, 40);
            let shape = (1, pixels, channels);
            let (map, taps) =
                (TestMap::random(&mut random, shape), TestMap::random(&mut random, shape));
            let bias = TestMap::random(&mut random, (1, 1, channels));
            let mut sums = vec![f32::NAN; bias.planes.len()];
            level.run(WholeMap {
                input: &map.planes,
                pixels,
                taps: &taps.planes,
                bias: &bias.planes,
                output: &mut sums,
            });
            expect(&format!("whole map on {level}"), &sums, (1, 1, channels), pixels, |_, _, c| {
                let products = (0..pixels as isize).map(|x| map.at(0, x, c) * taps.at(0, x, c));
                bias.at(0, 0, c) + products.sum::<f64>()
            });
            let mut weighed = vec![f32::NAN; map.planes.len()];
            level.run(Weigh {
                map: &map.planes,
                pixels,
                weights: &bias.planes,
                plus: &taps.planes,
                line: [1.0, 1.0, 0.0],
                output: &mut weighed,
            });
            expect(&format!("weighing on {level}"), &weighed, shape, 2, |_, x, c| {
                map.at(0, x as isize, c) * bias.at(0, 0, c) + taps.at(0, x as isize, c)
            });
        }
    }
}

#[test]
fn bytes_times_a_vector_are_sums_of_scaled_groups() {
    let mut random = Random(6);
    for level in Level::available() {
        for rows in 1..=9 {
            let columns = 32 * random.between(1, 30);
            let weights: Vec<i8> = (0..rows * columns).map(|_| random.next() as i8).collect();
            let scales: Vec<f32> =
                random.values(rows * columns / 32).iter().map(|scale| scale / 128.0).collect();
            let vector = random.values(columns);
            let matrix = Q8_0 { weights, scales, columns };
            let mut output = vec![f32::NAN; rows];
            level.run(BytesTimes { matrix: &matrix, vector: &vector, output: &mut output });
            for (row, found) in output.into_iter().enumerate() {
                let products = (0..columns).map(|column| {
                    let at = row * columns + column;
                    let weight = f64::from(matrix.weights[at]) * f64::from(matrix.scales[at / 32]);
                    weight * f64::from(vector[column])
                });
                let expected: f64 = products.sum();
                assert!((f64::from(found) - expected).abs() < 1e-4, "{level}: {found} {expected}");
            }
        }
    }
}

//! Tests every kernel in bytes against its definition: exact sums, one rounding, and the same bits
//! on every level of this processor.

use super::*;

fn bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count).map(|_| (random.next() >> 56) as u8).collect()
}

fn signed(random: &mut Random, count: usize) -> Vec<i8> {
    bytes(random, count).into_iter().map(u8::cast_signed).collect()
}

/// A byte layer with the data of its file.
struct ByteLayer {
    scales: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
    input: Range,
    output: Range,
}

impl ByteLayer {
    /// Sums of this many products cover the output's bytes and exceed them.
    fn random(random: &mut Random, channels: usize, terms: usize) -> Self {
        let range = |random: &mut Random| Range { scale: 0.05, zero: (random.next() >> 56) as u8 };
        let scale = 0.5 / (terms as f32).sqrt() / 128.0;
        Self {
            scales: random.values(channels).iter().map(|x| scale * (1.5 + x)).collect(),
            bias: random.values(channels),
            activation: random.activation(channels),
            input: range(random),
            output: match random.between(0, 2) {
                0 => Range { scale: 0.05, zero: 0 },
                _ => range(random),
            },
        }
    }

    fn rounding(&self, to_bytes: bool) -> Rounding {
        let output = to_bytes.then_some(self.output);
        Rounding::new(&self.scales, &self.bias, &self.activation, self.input, output)
    }

    /// Returns the value of a sum of (byte − zero) · weight.
    fn value(&self, channel: usize, sum: i64) -> f64 {
        let scale = f64::from(self.scales[channel]) * f64::from(self.input.scale);
        bent(&self.activation, channel, sum as f64 * scale + f64::from(self.bias[channel]))
    }

    /// Expects the byte nearest to the value; either of two if the value is halfway between them
    /// within rounding.
    fn expect_byte(&self, what: &str, found: u8, value: f64) {
        let steps = value / f64::from(self.output.scale) + f64::from(self.output.zero);
        expect_steps(what, found, steps);
    }
}

/// Runs on every level, checks that all give the same bits, and returns them.
fn on_every_level<T: PartialEq + std::fmt::Debug>(mut run: impl FnMut(Level) -> T) -> T {
    let mut levels = Level::available();
    let expected = run(levels.next().unwrap());
    for level in levels {
        assert!(run(level) == expected, "{level} gives other bits than the first level");
    }
    expected
}

#[test]
fn a_matrix_in_bytes_is_exact_and_the_same_on_every_level() {
    let mut random = Random(7);
    let shapes = (1usize..=30)
        .map(|pixels| (pixels, 1usize, 17usize))
        .chain((0..20).map(|i| (5, 16 + i, 40 - i)));
    for (pixels, inputs, outputs) in shapes.chain([(100, 70, 33), (300, 1024, 20)]) {
        let padded = inputs.next_multiple_of(BLOCK);
        let layer = ByteLayer::random(&mut random, outputs, inputs);
        // Full range: saturating instructions would give other results.
        let mut weights = signed(&mut random, outputs * padded);
        for row in weights.chunks_exact_mut(padded) {
            row[inputs..].fill(0);
        }
        let mut input = bytes(&mut random, pixels * padded);
        if pixels % 2 == 0 {
            input.fill(255);
            weights.iter_mut().for_each(|weight| *weight = if *weight < 0 { -127 } else { 127 });
        }
        let planes = outputs.next_multiple_of(BLOCK);
        let residual = bytes(&mut random, pixels * planes);
        let line = [0.3f32, -20.0];
        let zero = layer.input.zero;
        let matrix = ByteMatrix::pack(&weights, padded, zero, layer.rounding(true));
        let open = ByteMatrix::pack(&weights, padded, zero, layer.rounding(false));
        let with_residual = matches!(layer.activation, Activation::Identity);
        let rounded = on_every_level(|level| {
            let mut output = vec![0u8; pixels * planes];
            let residual = with_residual.then_some(Residual { map: &residual, line });
            let (input, output_) = (&input, &mut output);
            level.run(ByteMultiply { input, pixels, matrix: &matrix, residual, output: output_ });
            output
        });
        let values = on_every_level(|level| {
            let mut output = vec![0f32; pixels * planes];
            let (input, output_) = (&input, &mut output);
            level.run(ByteMultiply {
                input,
                pixels,
                matrix: &open,
                residual: None,
                output: output_,
            });
            output
        });
        for pixel in 0..pixels {
            for output in 0..outputs {
                let row = &weights[output * padded..][..padded];
                let products = row.iter().enumerate().map(|(k, weight)| {
                    let byte = input[(k / BLOCK * pixels + pixel) * BLOCK + k % BLOCK];
                    i64::from(*weight) * (i64::from(byte) - i64::from(zero))
                });
                let value = layer.value(output, products.sum());
                let at = (output / BLOCK * pixels + pixel) * BLOCK + output % BLOCK;
                let found = f64::from(values[at]);
                assert!((found - value).abs() <= 1e-4 * (1.0 + value.abs()), "{found} {value}");
                let added = match with_residual {
                    true => {
                        let steps =
                            f64::from(residual[at]) * f64::from(line[0]) + f64::from(line[1]);
                        steps * f64::from(layer.output.scale)
                    }
                    false => 0.0,
                };
                layer.expect_byte("matrix", rounded[at], value + added);
            }
        }
    }
}

#[test]
fn filters_in_bytes_are_exact_and_the_same_on_every_level() {
    let mut random = Random(8);
    let sides = (1..=11).flat_map(|height| (1..=11).map(move |width| (height, width)));
    for (height, width) in sides {
        let (stride, channels) = (random.between(1, 2), random.between(1, 40));
        let layer = ByteLayer::random(&mut random, channels, 9);
        let weights = signed(&mut random, channels * 9);
        let padded = channels.next_multiple_of(BLOCK);
        let input = bytes(&mut random, height * width * padded);
        let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
        let filters = ByteFilters::pack(&weights, layer.input.zero, layer.rounding(true));
        let rounded = on_every_level(|level| {
            let mut output = vec![0u8; rows * columns * padded];
            let (input, output_, filters) = (&input, &mut output, &filters);
            level.run(ByteDepthwise { input, height, width, stride, filters, output: output_ });
            output
        });
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            for channel in 0..channels {
                let sum = (0..9).map(|tap| {
                    // Shifted by one, so that the border is 0.
                    let (sy, sx) = (y * stride + tap / 3, x * stride + tap % 3);
                    if !(1..=height).contains(&sy) || !(1..=width).contains(&sx) {
                        return 0;
                    }
                    let byte = input[place((height, width, channels), sy - 1, sx - 1, channel)];
                    let weight = i64::from(weights[channel * 9 + tap]);
                    weight * (i64::from(byte) - i64::from(layer.input.zero))
                });
                let found = rounded[place((rows, columns, channels), y, x, channel)];
                layer.expect_byte("filters", found, layer.value(channel, sum.sum()));
            }
        }
    }
}

/// Expects the byte nearest to a number of steps, either of two if it is halfway between them
/// within rounding.
fn expect_steps(what: &str, found: u8, steps: f64) {
    let apart = (f64::from(found) - steps.clamp(0.0, 255.0)).abs();
    assert!(apart <= 0.5 + 1e-3, "{what}: {found} for {steps}");
}

#[test]
fn bytes_are_halved_doubled_and_weighted_the_same_on_every_level() {
    let mut random = Random(9);
    for _ in 0..20 {
        let (height, width) = (2 * random.between(1, 6), 2 * random.between(1, 6));
        let fine = bytes(&mut random, height * width * BLOCK);
        let coarse = bytes(&mut random, fine.len() / 4);
        let at = |y: usize, x: usize, channel: usize| (y * width + x) * BLOCK + channel;
        let halved = on_every_level(|level| {
            let mut output = vec![0u8; fine.len() / 4];
            level.run(HalveByMaximum { input: &fine, height, width, output: &mut output });
            output
        });
        // Factors and summand for which most sums lie within the bytes and some beyond.
        let line = [0.7f32, 0.6, -40.0 - 128.0];
        let doubled = on_every_level(|level| {
            let mut sum = fine.clone();
            level.run(AddDoubled { fine: &mut sum, height, width, coarse: &coarse, line });
            sum
        });
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for channel in 0..BLOCK {
                let small = ((y / 2) * (width / 2) + x / 2) * BLOCK + channel;
                let four = [(0, 0), (0, 1), (1, 0), (1, 1)]
                    .map(|(dy, dx)| fine[at(y / 2 * 2 + dy, x / 2 * 2 + dx, channel)]);
                assert_eq!(Some(&halved[small]), four.iter().max());
                let (a, b) = (fine[at(y, x, channel)], coarse[small]);
                let steps = f64::from(a) * f64::from(line[0]) + f64::from(b) * f64::from(line[1]);
                expect_steps("doubling", doubled[at(y, x, channel)], steps - 40.0);
            }
        }
        let pixels = height * width;
        let (map, weights) = (random.values(pixels * BLOCK), random.values(BLOCK));
        let line = [90.0f32, 0.4, 60.0 - 128.0];
        let weighed = on_every_level(|level| {
            let mut output = vec![0u8; fine.len()];
            level.run(Weigh {
                map: &map,
                pixels,
                weights: &weights,
                plus: &fine,
                line,
                output: &mut output,
            });
            output
        });
        for (index, found) in weighed.iter().enumerate() {
            let product = f64::from(map[index]) * f64::from(weights[index % BLOCK]);
            let steps = product * 90.0 + f64::from(fine[index]) * f64::from(line[1]) + 60.0;
            expect_steps("weighing", *found, steps);
        }
    }
}

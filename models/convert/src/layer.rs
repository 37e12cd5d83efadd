//! Converts a layer from the authors' form to ours.
//!
//! Our form: one matrix per layer, one row per output channel, batch-norm folded in. A row runs
//! over the kernel in the order of an NHWC convolution: (ky, kx, input channel), the channel
//! fastest; for a depthwise layer that leaves (ky, kx). Sums are kept in f64, so the weights are
//! rounded once.

use super::weights::{Array, Malformed};

/// One convolution or matrix, with one bias and PReLU slope per output channel.
#[derive(Clone, Debug)]
pub struct Layer {
    pub name: String,
    /// Rows of `columns` weights.
    pub weight: Vec<f64>,
    pub columns: usize,
    /// Input channels that one output channel sees: the fastest index of a row.
    channels: usize,
    pub bias: Vec<f64>,
    pub slope: Option<Vec<f32>>,
}

impl Layer {
    /// Makes a layer from `[output, input / groups, ky, kx]`, or `[output, input]` for a matrix.
    pub fn new(name: impl Into<String>, weight: &Array) -> Result<Self, Malformed> {
        let name = name.into();
        let (rows, channels, taps) = match *weight.shape() {
            [rows, channels, height, width] => (rows, channels, height * width),
            [rows, channels] => (rows, channels, 1),
            _ => return Err(shape(name, "a matrix or a convolution kernel", weight)),
        };
        let columns = channels * taps;
        let source = weight.data();
        let at = |row, tap, channel| f64::from(source[row * columns + channel * taps + tap]);
        let weight = (0..rows)
            .flat_map(|row| (0..taps).map(move |tap| (row, tap)))
            .flat_map(|(row, tap)| (0..channels).map(move |channel| at(row, tap, channel)))
            .collect();
        Ok(Self { name, weight, columns, channels, bias: vec![0.0; rows], slope: None })
    }

    pub fn with_bias(mut self, bias: &Array) -> Result<Self, Malformed> {
        self.bias = self.per_row(bias)?.iter().map(|&value| f64::from(value)).collect();
        Ok(self)
    }

    pub fn with_slope(mut self, slope: &Array) -> Result<Self, Malformed> {
        self.slope = Some(self.per_row(slope)?.to_vec());
        Ok(self)
    }

    /// Folds in the batch-norm that follows the layer: s·(W·x + b) + t = (s·W)·x + (s·b + t).
    pub fn followed_by(mut self, norm: &BatchNorm) -> Result<Self, Malformed> {
        if norm.scale.len() != self.bias.len() {
            return Err(norm.misfit(&self.name));
        }
        for (row, (scale, shift)) in norm.iter().enumerate() {
            let weights = &mut self.weight[row * self.columns..][..self.columns];
            weights.iter_mut().for_each(|weight| *weight *= scale);
            self.bias[row] = scale * self.bias[row] + shift;
        }
        Ok(self)
    }

    /// Folds in the batch-norm that precedes the layer: W·(s·x + t) + b = (W·s)·x + (W·t + b).
    /// Exact only for a layer that does not pad its input.
    pub fn preceded_by(mut self, norm: &BatchNorm) -> Result<Self, Malformed> {
        if norm.scale.len() != self.channels {
            return Err(norm.misfit(&self.name));
        }
        for (row, bias) in self.weight.chunks_exact_mut(self.columns).zip(&mut self.bias) {
            for (weight, (scale, shift)) in row.iter_mut().zip(norm.iter().cycle()) {
                *bias += *weight * shift;
                *weight *= scale;
            }
        }
        Ok(self)
    }

    /// Returns the number of channels that it reads.
    pub fn inputs(&self) -> usize {
        // A depthwise filter has one, the channel of its row.
        if self.channels == 1 { self.bias.len() } else { self.channels }
    }

    /// Multiplies outputs and divides inputs, with one factor per channel; an empty slice changes
    /// nothing.
    pub fn scale(&mut self, inputs: &[f64], outputs: &[f64]) {
        for (row, weights) in self.weight.chunks_exact_mut(self.columns).enumerate() {
            let output = outputs.get(row).copied().unwrap_or(1.0);
            self.bias[row] *= output;
            for (column, weight) in weights.iter_mut().enumerate() {
                let input = if self.channels == 1 { row } else { column % self.channels };
                *weight *= output / inputs.get(input).copied().unwrap_or(1.0);
            }
        }
    }

    /// Returns the matrix in f32, each row zero-padded to a multiple of `block` columns.
    pub fn padded(&self, block: usize) -> (Vec<f32>, usize) {
        let columns = self.columns.next_multiple_of(block);
        let padding = columns - self.columns;
        let padded = self.weight.chunks_exact(self.columns).flat_map(|row| {
            let row = row.iter().map(|&weight| weight as f32);
            row.chain(std::iter::repeat_n(0.0, padding))
        });
        (padded.collect(), columns)
    }

    fn per_row<'a>(&self, array: &'a Array) -> Result<&'a [f32], Malformed> {
        if array.data().len() != self.bias.len() {
            return Err(shape(self.name.clone(), "one number per channel", array));
        }
        Ok(array.data())
    }
}

fn shape(name: String, expected: &'static str, found: &Array) -> Malformed {
    Malformed::Shape { name, expected, found: found.shape().to_vec() }
}

/// A batch-norm at inference: a scale and a shift per channel.
pub struct BatchNorm {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl BatchNorm {
    /// y = gamma · (x − mean) / √(variance + epsilon) + beta, the arrays in ONNX's order.
    pub fn new(
        [gamma, beta, mean, variance]: [&Array; 4],
        epsilon: f64,
    ) -> Result<Self, Malformed> {
        let width = gamma.data().len();
        if let Some(odd) = [beta, mean, variance].into_iter().find(|a| a.data().len() != width) {
            return Err(shape("batch-norm".to_owned(), "four arrays of one length", odd));
        }
        let value = |array: &Array, channel: usize| f64::from(array.data()[channel]);
        let scale = |c| value(gamma, c) / (value(variance, c) + epsilon).sqrt();
        let scale: Vec<f64> = (0..width).map(scale).collect();
        let shift = |c: usize| value(beta, c) - value(mean, c) * scale[c];
        let shift = (0..width).map(shift).collect();
        Ok(Self { scale, shift })
    }

    fn misfit(&self, layer: &str) -> Malformed {
        let found = vec![self.scale.len()];
        Malformed::Shape { name: layer.to_owned(), expected: "a batch-norm of its width", found }
    }

    fn iter(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.scale.iter().copied().zip(self.shift.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], data: &[f32]) -> Array {
        Array::new("test", shape.to_vec(), data.to_vec()).unwrap()
    }

    /// gamma 6 divided by √(8 + 1) is a scale of 2; beta 5 minus 2·mean 1 is a shift of 3. gamma −1
    /// divided by √(0 + 1) is a scale of −1; beta 0 plus mean 4 is a shift of 4.
    fn norm() -> BatchNorm {
        let [gamma, beta, mean, variance] =
            [[6.0, -1.0], [5.0, 0.0], [1.0, 4.0], [8.0, 0.0]].map(|data| array(&[2], &data));
        BatchNorm::new([&gamma, &beta, &mean, &variance], 1.0).unwrap()
    }

    #[test]
    fn a_row_runs_over_the_kernel_with_the_channel_fastest() {
        // One output, two input channels, a 1×3 kernel.
        let layer = Layer::new("l", &array(&[1, 2, 1, 3], &[1., 2., 3., 10., 20., 30.])).unwrap();
        assert_eq!(layer.weight, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    }

    #[test]
    fn the_batch_norm_that_follows_scales_rows() {
        let layer = Layer::new("l", &array(&[2, 2], &[1.0, 2.0, 3.0, 4.0])).unwrap();
        let layer = layer.with_bias(&array(&[2], &[10.0, 20.0])).unwrap();
        let layer = layer.followed_by(&norm()).unwrap();
        assert_eq!(layer.weight, [2.0, 4.0, -3.0, -4.0]);
        assert_eq!(layer.bias, [23.0, -16.0]);
    }

    #[test]
    fn the_batch_norm_that_precedes_scales_channels() {
        // Two taps of two channels, in ONNX's order channel by channel.
        let layer = Layer::new("l", &array(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0])).unwrap();
        let layer = layer.preceded_by(&norm()).unwrap();
        assert_eq!(layer.weight, [2.0, -3.0, 4.0, -4.0]);
        // (1 + 2)·3 + (3 + 4)·4
        assert_eq!(layer.bias, [37.0]);
    }

    #[test]
    fn channels_doubled_by_the_writer_are_halved_by_the_reader() {
        let of = |shape: &[usize], data: &[f32]| Layer::new("l", &array(shape, data)).unwrap();
        let writer = of(&[2, 1], &[3.0, 5.0]).with_bias(&array(&[2], &[1.0, 2.0])).unwrap();
        for reader in [of(&[2, 1, 1, 2], &[1., 2., 3., 4.]), of(&[1, 2, 1, 2], &[1., 2., 3., 4.])] {
            assert_eq!(reader.inputs(), 2);
            let (mut doubled, mut halved) = (writer.clone(), reader.clone());
            doubled.scale(&[], &[2.0, 8.0]);
            halved.scale(&[2.0, 8.0], &[]);
            assert_eq!((doubled.weight, doubled.bias), (vec![6.0, 40.0], vec![2.0, 16.0]));
            // A depthwise filter has a row per channel; another layer has its channels in the
            // columns, tap by tap.
            let expected = match reader.bias.len() {
                2 => [0.5, 1.0, 0.375, 0.5],
                _ => [0.5, 0.375, 1.0, 0.5],
            };
            assert_eq!(halved.weight, expected);
        }
    }

    #[test]
    fn rows_are_padded_one_by_one() {
        let layer = Layer::new("l", &array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
        assert_eq!(layer.padded(4), (vec![1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0], 4));
        assert_eq!(layer.padded(3).0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn arrays_of_the_wrong_width_are_errors() {
        let layer = Layer::new("l", &array(&[1, 3], &[0.0; 3])).unwrap();
        assert!(layer.clone().followed_by(&norm()).is_err());
        assert!(layer.clone().preceded_by(&norm()).is_err());
        assert!(layer.with_slope(&array(&[2], &[0.0; 2])).is_err());
        assert!(Layer::new("l", &array(&[3], &[0.0; 3])).is_err());
    }
}

//! A 1×1 convolution: the same matrix at every pixel; at a map of one pixel, a linear layer.

use super::kernel::{ByteMatrix, ByteMultiply, Matrix, Multiply, Range, Rounding, Taps};
use super::lanes::BLOCK;
use super::level::Level;
use super::{Activation, Map, Weights, WeightsError};
use candle_core::{Result, bail};

/// The layer. Its file says whether it computes in f32 or in bytes.
pub struct Pointwise {
    arithmetic: Arithmetic,
    inputs: usize,
    outputs: usize,
    level: Level,
}

enum Arithmetic {
    Values(Matrix),
    Bytes { matrix: ByteMatrix, input: Range, output: Option<Range> },
}

impl Pointwise {
    /// Reads the layer of that name and shape.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        inputs: usize,
        outputs: usize,
        activation: Activation,
    ) -> std::result::Result<Self, WeightsError> {
        let (bias, level) = (weights.bias(layer, outputs)?, weights.level());
        let Some(input) = weights.range(&format!("{layer}.input"))? else {
            let rows = weights.rows(layer, outputs, inputs)?;
            return Ok(Self::pack(&rows, inputs, bias, activation, level));
        };
        let output = weights.range(&format!("{layer}.output"))?;
        let padded = inputs.next_multiple_of(BLOCK);
        let (rows, scales) = weights.byte_rows(layer, outputs, padded)?;
        let rounding = Rounding::new(&scales, &bias, &activation, input, output);
        let matrix = ByteMatrix::pack(&rows, padded, input.zero, rounding);
        Ok(Self { arithmetic: Arithmetic::Bytes { matrix, input, output }, inputs, outputs, level })
    }

    /// Several layers over the same input as one, their outputs in the order given. None of them
    /// has an activation.
    pub fn load_side_by_side(
        weights: &Weights<'_>,
        inputs: usize,
        layers: &[(String, usize)],
    ) -> std::result::Result<Self, WeightsError> {
        let (mut rows, mut bias) = (Vec::new(), Vec::new());
        for (layer, outputs) in layers {
            rows.extend(weights.rows(layer, *outputs, inputs)?);
            bias.extend(weights.bias(layer, *outputs)?);
        }
        Ok(Self::pack(&rows, inputs, bias, Activation::Identity, weights.level()))
    }

    fn pack(
        rows: &[f32],
        inputs: usize,
        bias: Vec<f32>,
        activation: Activation,
        level: Level,
    ) -> Self {
        let (outputs, padded) = (bias.len(), inputs.next_multiple_of(BLOCK));
        let mut wide = vec![0.0; outputs * padded];
        for (wide, row) in wide.chunks_exact_mut(padded).zip(rows.chunks_exact(inputs)) {
            wide[..inputs].copy_from_slice(row);
        }
        let matrix = Matrix::pack(&wide, padded, bias, activation);
        Self { arithmetic: Arithmetic::Values(matrix), inputs, outputs, level }
    }

    /// `y` becomes the layer's outputs at every pixel of `x`.
    pub fn forward(&self, x: &Map, y: &mut Map) -> Result<()> {
        let shape = self.shape(x)?;
        let pixels = shape.0 * shape.1;
        match &self.arithmetic {
            Arithmetic::Values(matrix) => {
                x.expect_range(None)?;
                y.fill_from(shape, None, x, |output: &mut [f32], input| {
                    self.run(matrix, pixels, input, None, output);
                })
            }
            Arithmetic::Bytes { matrix, input, output: Some(range) } => {
                x.expect_range(Some(*input))?;
                y.fill_from(shape, Some(*range), x, |output: &mut [u8], input| {
                    self.level.run(ByteMultiply { input, pixels, matrix, residual: None, output });
                })
            }
            Arithmetic::Bytes { matrix, input, output: None } => {
                x.expect_range(Some(*input))?;
                y.fill_from(shape, None, x, |output: &mut [f32], input| {
                    self.level.run(ByteMultiply { input, pixels, matrix, residual: None, output });
                })
            }
        }
    }

    /// The same plus `residual`, which has the shape of the result, before the activation; of layers
    /// that compute in f32.
    pub fn forward_plus(&self, x: &Map, residual: &Map, y: &mut Map) -> Result<()> {
        let shape = self.shape(x)?;
        if residual.shape() != shape {
            bail!("a residual of {:?} for {shape:?}", residual.shape());
        }
        let Arithmetic::Values(matrix) = &self.arithmetic else {
            bail!("a residual for a layer in bytes");
        };
        x.expect_range(None)?;
        residual.expect_range(None)?;
        y.fill_from_two(shape, None, (x, residual), |output: &mut [f32], input, residual| {
            self.run(matrix, shape.0 * shape.1, input, Some(residual), output);
        })
    }

    fn shape(&self, x: &Map) -> Result<super::map::Shape> {
        let (height, width, channels) = x.shape();
        if channels != self.inputs {
            bail!("a layer of {} inputs on a map of {channels} channels", self.inputs);
        }
        Ok((height, width, self.outputs))
    }

    fn run(
        &self,
        matrix: &Matrix,
        pixels: usize,
        input: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        self.level.run(Multiply::<f32, BLOCK, BLOCK> {
            input,
            taps: Taps { runs: matrix.inputs() / BLOCK, step: pixels * BLOCK },
            rows: 1,
            columns: pixels,
            row_step: 0,
            matrix,
            residual,
            offset: 0.0,
            output,
        });
    }
}

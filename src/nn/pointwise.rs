//! A 1×1 convolution: the same matrix at every pixel; at a map of one pixel, a linear layer.

use super::kernel::{Matrix, Multiply, Taps};
use super::lanes::BLOCK;
use super::level::Level;
use super::{Activation, Map, Weights, WeightsError};
use candle_core::{Result, bail};

/// The layer.
pub struct Pointwise {
    matrix: Matrix,
    inputs: usize,
    outputs: usize,
    level: Level,
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
        let rows = weights.rows(layer, outputs, inputs)?;
        Ok(Self::pack(&rows, inputs, weights.bias(layer, outputs)?, activation, weights.level()))
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
        Self { matrix: Matrix::pack(&wide, padded, bias, activation), inputs, outputs, level }
    }

    /// `y` becomes the layer's outputs at every pixel of `x`.
    pub fn forward(&self, x: &Map, y: &mut Map) -> Result<()> {
        let shape = self.shape(x)?;
        y.fill_from(shape, x, |output, input| self.run(shape, input, None, output))
    }

    /// The same plus `residual`, which has the shape of the result, before the activation.
    pub fn forward_plus(&self, x: &Map, residual: &Map, y: &mut Map) -> Result<()> {
        let shape = self.shape(x)?;
        if residual.shape() != shape {
            bail!("a residual of {:?} for {shape:?}", residual.shape());
        }
        y.fill_from_two(shape, (x, residual), |output, input, residual| {
            self.run(shape, input, Some(residual), output);
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
        (height, width, _): super::map::Shape,
        input: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let pixels = height * width;
        self.level.run(Multiply::<BLOCK, BLOCK> {
            input,
            taps: Taps { runs: self.matrix.inputs() / BLOCK, step: pixels * BLOCK },
            rows: 1,
            columns: pixels,
            row_step: 0,
            matrix: &self.matrix,
            residual,
            output,
        });
    }
}

//! A 1×1 convolution: the same matrix at every pixel; on a map of one pixel, a linear layer.

use super::kernel::{ByteMatrix, ByteMultiply, Matrix, Multiply, Range, Residual, Rounding, Taps};
use super::lanes::BLOCK;
use super::level::Level;
use super::map::Element;
use super::spans::Watch;
use super::{Activation, Map, Weights, WeightsError};
use candle_core::{Result, bail};

/// The layer. Its file determines whether it computes in f32 or in bytes.
pub struct Pointwise {
    arithmetic: Arithmetic,
    inputs: usize,
    outputs: usize,
    level: Level,
    watch: Watch,
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
        Self::load_rows(weights, inputs, &[(layer, outputs)], activation)
    }

    /// Reads several layers over the same input as one, their outputs in the order given. None of
    /// them has an activation; in bytes, their output is values.
    pub fn load_side_by_side(
        weights: &Weights<'_>,
        inputs: usize,
        layers: &[(String, usize)],
    ) -> std::result::Result<Self, WeightsError> {
        let layers: Vec<_> =
            layers.iter().map(|(name, outputs)| (name.as_str(), *outputs)).collect();
        Self::load_rows(weights, inputs, &layers, Activation::Identity)
    }

    fn load_rows(
        weights: &Weights<'_>,
        inputs: usize,
        layers: &[(&str, usize)],
        activation: Activation,
    ) -> std::result::Result<Self, WeightsError> {
        let (mut bias, padded) = (Vec::new(), inputs.next_multiple_of(BLOCK));
        for (layer, outputs) in layers {
            bias.extend(weights.bias(layer, *outputs)?);
        }
        let outputs = bias.len();
        let arithmetic = match weights.ranges(layers.iter().map(|(layer, _)| *layer))? {
            None => {
                let mut rows = Vec::new();
                for (layer, outputs) in layers {
                    rows.extend(weights.rows(layer, *outputs, inputs)?);
                }
                let mut wide = vec![0.0; outputs * padded];
                for (wide, row) in wide.chunks_exact_mut(padded).zip(rows.chunks_exact(inputs)) {
                    wide[..inputs].copy_from_slice(row);
                }
                Arithmetic::Values(Matrix::pack(&wide, padded, bias, activation))
            }
            Some((input, output)) => {
                let (mut rows, mut scales) = (Vec::new(), Vec::new());
                for (layer, outputs) in layers {
                    let (layer_rows, layer_scales) = weights.byte_rows(layer, *outputs, padded)?;
                    rows.extend(layer_rows);
                    scales.extend(layer_scales);
                }
                let rounding = Rounding::new(&scales, &bias, &activation, input, output);
                let matrix = ByteMatrix::pack(&rows, padded, input.zero, rounding);
                Arithmetic::Bytes { matrix, input, output }
            }
        };
        let names: Vec<&str> = layers.iter().map(|(layer, _)| *layer).collect();
        let (level, watch) = (weights.level(), weights.watch(&names));
        Ok(Self { arithmetic, inputs, outputs, level, watch })
    }

    /// Returns the range of the bytes it reads; `None` if it reads values.
    pub fn input(&self) -> Option<Range> {
        match self.arithmetic {
            Arithmetic::Values(_) => None,
            Arithmetic::Bytes { input, .. } => Some(input),
        }
    }

    /// Writes the layer's outputs at every pixel of `x` to `y`.
    pub fn forward(&self, x: &Map, y: &mut Map) -> Result<()> {
        let shape = self.shape(x)?;
        let pixels = shape.0 * shape.1;
        match &self.arithmetic {
            Arithmetic::Values(matrix) => {
                x.expect_range(None)?;
                y.fill_from(shape, None, x, |output: &mut [f32], input| {
                    self.multiply(matrix, pixels, input, None, output);
                })?;
            }
            Arithmetic::Bytes { matrix, input, output: Some(range) } => {
                x.expect_range(Some(*input))?;
                self.multiply_bytes::<u8>(matrix, Some(*range), x, y)?;
            }
            Arithmetic::Bytes { matrix, input, output: None } => {
                x.expect_range(Some(*input))?;
                self.multiply_bytes::<f32>(matrix, None, x, y)?;
            }
        }
        self.watch.see(Some(x), y)
    }

    /// The same plus `residual`, which has the shape of the result: in f32 added before the
    /// activation, in bytes only for a layer without activation.
    pub fn forward_plus(&self, x: &Map, residual: &Map, y: &mut Map) -> Result<()> {
        let shape = self.shape(x)?;
        let pixels = shape.0 * shape.1;
        if residual.shape() != shape {
            bail!("a residual of {:?} for {shape:?}", residual.shape());
        }
        match &self.arithmetic {
            Arithmetic::Values(matrix) => {
                x.expect_range(None)?;
                residual.expect_range(None)?;
                y.fill_from_two(
                    shape,
                    None,
                    (x, residual),
                    |output: &mut [f32], input, residual| {
                        self.multiply(matrix, pixels, input, Some(residual), output);
                    },
                )?;
            }
            Arithmetic::Bytes { matrix, input, output: Some(output_range) } => {
                x.expect_range(Some(*input))?;
                let Some(range) = residual.range() else {
                    bail!("a residual of values for a layer in bytes");
                };
                let line = range.in_steps_of(*output_range);
                let output_range = Some(*output_range);
                y.fill_from_two(
                    shape,
                    output_range,
                    (x, residual),
                    |output: &mut [u8], input, map| {
                        let residual = Some(Residual { map, line });
                        self.level.run(ByteMultiply { input, pixels, matrix, residual, output });
                    },
                )?;
            }
            Arithmetic::Bytes { output: None, .. } => bail!("a residual for values made of bytes"),
        }
        self.watch.see(Some(x), y)
    }

    fn shape(&self, x: &Map) -> Result<super::map::Shape> {
        let (height, width, channels) = x.shape();
        if channels != self.inputs {
            bail!("a layer of {} inputs on a map of {channels} channels", self.inputs);
        }
        Ok((height, width, self.outputs))
    }

    fn multiply(
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

    fn multiply_bytes<T: Element>(
        &self,
        matrix: &ByteMatrix,
        range: Option<Range>,
        x: &Map,
        y: &mut Map,
    ) -> Result<()> {
        let (height, width, _) = x.shape();
        let pixels = height * width;
        y.fill_from((height, width, self.outputs), range, x, |output: &mut [T], input| {
            self.level.run(ByteMultiply { input, pixels, matrix, residual: None, output });
        })
    }
}

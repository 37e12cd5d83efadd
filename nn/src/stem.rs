//! The first layer: a dense 3×3 convolution over the pixels of a picture.

use super::kernel::{Cell, Matrix, Multiply, Range, Scale, Taps};
use super::level::Level;
use super::map::Shape;
use super::spans::Watch;
use super::{Activation, Bordered, Map, Weights, WeightsError};
use candle_core::{Result, bail};

/// Colours of a pixel.
const COLOURS: usize = 3;
/// Values of a filter.
const FILTER: usize = 9 * COLOURS;

/// The pixel format of a network: value = byte · scale + offset.
#[derive(Clone, Copy, Debug)]
pub struct PixelFormat {
    /// Blue comes first.
    pub bgr: bool,
    /// Times the byte.
    pub scale: f32,
    /// Added after that.
    pub offset: f32,
    /// Sides are padded to multiples of it, right and below, with zeros.
    pub multiple: usize,
}

/// A picture's pixels, R, G, B, row after row.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    /// height · width · 3 bytes.
    pub rgb: &'a [u8],
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
}

/// The layer, with a border of one zero pixel.
pub struct Stem {
    matrix: Matrix,
    outputs: usize,
    stride: usize,
    format: PixelFormat,
    /// The range of its output, if that is bytes; then the matrix is in its steps.
    output: Option<Range>,
    level: Level,
    watch: Watch,
}

impl Stem {
    /// Reads the layer of that name; `stride` is 1 or 2.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        outputs: usize,
        stride: usize,
        format: PixelFormat,
        activation: Activation,
    ) -> std::result::Result<Self, WeightsError> {
        assert!(matches!(stride, 1 | 2), "a stride of {stride}");
        let mut rows = weights.rows(layer, outputs, FILTER)?;
        if format.bgr {
            // Pictures are R, G, B: the weights are swapped once, not every pixel.
            rows.chunks_exact_mut(COLOURS).for_each(|weights| weights.swap(0, 2));
        }
        let mut bias = weights.bias(layer, outputs)?;
        let output = weights.range(&format!("{layer}.output"))?;
        if let Some(Range { scale, .. }) = output {
            rows.iter_mut().chain(&mut bias).for_each(|value| *value /= scale);
        }
        let matrix = Matrix::pack(&rows, FILTER, bias, activation);
        let (level, watch) = (weights.level(), weights.watch(&[layer]));
        Ok(Self { matrix, outputs, stride, format, output, level, watch })
    }

    /// Convolves; `between` is overwritten. The result's sides are the padded picture's, divided by
    /// the stride, rounded up.
    pub fn forward(&self, picture: Pixels<'_>, between: &mut Bordered, y: &mut Map) -> Result<()> {
        let Pixels { rgb, height, width } = picture;
        if rgb.len() != height * width * COLOURS {
            bail!("{} bytes are not {width}x{height} pixels", rgb.len());
        }
        let filled = |side: usize| side.next_multiple_of(self.format.multiple);
        let (rows, columns) = (filled(height), filled(width));
        let row_step = (columns + 2) * COLOURS;
        between.0.fill_flat((rows + 2) * row_step, |output| {
            self.level.run(Scale {
                bytes: rgb,
                row: width * COLOURS,
                scale: self.format.scale,
                offset: self.format.offset,
                output,
                row_step,
                before: COLOURS,
            });
        })?;
        let shape = (rows.div_ceil(self.stride), columns.div_ceil(self.stride), self.outputs);
        match self.output {
            None => y.fill_from(shape, None, &between.0, |output: &mut [f32], input| {
                self.convolve(shape, row_step, 0.0, input, output);
            })?,
            Some(range) => {
                let offset = range.zero_stored();
                y.fill_from(shape, Some(range), &between.0, |output: &mut [u8], input| {
                    self.convolve(shape, row_step, offset, input, output);
                })?;
            }
        }
        self.watch.see(None, y)
    }

    fn convolve<T: Cell>(
        &self,
        (rows, columns, _): Shape,
        row_step: usize,
        offset: f32,
        input: &[f32],
        output: &mut [T],
    ) {
        macro_rules! strided {
            ($stride:literal) => {
                self.level.run(Multiply::<T, { $stride * COLOURS }, { 3 * COLOURS }> {
                    input,
                    taps: Taps { runs: 3, step: row_step },
                    rows,
                    columns,
                    row_step: $stride * row_step,
                    matrix: &self.matrix,
                    residual: None,
                    offset,
                    output,
                })
            };
        }
        match self.stride {
            1 => strided!(1),
            _ => strided!(2),
        }
    }
}

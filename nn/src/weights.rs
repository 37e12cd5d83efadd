//! One network's GGUF file, read through candle.
//!
//! Layout of the files, made by `cargo xtask models`: `{layer}.weight` is a matrix `[outputs, K]`
//! whose K index runs (row, column, input channel), input channel fastest. Each row is padded with
//! zeros to a multiple of 32 so that Q8_0's blocks fit; a depthwise weight is `[channels, 9]`,
//! padded the same way. `{layer}.bias` and `{layer}.slope` (PReLU) are f32 vectors.
//!
//! A layer that computes in bytes has the range of its input map in `{layer}.input`, as the vector
//! (scale, zero), and all blocks of a row of its weights share one scale. A layer that writes a map
//! in bytes has its range in `{layer}.output`.

use super::kernel::{Q8_0, Range};
use super::spans::{Spans, Watch};
use super::{Activation, Level, LevelError};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use std::io::Cursor;

/// Why a network could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Not a GGUF file, or a damaged one.
    #[error("the weights cannot be read ({0}); install doorward's models again")]
    Unreadable(#[from] candle_core::Error),
    /// The file lacks a layer or has it in another shape.
    #[error(
        "the weights hold {found} for {layer}, expected {expected}; models and program do not belong together"
    )]
    Shape {
        /// Name of the tensor.
        layer: String,
        /// The shape in the file.
        found: String,
        /// The shape that the network needs.
        expected: String,
    },
    /// The file lacks an entry about its network.
    #[error("the weights lack {0}; models and program do not belong together")]
    Metadata(String),
    /// The requested instructions are not available on this processor.
    #[error(transparent)]
    Level(#[from] LevelError),
}

/// A network's tensors by name.
pub struct Weights<'a> {
    content: Content,
    file: &'a [u8],
    level: Level,
    spans: Option<Spans>,
}

impl<'a> Weights<'a> {
    /// Reads the directory of a GGUF file. The network will use the processor's best instructions,
    /// or those that `DOORWARD_CPU` names.
    pub fn read(file: &'a [u8]) -> Result<Self, WeightsError> {
        Self::read_for(file, Level::detect()?)
    }

    /// The same with instructions chosen by the caller.
    pub fn read_for(file: &'a [u8], level: Level) -> Result<Self, WeightsError> {
        let content = Content::read(&mut Cursor::new(file))?;
        Ok(Self { content, file, level, spans: None })
    }

    /// Makes layers loaded from here on record in `spans` what they read and write. For networks
    /// that compute in f32.
    pub fn watched(self, spans: &Spans) -> Self {
        Self { spans: Some(spans.clone()), ..self }
    }

    pub(super) fn watch(&self, layers: &[&str]) -> Watch {
        Watch::new(self.spans.as_ref(), layers)
    }

    /// Returns the instructions that the network is to use.
    pub fn level(&self) -> Level {
        self.level
    }

    fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let tensor = self.content.tensor(&mut Cursor::new(self.file), name, &Device::Cpu)?;
        Ok(tensor.dequantize(&Device::Cpu)?)
    }

    /// Returns `{layer}.weight` as `[outputs, inputs]`, without its padding.
    pub fn matrix(
        &self,
        layer: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Tensor, WeightsError> {
        let name = format!("{layer}.weight");
        let tensor = self.tensor(&name)?;
        expect(name, tensor.dims(), &[outputs, inputs.next_multiple_of(Q8_0::GROUP)])?;
        Ok(tensor.narrow(1, 0, inputs)?.contiguous()?)
    }

    /// Returns `{layer}.weight` row after row, without its padding.
    pub(super) fn rows(
        &self,
        layer: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Vec<f32>, WeightsError> {
        Ok(self.matrix(layer, outputs, inputs)?.flatten_all()?.to_vec1()?)
    }

    /// Returns `{layer}.weight` in 8 bits, if the file has it in 8 bits; `inputs` is a multiple of
    /// 32.
    pub(super) fn bytes(
        &self,
        layer: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Option<Q8_0>, WeightsError> {
        let name = format!("{layer}.weight");
        let tensor = self.content.tensor(&mut Cursor::new(self.file), &name, &Device::Cpu)?;
        expect(name, tensor.shape().dims(), &[outputs, inputs])?;
        if tensor.dtype() != GgmlDType::Q8_0 || !inputs.is_multiple_of(Q8_0::GROUP) {
            return Ok(None);
        }
        // Each group is an f16 and 32 bytes.
        let data = tensor.data()?;
        let (mut scales, mut weights) = (Vec::new(), Vec::with_capacity(outputs * inputs));
        for group in data.chunks_exact(2 + Q8_0::GROUP) {
            scales.extend_from_slice(&group[..2]);
            weights.extend(group[2..].iter().map(|byte| byte.cast_signed()));
        }
        let groups = scales.len() / 2;
        let scales = Tensor::from_raw_buffer(&scales, DType::F16, &[groups], &Device::Cpu)?;
        let scales = scales.to_dtype(DType::F32)?.to_vec1()?;
        Ok(Some(Q8_0 { weights, scales, columns: inputs }))
    }

    /// Returns the number of a layer's outputs, for networks whose widths only their file knows.
    pub fn outputs(&self, layer: &str) -> Result<usize, WeightsError> {
        let name = format!("{layer}.bias");
        match self.content.tensor_infos.get(&name).map(|info| info.shape.dims()) {
            Some(&[outputs]) => Ok(outputs),
            other => Err(WeightsError::Shape {
                layer: name,
                found: format!("{:?}", other.unwrap_or(&[])),
                expected: "a vector".to_owned(),
            }),
        }
    }

    /// Returns an entry of the file's metadata.
    pub fn metadata(&self, key: &str) -> Result<&Value, WeightsError> {
        self.content.metadata.get(key).ok_or_else(|| WeightsError::Metadata(key.to_owned()))
    }

    /// Returns `{layer}.bias`, one value per output.
    pub fn bias(&self, layer: &str, outputs: usize) -> Result<Vec<f32>, WeightsError> {
        self.vector(format!("{layer}.bias"), outputs)
    }

    /// Returns `{layer}.slope` as the activation of a layer with that many channels.
    pub fn prelu(&self, layer: &str, channels: usize) -> Result<Activation, WeightsError> {
        Ok(Activation::PRelu(self.vector(format!("{layer}.slope"), channels)?))
    }

    /// Returns the range of the bytes of a layer's input (`{layer}.input`) or output
    /// (`{layer}.output`); `None` where it reads or writes values.
    pub(super) fn range(&self, name: &str) -> Result<Option<Range>, WeightsError> {
        if !self.content.tensor_infos.contains_key(name) {
            return Ok(None);
        }
        let found = self.vector(name.to_owned(), 2)?;
        let (scale, zero) = (found[0], found[1]);
        let sound = scale.is_normal() && scale > 0.0 && zero.fract() == 0.0;
        if !sound || !(0.0..=255.0).contains(&zero) {
            let (found, expected) = (format!("{found:?}"), "a scale and a byte".to_owned());
            return Err(WeightsError::Shape { layer: name.to_owned(), found, expected });
        }
        Ok(Some(Range { scale, zero: zero as u8 }))
    }

    /// Returns the ranges of layers over the same input: of the bytes they read and, if they write
    /// bytes, of those too. `None` where they compute in f32.
    pub(super) fn ranges<'b>(
        &self,
        layers: impl IntoIterator<Item = &'b str>,
    ) -> Result<Option<(Range, Option<Range>)>, WeightsError> {
        let mut found: Option<[Option<Range>; 2]> = None;
        for layer in layers {
            let of = |end: &str| self.range(&format!("{layer}.{end}"));
            let ranges = [of("input")?, of("output")?];
            if found.is_some_and(|found| found != ranges) {
                let (found, expected) = (format!("{ranges:?}"), format!("{found:?}"));
                return Err(WeightsError::Shape { layer: layer.to_owned(), found, expected });
            }
            found = Some(ranges);
        }
        Ok(found.and_then(|[input, output]| Some((input?, output))))
    }

    /// Returns the weights of a layer that computes in bytes: the first `columns` of each row, and
    /// one scale per row.
    pub(super) fn byte_rows(
        &self,
        layer: &str,
        outputs: usize,
        columns: usize,
    ) -> Result<(Vec<i8>, Vec<f32>), WeightsError> {
        let padded = columns.next_multiple_of(Q8_0::GROUP);
        let shape = |found: &str| WeightsError::Shape {
            layer: format!("{layer}.weight"),
            found: found.to_owned(),
            expected: "Q8_0 with one scale a row and weights of -127 to 127".to_owned(),
        };
        let Some(stored) = self.bytes(layer, outputs, padded)? else {
            return Err(shape("another type"));
        };
        let mut scales = Vec::with_capacity(outputs);
        for row in stored.scales.chunks_exact(padded / Q8_0::GROUP) {
            if row.iter().any(|scale| *scale != row[0]) {
                return Err(shape("several scales in a row"));
            }
            scales.push(row[0]);
        }
        // Levels that multiply signed bytes sum two products in 16 bits.
        if stored.weights.contains(&i8::MIN) {
            return Err(shape("a weight of -128"));
        }
        let rows = stored.weights.chunks_exact(padded);
        Ok((rows.flat_map(|row| &row[..columns]).copied().collect(), scales))
    }

    fn vector(&self, name: String, length: usize) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.tensor(&name)?;
        expect(name, tensor.dims(), &[length])?;
        Ok(tensor.to_vec1()?)
    }
}

fn expect(layer: String, found: &[usize], expected: &[usize]) -> Result<(), WeightsError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    Err(WeightsError::Shape { layer, found, expected })
}

//! Single layers over maps of any shape, read through the same files as networks. Weights and
//! pixels are noise: no kernel's time depends on them.

use candle_core::quantized::gguf_file;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Error, Result, Tensor};
use doorward_nn::{
    Activation, Bordered, Depthwise, Level, Map, PixelFormat, Pixels, Pointwise, Stem, Weights,
};
use std::borrow::Cow;
use std::fmt;
use std::io::Cursor;

/// Weights that share a scale in Q8_0; rows are padded to multiples of it.
const GROUP: usize = 32;
/// 1/128 as f16: one scale for all rows.
const SCALE: [u8; 2] = [0x00, 0x20];
/// Values between 0 and 255/16.
const RANGE: [f32; 2] = [1.0 / 16.0, 0.0];
const FORMAT: PixelFormat =
    PixelFormat { bgr: false, scale: 1.0 / 128.0, offset: 0.0, multiple: 1 };

/// The arithmetic of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32.
    Values,
    /// Unsigned bytes times signed ones.
    Bytes,
}

impl Arithmetic {
    /// Returns the name of 10⁹ operations per second.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Values => "GFLOP/s",
            Self::Bytes => "Gop/s",
        }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Values => "f32",
            Self::Bytes => "bytes",
        })
    }
}

/// One layer, with its input and output.
pub struct Layer {
    kind: Kind,
    y: Map,
}

enum Kind {
    Stem(Stem, Picture),
    Pointwise(Pointwise, Map),
    Depthwise(Depthwise, Map),
}

/// Pixels, and the memory where the first layer writes values.
struct Picture {
    rgb: Vec<u8>,
    sides: (usize, usize),
    between: Bordered,
}

impl Picture {
    fn of_noise((height, width): (usize, usize)) -> Result<Self> {
        let mut noise = Noise(1);
        let rgb = (0..height * width * 3).map(|_| noise.next()).collect();
        Ok(Self { rgb, sides: (height, width), between: Bordered::new()? })
    }

    fn through(&mut self, stem: &Stem, y: &mut Map) -> Result<()> {
        let (height, width) = self.sides;
        stem.forward(Pixels { rgb: &self.rgb, height, width }, &mut self.between, y)
    }
}

impl Layer {
    /// 3×3 over a picture's three colours, with bias and PReLU.
    pub fn stem(
        arithmetic: Arithmetic,
        level: Level,
        sides: (usize, usize),
        outputs: usize,
        stride: usize,
    ) -> Result<Self> {
        let file = file(arithmetic, 9, outputs, outputs)?;
        let weights = Weights::read_for(&file, level).map_err(Error::wrap)?;
        let slopes = weights.prelu("layer", outputs).map_err(Error::wrap)?;
        let stem = Stem::load(&weights, "stem", outputs, stride, FORMAT, slopes);
        let stem = stem.map_err(Error::wrap)?;
        Ok(Self { kind: Kind::Stem(stem, Picture::of_noise(sides)?), y: Map::new()? })
    }

    /// 1×1 with bias and PReLU.
    pub fn pointwise(
        arithmetic: Arithmetic,
        level: Level,
        sides: (usize, usize),
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let file = file(arithmetic, inputs, outputs, inputs)?;
        let weights = Weights::read_for(&file, level).map_err(Error::wrap)?;
        let slopes = weights.prelu("layer", outputs).map_err(Error::wrap)?;
        let layer = Pointwise::load(&weights, "layer", inputs, outputs, slopes);
        let x = noise(&weights, sides, inputs)?;
        Ok(Self { kind: Kind::Pointwise(layer.map_err(Error::wrap)?, x), y: Map::new()? })
    }

    /// 3×3, one filter per channel, with bias and PReLU.
    pub fn depthwise(
        arithmetic: Arithmetic,
        level: Level,
        sides: (usize, usize),
        channels: usize,
        stride: usize,
    ) -> Result<Self> {
        let file = file(arithmetic, 9, channels, channels)?;
        let weights = Weights::read_for(&file, level).map_err(Error::wrap)?;
        let slopes = weights.prelu("layer", channels).map_err(Error::wrap)?;
        let layer = Depthwise::load(&weights, "layer", channels, stride, slopes);
        let x = noise(&weights, sides, channels)?;
        Ok(Self { kind: Kind::Depthwise(layer.map_err(Error::wrap)?, x), y: Map::new()? })
    }

    /// Runs the layer once over the map.
    pub fn pass(&mut self) -> Result<()> {
        match &mut self.kind {
            Kind::Stem(layer, x) => x.through(layer, &mut self.y),
            Kind::Pointwise(layer, x) => layer.forward(x, &mut self.y),
            Kind::Depthwise(layer, x) => layer.forward(x, &mut self.y),
        }
    }
}

/// Makes a map in the form that the layer reads: the first layer of a network makes one of any
/// depth.
fn noise(weights: &Weights<'_>, sides: (usize, usize), channels: usize) -> Result<Map> {
    let stem = Stem::load(weights, "stem", channels, 1, FORMAT, Activation::Relu);
    let mut map = Map::new()?;
    Picture::of_noise(sides)?.through(&stem.map_err(Error::wrap)?, &mut map)?;
    Ok(map)
}

/// Makes a file with the `layer`, with rows of `columns` weights, and with the `stem` that makes
/// its input.
fn file(
    arithmetic: Arithmetic,
    columns: usize,
    outputs: usize,
    stem_outputs: usize,
) -> Result<Vec<u8>> {
    let vector =
        |values: Vec<f32>| QTensor::quantize(&Tensor::new(values, &Device::Cpu)?, GgmlDType::F32);
    let mut tensors = vec![
        ("stem.weight", rows(stem_outputs, 27)?),
        ("stem.bias", vector(vec![0.0; stem_outputs])?),
        ("layer.weight", rows(outputs, columns)?),
        ("layer.bias", vector(vec![0.5; outputs])?),
        ("layer.slope", vector(vec![0.25; outputs])?),
    ];
    if arithmetic == Arithmetic::Bytes {
        for range in ["stem.output", "layer.input", "layer.output"] {
            tensors.push((range, vector(RANGE.to_vec())?));
        }
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &[], &tensors)?;
    Ok(file.into_inner())
}

/// Makes Q8_0 rows with one scale, which both arithmetics read.
fn rows(rows: usize, columns: usize) -> Result<QTensor> {
    let padded = columns.next_multiple_of(GROUP);
    let mut noise = Noise(2);
    let mut data = Vec::with_capacity(rows * padded / GROUP * (GROUP + SCALE.len()));
    for column in (0..rows * padded).map(|at| at % padded) {
        if column % GROUP == 0 {
            data.extend(SCALE);
        }
        // −128 is not a weight of a symmetric scale.
        data.push(match noise.next() {
            _ if column >= columns => 0,
            0x80 => 0x81,
            weight => weight,
        });
    }
    let storage = QStorage::from_data(Cow::Owned(data), &Device::Cpu, GgmlDType::Q8_0)?;
    QTensor::new(storage, (rows, padded))
}

/// xorshift64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
}

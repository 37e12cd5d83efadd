//! Encodes layers as GGUF bytes, with the code of candle that reads them.
//!
//! Per layer: `{layer}.weight`, a matrix whose rows are padded to whole Q8_0 blocks; `{layer}.bias`
//! and, for a PReLU, `{layer}.slope`, both F32. In 8 bits, a layer whose input has a range computes
//! in bytes: the blocks of a row of its weights share one scale. The file does not depend on time,
//! machine or the order of a map, so the same originals and ranges give the same bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor, bail};
use serde::Deserialize;

use super::layer::Layer;

/// The maps that are kept in bytes, by `{layer}.input` and `{layer}.output`.
pub type Ranges = BTreeMap<String, Range>;

/// The value range of a map.
#[derive(Clone, Debug, Deserialize)]
pub struct Range {
    /// Least and greatest value.
    span: [f32; 2],
    /// One digit per channel: how often the channel is doubled by its writer, and halved by its
    /// reader.
    #[serde(default)]
    shifts: String,
}

impl Range {
    /// Returns the factors of a map with this many channels, one per channel; none if no channel is
    /// doubled.
    fn factors(&self, map: &str, channels: usize) -> Result<Vec<f64>> {
        let factors = self.shifts.chars().map(|digit| Some(f64::from(1u32 << digit.to_digit(10)?)));
        match factors.collect::<Option<Vec<f64>>>() {
            Some(factors) if factors.is_empty() || factors.len() == channels => Ok(factors),
            _ => bail!(
                "the shifts of {map} in ranges.toml are not {channels} digits: run `cargo xtask \
                 train-ranges`"
            ),
        }
    }
}

/// Weights that share one scale in Q8_0. The F32 twin keeps the padding, so that a reader needs
/// only one set of shapes.
const BLOCK: usize = 32;

/// The storage type of a file's matrices.
#[derive(Clone, Copy)]
pub enum Stored<'a> {
    /// f32: the twin for parity tests.
    Values,
    /// Q8_0, with the ranges of the byte maps.
    Bytes(&'a Ranges),
}

/// Returns a file with the matrices in this type, and the largest relative error (root mean square)
/// of a matrix.
pub fn encode(
    layers: &[Layer],
    metadata: &[(&str, Value)],
    stored: Stored<'_>,
) -> Result<(Vec<u8>, f64)> {
    let mut tensors = Vec::new();
    let mut worst = 0f64;
    for layer in layers {
        let layer = &shifted(layer, stored)?;
        let (weight, error) = matrix(layer, stored)?;
        worst = worst.max(error);
        tensors.push((format!("{}.weight", layer.name), weight));
        let bias: Vec<f32> = layer.bias.iter().map(|&value| value as f32).collect();
        tensors.push((format!("{}.bias", layer.name), vector(bias)?));
        if let Some(slope) = &layer.slope {
            tensors.push((format!("{}.slope", layer.name), vector(slope.clone())?));
        }
    }
    if let Stored::Bytes(ranges) = stored {
        for (name, range) in ranges {
            tensors.push((name.clone(), vector(scale_and_zero(range.span))?));
        }
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata: Vec<_> = metadata.iter().map(|(name, value)| (*name, value)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors)?;
    Ok((file.into_inner(), worst))
}

/// Returns the layer with the shifts of its input and output channels.
fn shifted(layer: &Layer, stored: Stored<'_>) -> Result<Layer> {
    let mut layer = layer.clone();
    if let Stored::Bytes(ranges) = stored {
        let factors = |end: &str, channels: usize| {
            let map = format!("{}.{end}", layer.name);
            ranges.get(&map).map_or(Ok(Vec::new()), |range| range.factors(&map, channels))
        };
        let inputs = factors("input", layer.inputs())?;
        let outputs = factors("output", layer.bias.len())?;
        layer.scale(&inputs, &outputs);
    }
    Ok(layer)
}

/// Returns scale and zero: a byte means scale · (byte − zero), and one byte means exactly 0.
fn scale_and_zero([low, high]: [f32; 2]) -> Vec<f32> {
    let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
    vec![scale, (-low / scale).round().clamp(0.0, 255.0)]
}

fn matrix(layer: &Layer, stored: Stored<'_>) -> Result<(QTensor, f64)> {
    let (weight, columns) = layer.padded(BLOCK);
    let weight = Tensor::from_vec(weight, (layer.bias.len(), columns), &Device::Cpu)?;
    let quantized = match stored {
        Stored::Values => QTensor::quantize(&weight, GgmlDType::F32)?,
        Stored::Bytes(ranges) if ranges.contains_key(&format!("{}.input", layer.name)) => {
            one_scale_a_row(&weight)?
        }
        Stored::Bytes(_) => QTensor::quantize(&weight, GgmlDType::Q8_0)?,
    };
    let error = (quantized.dequantize(&Device::Cpu)? - &weight)?;
    let power = |tensor: &Tensor| tensor.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from);
    let relative = (power(&error)? / power(&weight)?).sqrt();
    Ok((quantized, relative))
}

/// Returns Q8_0 whose blocks share one scale in each row.
fn one_scale_a_row(values: &Tensor) -> Result<QTensor> {
    let (rows, columns) = values.dims2()?;
    let mut data = Vec::new();
    for row in values.to_vec2::<f32>()? {
        let most = row.iter().fold(0f32, |most, weight| most.max(weight.abs()));
        let (scale, stored) = as_f16(most / 127.0)?;
        for block in row.chunks_exact(BLOCK) {
            data.extend(&stored);
            data.extend(block.iter().map(|weight| match scale {
                0.0 => 0,
                _ => ((weight / scale).round().clamp(-127.0, 127.0) as i8).cast_unsigned(),
            }));
        }
    }
    let storage = QStorage::from_data(Cow::Owned(data), &Device::Cpu, GgmlDType::Q8_0)?;
    QTensor::new(storage, (rows, columns))
}

/// Returns the nearest f16, and its bytes taken from a GGUF tensor of that type.
fn as_f16(value: f32) -> Result<(f32, Vec<u8>)> {
    let value = Tensor::new(&[value], &Device::Cpu)?;
    let stored = QTensor::quantize(&value, GgmlDType::F16)?;
    let rounded = value.to_dtype(DType::F16)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    Ok((rounded[0], stored.data()?.into_owned()))
}

fn vector(values: Vec<f32>) -> Result<QTensor> {
    let length = values.len();
    QTensor::quantize(&Tensor::from_vec(values, length, &Device::Cpu)?, GgmlDType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Array;

    fn layer() -> Layer {
        let values: Vec<f32> = (0..2 * 40).map(|i| (i as f32 - 40.0) / 40.0).collect();
        let weight = Array::new("l", vec![2, 40], values).unwrap();
        let slope = Array::new("l", vec![2], vec![0.25, 0.5]).unwrap();
        Layer::new("l", &weight).unwrap().with_slope(&slope).unwrap()
    }

    fn ranges() -> Ranges {
        [("l.input".to_owned(), Range { span: [-1.0, 4.1], shifts: String::new() })].into()
    }

    fn read(bytes: &[u8], name: &str) -> Tensor {
        let mut file = Cursor::new(bytes);
        let content = gguf_file::Content::read(&mut file).unwrap();
        let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
        tensor.dequantize(&Device::Cpu).unwrap()
    }

    #[test]
    fn rows_are_padded_to_blocks_with_exact_zeros() {
        let metadata = [("general.name", Value::String("test".into()))];
        let (none, ranges) = (Ranges::new(), ranges());
        let stored = [Stored::Values, Stored::Bytes(&none), Stored::Bytes(&ranges)];
        for (stored, tolerance) in stored.into_iter().zip([0.0, 0.005, 0.005]) {
            let (bytes, error) = encode(&[layer()], &metadata, stored).unwrap();
            let rows = read(&bytes, "l.weight").to_vec2::<f32>().unwrap();
            assert_eq!((rows.len(), rows[0].len()), (2, 64));
            for (row, values) in rows.iter().enumerate() {
                for (column, value) in values[..40].iter().enumerate() {
                    let expected = ((row * 40 + column) as f32 - 40.0) / 40.0;
                    assert!((value - expected).abs() <= tolerance, "{value} is not {expected}");
                }
                assert!(values[40..].iter().all(|&value| value == 0.0));
            }
            assert_eq!(read(&bytes, "l.slope").to_vec1::<f32>().unwrap(), [0.25, 0.5]);
            assert_eq!(read(&bytes, "l.bias").to_vec1::<f32>().unwrap(), [0.0, 0.0]);
            assert!(error < 0.01);
        }
    }

    #[test]
    fn the_same_layers_give_the_same_bytes() {
        let make = || encode(&[layer()], &[], Stored::Bytes(&ranges())).unwrap().0;
        assert_eq!(make(), make());
    }

    #[test]
    fn shifts_without_one_digit_per_channel_are_refused() {
        let encoded = |shifts: &str| {
            let range = Range { span: [-1.0, 1.0], shifts: shifts.to_owned() };
            encode(&[layer()], &[], Stored::Bytes(&[("l.output".to_owned(), range)].into()))
        };
        assert!(encoded("").is_ok() && encoded("07").is_ok());
        for wrong in ["0", "012", "0x", "0-"] {
            let error = encoded(wrong).unwrap_err().to_string();
            assert!(error.contains("l.output"), "{error}");
        }
    }

    #[test]
    fn a_byte_layer_has_one_scale_per_row_and_an_input_range() {
        let scales = |ranges: &Ranges| {
            let (bytes, _) = encode(&[layer()], &[], Stored::Bytes(ranges)).unwrap();
            let mut file = Cursor::new(&bytes);
            let content = gguf_file::Content::read(&mut file).unwrap();
            let weight = content.tensor(&mut file, "l.weight", &Device::Cpu).unwrap();
            let blocks = weight.data().unwrap().chunks_exact(34).map(|b| [b[0], b[1]]).collect();
            (bytes, blocks)
        };
        let (_, each_its_own): (_, Vec<_>) = scales(&Ranges::new());
        assert_ne!(each_its_own[0], each_its_own[1]);
        let (bytes, shared) = scales(&ranges());
        assert_eq!((shared[0], shared[2]), (shared[1], shared[3]));
        // 255 steps from -1 to 4.1: 0.02 each, the fiftieth is 0.
        let range = read(&bytes, "l.input").to_vec1::<f32>().unwrap();
        assert!((range[0] - 0.02).abs() < 1e-6 && range[1] == 50.0, "{range:?}");
    }
}

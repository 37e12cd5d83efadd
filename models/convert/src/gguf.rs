//! Layers to GGUF bytes, through the code of candle that reads them again.
//!
//! Per layer: `{layer}.weight`, a matrix whose rows are padded to whole Q8_0 blocks;
//! `{layer}.bias` and, after a PReLU, `{layer}.slope`, both F32. Nothing in a file depends on time,
//! machine or order of a map, so the same originals give the same bytes.

use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};

use super::layer::Layer;

/// Weights that share one scale in Q8_0. The F32 twin keeps the padding, so that one reader's
/// shapes serve both.
const BLOCK: usize = 32;

/// A file with matrices of `dtype`, and the worst of the relative errors (root mean square) that
/// this made in a matrix.
pub fn encode(
    layers: &[Layer],
    metadata: &[(&str, Value)],
    dtype: GgmlDType,
) -> Result<(Vec<u8>, f64)> {
    let mut tensors = Vec::new();
    let mut worst = 0f64;
    for layer in layers {
        let (weight, error) = matrix(layer, dtype)?;
        worst = worst.max(error);
        tensors.push((format!("{}.weight", layer.name), weight));
        let bias: Vec<f32> = layer.bias.iter().map(|&value| value as f32).collect();
        tensors.push((format!("{}.bias", layer.name), vector(bias)?));
        if let Some(slope) = &layer.slope {
            tensors.push((format!("{}.slope", layer.name), vector(slope.clone())?));
        }
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata: Vec<_> = metadata.iter().map(|(name, value)| (*name, value)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors)?;
    Ok((file.into_inner(), worst))
}

fn matrix(layer: &Layer, dtype: GgmlDType) -> Result<(QTensor, f64)> {
    let (weight, columns) = layer.padded(BLOCK);
    let weight = Tensor::from_vec(weight, (layer.bias.len(), columns), &Device::Cpu)?;
    let quantized = QTensor::quantize(&weight, dtype)?;
    let error = (quantized.dequantize(&Device::Cpu)? - &weight)?;
    let power = |tensor: &Tensor| tensor.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from);
    let relative = (power(&error)? / power(&weight)?).sqrt();
    Ok((quantized, relative))
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

    fn read(bytes: &[u8], name: &str) -> Tensor {
        let mut file = Cursor::new(bytes);
        let content = gguf_file::Content::read(&mut file).unwrap();
        let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
        tensor.dequantize(&Device::Cpu).unwrap()
    }

    #[test]
    fn rows_are_padded_to_blocks_with_exact_zeros() {
        let metadata = [("general.name", Value::String("test".into()))];
        for (dtype, tolerance) in [(GgmlDType::F32, 0.0), (GgmlDType::Q8_0, 0.5 / 127.0 + 1e-3)] {
            let (bytes, error) = encode(&[layer()], &metadata, dtype).unwrap();
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
        let make = || encode(&[layer()], &[], GgmlDType::Q8_0).unwrap().0;
        assert_eq!(make(), make());
    }
}

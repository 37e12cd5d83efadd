//! Linear layers over vectors instead of maps.

use super::kernel::{BytesTimes, Q8_0};
use super::level::Level;
use super::{Weights, WeightsError};
use candle_core::{Result, Storage, Tensor, bail};
use candle_nn::Module;

/// A linear layer of few outputs: `[rows, inputs]` to `[rows, outputs]`.
pub struct Linear {
    /// `[inputs, outputs]`, a transposed view of the rows as stored.
    weight: Tensor,
    /// `[1, outputs]`.
    bias: Tensor,
}

impl Linear {
    /// Reads the layer of that name and shape.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let weight = weights.matrix(layer, outputs, inputs)?.t()?;
        let bias = Tensor::from_vec(weights.bias(layer, outputs)?, (1, outputs), weight.device())?;
        Ok(Self { weight, bias })
    }
}

impl Module for Linear {
    /// `x` is `[rows, inputs]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// Passes on the values of a tensor that is contiguous in memory.
pub fn with_values<T>(x: &Tensor, work: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => {
            work(&storage.as_slice::<f32>()?[start..end])
        }
        _ => bail!("values lie in the processor's memory in one piece"),
    }
}

/// A linear layer of one long vector. Its weights are kept in the file's form: in 8 bits they need
/// a quarter of the memory bandwidth.
pub struct Projection {
    weights: Stored,
    bias: Vec<f32>,
    level: Level,
}

enum Stored {
    Bytes(Q8_0),
    Values(Linear),
}

impl Projection {
    /// Reads the layer of that name and shape.
    pub fn load(
        weights: &Weights<'_>,
        layer: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let stored = match weights.bytes(layer, outputs, inputs)? {
            Some(bytes) => Stored::Bytes(bytes),
            None => Stored::Values(Linear::load(weights, layer, inputs, outputs)?),
        };
        Ok(Self { weights: stored, bias: weights.bias(layer, outputs)?, level: weights.level() })
    }

    /// Returns the outputs for the values of `x`, which has any shape.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<f32>> {
        match &self.weights {
            Stored::Values(linear) => {
                linear.forward(&x.reshape((1, ()))?)?.flatten_all()?.to_vec1()
            }
            Stored::Bytes(matrix) => {
                let mut y = vec![0.0; self.bias.len()];
                with_values(&x.contiguous()?, |vector| {
                    if vector.len() != matrix.columns {
                        bail!("{} values for {} inputs", vector.len(), matrix.columns);
                    }
                    self.level.run(BytesTimes { matrix, vector, output: &mut y });
                    Ok(())
                })?;
                y.iter_mut().zip(&self.bias).for_each(|(y, bias)| *y += bias);
                Ok(y)
            }
        }
    }
}

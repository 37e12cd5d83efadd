//! One network's GGUF file, read through candle.
//!
//! Layout of the files, made by `cargo xtask models`: `{layer}.weight` is a matrix `[outputs, K]`
//! whose K index runs (row, column, input channel), input channel fastest, each row padded with
//! zeros to a multiple of 32 so that Q8_0's blocks fit; a depthwise weight is `[channels, 9]`
//! padded the same way. `{layer}.bias` and `{layer}.slope` (PReLU) are f32 vectors.

use super::Activation;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use std::io::Cursor;

/// Why a network could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Not a GGUF file, or a damaged one.
    #[error("the weights cannot be read ({0}); install doorward's models anew")]
    Unreadable(#[from] candle_core::Error),
    /// The file lacks a layer or has it in another shape.
    #[error(
        "the weights hold {found} for {layer}, expected {expected}; models and program do not belong together"
    )]
    Shape {
        /// Name of the tensor.
        layer: String,
        /// What the file has.
        found: String,
        /// What the network needs.
        expected: String,
    },
    /// The file does not say something about its network.
    #[error("the weights do not tell {0}; models and program do not belong together")]
    Metadata(String),
}

/// A network's tensors by name.
pub struct Weights<'a> {
    content: Content,
    file: &'a [u8],
}

impl<'a> Weights<'a> {
    /// Reads the directory of a GGUF file.
    pub fn read(file: &'a [u8]) -> Result<Self, WeightsError> {
        let content = Content::read(&mut Cursor::new(file))?;
        Ok(Self { content, file })
    }

    fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let tensor = self.content.tensor(&mut Cursor::new(self.file), name, &Device::Cpu)?;
        Ok(tensor.dequantize(&Device::Cpu)?)
    }

    /// `{layer}.weight` as `[outputs, inputs]`, without its padding.
    pub fn matrix(
        &self,
        layer: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Tensor, WeightsError> {
        let name = format!("{layer}.weight");
        let tensor = self.tensor(&name)?;
        let padded = inputs.div_ceil(32) * 32;
        if tensor.dims() != [outputs, padded] {
            return Err(WeightsError::Shape {
                layer: name,
                found: format!("{:?}", tensor.dims()),
                expected: format!("[{outputs}, {padded}]"),
            });
        }
        Ok(tensor.narrow(1, 0, inputs)?.contiguous()?)
    }

    /// Outputs of a layer, for networks whose widths only their file knows.
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

    /// An entry of the file's metadata.
    pub fn metadata(&self, key: &str) -> Result<&Value, WeightsError> {
        self.content.metadata.get(key).ok_or_else(|| WeightsError::Metadata(key.to_owned()))
    }

    /// `{layer}.bias`, one value an output.
    pub fn bias(&self, layer: &str, outputs: usize) -> Result<Vec<f32>, WeightsError> {
        self.vector(format!("{layer}.bias"), outputs)
    }

    /// `{layer}.slope` as the activation of a layer with that many channels.
    pub fn prelu(&self, layer: &str, channels: usize) -> Result<Activation, WeightsError> {
        Ok(Activation::PRelu(self.vector(format!("{layer}.slope"), channels)?))
    }

    fn vector(&self, name: String, length: usize) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.tensor(&name)?;
        if tensor.dims() != [length] {
            return Err(WeightsError::Shape {
                layer: name,
                found: format!("{:?}", tensor.dims()),
                expected: format!("[{length}]"),
            });
        }
        Ok(tensor.to_vec1()?)
    }
}

//! The authors' arrays, as read from their files: names, shapes and f32 values; no code is
//! executed.

use std::collections::BTreeMap;

/// A dense row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Array {
    /// Refuses a shape whose product is not the number of values.
    pub fn new(name: &str, shape: Vec<usize>, data: Vec<f32>) -> Result<Self, Malformed> {
        let count = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        if count != Some(data.len()) {
            let (name, found) = (name.to_owned(), data.len());
            return Err(Malformed::Length { name, shape, found });
        }
        Ok(Self { shape, data })
    }

    /// Reads little-endian f32 values, the form of both ONNX raw data and torch storages.
    pub fn from_le_bytes(name: &str, shape: Vec<usize>, bytes: &[u8]) -> Result<Self, Malformed> {
        let (values, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Malformed::Truncated(name.to_owned()));
        }
        Self::new(name, shape, values.iter().map(|&value| f32::from_le_bytes(value)).collect())
    }

    /// Returns the same values with another shape of the same size.
    pub fn reshape(&self, name: &str, shape: Vec<usize>) -> Result<Self, Malformed> {
        Self::new(name, shape, self.data.clone())
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn data(&self) -> &[f32] {
        &self.data
    }
}

/// Named arrays. Each is handed out once, so that arrays a conversion forgot are known at its end.
#[derive(Debug, Default)]
pub struct Weights(BTreeMap<String, Array>);

impl Weights {
    pub fn insert(&mut self, name: String, array: Array) {
        self.0.insert(name, array);
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn take(&mut self, name: &str) -> Result<Array, Malformed> {
        self.0.remove(name).ok_or_else(|| Malformed::Missing(name.to_owned()))
    }

    /// Refuses the file if it holds weights that no layer took.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.0.into_keys().next() {
            Some(name) => Err(Malformed::Unused(name)),
            None => Ok(()),
        }
    }
}

/// Why a file of weights was refused.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("not an ONNX file: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("not a torch pickle of the legacy form: {0}")]
    Pickle(String),
    #[error("{0}: the data end early")]
    Truncated(String),
    #[error("{name}: a shape of {shape:?} does not hold {found} values")]
    Length { name: String, shape: Vec<usize>, found: usize },
    #[error("{name}: expected {expected}, found the shape {found:?}")]
    Shape { name: String, expected: &'static str, found: Vec<usize> },
    #[error("{0} is missing")]
    Missing(String),
    #[error("{0} is not used by any layer of the network")]
    Unused(String),
    #[error("the graph has no single {operator} that reads {value}")]
    Graph { operator: &'static str, value: String },
}

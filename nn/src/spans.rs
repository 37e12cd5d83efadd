//! Records the value ranges of a network's maps while it runs, to choose the ranges of bytes.

use super::Map;
use super::lanes::BLOCK;
use candle_core::Result;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Least and greatest value, or 0, of each channel of every map that a layer has read
/// (`{layer}.input`) or written (`{layer}.output`) since it was loaded by
/// [`super::Weights::watched`].
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<Mutex<BTreeMap<String, Vec<[f32; 2]>>>>);

impl Spans {
    /// Returns the spans by name, one per channel.
    pub fn all(&self) -> BTreeMap<String, Vec<[f32; 2]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn widen(&self, name: String, map: &Map) -> Result<()> {
        let (height, width, channels) = map.shape();
        map.read(|values| {
            let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let spans = spans.entry(name).or_insert_with(|| vec![[0.0; 2]; channels]);
            let planes = values.chunks_exact(height * width * BLOCK);
            for (plane, spans) in planes.zip(spans.chunks_mut(BLOCK)) {
                for pixel in plane.chunks_exact(BLOCK) {
                    for ([low, high], value) in spans.iter_mut().zip(pixel) {
                        (*low, *high) = (low.min(*value), high.max(*value));
                    }
                }
            }
        })
    }
}

/// Watches one layer, or several that run as one; does nothing unless the weights are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    spans: Option<Spans>,
    layers: Vec<String>,
}

impl Watch {
    pub fn new(spans: Option<&Spans>, layers: &[&str]) -> Self {
        match spans {
            None => Self::default(),
            Some(spans) => Self {
                spans: Some(spans.clone()),
                layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            },
        }
    }

    /// Records what a layer has read and written, if those are values.
    pub fn see(&self, input: Option<&Map>, output: &Map) -> Result<()> {
        let Some(spans) = &self.spans else { return Ok(()) };
        for layer in &self.layers {
            if let Some(input) = input {
                spans.widen(format!("{layer}.input"), input)?;
            }
            spans.widen(format!("{layer}.output"), output)?;
        }
        Ok(())
    }
}

//! The fields of a request, as the command line builds them.

use super::Failure;
use doorward::import;
use serde_json::{Map, Value};

/// The fields of a request.
#[derive(Clone, Default)]
pub struct Body(pub Map<String, Value>);

impl Body {
    /// Adds a field, if a value was given.
    pub fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }
}

/// Returns a list argument; a single empty entry means an empty list.
pub fn filled(entries: Vec<String>) -> Vec<String> {
    entries.into_iter().filter(|entry| !entry.is_empty()).collect()
}

/// Returns URLs and `camera:` unchanged, files as base64.
pub fn image_field(image: &str) -> Result<String, Failure> {
    if image.starts_with("http://") || image.starts_with("https://") || image == "camera:" {
        return Ok(image.to_owned());
    }
    import::image_field(image.as_ref()).map_err(|error| Failure::Usage(error.to_string()))
}

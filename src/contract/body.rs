//! The two forms of a payload.

use super::field;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// The two forms of a payload.
#[derive(Clone)]
pub enum Body {
    /// Bytes that should be a JSON object.
    Json(Vec<u8>),
    /// A picture's bytes, and the other fields as text (`true`, `82`, `basic`).
    Image {
        /// The picture.
        bytes: Vec<u8>,
        /// Name and value of each other field.
        fields: Vec<(String, String)>,
    },
}

impl Body {
    /// Checks whether a field of an image's body is the `request_id`.
    pub(crate) fn is_request_id(field: &str) -> bool {
        field == field::REQUEST_ID
    }

    /// Returns the `request_id` of a JSON body without building the rest of it.
    pub(crate) fn request_id_of_json(bytes: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Identity<'a> {
            #[serde(borrow)]
            request_id: Option<Cow<'a, str>>,
        }
        let identity: Identity = serde_json::from_slice(without_bom(bytes)).ok()?;
        identity.request_id.map(Cow::into_owned)
    }
}

/// Returns the bytes after a byte order mark, which some programs write before JSON.
pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

impl fmt::Debug for Body {
    /// Shows form and size: pictures and keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Json(bytes) => write!(f, "Json({} bytes)", bytes.len()),
            Body::Image { bytes, fields } => {
                write!(f, "Image({} bytes, {} fields)", bytes.len(), fields.len())
            }
        }
    }
}

//! The raw request: the fields of a payload as sent, all optional, not yet validated.
//!
//! Of a hostile payload it keeps at most one scalar per field and a short list. Values that no
//! operation accepts (objects, long or mixed lists, superfluous fields) are skipped, not kept.

use super::body::{Body, without_bom};
use super::field;
use super::fields::{self, Kind};
use super::operation::Operation;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// No operation has half this many fields.
const MAX_FIELDS: usize = 64;
/// Longest `request_id`, in characters; a longer one is refused and not echoed.
pub const MAX_REQUEST_ID: usize = 128;
/// Maximum number of elements kept of a list; a longer list keeps one more, as a mark.
pub(crate) const MAX_LIST: usize = 64;

/// A payload that was read.
pub(crate) struct Raw<'a> {
    fields: Vec<(Cow<'a, str>, RawValue<'a>)>,
    /// The picture, if the payload itself is one; the other fields were sent in properties.
    pub image: Option<&'a [u8]>,
    /// Why the payload is not a request, whatever its fields are; the first reason.
    pub fault: Option<String>,
    /// True if all of it was read as an object; it may have a fault anyway.
    pub is_object: bool,
}

impl fmt::Debug for Raw<'_> {
    /// Shows only the names of the fields: pictures and keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields().map(|(name, _)| name)).finish()
    }
}

/// A field's value as sent.
#[derive(Debug, PartialEq)]
pub(crate) enum RawValue<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    Texts(Vec<String>),
    /// An object, or a list of other values; as text.
    Other(&'static str),
}

impl RawValue<'_> {
    /// Returns the type in words, as in "not …".
    pub fn what(&self) -> &'static str {
        match self {
            RawValue::Null => "null",
            RawValue::Bool(_) => "true or false",
            RawValue::Number(_) => "a number",
            RawValue::Text(_) => "a string",
            RawValue::Texts(_) => "a list",
            RawValue::Other(what) => what,
        }
    }
}

impl<'a> Raw<'a> {
    /// Reads a payload. Never fails: an error becomes [`Raw::fault`], so that the fields read so
    /// far, above all `request_id`, are available for the answer.
    pub fn read(operation: Option<Operation>, body: &'a Body) -> Self {
        match body {
            Body::Json(bytes) => match without_bom(bytes) {
                bytes if bytes.iter().all(u8::is_ascii_whitespace) => Self::empty(),
                bytes => Self::json(bytes),
            },
            Body::Image { bytes, fields } => Self::image(operation, bytes, fields),
        }
    }

    /// Returns an empty payload.
    pub fn empty() -> Self {
        Self { fields: Vec::new(), image: None, fault: None, is_object: true }
    }

    fn json(bytes: &'a [u8]) -> Self {
        let mut raw = Self { is_object: false, ..Self::empty() };
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                raw.fault = Some(format!("the payload is not UTF-8: {error}"));
                return raw;
            }
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_map(Object(&mut raw)).and_then(|()| json.end());
        raw.is_object = read.is_ok();
        if let Err(error) = read {
            let why = if error.is_data() {
                // The only error that the visitor itself returns.
                "the payload is JSON but not an object".to_owned()
            } else {
                format!("the payload is not JSON: {error}")
            };
            raw.fault.get_or_insert(why);
        }
        raw
    }

    fn image(operation: Option<Operation>, bytes: &'a [u8], texts: &'a [(String, String)]) -> Self {
        // An empty payload carries no image: `stats` can be requested without one.
        let mut raw = Self { image: (!bytes.is_empty()).then_some(bytes), ..Self::empty() };
        for (name, text) in texts {
            let kind = operation.and_then(|operation| fields::kind(operation, name));
            raw.insert(name.into(), from_text(kind, text));
        }
        if raw.image.is_some() && raw.get(field::IMAGE).is_some() {
            raw.fault.get_or_insert(
                "`image` is given twice: as the payload and as a property; leave one out".into(),
            );
        }
        raw
    }

    /// Keeps a field, or the reason why it cannot be kept. Fields that identify the sender are kept
    /// even after too many others: an authenticated sender is told what is wrong with the rest.
    fn insert(&mut self, name: Cow<'a, str>, given: RawValue<'a>) {
        if self.get(&name).is_some() {
            let name = shortened(&name);
            self.fault.get_or_insert(format!("the field `{name}` is given twice"));
        } else if self.fields.len() >= MAX_FIELDS && !fields::identifies(&name) {
            self.fault.get_or_insert(format!("there are more than {MAX_FIELDS} fields"));
        } else {
            self.fields.push((name, given));
        }
    }

    /// Returns the value of the field with this name.
    pub fn get(&self, name: &str) -> Option<&RawValue<'a>> {
        self.fields.iter().find(|field| field.0 == name).map(|field| &field.1)
    }

    /// Returns all fields in the order of the payload, without a payload that is an image.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &RawValue<'a>)> {
        self.fields.iter().map(|(name, given)| (name.as_ref(), given))
    }

    /// Returns the `request_id`, if it is short enough to be echoed.
    pub fn request_id(&self) -> Option<&str> {
        self.text(field::REQUEST_ID).filter(|id| id.chars().count() <= MAX_REQUEST_ID)
    }

    /// Returns the text of a field, if it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(RawValue::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Converts a text property to the type of its field. A text that cannot be converted stays text
/// and is then of the wrong type.
fn from_text(kind: Option<Kind>, text: &str) -> RawValue<'_> {
    match (kind, text) {
        (Some(Kind::Bool(_)), "true") => RawValue::Bool(true),
        (Some(Kind::Bool(_)), "false") => RawValue::Bool(false),
        (Some(Kind::Number(_)), _) => match decimal(text) {
            Some(number) => RawValue::Number(number),
            None => RawValue::Text(text.into()),
        },
        _ => RawValue::Text(text.into()),
    }
}

/// Parses a number as JSON writes it: no `inf`, no `0x10`, no spaces.
fn decimal(text: &str) -> Option<f64> {
    let bare = !text.starts_with(char::is_whitespace) && !text.ends_with(char::is_whitespace);
    bare.then(|| serde_json::from_str(text).ok()).flatten()
}

/// Shortens a name from the wire so that an answer can show it.
pub(crate) fn shortened(name: &str) -> Cow<'_, str> {
    const SHOWN: usize = 64;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

/// Reads an object's fields into a [`Raw`].
struct Object<'r, 'a>(&'r mut Raw<'a>);

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.0.insert(name, map.next_value()?);
        }
        Ok(())
    }
}

/// A field's name, borrowed if the JSON has no escapes in it.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for RawValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = RawValue<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(RawValue::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(RawValue::Bool(value))
            }
            // Limits, thresholds and times: far below 2^53, where f64 is exact.
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(RawValue::Number(value as f64))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(RawValue::Number(value as f64))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(RawValue::Number(value))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(RawValue::Text(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RawValue::Text(text.to_owned().into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                let mut mixed = false;
                while let Some(element) = list.next_element::<RawValue>()? {
                    match element {
                        RawValue::Text(text) if texts.len() <= MAX_LIST => texts.push(text.into()),
                        RawValue::Text(_) => (),
                        _ => mixed = true,
                    }
                }
                Ok(if mixed {
                    RawValue::Other("a list of other things")
                } else {
                    RawValue::Texts(texts)
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(RawValue::Other("an object"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;

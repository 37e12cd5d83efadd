//! Passwords and keys in memory: never printed, and overwritten when they are dropped.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use subtle::ConstantTimeEq;

/// Printed in place of a secret.
pub(crate) const MASK: &str = "(secret)";

/// A secret text. `Debug` and `Serialize` show a mask, or nothing if it is empty.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// The text in the clear.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// True if the text is empty.
    pub fn is_empty(&self) -> bool {
        self.reveal().is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Secret {
    /// Takes the same time for all texts of one length.
    fn eq(&self, other: &Self) -> bool {
        self.reveal().as_bytes().ct_eq(other.reveal().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { MASK })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_compared_by_their_text() {
        let secret = Secret::from("swordfish".to_owned());
        assert_eq!(format!("{secret:?}"), "(secret)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""(secret)""#);
        assert_eq!(serde_json::from_str::<Secret>(r#""swordfish""#).unwrap(), secret);
        assert_ne!(secret, Secret::from("swordfisH".to_owned()));
        assert_ne!(secret, Secret::default());
        assert_eq!(format!("{:?}", Secret::default()), "(none)");
    }
}

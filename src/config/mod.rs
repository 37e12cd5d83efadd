//! The daemon's settings: one table of keys ([`KEYS`]), filled from defaults, then a TOML file,
//! then the environment. One key can be changed in place in the file. This module must never act on
//! a value.
//!
//! | file | content |
//! |---|---|
//! | `keys.rs` | the table: type, default, bounds or words, help of each key |
//! | `row.rs` | the type of a row |
//! | `load.rs` | loads file and environment, checks the result |
//! | `print.rs` | prints the table |
//! | `edit.rs` | changes one key in the file |

mod edit;
mod keys;
mod load;
mod print;
mod row;

pub use edit::{EditError, set_in_file};
pub use row::{Key, Kind, Rule};

pub use keys::{
    Access, Audit, Camera, Config, Device, Door, Gallery, HomeAssistant, ImageUrl, KEYS, Liveness,
    Log, Mqtt, Outbox, SECTIONS, Schedules, Search, Service,
};
pub use load::ConfigError;

use serde::{Deserialize, Serialize, Serializer};

/// Printed in place of a secret.
const MASK: &str = "(secret)";

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Returns the text, for its user.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns true if there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { MASK })
    }
}

//! The daemon's settings: one table of keys ([`KEYS`]), filled from defaults, then a TOML file, then
//! the environment. One key can be changed in the file in place. It must never act on a value.
//!
//! | file | what is there |
//! |---|---|
//! | `keys.rs` | the table: type, default, bounds or words, help of each key |
//! | `row.rs` | what a row can say |
//! | `load.rs` | file and environment to a checked configuration |
//! | `print.rs` | the table for people |
//! | `edit.rs` | one key changed in the file |

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

/// What stands for a secret.
const MASK: &str = "(secret)";

/// A text that is printed nowhere.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
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

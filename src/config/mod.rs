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

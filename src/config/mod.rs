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
    Log, Mqtt, Outbox, SECTIONS, Schedules, Search, Service, Webhook,
};
pub use load::ConfigError;

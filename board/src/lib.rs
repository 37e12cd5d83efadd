//! Drives and reads the hardware of a door through [`embedded_hal`] traits. Drivers know pins and
//! times, never boards, and decide nothing: their caller tells them who may pass.
//!
//! Principles:
//! 1. Every driver works with *logical* levels: high is active (current flows, lamp lit, button
//!    pressed). Only [`Active`] knows the levels on the wire.
//! 2. Only [`wiegand`] sleeps: the other drivers are stepped with `now`, the time since start by a
//!    monotonic clock, so that one loop serves a whole door. A step every [`STEP`] is enough.
//! 3. A pin that fails is reported and tried again; it never stops the other parts.
//! 4. People get out whatever else has failed: see [`controller`], which runs as its own process.
//!
//! Terms. The *strike* is the electric lock. It is *released* while it lets people pass, for at
//! most one *pulse*. *Request-to-exit* is the button inside. The *contact* tells whether the door
//! leaf is open: *forced* open is open without a grant or an exit, *held* open is open for too
//! long. The *lock controller* is the process that owns the strike and the way out. An *interlock*
//! keeps two doors (a mantrap) from being open at once: each reads the contact of the other.

#![forbid(unsafe_code)]

mod buzzer;
mod contact;
pub mod controller;
mod debounce;
pub mod door;
mod interlock;
mod lamps;
mod level;
#[cfg(target_os = "linux")]
pub mod linux;
mod motion;
pub mod profile;
mod request_to_exit;
pub mod simulated;
mod strike;
mod tamper;
pub mod wiegand;

pub use buzzer::{Buzzer, Pattern};
pub use contact::{Contact, ContactEvent, ContactLimits};
pub use debounce::Debounced;
pub use door::{Door, Event, Order, Part};
pub use interlock::{Interlock, InterlockEvent};
pub use lamps::{Lamps, Lit};
pub use level::{Active, ActiveLevel};
pub use motion::{Motion, MotionEvent};
pub use profile::Profile;
pub use request_to_exit::RequestToExit;
pub use strike::{Lock, NO_CURRENT, Pulse, PulseError, Strike};
pub use tamper::{Tamper, TamperEvent};

use core::time::Duration;

/// How often a door is stepped: a fifth of the settling time of a contact.
pub const STEP: Duration = Duration::from_millis(10);

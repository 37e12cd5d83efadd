//! What doorward does to the world, behind [`embedded_hal`] traits. Drivers know pins and times,
//! never boards, and decide nothing: who may pass is said to them.
//!
//! Principles:
//! 1. Every driver works with *logical* levels: high is active (current flows, lamp lit, button
//!    pressed). What that is on the wire is [`Active`]'s business alone.
//! 2. Nothing sleeps but [`wiegand`]: drivers are stepped with `now`, the time since start by a
//!    monotonic clock, so that one loop serves a whole door. Every [`STEP`] is often enough.
//! 3. A pin that fails is reported and tried again; it never keeps the other parts from working.
//! 4. People get out whatever else has failed: see [`controller`], which is a process of its own.
//!
//! Terms. The *strike* is the electric lock; it is *released* while it lets people pass, for one
//! *pulse* at most. *Request-to-exit* is the button inside. The *contact* tells whether the door leaf
//! is open: *forced* open is open without a grant or an exit, *held* open is open for too long. The
//! *lock controller* is the process that owns the strike and the way out. An *interlock* keeps two
//! doors (a mantrap) from being open at once: each reads the contact of the other.

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

/// How often a door wants to be stepped: a fifth of the time a contact needs to settle.
pub const STEP: Duration = Duration::from_millis(10);

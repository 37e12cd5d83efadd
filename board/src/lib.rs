//! What doorward does to the world, behind [`embedded_hal`] traits: drivers know pins and delays,
//! never boards, and decide nothing.
//!
//! Terms. The *strike* is the electric lock. Its *safe level* is the pin level at which the door is
//! in the state it must have without power: locked for a fail-secure strike, open for a fail-safe one.

#![forbid(unsafe_code)]

mod strike;

pub use strike::{Lock, Strike};

//! The contract: raw request → valid request → operation → answer. Knows no transport.

mod request;

pub use request::{Answer, Body, Caller, Credentials, Request};

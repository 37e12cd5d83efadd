//! What every transport of requests needs: the service as it sees it ([`Handler`]), and the memory
//! of the changes it has made, so that a repeat makes none twice ([`Memories`]).
//!
//! It must not know a protocol, and never judges a request's content.

mod handler;
mod memory;

pub use handler::{Answering, Handler};
pub(crate) use memory::{Digest, Identity, Memories, Seen, begin, finish};

/// The largest request in bytes, whatever carries it: two pictures of 3 MiB as base64 in one JSON
/// object (`compare`), or one picture of 5 MiB as base64 with room to spare.
pub const MAX_REQUEST: u32 = 9 * 1024 * 1024;

//! Reads a body within its limits: size, time, and the memory that all bodies in work may take.
//! Memory is taken as bytes arrive: a length that is only announced costs nothing.

use crate::contract::{Envelope, Refusal};
use crate::transport::MAX_REQUEST;
use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The largest body, in bytes.
const LIMIT: usize = MAX_REQUEST as usize;
/// How long a body may take to arrive: 9 MiB at 300 KiB/s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bodies in work of clients that showed a right key in the headers, in KiB.
const KEYED: usize = 36 * 1024;
/// Bodies in work of all others: one with a key in the body, and one to spare.
const STRANGERS: usize = 18 * 1024;

/// The memory for bodies.
pub(super) struct Memory {
    keyed: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Memory {
    pub fn new() -> Self {
        let [keyed, strangers] = [KEYED, STRANGERS].map(|kib| Arc::new(Semaphore::new(kib)));
        Self { keyed, strangers }
    }

    /// Reads a body. Its memory is held as long as the permits.
    pub async fn read(&self, body: Body, keyed: bool) -> Result<Read, Refusal> {
        let memory = if keyed { &self.keyed } else { &self.strangers };
        let too_large = || Refusal::Envelope(Envelope::TooLarge { limit: LIMIT });
        if body.size_hint().lower() > LIMIT as u64 {
            return Err(too_large());
        }
        let reading = async {
            let (mut body, mut bytes, mut held) = (body, Vec::new(), Vec::new());
            let mut room = 0;
            while let Some(frame) = body.frame().await {
                // The client went away or broke the protocol: it reads no answer.
                let broken = "the body ended early or is not framed as HTTP frames it";
                let frame =
                    frame.map_err(|_| Refusal::Envelope(Envelope::Malformed { why: broken }))?;
                let Ok(data) = frame.into_data() else { continue };
                if bytes.len() + data.len() > LIMIT {
                    return Err(too_large());
                }
                if bytes.len() + data.len() > room {
                    let more = (bytes.len() + data.len() - room).div_ceil(1024).max(64);
                    let permits = u32::try_from(more).map_err(|_| too_large())?;
                    let permit = memory.clone().try_acquire_many_owned(permits);
                    held.push(permit.map_err(|_| Refusal::Busy)?);
                    room += more * 1024;
                    bytes.reserve_exact(room - bytes.len());
                }
                bytes.extend_from_slice(&data);
            }
            Ok(Read { bytes, held })
        };
        let slow = |_| Err(Refusal::Envelope(Envelope::Slow));
        timeout(PATIENCE, reading).await.unwrap_or_else(slow)
    }
}

/// A body that was read, and its memory.
pub(super) struct Read {
    pub bytes: Vec<u8>,
    pub held: Vec<OwnedSemaphorePermit>,
}

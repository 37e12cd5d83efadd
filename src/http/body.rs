//! Reads a body within its limits: size, time, and the memory that all bodies in work may take.
//! Memory is taken as bytes arrive: a length that is only announced costs nothing. One address
//! never takes the memory of all clients that show no right key in the headers.

use crate::contract::{Envelope, Refusal};
use crate::transport::MAX_REQUEST;
use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The largest body, in bytes.
const LIMIT: usize = MAX_REQUEST as usize;
/// How long a body may take to arrive: 9 MiB at 300 KiB/s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bodies in work of clients that showed a right key in the headers, in KiB.
const KEYED: usize = 36 * 1024;
/// Bodies in work of all others, which may have a key in the body.
const STRANGERS: usize = 36 * 1024;
/// The part of [`STRANGERS`] that one address may take: a quarter, which is the largest body.
const OF_ONE: usize = STRANGERS / 4;
/// Memory is taken in steps of this many KiB after the first frame.
const STEP: usize = 64;

/// The memory for bodies.
pub(super) struct Memory {
    keyed: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// What is left of each address's part, while bodies of it are in work.
    addresses: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

impl Memory {
    pub fn new() -> Self {
        let [keyed, strangers] = [KEYED, STRANGERS].map(|kib| Arc::new(Semaphore::new(kib)));
        Self { keyed, strangers, addresses: Mutex::default() }
    }

    /// Returns the part of an address.
    fn part_of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|_, part| part.strong_count() > 0);
        if let Some(part) = addresses.get(&address).and_then(Weak::upgrade) {
            return part;
        }
        let part = Arc::new(Semaphore::new(OF_ONE));
        addresses.insert(address, Arc::downgrade(&part));
        part
    }

    /// Reads a body. Its memory is held as long as the permits.
    pub async fn read(&self, body: Body, peer: IpAddr, keyed: bool) -> Result<Read, Refusal> {
        let pools = match keyed {
            true => vec![self.keyed.clone()],
            false => vec![self.part_of(peer), self.strangers.clone()],
        };
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
                    let step = if room == 0 { 1 } else { STEP.min((LIMIT - room) / 1024) };
                    let more = (bytes.len() + data.len() - room).div_ceil(1024).max(step);
                    let permits = u32::try_from(more).map_err(|_| too_large())?;
                    for pool in &pools {
                        let permit = pool.clone().try_acquire_many_owned(permits);
                        held.push(permit.map_err(|_| Refusal::Busy)?);
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    async fn read(memory: &Memory, length: usize, last: u8) -> Result<Read, Refusal> {
        memory.read(Body::from(vec![b'a'; length]), address(last), false).await
    }

    #[tokio::test]
    async fn many_small_bodies_leave_room_for_the_largest_one() {
        let memory = Memory::new();
        let mut held = Vec::new();
        for number in 0..1024 {
            held.push(read(&memory, 1, number as u8 % 8).await.unwrap());
        }
        assert_eq!(read(&memory, LIMIT, 9).await.unwrap().bytes.len(), LIMIT);
    }

    #[tokio::test]
    async fn one_address_takes_a_quarter_of_the_memory_of_strangers() {
        let memory = Memory::new();
        let half = LIMIT / 2;
        let held = [read(&memory, half, 1).await.unwrap(), read(&memory, half, 1).await.unwrap()];
        assert!(matches!(read(&memory, 1, 1).await, Err(Refusal::Busy)));
        for other in 2..5 {
            assert!(read(&memory, LIMIT, other).await.is_ok());
        }
        // A right key in the headers is not bound by it.
        let keyed = memory.read(Body::from("a"), address(1), true).await;
        assert!(keyed.is_ok());
        drop(held);
        assert!(read(&memory, LIMIT, 1).await.is_ok());
    }
}

//! Slows addresses that send wrong keys. A key that was right before is never slowed, so that a
//! wrong key in one program does not delay another behind the same address. Neither is a guess made
//! cheaper by hanging up: the address waits in turn before a key is looked at.

use crate::contract::Refusal;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Wrong keys of an address that cost nothing: a person who mistypes.
const FREE: f64 = 5.0;
/// One wrong key is forgotten in this time.
const FORGET: Duration = Duration::from_secs(10);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);
/// Requests of one address that wait; at 2 s each they end within a request's deadline.
const MOST_WAITING: usize = 16;
/// Addresses remembered; the one with the fewest wrong keys makes room.
const MOST: usize = 1024;
/// Keys remembered as right.
const MOST_RIGHT: usize = 1024;
/// The log names an address at most this often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// SHA-256 of an id and a key.
pub(super) type KeyDigest = [u8; 32];

#[derive(Default)]
pub(super) struct Guesses {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, Address>,
    right: HashSet<KeyDigest>,
}

struct Address {
    wrong: f64,
    at: Instant,
    total: u64,
    logged: Option<Instant>,
    queue: Arc<Queue>,
}

/// The requests of one address that wait for each other.
struct Queue {
    places: Semaphore,
    turn: tokio::sync::Mutex<()>,
}

impl Address {
    fn new(now: Instant) -> Self {
        let queue = Queue { places: Semaphore::new(MOST_WAITING), turn: Default::default() };
        Self { wrong: 0.0, at: now, total: 0, logged: None, queue: Arc::new(queue) }
    }

    /// Returns how many wrong keys are not forgotten.
    fn recent(&self, now: Instant) -> f64 {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        (self.wrong - past / FORGET.as_secs_f64()).max(0.0)
    }
}

/// Returns the digest of an id and a key.
pub(super) fn key_digest(id: &str, key: &str) -> KeyDigest {
    let mut hash = Sha256::new();
    hash.update(id.len().to_be_bytes());
    hash.update(id.as_bytes());
    hash.update(key.as_bytes());
    hash.finalize().into()
}

impl Guesses {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a key from this address may be looked at.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: too many requests of this address wait already.
    pub async fn wait(&self, address: IpAddr, key: Option<&KeyDigest>) -> Result<(), Refusal> {
        let queue = {
            let state = self.state();
            if key.is_some_and(|key| state.right.contains(key)) {
                return Ok(());
            }
            match state.addresses.get(&address) {
                Some(entry) if entry.recent(Instant::now()) > FREE => entry.queue.clone(),
                _ => return Ok(()),
            }
        };
        let _place = queue.places.try_acquire().map_err(|_| Refusal::Busy)?;
        let _turn = queue.turn.lock().await;
        let pause = self.pause(address, Instant::now());
        sleep(pause).await;
        Ok(())
    }

    fn pause(&self, address: IpAddr, now: Instant) -> Duration {
        let recent = self.state().addresses.get(&address).map_or(0.0, |entry| entry.recent(now));
        if recent <= FREE {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(0.1 * (recent - FREE)).min(LONGEST)
    }

    /// Notes a key that was right.
    pub fn right(&self, key: KeyDigest) {
        let mut state = self.state();
        if state.right.len() < MOST_RIGHT {
            state.right.insert(key);
        }
    }

    /// Counts a wrong key.
    pub fn wrong(&self, address: IpAddr) {
        let now = Instant::now();
        let mut state = self.state();
        if state.addresses.len() >= MOST && !state.addresses.contains_key(&address) {
            let least = state
                .addresses
                .iter()
                .min_by(|(_, a), (_, b)| a.recent(now).total_cmp(&b.recent(now)));
            if let Some(least) = least.map(|(address, _)| *address) {
                state.addresses.remove(&least);
            }
        }
        let entry = state.addresses.entry(address).or_insert_with(|| Address::new(now));
        // Not beyond what the longest wait needs, so that it ends soon after the last wrong key.
        entry.wrong = (entry.recent(now) + 1.0).min(FREE + 10.0 * LONGEST.as_secs_f64());
        entry.at = now;
        entry.total += 1;
        let logs = entry.logged.is_none_or(|at| now.duration_since(at) >= LOG_EVERY);
        if logs {
            entry.logged = Some(now);
            tracing::warn!(%address, total = entry.total, "a wrong App-ID or API-Key over HTTP");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn waits_grow_end_and_are_forgotten() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for _ in 0..5 {
            guesses.wrong(ADDRESS);
        }
        assert_eq!(guesses.pause(ADDRESS, now), Duration::ZERO);
        for _ in 0..1000 {
            guesses.wrong(ADDRESS);
        }
        assert!(guesses.pause(ADDRESS, Instant::now()) > Duration::from_millis(1900));
        let later = Instant::now() + Duration::from_secs(300);
        assert_eq!(guesses.pause(ADDRESS, later), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_key_that_was_right_and_other_addresses_are_not_slowed() {
        let guesses = Guesses::default();
        guesses.right(key_digest("id", "key"));
        for _ in 0..100 {
            guesses.wrong(ADDRESS);
        }
        let started = Instant::now();
        guesses.wait(ADDRESS, Some(&key_digest("id", "key"))).await.unwrap();
        guesses.wait("192.0.2.2".parse().unwrap(), None).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(500));
        guesses.wait(ADDRESS, Some(&key_digest("id", "other"))).await.unwrap();
        assert!(started.elapsed() > Duration::from_secs(1));
    }

    #[tokio::test]
    async fn the_requests_of_an_address_that_wait_are_bounded() {
        let guesses = Arc::new(Guesses::default());
        for _ in 0..100 {
            guesses.wrong(ADDRESS);
        }
        let wait = || {
            let guesses = guesses.clone();
            async move { guesses.wait(ADDRESS, None).await }
        };
        let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| tokio::spawn(wait())).collect();
        tokio::task::yield_now().await;
        let started = Instant::now();
        assert!(matches!(wait().await, Err(Refusal::Busy)));
        assert!(started.elapsed() < Duration::from_millis(500));
        // A client that hangs up gives its place back.
        waiting.remove(1).abort();
        tokio::task::yield_now().await;
        waiting.push(tokio::spawn(wait()));
        tokio::task::yield_now().await;
        assert!(matches!(wait().await, Err(Refusal::Busy)));
        assert!(waiting.remove(0).await.unwrap().is_ok());
        waiting.iter().for_each(|it| it.abort());
    }

    #[test]
    fn the_memory_of_addresses_is_bounded() {
        let guesses = Guesses::default();
        for n in 0..3000u32 {
            guesses.wrong(IpAddr::from(n.to_be_bytes()));
        }
        assert!(guesses.state().addresses.len() <= MOST);
    }
}

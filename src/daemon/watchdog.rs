//! Reports to systemd: ready, reloading, stopping, and a heartbeat while every worker makes
//! progress.
//!
//! The workers are judge, door and camera. The recorder is not one of them: `state/health` and the
//! log report a hanging disk, and a restart would not repair it.
//!
//! Outside of systemd it sends nothing.

use crate::terminal::Progress;
use sd_notify::NotifyState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, error};

/// How often the workers are checked if systemd sets no time.
const LOOK: Duration = Duration::from_secs(10);
/// A worker that hangs for this long is logged if systemd sets no time.
const STILL: Duration = Duration::from_secs(30);

/// A worker's step counter.
pub struct Counter {
    name: &'static str,
    steps: Box<dyn Fn() -> u64 + Send>,
    last: Option<(u64, Instant)>,
}

impl Counter {
    /// Reads the count from a function.
    pub fn new(name: &'static str, steps: impl Fn() -> u64 + Send + 'static) -> Self {
        Self { name, steps: Box::new(steps), last: None }
    }

    /// Returns how long it has made no step at `now`.
    fn still(&mut self, now: Instant) -> Duration {
        let steps = (self.steps)();
        match self.last {
            Some((before, since)) if before == steps => now.saturating_duration_since(since),
            _ => {
                self.last = Some((steps, now));
                Duration::ZERO
            }
        }
    }
}

/// Makes a counter from a worker's progress.
pub fn counter(name: &'static str, progress: Progress) -> Counter {
    Counter::new(name, move || progress.steps())
}

/// Checks the workers periodically.
pub struct Watchdog {
    counters: Arc<Mutex<Vec<Counter>>>,
}

impl Watchdog {
    /// Starts checking, without workers.
    pub fn start() -> Self {
        let counters: Arc<Mutex<Vec<Counter>>> = Arc::default();
        let limit = sd_notify::watchdog_enabled();
        tokio::spawn(look(counters.clone(), limit));
        Self { counters }
    }

    /// Checks these workers from here on.
    pub fn watch(&self, workers: Vec<Counter>) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = workers;
    }
}

async fn look(counters: Arc<Mutex<Vec<Counter>>>, limit: Option<Duration>) {
    let (every, still) = match limit {
        // Several times while systemd waits; a worker has half of that time.
        Some(limit) => (limit / 3, limit / 2),
        None => (LOOK, STILL),
    };
    loop {
        tokio::time::sleep(every).await;
        if stands_still(&counters, still, Instant::now()).is_none() && limit.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

/// Returns the first worker that has made no step for this long.
fn stands_still(
    counters: &Mutex<Vec<Counter>>,
    limit: Duration,
    now: Instant,
) -> Option<&'static str> {
    let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    let mut first = None;
    for counter in counters.iter_mut() {
        let still = counter.still(now);
        if still >= limit {
            error!(worker = counter.name, seconds = still.as_secs(), "stands still");
            first = first.or(Some(counter.name));
        }
    }
    first
}

/// Reports that the daemon is ready.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that a new configuration is being loaded.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!("systemd is not told of the reload: {error}"),
    }
}

/// Reports that the daemon stops.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("systemd is not told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn only_a_hanging_worker_is_reported() {
        let steps = Arc::new(AtomicU64::new(0));
        let read = steps.clone();
        let moving = Counter::new("moving", move || read.fetch_add(1, Ordering::Relaxed));
        let counters = Mutex::new(vec![moving, Counter::new("still", || 7)]);
        let (now, limit) = (Instant::now(), Duration::from_secs(10));
        assert_eq!(stands_still(&counters, limit, now), None);
        assert_eq!(stands_still(&counters, limit, now + Duration::from_secs(9)), None);
        let later = stands_still(&counters, limit, now + Duration::from_secs(10));
        assert_eq!(later, Some("still"));
    }
}

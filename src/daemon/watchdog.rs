//! What systemd is told: ready, reloading, stopping, and a sign of life while every worker moves.
//!
//! Workers are judge, door and camera. The recorder is none of them: a disk that hangs is said in
//! `state/health` and the log, and a restart would not mend it.
//!
//! Outside of systemd nothing is sent.

use crate::terminal::Progress;
use sd_notify::NotifyState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, error};

/// How often the workers are looked at where systemd sets no time.
const LOOK: Duration = Duration::from_secs(10);
/// A worker that stands still for so long, where systemd sets no time, is told of in the log.
const STILL: Duration = Duration::from_secs(30);

/// A worker's steps.
pub struct Counter {
    name: &'static str,
    steps: Box<dyn Fn() -> u64 + Send>,
    last: Option<(u64, Instant)>,
}

impl Counter {
    /// Counts by a function.
    pub fn new(name: &'static str, steps: impl Fn() -> u64 + Send + 'static) -> Self {
        Self { name, steps: Box::new(steps), last: None }
    }

    /// How long it has stood still at `now`.
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

/// A worker's steps by its progress.
pub fn counter(name: &'static str, progress: Progress) -> Counter {
    Counter::new(name, move || progress.steps())
}

/// Looks at the workers from time to time.
pub struct Watchdog {
    counters: Arc<Mutex<Vec<Counter>>>,
}

impl Watchdog {
    /// Starts looking; there is no worker to look at yet.
    pub fn start() -> Self {
        let counters: Arc<Mutex<Vec<Counter>>> = Arc::default();
        let limit = sd_notify::watchdog_enabled();
        tokio::spawn(look(counters.clone(), limit));
        Self { counters }
    }

    /// Looks at these workers from here on.
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

/// The first worker that stands still for so long.
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

/// Everything is up.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A new configuration comes.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!("systemd is not told of the reload: {error}"),
    }
}

/// The end.
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
    fn who_stands_still_is_named_and_who_moves_is_not() {
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

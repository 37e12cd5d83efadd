//! Tells the time, and whether it can be trusted: a Raspberry Pi has no battery-backed clock and
//! starts with a time in the past.

use crate::access::Now;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::{info, warn};

/// systemd-timesyncd creates this file when it has set the clock.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// Time between two checks while the clock is not synchronised.
const AGAIN: Duration = Duration::from_secs(15);

/// Origin of the monotonic time of every clock in this process: times stored before a reload stay
/// comparable.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock. Clones share their state.
#[derive(Clone, Debug)]
pub struct Clock {
    synchronised: Arc<AtomicBool>,
}

impl Clock {
    /// Creates a clock that is trusted from the start (`trusted`), or once [`Clock::wait`] has
    /// found it synchronised.
    pub fn new(trusted: bool) -> Self {
        LazyLock::force(&ORIGIN);
        Self { synchronised: Arc::new(AtomicBool::new(trusted)) }
    }

    /// Returns the monotonic time and the wall-clock time at an instant.
    pub fn at(&self, instant: Instant) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: instant.saturating_duration_since(*ORIGIN),
            unix: unix.as_secs_f64(),
            synchronised: self.synchronised.load(Ordering::Relaxed),
        }
    }

    /// Returns the wall-clock time in Unix seconds; `None` while it is not trusted.
    pub fn wall(&self) -> impl Fn() -> Option<f64> + Send + Sync + 'static {
        let clock = self.clone();
        move || {
            let now = clock.at(Instant::now());
            now.synchronised.then_some(now.unix)
        }
    }

    /// Waits until the system says that the clock was set since boot. It is trusted from then on,
    /// since it keeps running.
    pub async fn wait(self) {
        let mut warned = false;
        while !self.synchronised.load(Ordering::Relaxed) && !is_synchronised().await {
            if !warned {
                warn!(
                    "the clock has not been synchronised since boot: schedules grant \
                     nothing until it is (or set schedules.trust_clock)"
                );
            }
            warned = true;
            tokio::time::sleep(AGAIN).await;
        }
        if !self.synchronised.swap(true, Ordering::Relaxed) {
            info!("the clock is synchronised");
        }
    }
}

/// Checks systemd-timesyncd's file, or the kernel's own flag (which chrony and ntpd set) as
/// `timedatectl` reads it. Without either, the clock counts as not synchronised.
pub(crate) async fn is_synchronised() -> bool {
    if Path::new(TIMESYNCD).exists() {
        return true;
    }
    let mut ask = tokio::process::Command::new("timedatectl");
    ask.args(["show", "--property=NTPSynchronized", "--value"]).kill_on_drop(true);
    match tokio::time::timeout(Duration::from_secs(5), ask.output()).await {
        Ok(Ok(output)) => output.status.success() && output.stdout.trim_ascii() == b"yes",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_clock_is_synchronised_and_runs() {
        let clock = Clock::new(true);
        let first = clock.at(Instant::now());
        let later = clock.at(Instant::now() + Duration::from_secs(1));
        assert!(first.synchronised && first.unix > 1.7e9);
        assert!(later.monotonic - first.monotonic >= Duration::from_secs(1));
        assert_eq!(clock.at(*ORIGIN - Duration::from_secs(5)).monotonic, Duration::ZERO);
    }
}

//! What time it is, and whether that may be believed: a Raspberry Pi has no clock of its own and
//! starts in the past.

use crate::access::Now;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::{info, warn};

/// Made by systemd-timesyncd when it has set the clock.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// Between two questions while the answer is no.
const AGAIN: Duration = Duration::from_secs(15);

/// Where the monotonic time of every clock of this process begins: what is remembered over a reload
/// stays comparable.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock. Clones are the same.
#[derive(Clone, Debug)]
pub struct Clock {
    synchronised: Arc<AtomicBool>,
}

impl Clock {
    /// A clock that is believed from the start (`trusted`), or once [`Clock::wait`] has found that
    /// it may be.
    pub fn new(trusted: bool) -> Self {
        LazyLock::force(&ORIGIN);
        Self { synchronised: Arc::new(AtomicBool::new(trusted)) }
    }

    /// The time at an instant, and that of the wall.
    pub fn at(&self, instant: Instant) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: instant.saturating_duration_since(*ORIGIN),
            unix: unix.as_secs_f64(),
            synchronised: self.synchronised.load(Ordering::Relaxed),
        }
    }

    /// The wall's time in Unix seconds, where it may be believed.
    pub fn wall(&self) -> impl Fn() -> Option<f64> + Send + Sync + 'static {
        let clock = self.clone();
        move || {
            let now = clock.at(Instant::now());
            now.synchronised.then_some(now.unix)
        }
    }

    /// Waits until the system says that the clock was set since boot. One that was set once is
    /// believed from then on: it runs on.
    pub async fn wait(self) {
        let mut warned = false;
        while !self.synchronised.load(Ordering::Relaxed) && !is_synchronised().await {
            if !warned {
                warn!(
                    "the clock has not been synchronised since boot: nothing is granted by \
                     schedules until it is (schedules.trust_clock believes it)"
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

/// What the system says: systemd-timesyncd's mark, or the kernel's own flag (which chrony and ntpd
/// set) as `timedatectl` reads it. Where there is neither, nothing is known, which is no.
async fn is_synchronised() -> bool {
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
    fn a_trusted_clock_is_believed_and_runs() {
        let clock = Clock::new(true);
        let first = clock.at(Instant::now());
        let later = clock.at(Instant::now() + Duration::from_secs(1));
        assert!(first.synchronised && first.unix > 1.7e9);
        assert!(later.monotonic - first.monotonic >= Duration::from_secs(1));
        assert_eq!(clock.at(*ORIGIN - Duration::from_secs(5)).monotonic, Duration::ZERO);
    }
}

//! Tells the time, and whether it can be believed: a Raspberry Pi has no battery-backed clock and
//! starts with a time in the past, and a clock can be set to any time.
//!
//! The clock is believed once the system says that it was synchronised since boot, and from then on
//! for as long as it only runs: without a time server it stays right. So the belief is kept with
//! the *offset*, the difference between wall clock and time since boot, which changes only when the
//! clock is set. A *jump*, an offset that has changed, ends the belief at once and is an event; the
//! clock is believed again when it was synchronised after the jump. A file keeps boot and offset,
//! so that a restart of the daemon loses neither; a reboot loses both, because nothing shows what
//! the clock did meanwhile.

use super::door_events::DoorEvents;
use crate::access::Now;
use crate::outbox::{Event, Kind};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};
use tracing::{info, warn};

/// systemd-timesyncd creates this file when it has set the clock, and touches it whenever it sets
/// it again.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// Identifies the present boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Time between two checks for a jump.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Number of checks for a jump from one question to the system, whether the clock is synchronised,
/// to the next.
const LOOKS_PER_QUESTION: u32 = 15;
/// Smallest jump, in microseconds: more than a leap second. Corrections by a small change of speed
/// do not change the offset.
const JUMP: i64 = 2_000_000;

/// Smallest change of the offset that is kept, in microseconds: a time server may set the clock by
/// less than a jump again and again.
const STEP: i64 = 100_000;

/// Origin of the monotonic time of every clock in this process: times stored before a reload stay
/// comparable.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock. Clones share their state, which outlives a reload.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// True if the configuration says so.
    trusted: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Offset at the last look, in microseconds.
    seen: Option<i64>,
    /// The belief in the clock.
    belief: Option<Belief>,
    /// When timesyncd had last set the clock before the last jump, or before the start of the
    /// belief.
    before: Option<i64>,
}

/// What is known of a clock that is believed; the content of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Belief {
    boot_id: String,
    /// Wall clock minus time since boot, in microseconds.
    offset_us: i64,
    /// When timesyncd last set the clock, in Unix microseconds.
    set_us: Option<i64>,
}

/// Wall clock and time since boot, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    unix: i64,
    since_boot: i64,
}

impl Reading {
    fn now() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec * 1_000_000 + time.tv_nsec / 1000
        };
        Self { unix: read(ClockId::Realtime), since_boot: read(ClockId::Boottime) }
    }

    fn offset(self) -> i64 {
        self.unix - self.since_boot
    }
}

impl State {
    /// Checks whether the clock is believed and has not jumped since.
    fn believes(&self, reading: Reading) -> bool {
        self.belief.as_ref().is_some_and(|it| !is_jump(it.offset_us, reading.offset()))
    }

    /// Notices a jump: ends the belief, and returns by how many microseconds the clock jumped.
    fn look(&mut self, reading: Reading, set_us: Option<i64>) -> Option<i64> {
        let offset = reading.offset();
        let seen = self.seen.replace(offset).filter(|seen| is_jump(*seen, offset));
        match &mut self.belief {
            Some(belief) if is_jump(belief.offset_us, offset) => {
                self.before = belief.set_us;
                self.belief = None;
            }
            Some(belief) => {
                belief.set_us = set_us;
                if belief.offset_us.abs_diff(offset) > STEP.unsigned_abs() {
                    belief.offset_us = offset;
                }
            }
            None => {}
        }
        seen.map(|seen| offset - seen)
    }
}

fn is_jump(before: i64, after: i64) -> bool {
    before.abs_diff(after) > JUMP.unsigned_abs()
}

impl Clock {
    /// Creates a clock that is not believed yet.
    pub fn new() -> Self {
        LazyLock::force(&ORIGIN);
        Self::default()
    }

    /// Believes the clock whatever the system says of it, or not.
    pub fn trust(&self, trusted: bool) {
        self.trusted.store(trusted, Ordering::Relaxed);
    }

    /// Returns the monotonic time and the wall-clock time at an instant.
    pub fn at(&self, instant: Instant) -> Now {
        let reading = Reading::now();
        Now {
            monotonic: instant.saturating_duration_since(*ORIGIN),
            unix: reading.unix.max(0) as f64 / 1e6,
            synchronised: self.trusted.load(Ordering::Relaxed) || self.state().believes(reading),
        }
    }

    /// Returns the wall-clock time in Unix seconds; `None` while it is not believed.
    pub fn wall(&self) -> impl Fn() -> Option<f64> + Send + Sync + 'static {
        let clock = self.clone();
        move || {
            let now = clock.at(Instant::now());
            now.synchronised.then_some(now.unix)
        }
    }

    /// Takes up the belief that the file keeps, if the clock has only run since. Reads the disk.
    pub fn restore(&self, file: &Path) {
        let Some(belief) = fs::read(file).ok().and_then(|it| serde_json::from_slice(&it).ok())
        else {
            return;
        };
        if boot_id().is_some_and(|boot_id| self.take_up(belief, &boot_id)) {
            info!("the clock was synchronised and has not been set since");
        }
    }

    fn take_up(&self, belief: Belief, boot_id: &str) -> bool {
        let mut state = self.state();
        if state.seen.is_some() || belief.boot_id != boot_id {
            return false;
        }
        // The next look notices a jump while the daemon did not run.
        state.seen = Some(belief.offset_us);
        state.before = belief.set_us;
        state.belief = Some(belief);
        state.believes(Reading::now())
    }

    /// Notices jumps, and when the clock is synchronised, for as long as it is polled. The file
    /// keeps the belief.
    pub async fn watch(self, file: PathBuf, events: DoorEvents) {
        let (mut looks, mut kept) = (0, self.state().belief.clone());
        loop {
            let reading = Reading::now();
            let set_us = set_by_timesyncd();
            let jumped = self.state().look(reading, set_us);
            if let Some(by) = jumped {
                looks = 0;
                warn!(seconds = by as f64 / 1e6, "the clock jumped");
                events.record(jump(by));
            }
            if self.state().belief.is_none() {
                let asks = looks % LOOKS_PER_QUESTION == 0;
                let set = set_us.is_some() && set_us != self.state().before;
                if set || asks && kernel_says_synchronised().await {
                    self.believe(reading, set_us);
                } else if looks == 0 && !self.trusted.load(Ordering::Relaxed) {
                    warn!(
                        "the clock has not been synchronised since boot, or since it jumped: \
                         schedules grant nothing until it is (or set schedules.trust_clock)"
                    );
                }
            }
            looks = looks.wrapping_add(1);
            let belief = self.state().belief.clone();
            if belief != kept {
                let (file, belief) = (file.clone(), belief.clone());
                let keep = move || keep(&file, belief.as_ref());
                if let Ok(Err(error)) = tokio::task::spawn_blocking(keep).await {
                    warn!(%error, "a restart will not know that the clock is synchronised");
                }
            }
            kept = belief;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Believes the clock, unless it has jumped since the reading.
    fn believe(&self, reading: Reading, set_us: Option<i64>) {
        let Some(boot_id) = boot_id() else { return };
        let belief = Belief { boot_id, offset_us: reading.offset(), set_us };
        self.state().belief = Some(belief);
        info!("the clock is synchronised");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the event of a jump by this many microseconds.
fn jump(by: i64) -> Event {
    let seconds = by as f64 / 1e6;
    let reason = format!("the clock was set by {seconds:+.1} s");
    let mut event = Event::new(Kind::Door, "clock_jumped", reason);
    event.extra.insert("seconds".to_owned(), seconds.into());
    event
}

fn boot_id() -> Option<String> {
    Some(fs::read_to_string(BOOT_ID).ok()?.trim().to_owned())
}

/// Replaces the file's content, or removes the file without a belief.
fn keep(file: &Path, belief: Option<&Belief>) -> io::Result<()> {
    let Some(belief) = belief else {
        return match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let new = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    serde_json::to_writer(made, belief)?;
    // Not synced: a power cut ends the boot, and with it the meaning of the file.
    fs::rename(&new, file)
}

/// Returns when timesyncd last set the clock, in Unix microseconds.
fn set_by_timesyncd() -> Option<i64> {
    let modified = fs::metadata(TIMESYNCD).and_then(|it| it.modified()).ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

/// Checks whether the clock was synchronised since boot, now.
pub(crate) async fn is_synchronised() -> bool {
    set_by_timesyncd().is_some() || kernel_says_synchronised().await
}

/// Asks for the kernel's own flag, which chrony, ntpd and timesyncd set, as `timedatectl` reads it.
/// The kernel clears it when another program sets the clock. Without the program the clock counts
/// as not synchronised.
async fn kernel_says_synchronised() -> bool {
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

    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;

    fn at(seconds: i64, ahead: i64) -> Reading {
        Reading {
            unix: 1_800_000_000 * SECOND + seconds * SECOND + ahead,
            since_boot: seconds * SECOND,
        }
    }

    fn believed(reading: Reading, set_us: Option<i64>) -> State {
        let belief = Belief { boot_id: "b".into(), offset_us: reading.offset(), set_us };
        State { seen: Some(reading.offset()), belief: Some(belief), before: None }
    }

    #[test]
    fn trusted_clock_is_synchronised_and_runs() {
        let clock = Clock::new();
        assert!(!clock.at(Instant::now()).synchronised);
        clock.trust(true);
        let first = clock.at(Instant::now());
        let later = clock.at(Instant::now() + Duration::from_secs(1));
        assert!(first.synchronised && first.unix > 1.7e9);
        assert!(later.monotonic - first.monotonic >= Duration::from_secs(1));
        assert_eq!(clock.at(*ORIGIN - Duration::from_secs(5)).monotonic, Duration::ZERO);
    }

    #[test]
    fn a_jump_ends_the_belief_at_once_and_is_noticed_once() {
        let mut state = believed(at(0, 0), Some(7));
        assert!(state.believes(at(3600, 0)) && state.believes(at(3600, SECOND)));
        assert_eq!(state.look(at(3600, 0), Some(8)), None);
        for ahead in [400 * DAY, -400 * DAY, 3 * SECOND] {
            assert!(!state.believes(at(3601, ahead)), "before the next look");
            assert_eq!(state.look(at(3601, ahead), Some(8)), Some(ahead));
            assert_eq!(state.look(at(3602, ahead), Some(8)), None);
            assert!(!state.believes(at(3602, ahead)));
            // Only a synchronisation after the jump counts: timesyncd's file is still the old one.
            assert_eq!((state.belief.as_ref(), state.before), (None, Some(8)));
            assert_eq!(state.look(at(3603, 0), Some(8)), Some(-ahead));
            assert!(!state.believes(at(3603, 0)), "the way back is a jump too");
            state = believed(at(3603, 0), Some(8));
        }
    }

    #[test]
    fn small_corrections_do_not_add_up_to_a_jump() {
        let mut state = believed(at(0, 0), None);
        for number in 1..10 {
            let reading = at(number, number * SECOND);
            assert_eq!(state.look(reading, None), None);
            assert!(state.believes(reading));
        }
    }

    #[test]
    fn a_restart_keeps_the_belief_unless_the_clock_was_set_or_the_machine_booted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let offset_us = Reading::now().offset();
        let belief = Belief { boot_id: boot_id().unwrap(), offset_us, set_us: None };
        let restored = |belief: &Belief| {
            keep(&file, Some(belief)).unwrap();
            let clock = Clock::new();
            clock.restore(&file);
            let synchronised = clock.at(Instant::now()).synchronised;
            let jumped = clock.state().look(Reading::now(), None);
            // The two clocks are not read at the same moment.
            (synchronised, jumped.map(|by| (by + DAY / 2) / DAY))
        };
        assert_eq!(restored(&belief), (true, None));
        let other_boot = Belief { boot_id: "another".into(), ..belief.clone() };
        assert_eq!(restored(&other_boot), (false, None));
        let set = Belief { offset_us: offset_us - 400 * DAY, ..belief.clone() };
        assert_eq!(restored(&set), (false, Some(400)));
        fs::write(&file, b"{").unwrap();
        let clock = Clock::new();
        clock.restore(&file);
        assert!(!clock.at(Instant::now()).synchronised);
        keep(&file, None).unwrap();
        keep(&file, None).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn the_event_of_a_jump_says_by_how_much() {
        let event = jump(400 * DAY);
        assert_eq!((event.kind, event.outcome.as_str()), (Kind::Door, "clock_jumped"));
        assert_eq!(event.reason, "the clock was set by +34560000.0 s");
    }
}

//! Runs the capture thread: it opens the device, lets it warm up and hands out frames. After any
//! fault it closes the device fully, waits and opens it again. It knows no device, so cameras,
//! replays and test scripts behave the same.
//!
//! It never waits without a limit, never hands out a frame that is not whole, and ends only when
//! its last handle is dropped: it also uses a camera that comes back after a week.

use super::device::{Device, Fault, Next, Open, Raw};
use super::frame::Frame;
use super::settings::Settings;
use super::state::{Shared, State};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest step: bounds how late a stop is noticed, and how often progress shows.
const STEP: Duration = Duration::from_millis(200);
/// The first wait before a device is opened again. A replugged camera takes about a second to
/// start.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait before a device is opened again. It is short because a person at the door waits
/// for a camera that was just plugged in.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// After this time of streaming, the next loss starts from [`FIRST_WAIT`] again.
const STABLE: Duration = Duration::from_secs(10);
/// This many damaged frames in a row are a fault. Cameras start with one or two.
const DAMAGED: u32 = 10;
/// An older frame does not show who is at the door.
const OLDEST: Duration = Duration::from_secs(10);
/// This many old frames in a row are a fault: more than the buffers that a suspended machine left
/// full.
const MOST_OLD: u32 = 8;
/// Weight of the newest interval in the average behind the frame rate.
const NEWEST: f64 = 1.0 / 16.0;

/// Why a session ended without a fault.
enum Over {
    /// The last handle was dropped.
    Stopped,
    /// A replay has ended.
    Ended,
}

/// Runs the capture thread until the last handle is dropped.
pub(super) fn run(shared: &Shared, mut opener: Box<dyn Open>, settings: &Settings) {
    let mut wait = FIRST_WAIT;
    let mut sequence = 0;
    loop {
        let began = Instant::now();
        let outcome = attempt(shared, opener.as_mut(), settings, &mut sequence);
        if shared.counts().newest.is_some_and(|(_, came)| came >= began + STABLE) {
            wait = FIRST_WAIT;
        }
        match outcome {
            Ok(Over::Stopped) => break,
            Ok(Over::Ended) => {
                tracing::info!(camera = %settings.source, "the replay is over");
                shared.set(State::Ended);
                while !shared.stopped() {
                    pause(shared, LONGEST_WAIT);
                }
                break;
            }
            Err(fault) => {
                let why = fault.to_string();
                let known = shared.state.borrow().why() == Some(&why);
                if !known {
                    tracing::warn!(camera = %settings.source, why, "no frames");
                }
                shared.set(State::Lost { why });
            }
        }
        pause(shared, wait);
        wait = (wait * 2).min(LONGEST_WAIT);
        if shared.stopped() {
            break;
        }
        shared.counts().reopened += 1;
    }
    shared.readers.close();
}

/// Opens the device, runs one session with it and closes it.
fn attempt(
    shared: &Shared,
    opener: &mut dyn Open,
    settings: &Settings,
    sequence: &mut u64,
) -> Result<Over, Fault> {
    if shared.stopped() {
        return Ok(Over::Stopped);
    }
    shared.moved();
    // The V4L2 crate panics on unexpected answers. By then, all state shared with the next attempt
    // is closed.
    let session = AssertUnwindSafe(|| {
        let mut device = opener.open(settings)?;
        Session::new(shared, settings, device.as_ref(), sequence).run(device.as_mut())
    });
    let outcome = catch_unwind(session).unwrap_or(Err(Fault::Panicked));
    let mut counts = shared.counts();
    (counts.name, counts.format, counts.size) = (None, None, None);
    counts.interval = None;
    outcome
}

/// Waits, in steps.
fn pause(shared: &Shared, wait: Duration) {
    let until = Instant::now() + wait;
    while !shared.stopped() {
        shared.moved();
        let left = until.duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(STEP));
    }
}

/// The session with one open device.
struct Session<'a> {
    shared: &'a Shared,
    settings: &'a Settings,
    sequence: &'a mut u64,
    /// End of the warm-up, in which frames are dropped; set by the first frame.
    warm: Option<Instant>,
    warm_up: Duration,
    /// Arrival of the newest whole frame.
    last: Instant,
    /// The device's own number of the newest frame.
    number: Option<u32>,
    damaged: u32,
    /// Consecutive frames that were too old.
    old: u32,
}

impl<'a> Session<'a> {
    fn new(
        shared: &'a Shared,
        settings: &'a Settings,
        device: &dyn Device,
        sequence: &'a mut u64,
    ) -> Self {
        let layout = device.layout();
        let mut counts = shared.counts();
        counts.name = Some(device.name().to_owned());
        counts.format = Some(layout.format.name());
        counts.size = (layout.width > 0).then(|| format!("{}x{}", layout.width, layout.height));
        drop(counts);
        Self {
            shared,
            settings,
            sequence,
            warm: None,
            warm_up: if device.warms_up() { settings.warm_up } else { Duration::ZERO },
            last: Instant::now(),
            number: None,
            damaged: 0,
            old: 0,
        }
    }

    fn run(mut self, device: &mut dyn Device) -> Result<Over, Fault> {
        let layout = device.layout();
        loop {
            if self.shared.stopped() {
                return Ok(Over::Stopped);
            }
            self.shared.moved();
            let raw = match device.next(STEP)? {
                Next::End => return Ok(Over::Ended),
                Next::Nothing => {
                    self.patient()?;
                    continue;
                }
                Next::Frame(raw) => raw,
            };
            self.count(&raw);
            let whole = if raw.damaged { None } else { layout.whole(raw.bytes) };
            let Some(bytes) = whole else {
                self.damage()?;
                continue;
            };
            self.damaged = 0;
            let came = Instant::now();
            // A driver's clock ahead of ours would give frames from the future.
            let taken = raw.taken.unwrap_or(came).min(came);
            if came.duration_since(taken) > OLDEST {
                self.too_old()?;
                continue;
            }
            self.old = 0;
            self.arrived(taken, came);
            let warm = *self.warm.get_or_insert(came + self.warm_up);
            if came < warm {
                continue;
            }
            if *self.shared.state.borrow() != State::Streaming {
                tracing::info!(camera = %self.settings.source, format = layout.format.name(), "frames");
                self.shared.set(State::Streaming);
            }
            // Copying is most of this thread's work, and at night there is no reader.
            if self.shared.readers.any() {
                let frame = Frame {
                    taken,
                    sequence: *self.sequence,
                    layout,
                    rotate: self.settings.rotate,
                    bytes: Arc::from(bytes),
                };
                let dropped = self.shared.readers.hand_out(&frame);
                self.shared.counts().dropped += dropped;
            }
        }
    }

    /// Numbers a frame. Some drivers count the frames they lose, some count nothing.
    fn count(&mut self, raw: &Raw) {
        let step = match (self.number, raw.number) {
            (Some(before), Some(now)) if now > before => u64::from(now - before),
            _ => 1,
        };
        self.number = raw.number;
        *self.sequence = self.sequence.saturating_add(step);
        self.shared.counts().dropped += step - 1;
    }

    fn arrived(&mut self, taken: Instant, came: Instant) {
        let interval = came.duration_since(self.last).as_secs_f64();
        self.last = came;
        let mut counts = self.shared.counts();
        counts.frames += 1;
        counts.newest = Some((taken, came));
        // The first frame includes the time that opening took.
        if self.warm.is_some() {
            let average = counts.interval.unwrap_or(interval);
            counts.interval = Some(average + (interval - average) * NEWEST);
        }
    }

    fn damage(&mut self) -> Result<(), Fault> {
        self.shared.counts().short += 1;
        self.damaged += 1;
        if self.damaged >= DAMAGED { Err(Fault::Damaged(self.damaged)) } else { self.patient() }
    }

    /// Drops a frame that is too old. Returns a fault once only old frames come.
    fn too_old(&mut self) -> Result<(), Fault> {
        self.shared.counts().dropped += 1;
        self.old += 1;
        if self.old > MOST_OLD { Err(Fault::Old) } else { Ok(()) }
    }

    /// Returns a fault once no whole frame has come for too long.
    fn patient(&self) -> Result<(), Fault> {
        // A replay slower than the timeout is not a fault.
        let slowest = Duration::from_secs(2) / self.settings.fps.max(1);
        let timeout = self.settings.timeout.max(slowest);
        // The message states the limit, not the elapsed time: a repeated fault must not look like a
        // new state.
        if self.last.elapsed() < timeout { Ok(()) } else { Err(Fault::Silent(timeout.as_millis())) }
    }
}

#[cfg(test)]
mod tests;

//! What the camera is doing, for everybody who asks: states, counts and times.

use super::frames::Readers;
use super::settings::Settings;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use strum::IntoStaticStr;
use tokio::sync::watch;

/// What the camera is doing.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// It is opened for the first time, or finds its exposure.
    Starting,
    /// Frames come.
    Streaming,
    /// No frames come, and it is opened again and again.
    Lost {
        /// What is wrong and what to do about it.
        why: String,
    },
    /// A replay is over; nothing will come any more.
    Ended,
}

impl State {
    /// `starting`, `streaming`, `lost` or `ended`.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// What is wrong and what to do about it, when it is lost.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Lost { why } => Some(why),
            _ => None,
        }
    }
}

/// Everything that is known of the camera at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// [`State::name`].
    pub state: &'static str,
    /// [`State::why`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// `camera.source`.
    pub device: String,
    /// What the device calls itself, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The pixel format, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    /// `640x480`, before any turn, while it is open; absent for a replay, whose pictures may differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Frames a second, as they came lately.
    pub fps: f64,
    /// Whole frames since the start.
    pub frames: u64,
    /// Frames since the start that the driver lost, or a reader was too slow for.
    pub dropped: u64,
    /// Damaged frames since the start.
    pub short: u64,
    /// How often it was opened again.
    pub reopened: u64,
    /// Milliseconds since the exposure of the newest frame; absent until there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Milliseconds from the exposure of the newest frame to its arrival here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// What the capture thread writes and everybody reads.
pub(super) struct Shared {
    pub readers: Readers,
    pub state: watch::Sender<State>,
    stop: AtomicBool,
    progress: AtomicU64,
    counts: Mutex<Counts>,
}

/// What the capture thread knows beside its state.
#[derive(Default)]
pub(super) struct Counts {
    pub device: String,
    pub name: Option<String>,
    pub format: Option<&'static str>,
    pub size: Option<String>,
    /// Seconds between two frames, averaged over about the last sixteen.
    pub interval: Option<f64>,
    pub frames: u64,
    pub dropped: u64,
    pub short: u64,
    pub reopened: u64,
    /// Exposure and arrival of the newest frame.
    pub newest: Option<(Instant, Instant)>,
}

impl Shared {
    /// Nothing has happened yet.
    pub fn new(settings: &Settings) -> Self {
        let counts = Counts { device: settings.source.to_string(), ..Counts::default() };
        Self {
            readers: Readers::default(),
            state: watch::Sender::new(State::Starting),
            stop: AtomicBool::new(false),
            progress: AtomicU64::new(0),
            counts: Mutex::new(counts),
        }
    }

    /// Counts a step of the capture thread.
    pub fn moved(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// How many steps the capture thread has made.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Asks the capture thread to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Publishes a state, if it is another one.
    pub fn set(&self, state: State) {
        self.state.send_if_modified(|present| {
            let changed = *present != state;
            if changed {
                *present = state;
            }
            changed
        });
    }

    /// What was counted.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything at this moment.
    pub fn status(&self) -> Status {
        let state = self.state.borrow().clone();
        let counts = self.counts();
        let streaming = state == State::Streaming;
        let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_millis() as u64;
        Status {
            state: state.name(),
            why: state.why().map(str::to_owned),
            device: counts.device.clone(),
            name: counts.name.clone(),
            format: counts.format,
            size: counts.size.clone(),
            fps: match counts.interval.filter(|interval| streaming && *interval > 0.0) {
                Some(interval) => (10.0 / interval).round() / 10.0,
                None => 0.0,
            },
            frames: counts.frames,
            dropped: counts.dropped,
            short: counts.short,
            reopened: counts.reopened,
            age_ms: counts.newest.map(|(taken, _)| milliseconds(taken, Instant::now())),
            delay_ms: counts.newest.map(|(taken, came)| milliseconds(taken, came)),
        }
    }
}

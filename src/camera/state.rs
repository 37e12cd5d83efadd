//! The state of the camera: states, counts and times.

use super::frames::Readers;
use super::settings::Settings;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use strum::IntoStaticStr;
use tokio::sync::watch;

/// The state of the camera.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// Opening for the first time, or finding its exposure.
    Starting,
    /// Frames come.
    Streaming,
    /// No frames come; the device is opened again until they do.
    Lost {
        /// What is wrong and what to do about it.
        why: String,
    },
    /// A replay has ended; no frame will come any more.
    Ended,
}

impl State {
    /// Returns `starting`, `streaming`, `lost` or `ended`.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Returns what is wrong and what to do about it, if the camera is lost.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Lost { why } => Some(why),
            _ => None,
        }
    }
}

/// The camera's state, counts and times at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// [`State::name`].
    pub state: &'static str,
    /// [`State::why`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// `camera.source`.
    pub device: String,
    /// The device's own name, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The pixel format, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    /// `640x480`, before any rotation, while open; absent for a replay, whose pictures may differ
    /// in size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Frames per second, measured lately.
    pub fps: f64,
    /// Whole frames since the start.
    pub frames: u64,
    /// Frames since the start that were lost by the driver or dropped for a slow reader.
    pub dropped: u64,
    /// Damaged frames since the start.
    pub short: u64,
    /// How often the device was opened again.
    pub reopened: u64,
    /// Milliseconds since the exposure of the newest frame; absent until there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Milliseconds from the exposure of the newest frame to its arrival here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// Data that the capture thread writes and others read.
pub(super) struct Shared {
    pub readers: Readers,
    pub state: watch::Sender<State>,
    stop: AtomicBool,
    progress: AtomicU64,
    counts: Mutex<Counts>,
}

/// What the capture thread publishes besides its state.
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
    /// Times of exposure and arrival of the newest frame.
    pub newest: Option<(Instant, Instant)>,
}

impl Shared {
    /// Creates the data before anything has happened.
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

    /// Returns the number of steps of the capture thread.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Asks the capture thread to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Checks whether the capture thread was asked to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Publishes a state, if it changed.
    pub fn set(&self, state: State) {
        self.state.send_if_modified(|present| {
            let changed = *present != state;
            if changed {
                *present = state;
            }
            changed
        });
    }

    /// Returns the counts.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns state, counts and times at this moment.
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

//! Reads frames from the camera at the door, or from files instead.
//!
//! One thread ([`capture`]) owns the device. It opens it and hands each whole frame to every
//! subscription ([`Frames`]). After any fault it closes the device fully and opens it again, with
//! growing pauses, for ever. It treats both kinds of devices alike: a V4L2 camera ([`v4l2`];
//! [`choice`] chooses format and size) and a replay of files ([`replay`], [`container`]).
//!
//! It decodes a frame only on request, never looks for faces, never keeps more than two frames for
//! a reader and never writes a frame to disk.
//!
//! A *short* or damaged frame has fewer bytes than its format needs, or no end marker. *Warm-up* is
//! the time after opening in which a camera finds its exposure.

mod capture;
mod choice;
mod command;
mod container;
mod device;
mod frame;
mod frames;
mod pixel_format;
mod replay;
mod settings;
mod state;
mod v4l2;

pub use command::{Command, CommandError};
pub use frame::Frame;
pub use frames::Frames;
pub use pixel_format::{FrameError, PixelFormat};
pub use settings::{Settings, SettingsError, Source};
pub use state::{State, Status};

use device::Open;
use state::Shared;
use std::sync::Arc;
use tokio::sync::watch;

/// The camera could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The operating system did not start a thread.
    #[error("no thread could be started: {0}; raise the limit on processes (`ulimit -u`)")]
    Thread(#[from] std::io::Error),
}

/// A handle on the capture thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub struct Camera {
    running: Arc<Running>,
}

struct Running {
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Camera {
    /// Starts the capture thread and returns at once. [`Camera::status`] tells whether frames come.
    pub fn start(settings: Settings) -> Result<Self, CameraError> {
        let opener: Box<dyn Open> = match &settings.source {
            Source::Device(path) => Box::new(v4l2::Opener::new(path)),
            Source::Replay(path) => Box::new(replay::Opener::new(path)),
        };
        Self::with(opener, settings)
    }

    fn with(opener: Box<dyn Open>, settings: Settings) -> Result<Self, CameraError> {
        let shared = Arc::new(Shared::new(&settings));
        let running = Arc::new(Running { shared: Arc::clone(&shared) });
        std::thread::Builder::new()
            .name("camera".into())
            .spawn(move || capture::run(&shared, opener, &settings))?;
        Ok(Self { running })
    }

    /// Subscribes to the frames from this moment on. A subscription holds at most two frames and
    /// drops the oldest.
    pub fn frames(&self) -> Frames {
        self.running.shared.readers.subscribe()
    }

    /// Returns state, counts and times at this moment.
    pub fn status(&self) -> Status {
        self.running.shared.status()
    }

    /// Returns the changes of state.
    pub fn states(&self) -> watch::Receiver<State> {
        self.running.shared.state.subscribe()
    }

    /// Returns a counter that rises at least every [`Settings::timeout`] while the capture thread
    /// is alive, with or without frames.
    pub fn progress(&self) -> u64 {
        self.running.shared.progress()
    }
}

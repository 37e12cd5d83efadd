//! Frames from the camera at the door, or from files in its place.
//!
//! One thread ([`capture`]) owns the device. It opens it, hands each whole frame to every subscription
//! ([`Frames`]), and after any fault closes it fully and opens it again, with growing pauses, for ever. What
//! it does is the same for the two devices there are: a V4L2 camera ([`v4l2`], which format and size to ask
//! for in [`choice`]) and a replay of files ([`replay`], [`container`]).
//!
//! It never decodes a frame unasked, never looks for faces, never keeps more than two frames for a reader
//! and never writes one to disk.
//!
//! A *short* or damaged frame has fewer bytes than its format needs, or no end marker. *Warm-up* is the time
//! after opening in which a camera finds its exposure.

mod capture;
mod choice;
mod command;
mod container;
mod device;
mod frame;
mod frames;
mod replay;
mod settings;
mod state;
mod v4l2;

pub use command::{Command, CommandError};
pub use frame::{Frame, FrameError, PixelFormat};
pub use frames::Frames;
pub use settings::{Settings, SettingsError, Source};
pub use state::{State, Status};

use device::Open;
use state::Shared;
use std::sync::Arc;
use tokio::sync::watch;

/// The camera could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The operating system gives no thread.
    #[error("no thread could be started: {0}; raise the limit on processes (`ulimit -u`)")]
    Thread(#[from] std::io::Error),
}

/// A handle on the capture thread, which ends with the last one.
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
    /// Starts the capture thread and returns at once; whether there are frames, [`Camera::status`] says.
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

    /// A subscription to the frames from this moment on: it holds at most two and drops the oldest.
    pub fn frames(&self) -> Frames {
        self.running.shared.readers.subscribe()
    }

    /// State, counts and times at this moment.
    pub fn status(&self) -> Status {
        self.running.shared.status()
    }

    /// The changes of state.
    pub fn states(&self) -> watch::Receiver<State> {
        self.running.shared.state.subscribe()
    }

    /// Rises at least every [`Settings::timeout`] while the capture thread is alive, streaming or not.
    pub fn progress(&self) -> u64 {
        self.running.shared.progress()
    }
}

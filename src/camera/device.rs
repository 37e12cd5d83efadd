//! What capture asks of whatever gives frames: a camera, a replay, a script in a test.

use super::frame::Layout;
use super::settings::Settings;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Opens devices; lives as long as the capture thread, over every loss.
pub(super) trait Open: Send {
    /// Opens the device again, up to where frames can be asked for.
    fn open(&mut self, settings: &Settings) -> Result<Box<dyn Device>, Fault>;
}

/// An open device. Dropping it closes it fully.
pub(super) trait Device {
    /// What it is, for people: the name of the camera, or the file.
    fn name(&self) -> &str;
    /// How its frames lie.
    fn layout(&self) -> Layout;
    /// Whether its first frames are badly exposed.
    fn warms_up(&self) -> bool;
    /// The next frame, waited for no longer than about `wait`; the first may take as long as the
    /// settings' timeout.
    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Fault>;
}

/// What a device gives.
pub(super) enum Next<'a> {
    /// A frame.
    Frame(Raw<'a>),
    /// None in that time.
    Nothing,
    /// None ever again: a replay is over.
    End,
}

/// A frame where the device keeps it.
pub(super) struct Raw<'a> {
    /// As many bytes as the device says were filled.
    pub bytes: &'a [u8],
    /// When it was exposed, if the device knows.
    pub taken: Option<Instant>,
    /// The device's own number of the frame, if it counts.
    pub number: Option<u32>,
    /// The device itself says that it is damaged.
    pub damaged: bool,
}

/// Why there are no frames. The message says what to do; it is what `state/camera` shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "{0} is not there: plug the camera in, or set camera.source to one that `doorward camera list` \
         shows"
    )]
    Missing(PathBuf),
    #[error("another program uses {0}: end it (`fuser -v {0}` names it)")]
    Busy(PathBuf),
    #[error(
        "{0} may not be opened: put the daemon's user into the group that owns it, mostly `video`"
    )]
    Denied(PathBuf),
    #[error("{0} was unplugged or its driver stopped: check cable and power")]
    Gone(PathBuf),
    #[error(
        "{path} does not work as a camera ({reason}): it may not be ready, or be none; see `doorward camera list`"
    )]
    NotReady { path: PathBuf, reason: String },
    #[error(
        "{path} gives none of MJPG, YUYV, NV12 and GREY that was asked for, it offers {offers}: set camera.format to auto, or take another camera"
    )]
    Format { path: PathBuf, offers: String },
    #[error("no frame came for {0} ms: check cable and light, or raise camera.timeout_ms")]
    Silent(u128),
    #[error(
        "{0} frames in a row were damaged: check the cable, or set another camera.format or size"
    )]
    Damaged(u32),
    #[error(
        "frames come that were taken more than 10 s ago: the driver's clock is wrong, or it keeps \
         frames back; unplug the camera and plug it in again, or take another one"
    )]
    Old,
    #[error("a driver's answer could not be understood; see the log")]
    Panicked,
    #[error("{path} cannot be replayed: {reason}")]
    Replay { path: PathBuf, reason: String },
}

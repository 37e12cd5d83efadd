//! The interface between capture and a source of frames: a camera, a replay or a test script.

use super::pixel_format::Layout;
use super::settings::Settings;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Opens devices. Lives as long as the capture thread, over every loss.
pub(super) trait Open: Send {
    /// Opens the device, until it is ready for requests for frames.
    fn open(&mut self, settings: &Settings) -> Result<Box<dyn Device>, Fault>;
}

/// An open device. Dropping it closes it fully.
pub(super) trait Device {
    /// Returns the name for people: of the camera or of the file.
    fn name(&self) -> &str;
    /// Returns the memory layout of its frames.
    fn layout(&self) -> Layout;
    /// Checks whether its first frames are badly exposed.
    fn warms_up(&self) -> bool;
    /// Returns the next frame and waits about `wait` at most. The first frame may take as long as
    /// the settings' timeout.
    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Fault>;
}

/// The result of a request for a frame.
pub(super) enum Next<'a> {
    /// A frame.
    Frame(Raw<'a>),
    /// No frame came in that time.
    Nothing,
    /// No frame will ever come: a replay has ended.
    End,
}

/// A frame in the device's memory.
pub(super) struct Raw<'a> {
    /// The bytes that the device reports as filled.
    pub bytes: &'a [u8],
    /// Time of exposure, if the device knows it.
    pub taken: Option<Instant>,
    /// The device's own number of the frame, if it counts frames.
    pub number: Option<u32>,
    /// True if the device reports the frame as damaged.
    pub damaged: bool,
}

/// Why there are no frames. The message says what to do, and `state/camera` shows it.
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

//! Reads a camera with Video4Linux 2: memory-mapped streaming, single-planar.
//!
//! Behaviour of drivers and of the `v4l` crate, and how this module handles it:
//!
//! - A wait for a frame never ends without a timeout, so every wait here has one.
//! - After a failed wait the crate would queue a buffer twice, so readiness is polled first, and
//!   any error closes the device.
//! - `set_format` reads the format back, which v4l2loopback refuses while no program writes to it:
//!   the device counts as not ready and is tried again later.
//! - The driver chooses the size of a padded row, so stride and size are requested as 0 and the
//!   driver's values are used.
//! - The crate panics on names that are not UTF-8 and on unknown numbers. The name is read from
//!   sysfs, and the caller catches the other panics.
//! - The crate's stream panics if it cannot be stopped, which would end the process during another
//!   panic: it is stopped explicitly first.

use super::choice::{Offer, Range, candidates};
use super::device::{Device, Fault, Next, Open, Raw};
use super::pixel_format::{Layout, PixelFormat};
use super::settings::Settings;
use libc::{EACCES, EBUSY, EIO, ENODEV, ENOENT, ENXIO, EPERM, POLLIN};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use v4l::buffer::{Flags, Metadata, Type};
use v4l::device::Handle;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::io::mmap::Stream;
use v4l::io::traits::{CaptureStream, Stream as _};
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Format, FourCC};

/// Number of buffers that the driver fills in turn: one is read, one waits, two are filled.
const BUFFERS: u32 = 4;
/// The longest side that is accepted.
const MAX_SIDE: u32 = 16_384;
/// Opens one device by its path, or by a link, which may point to another device each time.
pub(super) struct Opener {
    path: PathBuf,
}

impl Opener {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Open for Opener {
    fn open(&mut self, settings: &Settings) -> Result<Box<dyn Device>, Fault> {
        let path = &self.path;
        let device = opened(path)?;
        let layout = negotiated(path, &device, settings)?;
        // Only a request: a driver that refuses it uses its own rate.
        let _ = device.set_params(&Parameters::with_fps(settings.fps));
        let mut stream = Stream::with_buffers(&device, Type::VideoCapture, BUFFERS)
            .map_err(|error| fault(path, "no buffers", &error))?;
        stream.set_timeout(settings.timeout);
        Ok(Box::new(Streaming {
            path: path.clone(),
            name: name_of(path).unwrap_or_else(|| path.display().to_string()),
            layout,
            timeout: settings.timeout,
            handle: device.handle(),
            started: false,
            stream: Some(stream),
        }))
    }
}

/// Returns the name of a device according to its driver.
pub(super) fn name_of(path: &Path) -> Option<String> {
    let node = path.canonicalize().ok()?;
    let name = Path::new("/sys/class/video4linux").join(node.file_name()?).join("name");
    let name = std::fs::read(name).ok()?;
    Some(String::from_utf8_lossy(&name).trim().to_owned())
}

fn opened(path: &Path) -> Result<v4l::Device, Fault> {
    v4l::Device::with_path(path).map_err(|error| fault(path, "not opened", &error))
}

/// Returns what a device offers in the supported formats, each size with its best rate. For a range
/// of sizes it returns the size nearest to the requested one. Empty for a driver that lists
/// nothing.
pub(super) fn offers(path: &Path, settings: &Settings) -> Result<Vec<Offer>, Fault> {
    Ok(offers_of(&opened(path)?, settings))
}

fn offers_of(device: &v4l::Device, settings: &Settings) -> Vec<Offer> {
    // The crate panics on a description that is not UTF-8. The formats can be tried without the
    // list.
    let listed = catch_unwind(AssertUnwindSafe(|| device.enum_formats()));
    let listed = listed.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default();
    let mut offers = Vec::new();
    for format in listed.iter().filter_map(|listed| format_of(listed.fourcc)) {
        let fourcc = fourcc_of(format);
        let sizes = device.enum_framesizes(fourcc).unwrap_or_default();
        for size in sizes {
            let (width, height) = match size.size {
                FrameSizeEnum::Discrete(size) => (size.width, size.height),
                FrameSizeEnum::Stepwise(size) => {
                    let width =
                        Range { from: size.min_width, to: size.max_width, step: size.step_width };
                    let height = Range {
                        from: size.min_height,
                        to: size.max_height,
                        step: size.step_height,
                    };
                    (width.nearest(settings.width), height.nearest(settings.height))
                }
            };
            let fps = best_rate(device, fourcc, width, height);
            offers.push(Offer { format, width, height, fps });
        }
    }
    offers
}

/// Returns the most frames per second at a size, if the driver states it.
fn best_rate(device: &v4l::Device, fourcc: FourCC, width: u32, height: u32) -> Option<f64> {
    let intervals = device.enum_frameintervals(fourcc, width, height).ok()?;
    let rate = |interval: &FrameIntervalEnum| {
        let interval = match interval {
            FrameIntervalEnum::Discrete(interval) => interval,
            FrameIntervalEnum::Stepwise(intervals) => &intervals.min,
        };
        (interval.numerator > 0)
            .then(|| f64::from(interval.denominator) / f64::from(interval.numerator))
    };
    intervals.iter().filter_map(|interval| rate(&interval.interval)).max_by(f64::total_cmp)
}

/// Requests one candidate after another; drivers answer with what they support.
fn negotiated(path: &Path, device: &v4l::Device, settings: &Settings) -> Result<Layout, Fault> {
    let offers = offers_of(device, settings);
    let mut refused = None;
    for wish in candidates(&offers, settings) {
        // Stride and size are 0: drivers would take values of the last format for a request.
        let format = Format::new(wish.width, wish.height, fourcc_of(wish.format));
        match device.set_format(&format) {
            Ok(given) => {
                if let Some(layout) = layout_of(&given)
                    && settings.format.is_none_or(|only| only == layout.format)
                {
                    return Ok(layout);
                }
            }
            Err(error) => refused = Some(fault(path, "no format", &error)),
        }
    }
    let offers = match offers.as_slice() {
        [] => "nothing that it lists".to_owned(),
        some => some.iter().map(Offer::to_string).collect::<Vec<_>>().join(", "),
    };
    Err(refused.unwrap_or(Fault::Format { path: path.to_owned(), offers }))
}

/// Returns the layout of a format; `None` if it is unsupported or implausible.
fn layout_of(given: &Format) -> Option<Layout> {
    let (width, height) = (given.width, given.height);
    if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
        return None;
    }
    let format = format_of(given.fourcc)?;
    let row = match format {
        PixelFormat::Yuyv => width.div_ceil(2) * 4,
        PixelFormat::Nv12 => width.div_ceil(2) * 2,
        PixelFormat::Grey => width,
        PixelFormat::Mjpg | PixelFormat::File => 0,
    };
    // A driver that reports no stride has no padding.
    let stride = if row == 0 || given.stride == 0 { row } else { given.stride };
    (stride >= row && stride <= 8 * MAX_SIDE).then_some(Layout { format, width, height, stride })
}

fn format_of(fourcc: FourCC) -> Option<PixelFormat> {
    // A few drivers call MJPG JPEG.
    if &fourcc.repr == b"JPEG" {
        return Some(PixelFormat::Mjpg);
    }
    PixelFormat::OF_CAMERAS.into_iter().find(|format| format.name().as_bytes() == fourcc.repr)
}

fn fourcc_of(format: PixelFormat) -> FourCC {
    FourCC::new(match format {
        PixelFormat::Nv12 => b"NV12",
        PixelFormat::Yuyv => b"YUYV",
        PixelFormat::Mjpg | PixelFormat::File => b"MJPG",
        PixelFormat::Grey => b"GREY",
    })
}

/// Converts a system error to a fault.
fn fault(path: &Path, what: &str, error: &io::Error) -> Fault {
    let path = path.to_owned();
    match error.raw_os_error() {
        Some(ENOENT) => Fault::Missing(path),
        Some(EBUSY) => Fault::Busy(path),
        Some(EACCES | EPERM) => Fault::Denied(path),
        Some(ENODEV | ENXIO | EIO) => Fault::Gone(path),
        _ => Fault::NotReady { path, reason: format!("{what}: {error}") },
    }
}

/// A device that streams, or that will stream from the first requested frame on.
struct Streaming {
    path: PathBuf,
    name: String,
    layout: Layout,
    timeout: Duration,
    handle: Arc<Handle>,
    started: bool,
    /// `None` only during drop.
    stream: Option<Stream<'static>>,
}

impl Device for Streaming {
    fn name(&self) -> &str {
        &self.name
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn warms_up(&self) -> bool {
        true
    }

    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Fault> {
        let path = &self.path;
        // The first frame queues all buffers and starts the stream: there is nothing to poll
        // before.
        if self.started {
            let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
            match self.handle.poll(POLLIN, wait) {
                Ok(0) => return Ok(Next::Nothing),
                Ok(_) => {}
                // A signal interrupted the wait.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Ok(Next::Nothing);
                }
                Err(error) => return Err(fault(path, "no frame", &error)),
            }
        }
        self.started = true;
        let timeout = self.timeout;
        let stream = self.stream.as_mut().ok_or_else(|| Fault::Gone(path.clone()))?;
        let (bytes, meta) = CaptureStream::next(stream).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Fault::Silent(timeout.as_millis()),
            _ => fault(path, "no frame", &error),
        })?;
        let used = bytes.get(..meta.bytesused as usize).unwrap_or(bytes);
        Ok(Next::Frame(Raw {
            bytes: used,
            taken: exposure(meta),
            number: Some(meta.sequence),
            damaged: meta.flags.contains(Flags::ERROR),
        }))
    }
}

/// Returns the time of exposure, if the driver stamps frames with the monotonic clock.
fn exposure(meta: &Metadata) -> Option<Instant> {
    if meta.flags & Flags::TIMESTAMP_MASK != Flags::TIMESTAMP_MONOTONIC {
        return None;
    }
    let seconds = u64::try_from(meta.timestamp.sec).ok()?;
    let micros = u32::try_from(meta.timestamp.usec).ok().filter(|&micros| micros < 1_000_000)?;
    let age = monotonic()?.checked_sub(Duration::new(seconds, micros * 1000))?;
    Instant::now().checked_sub(age)
}

/// Returns the time of the clock that drivers stamp frames with, which is also that of [`Instant`].
fn monotonic() -> Option<Duration> {
    let now = clock_gettime(ClockId::Monotonic);
    Some(Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?))
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        // Stopping twice is harmless. If stopping fails here, the crate's own attempt would panic.
        match stream.stop() {
            Err(error) if error.raw_os_error() != Some(ENODEV) => {
                tracing::error!(camera = %self.path.display(), %error, "the stream cannot be stopped");
                // Its memory and descriptor stay until the process ends, which is better than
                // ending the process.
                std::mem::forget(stream);
            }
            _ => {
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(stream)));
                if dropped.is_err() {
                    tracing::error!(camera = %self.path.display(), "the buffers cannot be released");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_follow_the_driver_and_reject_implausible_values() {
        let given = |fourcc: &[u8; 4], width, height, stride| {
            let format = Format { stride, ..Format::new(width, height, FourCC::new(fourcc)) };
            layout_of(&format).map(|layout| (layout.format, layout.stride))
        };
        assert_eq!(given(b"YUYV", 640, 480, 1344), Some((PixelFormat::Yuyv, 1344)));
        assert_eq!(given(b"YUYV", 640, 480, 0), Some((PixelFormat::Yuyv, 1280)));
        assert_eq!(given(b"NV12", 640, 480, 704), Some((PixelFormat::Nv12, 704)));
        assert_eq!(given(b"GREY", 640, 480, 640), Some((PixelFormat::Grey, 640)));
        assert_eq!(given(b"JPEG", 640, 480, 0), Some((PixelFormat::Mjpg, 0)));
        for (fourcc, width, height, stride) in [
            (b"YUYV", 640, 480, 640),
            (b"YUYV", 0, 480, 0),
            (b"YUYV", 640, MAX_SIDE + 1, 0),
            (b"GREY", 640, 480, u32::MAX),
            (b"H264", 640, 480, 0),
        ] {
            assert_eq!(given(fourcc, width, height, stride), None, "{fourcc:?} {width}x{height}");
        }
    }

    #[test]
    fn system_errors_say_what_to_do() {
        let path = Path::new("/dev/video7");
        let said = |code| fault(path, "no frame", &io::Error::from_raw_os_error(code));
        assert_eq!(said(ENOENT), Fault::Missing(path.into()));
        assert_eq!(said(EBUSY), Fault::Busy(path.into()));
        assert_eq!(said(EACCES), Fault::Denied(path.into()));
        assert_eq!(said(ENODEV), Fault::Gone(path.into()));
        assert!(matches!(said(libc::EINVAL), Fault::NotReady { .. }));
    }

    #[test]
    fn files_that_are_not_cameras_are_faults() {
        let settings = Settings::default();
        let open = |path: &Path| Opener::new(path).open(&settings).err();
        let path = Path::new("/dev/video-that-is-not-there");
        assert_eq!(open(path), Some(Fault::Missing(path.into())));
        assert!(matches!(open(Path::new("/dev/null")), Some(Fault::NotReady { .. })));
    }

    #[test]
    fn exposure_needs_the_monotonic_clock() {
        let now = monotonic().unwrap();
        let meta = |flags, age: Duration| Metadata {
            flags,
            timestamp: (now - age).into(),
            ..Metadata::default()
        };
        let age = Duration::from_millis(40);
        let taken = exposure(&meta(Flags::TIMESTAMP_MONOTONIC, age)).unwrap();
        let seen = taken.elapsed();
        assert!(seen >= age && seen < age + Duration::from_secs(1), "{seen:?}");
        assert_eq!(exposure(&meta(Flags::TIMESTAMP_UNKNOWN, age)), None);
        assert_eq!(exposure(&meta(Flags::TIMESTAMP_COPY, age)), None);
        // An old exposure stays old: the frame lay in a buffer while the machine was suspended.
        let old = Duration::from_secs(40).min(now);
        assert!(exposure(&meta(Flags::TIMESTAMP_MONOTONIC, old)).unwrap().elapsed() >= old);
    }
}

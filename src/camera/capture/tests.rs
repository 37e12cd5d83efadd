//! Tests the capture thread with scripts: what a device does, one attempt after another.

use super::*;
use crate::camera::pixel_format::{Layout, PixelFormat};
use crate::camera::{Camera, Frames, Source, Status};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a device does when it is asked for a frame.
#[derive(Clone, Copy)]
enum Step {
    /// Returns a whole frame with this number by the device's count.
    Frame(u32),
    /// Returns a frame taken this many seconds ago.
    Old(u32, u64),
    /// Returns fewer bytes than a frame has.
    Short,
    /// Returns all bytes, with a flag that says they are damaged.
    Flagged,
    Nothing,
    Unplugged,
    Panic,
    End,
}

use Step::{Flagged, Frame as Whole, Nothing, Old, Panic, Short, Unplugged};

/// What opening does: returns a device with a script, or fails.
type Attempt = Result<Vec<Step>, Fault>;

struct Script {
    attempts: VecDeque<Attempt>,
    warms_up: bool,
    /// Number of open devices; more than one means that a device was not closed.
    open: Arc<AtomicUsize>,
}

impl Open for Script {
    fn open(&mut self, _: &Settings) -> Result<Box<dyn Device>, Fault> {
        // After its attempts, every script is a working camera.
        let steps = self.attempts.pop_front().unwrap_or(Ok(Vec::new()))?;
        assert_eq!(self.open.fetch_add(1, Ordering::SeqCst), 0, "opened while it was open");
        let (warms_up, open) = (self.warms_up, Arc::clone(&self.open));
        Ok(Box::new(Scripted { steps: steps.into(), warms_up, open, number: 1000 }))
    }
}

struct Scripted {
    steps: VecDeque<Step>,
    warms_up: bool,
    open: Arc<AtomicUsize>,
    number: u32,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Device for Scripted {
    fn name(&self) -> &str {
        "script"
    }

    fn layout(&self) -> Layout {
        Layout { format: PixelFormat::Grey, width: 2, height: 2, stride: 2 }
    }

    fn warms_up(&self) -> bool {
        self.warms_up
    }

    fn next(&mut self, wait: Duration) -> Result<Next<'_>, Fault> {
        std::thread::sleep(Duration::from_millis(10));
        let raw =
            |bytes, number, damaged| Ok(Next::Frame(Raw { bytes, taken: None, number, damaged }));
        let taken = |age| Instant::now().checked_sub(Duration::from_secs(age));
        match self.steps.pop_front() {
            None => {
                self.number += 1;
                raw(&[7; 4], Some(self.number), false)
            }
            Some(Whole(number)) => raw(&[7; 5], Some(number), false),
            Some(Old(number, age)) => Ok(Next::Frame(Raw {
                bytes: &[7; 4],
                taken: taken(age),
                number: Some(number),
                damaged: false,
            })),
            Some(Short) => raw(&[7; 3], None, false),
            Some(Flagged) => raw(&[7; 4], None, true),
            Some(Nothing) => {
                std::thread::sleep(wait);
                Ok(Next::Nothing)
            }
            Some(Unplugged) => Err(gone()),
            Some(Panic) => panic!("a driver says something new"),
            Some(Step::End) => Ok(Next::End),
        }
    }
}

fn path() -> PathBuf {
    Path::new("/dev/video0").into()
}

fn gone() -> Fault {
    Fault::Gone(path())
}

fn settings() -> Settings {
    let source = Source::Device(path());
    let (warm_up, timeout) = (Duration::from_millis(200), Duration::from_millis(300));
    Settings { source, warm_up, timeout, ..Settings::default() }
}

fn start(attempts: impl IntoIterator<Item = Attempt>) -> (Camera, Frames, Arc<AtomicUsize>) {
    start_warm(attempts, false)
}

fn start_warm(
    attempts: impl IntoIterator<Item = Attempt>,
    warms_up: bool,
) -> (Camera, Frames, Arc<AtomicUsize>) {
    let open = Arc::default();
    let script =
        Script { attempts: attempts.into_iter().collect(), warms_up, open: Arc::clone(&open) };
    // Subscribes during a first attempt that fails, so that no frame is missed.
    let mut script = Box::new(script);
    script.attempts.push_front(Err(Fault::Busy(path())));
    let camera = Camera::with(script, settings()).unwrap();
    let frames = camera.frames();
    (camera, frames, open)
}

const LONG: Duration = Duration::from_secs(20);

/// Waits for a status that matches and returns it; panics after [`LONG`].
fn once(camera: &Camera, wished: impl Fn(&Status) -> bool) -> Status {
    let until = Instant::now() + LONG;
    loop {
        let status = camera.status();
        if wished(&status) {
            return status;
        }
        assert!(Instant::now() < until, "{status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn busy_missing_and_unplugged_devices_are_opened_again() {
    let attempts = [
        Err(Fault::Missing(path())),
        Ok(vec![Whole(1), Unplugged]),
        Err(Fault::NotReady { path: path(), reason: "no format: invalid argument".into() }),
        Ok(vec![Whole(1)]),
    ];
    let (camera, mut frames, open) = start(attempts);
    let why = |part: &str| {
        let status = once(&camera, |status| {
            status.state == "lost" && status.why.as_deref().is_some_and(|why| why.contains(part))
        });
        assert_eq!((status.format, status.name), (None, None));
    };
    why("fuser");
    why("camera list");
    assert_eq!(frames.next(LONG).unwrap().sequence(), 1);
    why("unplugged");
    why("may not be ready");
    assert_eq!(frames.next(LONG).unwrap().sequence(), 2);
    let status = once(&camera, |status| status.state == "streaming");
    assert_eq!((status.reopened, status.format), (4, Some("GREY")));
    assert_eq!(status.size.as_deref(), Some("2x2"));
    assert_eq!(open.load(Ordering::SeqCst), 1);
}

#[test]
fn device_without_frames_is_opened_again() {
    let (camera, mut frames, _) = start([Ok(vec![Whole(1), Nothing, Nothing, Nothing])]);
    assert!(frames.next(LONG).is_some());
    let status = once(&camera, |status| status.state == "lost" && status.reopened > 0);
    assert!(status.why.unwrap().starts_with("no frame came for "));
    assert!(frames.next(LONG).is_some());
}

#[test]
fn short_frames_are_skipped_and_many_in_a_row_are_a_fault() {
    let few = vec![Short, Flagged, Whole(1), Short, Whole(2)];
    let many = vec![Short; DAMAGED as usize];
    let (camera, mut frames, _) = start([Ok([few, many].concat())]);
    // Damaged frames leave gaps in the numbers.
    assert_eq!(frames.next(LONG).unwrap().sequence(), 3);
    assert_eq!(frames.next(LONG).unwrap().sequence(), 5);
    let status = once(&camera, |status| status.state == "lost" && status.reopened > 0);
    assert_eq!(status.short, 3 + u64::from(DAMAGED));
    assert!(status.why.unwrap().contains("damaged"));
    assert!(frames.next(LONG).is_some());
}

#[test]
fn old_frames_are_never_handed_out() {
    // Frames left in the buffers of a suspended machine, then a frame that is merely late.
    let left_over = [Old(1, 40), Old(2, 40), Old(3, 40), Old(4, 40), Old(5, 3), Whole(6)];
    let (camera, mut frames, _) = start([Ok(left_over.to_vec())]);
    let late = frames.next(LONG).unwrap();
    assert_eq!(late.sequence(), 5);
    assert!(late.taken().elapsed() >= Duration::from_secs(3));
    assert_eq!(frames.next(LONG).unwrap().sequence(), 6);
    assert_eq!(once(&camera, |status| status.state == "streaming").reopened, 1);

    // A driver that gives only old frames.
    let nothing_else: Vec<_> = (0..=MOST_OLD).map(|number| Old(number, 40)).collect();
    let (camera, mut frames, _) = start([Ok(nothing_else)]);
    let old = |why: &String| why.contains("more than 10 s ago");
    once(&camera, |status| status.state == "lost" && status.why.as_ref().is_some_and(old));
    assert!(frames.next(LONG).unwrap().taken().elapsed() < Duration::from_secs(5));
}

#[test]
fn frames_lost_by_the_driver_leave_gaps_in_the_numbers() {
    let numbers = [5, 6, 9, 9, 2].map(Whole);
    let (camera, mut frames, _) = start([Ok(numbers.to_vec())]);
    let seen: Vec<_> = (0..5).filter_map(|_| Some(frames.next(LONG)?.sequence())).collect();
    // Two lost between 6 and 9. A number that stays or falls means nothing.
    assert_eq!(seen, [1, 2, 5, 6, 7]);
    assert!(camera.status().dropped >= 2);
}

#[test]
fn panic_in_the_crate_is_a_lost_camera_and_not_the_end() {
    let (camera, mut frames, open) = start([Ok(vec![Whole(1), Panic])]);
    assert!(frames.next(LONG).is_some());
    once(&camera, |status| status.state == "lost" && status.reopened > 0);
    assert!(frames.next(LONG).is_some());
    assert_eq!(open.load(Ordering::SeqCst), 1);
}

#[test]
fn no_frame_is_handed_out_during_warm_up() {
    let (camera, mut frames, _) = start_warm([Ok(Vec::new())], true);
    let status = once(&camera, |status| status.frames > 0);
    assert_ne!(status.state, "streaming");
    let first = frames.next(LONG).unwrap();
    let status = camera.status();
    // 200 ms of warm-up at 10 ms a frame.
    assert!(status.frames > 5 && first.sequence() > 5, "{status:?}");
    assert_eq!(status.state, "streaming");
}

#[test]
fn replay_that_ended_stays_ended() {
    let (camera, mut frames, open) = start([Ok(vec![Whole(1), Step::End])]);
    assert!(frames.next(LONG).is_some());
    once(&camera, |status| status.state == "ended");
    assert!(frames.next(Duration::from_millis(600)).is_none());
    let before = camera.progress();
    std::thread::sleep(3 * STEP);
    assert!(camera.progress() > before, "the thread is gone");
    assert_eq!((camera.status().state, open.load(Ordering::SeqCst)), ("ended", 0));
}

#[test]
fn progress_rises_without_a_camera() {
    let (camera, ..) = start(std::iter::repeat_n(Err(gone()), 100));
    let before = camera.progress();
    std::thread::sleep(4 * STEP);
    assert!(camera.progress() >= before + 2);
}

#[test]
fn thread_ends_with_the_last_handle() {
    let (camera, mut frames, open) = start([]);
    let other = camera.clone();
    drop(camera);
    assert!(frames.next(LONG).is_some());
    drop(other);
    let until = Instant::now() + LONG;
    while open.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < until, "the device is still open");
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Instant::now();
    while frames.next(LONG).is_some() {}
    assert!(asked.elapsed() < LONG / 2, "a reader waits for a camera that is gone");
}

#[test]
fn state_changes_are_reported_once() {
    let (camera, mut frames, _) =
        start([Err(gone()), Err(gone()), Ok(vec![Whole(1), Unplugged]), Ok(Vec::new())]);
    let mut states = camera.states();
    let mut seen = Vec::new();
    let until = Instant::now() + LONG;
    while seen.iter().filter(|state| *state == "streaming").count() < 2 && Instant::now() < until {
        if states.has_changed().unwrap() {
            seen.push(states.borrow_and_update().name().to_owned());
        }
        frames.next(Duration::from_millis(1));
    }
    seen.dedup();
    assert_eq!(seen, ["lost", "streaming", "lost", "streaming"]);
}

//! Hands frames from the capture thread to all readers.
//!
//! Every reader has a queue of two frames: the next to read and the one after. A reader slower than
//! the camera loses the oldest frame, so no reader works on frames that are seconds old.

use super::frame::Frame;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Most frames that wait for a reader.
const WAITING: usize = 2;

/// A subscription to the camera's frames.
pub struct Frames {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    frames: VecDeque<Frame>,
    dropped: u64,
    /// True if no frame will come any more.
    closed: bool,
}

impl Queue {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames {
    /// Returns the oldest waiting frame, at most two behind the camera. Waits up to `patience` for
    /// one.
    ///
    /// Returns `None` if no frame came, or if the camera's last handle was dropped.
    pub fn next(&mut self, patience: Duration) -> Option<Frame> {
        let until = Instant::now().checked_add(patience);
        let mut held = self.queue.held();
        loop {
            if let Some(frame) = held.frames.pop_front() {
                return Some(frame);
            }
            let left = until.map_or(patience, |until| until.duration_since(Instant::now()));
            if held.closed || left.is_zero() {
                return None;
            }
            let waited = self.queue.changed.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns how many frames this subscription lost because its reader was too slow.
    pub fn dropped(&self) -> u64 {
        self.queue.held().dropped
    }
}

/// Hands frames to all subscriptions.
#[derive(Default)]
pub(super) struct Readers {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Readers {
    /// Subscribes to the frames from this moment on.
    pub fn subscribe(&self) -> Frames {
        let queue = Arc::default();
        self.queues().push(Arc::downgrade(&queue));
        Frames { queue }
    }

    /// Checks whether any subscription exists.
    pub fn any(&self) -> bool {
        let mut queues = self.queues();
        queues.retain(|queue| queue.strong_count() > 0);
        !queues.is_empty()
    }

    /// Hands a frame to every reader. Returns how many older frames were dropped for it.
    pub fn hand_out(&self, frame: &Frame) -> u64 {
        let mut dropped = 0;
        for queue in self.queues().iter().filter_map(Weak::upgrade) {
            let mut held = queue.held();
            if held.frames.len() == WAITING {
                held.frames.pop_front();
                held.dropped += 1;
                dropped += 1;
            }
            held.frames.push_back(frame.clone());
            queue.changed.notify_all();
        }
        dropped
    }

    /// Tells all readers that no frame will come any more.
    pub fn close(&self) {
        for queue in self.queues().iter().filter_map(Weak::upgrade) {
            queue.held().closed = true;
            queue.changed.notify_all();
        }
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::pixel_format::{Layout, PixelFormat};

    fn frame(sequence: u64) -> Frame {
        let layout = Layout { format: PixelFormat::File, width: 0, height: 0, stride: 0 };
        let bytes = Arc::from([0].as_slice());
        Frame { taken: Instant::now(), sequence, layout, rotate: 0, bytes }
    }

    #[test]
    fn slow_reader_loses_the_oldest_frames_and_a_fast_one_none() {
        let readers = Readers::default();
        let (mut slow, mut quick) = (readers.subscribe(), readers.subscribe());
        let mut pushed_out = 0;
        for number in 0..5 {
            pushed_out += readers.hand_out(&frame(number));
            assert_eq!(quick.next(Duration::ZERO).unwrap().sequence(), number);
        }
        assert_eq!((slow.dropped(), quick.dropped(), pushed_out), (3, 0, 3));
        let left: Vec<_> = std::iter::from_fn(|| slow.next(Duration::ZERO)).collect();
        assert_eq!(left.iter().map(Frame::sequence).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn wait_ends_with_a_frame_the_patience_or_the_camera() {
        let readers = Arc::new(Readers::default());
        let mut frames = readers.subscribe();
        let asked = Instant::now();
        assert!(frames.next(Duration::from_millis(30)).is_none());
        assert!(asked.elapsed() >= Duration::from_millis(30));
        let hand = {
            let readers = Arc::clone(&readers);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                readers.hand_out(&frame(7));
                std::thread::sleep(Duration::from_millis(20));
                readers.close();
            })
        };
        assert_eq!(frames.next(Duration::MAX).unwrap().sequence(), 7);
        assert!(frames.next(Duration::MAX).is_none());
        hand.join().unwrap();
    }

    #[test]
    fn dropped_readers_are_removed() {
        let readers = Readers::default();
        assert!(!readers.any());
        let frames = readers.subscribe();
        assert!(readers.any());
        drop(frames);
        assert!(!readers.any());
        assert_eq!(readers.hand_out(&frame(0)), 0);
    }
}

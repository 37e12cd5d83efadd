//! A worker: a thread that is restarted after a panic and that shows that it moves.
//!
//! A thread that hangs cannot be ended. systemd ends the process when [`Progress`] stops rising.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::error;

/// A worker that panics sooner waits for the rest of this time, so that an immediate failure does
/// not spin.
const MIN_RUN: Duration = Duration::from_secs(1);

/// A counter that rises while a worker moves. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Counts a step.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of steps so far.
    pub fn steps(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the worker passes to its body.
pub struct Running {
    stop: Arc<AtomicBool>,
    progress: Progress,
}

impl Running {
    /// Counts a step and returns whether the body is to continue.
    pub fn goes_on(&self) -> bool {
        self.progress.step();
        !self.stop.load(Ordering::Relaxed)
    }
}

/// A running thread. Dropping it stops the thread and waits for it.
pub struct Worker {
    progress: Progress,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `body`. It returns when [`Running::goes_on`] is false, and is called again after a
    /// panic.
    pub fn start(
        name: &'static str,
        mut body: impl FnMut(&Running) + Send + 'static,
    ) -> io::Result<Self> {
        let (progress, stop) = (Progress::default(), Arc::new(AtomicBool::new(false)));
        let running = Running { stop: stop.clone(), progress: progress.clone() };
        let run = move || {
            while running.goes_on() {
                let started = Instant::now();
                // The body keeps no partial state over a panic: it starts from the beginning.
                if catch_unwind(AssertUnwindSafe(|| body(&running))).is_err() {
                    error!(worker = name, "a panic; started again");
                }
                while running.goes_on() && started.elapsed() < MIN_RUN {
                    std::thread::sleep(MIN_RUN / 20);
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self { progress, stop, thread: Some(thread) })
    }

    /// Returns the counter that shows that the worker moves.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The panic hook has already reported a panic outside the body.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn worker_that_panics_is_restarted_after_a_delay() {
        let (send, starts) = channel();
        let worker = Worker::start("test", move |running| {
            send.send(Instant::now()).unwrap();
            if running.progress.steps() > 0 {
                panic!("on purpose");
            }
        });
        let worker = worker.unwrap();
        let first = starts.recv().unwrap();
        let second = starts.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(second - first >= MIN_RUN);
        drop(worker);
        assert!(starts.try_iter().count() <= 1);
    }

    #[test]
    fn progress_is_visible_from_outside() {
        let worker = Worker::start("test", |running| while running.goes_on() {}).unwrap();
        let progress = worker.progress();
        let before = progress.steps();
        while progress.steps() == before {
            std::thread::yield_now();
        }
    }
}

//! A worker: a thread of its own that is started again should it panic, and that shows that it
//! moves.
//!
//! A thread that hangs cannot be ended; systemd ends the process when [`Progress`] stands still.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::error;

/// A worker that panics sooner waits for the rest of it: what fails at once must not spin.
const MIN_RUN: Duration = Duration::from_secs(1);

/// Rises while a worker moves. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// A step was made.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many steps so far.
    pub fn steps(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a worker's body is told.
pub struct Running {
    stop: Arc<AtomicBool>,
    progress: Progress,
}

impl Running {
    /// A step was made; whether another is to follow.
    pub fn goes_on(&self) -> bool {
        self.progress.step();
        !self.stop.load(Ordering::Relaxed)
    }
}

/// A thread at work. Dropped, it is told to stop and waited for.
pub struct Worker {
    progress: Progress,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `body`, which returns when [`Running::goes_on`] says so, and is called again when it
    /// panics.
    pub fn start(
        name: &'static str,
        mut body: impl FnMut(&Running) + Send + 'static,
    ) -> io::Result<Self> {
        let (progress, stop) = (Progress::default(), Arc::new(AtomicBool::new(false)));
        let running = Running { stop: stop.clone(), progress: progress.clone() };
        let run = move || {
            while running.goes_on() {
                let started = Instant::now();
                // The body keeps nothing half-done over a panic: it starts from the beginning.
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

    /// What shows that it moves.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic outside the body is told by the panic hook already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_worker_that_panics_is_started_again_but_not_at_once() {
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
    fn progress_is_seen_from_outside() {
        let worker = Worker::start("test", |running| while running.goes_on() {}).unwrap();
        let progress = worker.progress();
        let before = progress.steps();
        while progress.steps() == before {
            std::thread::yield_now();
        }
    }
}

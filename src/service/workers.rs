//! The threads that process requests: plain threads outside the network runtime, fed by a bounded
//! queue. No request can end a thread or make the queue grow.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// The queue is full.
    Busy,
    /// It had expired when its turn came.
    Expired,
    /// It panicked.
    Panicked,
}

/// The threads and their queue.
pub(super) struct Workers {
    /// `None` only while dropping.
    queue: Option<SyncSender<Job>>,
    capacity: usize,
    waiting: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `threads` threads with a queue for `capacity` waiting requests, each at least 1.
    pub fn start(name: &str, threads: usize, capacity: usize) -> io::Result<Self> {
        let capacity = capacity.max(1);
        let (sender, receiver) = sync_channel(capacity);
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..threads.max(1))
            .map(|number| {
                let receiver = Arc::clone(&receiver);
                std::thread::Builder::new()
                    .name(format!("{name}-{number}"))
                    .spawn(move || work(&receiver))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { queue: Some(sender), capacity, waiting: Arc::default(), threads })
    }

    /// Returns how many requests wait for a thread.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns how many requests may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Runs `task` on one of the threads when its turn comes.
    ///
    /// It is skipped if `expires` has passed by then, or if the caller stopped waiting for the
    /// result.
    pub async fn run<T: Send + 'static>(
        &self,
        expires: Option<Instant>,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let (reply, result) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting);
        let job: Job = Box::new(move || {
            waiting.fetch_sub(1, Ordering::Relaxed);
            if reply.is_closed() {
                return;
            }
            let done = if expired(expires) { Err(NotDone::Expired) } else { guarded(task) };
            // Fails if the caller has stopped waiting; then no one needs the result.
            let _ = reply.send(done);
        });

        self.waiting.fetch_add(1, Ordering::Relaxed);
        let queued = self.queue.as_ref().is_some_and(|queue| queue.try_send(job).is_ok());
        if !queued {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(NotDone::Busy);
        }
        result.await.unwrap_or(Err(NotDone::Panicked))
    }
}

impl Drop for Workers {
    /// Waits for running tasks, so that the gallery file is free afterwards.
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A thread cannot end by a panic: `guarded` catches every one.
            let _ = thread.join();
        }
    }
}

/// Checks whether the moment has passed.
pub(super) fn expired(expires: Option<Instant>) -> bool {
    expires.is_some_and(|expires| Instant::now() >= expires)
}

/// Runs `task` and returns a panic as an error.
pub(super) fn guarded<T>(task: impl FnOnce() -> T) -> Result<T, NotDone> {
    // Unwind-safe by construction: requests share only data behind `&` (networks, gallery,
    // statistics), and the locks in there handle a panic themselves.
    catch_unwind(AssertUnwindSafe(task)).map_err(|_| NotDone::Panicked)
}

/// Runs one thread: one job after the other until the queue closes.
fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_panic_is_reported_and_the_thread_survives() {
        let workers = Workers::start("test", 1, 1).unwrap();
        let bad: Result<(), _> = workers.run(None, || panic!("a bug")).await;
        assert_eq!(bad, Err(NotDone::Panicked));
        assert_eq!(workers.run(None, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn requests_that_expire_in_the_queue_are_not_done() {
        let workers = Workers::start("test", 1, 1).unwrap();
        let late = workers.run(Some(Instant::now()), || panic!("done too late")).await;
        assert_eq!(late, Err::<(), _>(NotDone::Expired));
        let fresh = workers.run(Some(Instant::now() + Duration::from_secs(60)), || 1).await;
        assert_eq!(fresh, Ok(1));
    }

    #[tokio::test]
    async fn a_full_queue_returns_busy_and_drains() {
        let workers = Arc::new(Workers::start("test", 1, 1).unwrap());
        let (open, gate) = mpsc::channel::<()>();
        let (started, starts) = mpsc::channel::<()>();
        let running = {
            let workers = Arc::clone(&workers);
            let task = move || started.send(()).is_ok() && gate.recv().is_ok();
            tokio::spawn(async move { workers.run(None, task).await })
        };
        while starts.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let queued = {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move { workers.run(None, || 2).await })
        };
        while workers.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.run(None, || 3).await, Err(NotDone::Busy));
        assert_eq!(workers.waiting(), 1);
        open.send(()).unwrap();
        assert_eq!(running.await.unwrap(), Ok(true));
        assert_eq!(queued.await.unwrap(), Ok(2));
        assert_eq!(workers.waiting(), 0);
    }

    #[tokio::test]
    async fn abandoned_requests_are_not_done() {
        let workers = Workers::start("test", 1, 4).unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel::<()>();
        let blocked = workers.run(None, move || gate.recv().is_ok());
        let abandoned = workers.run(None, move || sender.send(()).is_ok());
        tokio::pin!(blocked);
        tokio::select! {
            biased;
            _ = &mut blocked => panic!("the gate is closed"),
            _ = async { tokio::select! { biased; _ = abandoned => (), _ = std::future::ready(()) => () } } => (),
        }
        open.send(()).unwrap();
        assert_eq!(blocked.await, Ok(true));
        assert_eq!(workers.run(None, || 1).await, Ok(1));
        assert!(receiver.recv().is_err(), "the abandoned request was done");
    }
}

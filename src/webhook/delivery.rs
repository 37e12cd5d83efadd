//! The thread that sends events, one at a time, the oldest first.

use super::client::{Attempt, Client, GONE};
use super::report::Report;
use super::retry::{FailureKind, Retry};
use super::settings::Settings;
use crate::outbox::{Consumer, Outbox};
use serde_json::Value;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The longest wait for an event: a wake that got lost delays it no longer.
const IDLE: Duration = Duration::from_secs(30);
/// Wait before an unreadable outbox is read again, and after a panic.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How long a stop waits for the request in work.
const STOP_PATIENCE: Duration = Duration::from_millis(1500);
const STOP_LOOK: Duration = Duration::from_millis(10);

/// The webhook of one configuration. If dropped, the thread ends after the request in work, and
/// the events that are not acknowledged stay in the outbox.
pub struct Webhook {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the thread and its owner share.
struct Shared {
    report: Report,
    signal: Mutex<Signal>,
    changed: Condvar,
}

#[derive(Default)]
struct Signal {
    /// An event was recorded.
    recorded: bool,
    stop: bool,
}

impl Shared {
    fn signal(&self, change: impl FnOnce(&mut Signal)) {
        change(&mut self.signal.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    /// Waits until an event is recorded, for `patience` at most.
    fn wait_for_event(&self, patience: Duration) {
        let signal = self.signal.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |signal: &mut Signal| !signal.stop && !signal.recorded;
        let waited = self.changed.wait_timeout_while(signal, patience, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.recorded = false;
    }

    /// Waits `time`, or until the stop.
    fn sleep(&self, time: Duration) {
        let signal = self.signal.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(signal, time, |signal| !signal.stop));
    }
}

impl Webhook {
    /// Starts the thread.
    pub fn start(settings: Settings, outbox: &Arc<Outbox>) -> io::Result<Self> {
        let report = Report::new(settings.host(), Arc::downgrade(outbox));
        let (signal, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { report, signal, changed });
        let worker = Worker {
            shared: shared.clone(),
            outbox: Arc::downgrade(outbox),
            client: Client::new(settings),
            retry: Retry::default(),
        };
        let thread = std::thread::Builder::new().name("webhook".into());
        let thread = thread.spawn(move || worker.run())?;
        Ok(Self { shared, thread })
    }

    /// Returns the task that wakes the thread when an event is recorded.
    pub fn wake(&self, mut last_seq: watch::Receiver<u64>) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            while last_seq.changed().await.is_ok() {
                shared.signal(|signal| signal.recorded = true);
            }
        }
    }

    /// Returns a function that returns the block of health.
    pub fn report(&self) -> impl Fn() -> Value + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.report.block()
    }

    /// Sends no more events, and waits up to 1.5 s for the request in work.
    pub async fn stop(self) {
        self.shared.signal(|signal| signal.stop = true);
        let until = Instant::now() + STOP_PATIENCE;
        while !self.thread.is_finished() && Instant::now() < until {
            tokio::time::sleep(STOP_LOOK).await;
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.shared.signal(|signal| signal.stop = true);
    }
}

struct Worker {
    shared: Arc<Shared>,
    /// Held only to read and to acknowledge, so that the file can be closed while a server is slow.
    outbox: Weak<Outbox>,
    client: Client,
    retry: Retry,
}

/// Whether the thread goes on.
enum Next {
    Again,
    End,
}

impl Worker {
    fn run(mut self) {
        while !self.shared.is_stopped() {
            match catch_unwind(AssertUnwindSafe(|| self.step())) {
                Ok(Next::Again) => {}
                Ok(Next::End) => return,
                Err(_) => {
                    self.shared.report.broken("a panic in the webhook's thread");
                    self.shared.sleep(READ_PATIENCE);
                }
            }
        }
    }

    /// Sends the oldest event, or waits for one.
    fn step(&mut self) -> Next {
        let Some(outbox) = self.outbox.upgrade() else { return Next::End };
        let Some((seq, _)) = outbox.pending(Consumer::Webhook, .., |_, _| false) else {
            drop(outbox);
            self.shared.wait_for_event(IDLE);
            return Next::Again;
        };
        let payload = outbox.payload(Consumer::Webhook, seq);
        drop(outbox);
        let payload = match payload {
            Ok(Some(payload)) => payload,
            // The event was dropped at this moment.
            Ok(None) => {
                self.shared.sleep(STOP_LOOK);
                return Next::Again;
            }
            Err(error) => {
                tracing::error!(%error, "events for the webhook wait in the outbox");
                self.shared.report.broken(&error.to_string());
                self.shared.sleep(READ_PATIENCE);
                return Next::Again;
            }
        };
        let attempt = self.client.send(&id_of(&payload), &payload);
        self.done(seq, &attempt)
    }

    /// Acts on the result of an attempt.
    fn done(&mut self, seq: u64, attempt: &Attempt) -> Next {
        let turned = self.shared.report.note(attempt);
        match attempt {
            Attempt::Acknowledged { .. } => {
                if turned {
                    tracing::info!("events are delivered to the webhook again");
                }
                self.retry.succeeded();
                // If it is closed already, the event is sent once more after the next start.
                if let Some(outbox) = self.outbox.upgrade() {
                    outbox.acknowledge(Consumer::Webhook, seq);
                }
                Next::Again
            }
            Attempt::Gone => {
                tracing::error!("the webhook is off until the next reload: {GONE}");
                Next::End
            }
            Attempt::Failed { why, retry_after, .. } => {
                let kind = attempt.kind();
                let jitter = getrandom::u32().unwrap_or(u32::MAX);
                let wait = self.retry.after(kind, *retry_after, jitter);
                let seconds = wait.as_secs_f32();
                match kind {
                    FailureKind::Stays => tracing::error!(
                        seq,
                        "the webhook refuses an event, and the ones after it wait: {why}; next \
                         attempt in {seconds:.1} s"
                    ),
                    FailureKind::Passes if turned => tracing::warn!(
                        seq,
                        "events for the webhook wait: {why}; next attempt in {seconds:.1} s"
                    ),
                    FailureKind::Passes => tracing::debug!(seq, why, seconds, "the webhook fails"),
                }
                self.shared.sleep(wait);
                Next::Again
            }
        }
    }
}

/// Returns the `id` of an event.
fn id_of(payload: &[u8]) -> String {
    let event: Option<Value> = serde_json::from_slice(payload).ok();
    event.and_then(|event| Some(event.get("id")?.as_str()?.to_owned())).unwrap_or_default()
}

//! The state of the webhook for health: what waits, when it last worked, what is wrong.

use super::client::{Attempt, GONE};
use super::retry::FailureKind;
use crate::outbox::{BacklogStats, Consumer, Outbox};
use crate::time::unix_time;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A server may be away for this long, such as for an update, before that is a fault.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The state as the thread sees it.
pub(super) struct Report {
    host: String,
    outbox: Weak<Outbox>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_success: Option<f64>,
    /// When and why the last attempt that failed did.
    last_error: Option<(f64, String)>,
    /// Since when every attempt has failed.
    failing: Option<Instant>,
    /// A fault that does not pass by itself.
    fault: Option<String>,
}

impl Report {
    pub fn new(host: &str, outbox: Weak<Outbox>) -> Self {
        Self { host: host.to_owned(), outbox, state: Mutex::default() }
    }

    /// Notes an attempt. Returns true if it is the first failure after a success, or the first
    /// success after failures.
    pub fn note(&self, attempt: &Attempt) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_failing = state.failing.is_some();
        let why = match attempt {
            Attempt::Acknowledged { .. } => {
                state.last_success = Some(unix_time());
                (state.failing, state.fault) = (None, None);
                return was_failing;
            }
            Attempt::Gone => GONE,
            Attempt::Failed { why, .. } => why,
        };
        state.last_error = Some((unix_time(), why.to_owned()));
        state.fault = (attempt.kind() == FailureKind::Stays).then(|| why.to_owned());
        state.failing.get_or_insert_with(Instant::now);
        !was_failing
    }

    /// Notes that the thread itself failed.
    pub fn broken(&self, why: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last_error = Some((unix_time(), why.to_owned()));
        state.failing.get_or_insert_with(Instant::now);
    }

    /// Returns the block of health. Its `fault` is not null while something has to be done.
    pub fn block(&self) -> Value {
        let backlog = self.outbox.upgrade().map(|outbox| outbox.backlog(Consumer::Webhook));
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let long = state.failing.filter(|since| since.elapsed() >= PATIENCE);
        let last_error = state.last_error.as_ref();
        let fault = state.fault.clone().or_else(|| {
            let minutes = long?.elapsed().as_secs() / 60;
            last_error.map(|(_, why)| format!("nothing is delivered for {minutes} min: {why}"))
        });
        json!({
            "host": self.host,
            "depth": backlog.map(|backlog: BacklogStats| backlog.depth),
            "delivered": backlog.map(|backlog| backlog.delivered),
            "dropped": backlog.map(|backlog| backlog.dropped),
            "last_success": state.last_success,
            "last_error": last_error.map(|(time, why)| json!({"time": time, "why": why})),
            "fault": fault,
        })
    }
}

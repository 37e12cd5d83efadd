//! The daemon's own records: its start and stop, the check of the audit log and the gallery at
//! start, and `state/gallery` after every change.

use crate::gallery::Gallery;
use crate::mqtt::Publisher;
use crate::outbox::{self, Entry, Outbox, OutboxError, Verdict};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Many changes come at once while a folder is imported: the state is published at most once a
/// second.
const STATE_EVERY: Duration = Duration::from_secs(1);

/// How often to check that the disk answers.
const LOOK: Duration = Duration::from_secs(1);

/// Verifies the audit log, then adds that the daemon starts. If the log was changed, logs an error
/// and continues.
pub fn started(outbox: &Outbox) {
    match outbox.verify() {
        Ok(Verdict::Whole(_)) => {}
        Ok(Verdict::Broken { line, why }) => {
            tracing::error!(line, why, "the audit log is not as it was written");
        }
        Err(error) => tracing::error!(%error, "the audit log cannot be verified"),
    }
    let entry = Entry::new("start", "daemon").with("version", env!("CARGO_PKG_VERSION"));
    log_failure(outbox.audit(entry));
}

/// Logs an error if a subject is not recognised because another model made its templates.
pub fn other_models(gallery: &Gallery) {
    match gallery.other_models() {
        Ok(models) if models.is_empty() => {}
        Ok(models) => tracing::warn!(
            templates = models.values().sum::<u64>(),
            models = models.into_keys().collect::<Vec<_>>().join(", "),
            "templates of other models are in the gallery and are never compared: a subject \
             without other templates is not recognised; run `doorward gallery reindex`, which \
             embeds the stored crops again"
        ),
        Err(error) => tracing::error!(%error, "the gallery's templates cannot be counted"),
    }
}

/// Adds that the daemon stops, and why.
pub fn stopping(outbox: &Outbox, reason: &str) {
    log_failure(outbox.audit(Entry::new("stop", "daemon").with("reason", reason)));
}

fn log_failure(outcome: Result<(), OutboxError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "not recorded yet");
    }
}

/// Logs an error when the disk does not answer, for as long as it is polled: the recorder itself
/// hangs then.
pub async fn warn_of_hung_disk(outbox: Arc<Outbox>) {
    let mut silent = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let outbox::Stats { fault, unwritten, .. } = outbox.stats();
        match fault {
            Some(fault) => {
                if !silent {
                    tracing::error!(unwritten, "{fault}; check the disk");
                }
                silent = true;
            }
            None => silent = false,
        }
    }
}

/// Publishes `state/gallery` at once and after every change of the gallery or its file, for as long
/// as it is polled.
pub async fn publish_gallery(
    gallery: Arc<Gallery>,
    mut changes: watch::Receiver<u64>,
    publisher: Publisher,
) {
    let mut healths = gallery.healths();
    loop {
        changes.borrow_and_update();
        let health = json!(*healths.borrow_and_update());
        let counted = gallery.clone();
        // Counting reads the file.
        match tokio::task::spawn_blocking(move || counted.stats()).await {
            Ok(Ok(stats)) => {
                let mut state = health;
                state["subjects"] = stats.subjects.into();
                state["templates"] = stats.templates.into();
                state["templates_of_other_models"] = stats.templates_of_other_models.into();
                if let Err(error) = publisher.state("gallery", &state).await {
                    tracing::warn!(%error, "state/gallery");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "state/gallery"),
            Err(_) => return,
        }
        tokio::time::sleep(STATE_EVERY).await;
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            changed = healths.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

//! Maintains the gallery's file: opens a failed file again, writes pending changes as soon as
//! possible, and reports faults. From time to time it removes the bytes of deleted or replaced
//! faces from the file, not only from its tables.

use crate::gallery::{Gallery, Health};
use crate::outbox::{Entry, Outbox};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How soon a file that works again is noticed.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// A scrub writes the whole file, so an SD card gets at most four per hour, and none while no
/// subject is deleted. The same holds for copies, which hold no images: none while nothing changes.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// Scrubs and copies for as long as it is polled.
pub async fn scrub_when_due(gallery: Arc<Gallery>) {
    loop {
        let copied = gallery.clone();
        // The file is written on a blocking thread; only the runtime's end can cancel that.
        let _ = tokio::task::spawn_blocking(move || copy_if_due(&copied)).await;
        tokio::time::sleep(EVERY).await;
        let gallery = gallery.clone();
        let _ = tokio::task::spawn_blocking(move || scrub_if_due(&gallery)).await;
    }
}

fn copy_if_due(gallery: &Gallery) {
    match gallery.copy_if_due() {
        Ok(copied) => tracing::debug!(copied, "the gallery's copy is up to date"),
        Err(error) => tracing::warn!(%error, "the gallery has no copy"),
    }
}

/// Maintains the file for as long as it is polled.
pub async fn tend(gallery: Arc<Gallery>, outbox: Arc<Outbox>) {
    let mut told = Health::default();
    loop {
        let (tended, outbox) = (gallery.clone(), outbox.clone());
        let before = told.clone();
        let look = move || {
            tended.tend();
            let health = tended.health();
            if health != before {
                tell(&health, &outbox);
            }
            health
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(health) => told = health,
            Err(error) => tracing::error!(%error, "the gallery's file is not maintained"),
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

/// Reports the health in the log, and as a line of the audit log.
fn tell(health: &Health, outbox: &Outbox) {
    let state = json!(health);
    match health.is_well() {
        true => tracing::info!("the gallery's file is healthy, and all changes are on disk"),
        false => {
            tracing::error!(%state, "the gallery's file has a fault: see docs/gallery-file.md")
        }
    }
    if let Err(error) = outbox.audit(Entry::new("gallery/file", "daemon").with("state", state)) {
        tracing::error!(%error, "not recorded");
    }
}

fn scrub_if_due(gallery: &Gallery) {
    let scrubbed = gallery.stats().and_then(|stats| match stats.remnants {
        0 => Ok(None),
        _ => gallery.scrub().map(Some),
    });
    match scrubbed {
        Ok(None) => {}
        Ok(Some(scrubbed)) => tracing::info!(
            bytes_before = scrubbed.bytes_before,
            bytes_after = scrubbed.bytes_after,
            "deleted faces are removed from the gallery's file"
        ),
        Err(error) => tracing::error!(%error, "deleted faces are still in the gallery's file"),
    }
}

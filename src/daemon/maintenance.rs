//! Maintains the gallery's file: opens a failed file again, writes pending changes as soon as
//! possible, and reports faults. It removes the bytes of deleted or replaced faces from the file,
//! not only from its tables: at the start, from time to time, and at the stop.

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

/// Largest file that is scrubbed at the stop, in bytes: a card writes it twice within a second or
/// two. A larger one is scrubbed at the next start.
const MOST_AT_STOP: u64 = 32 << 20;

/// Scrubs and copies for as long as it is polled, first at once: a daemon that is restarted often
/// must not keep deleted faces.
pub async fn scrub_when_due(gallery: Arc<Gallery>) {
    loop {
        let gallery = gallery.clone();
        let maintain = move || {
            scrub_if_due(&gallery, u64::MAX);
            copy_if_due(&gallery);
        };
        // The file is written on a blocking thread; only the runtime's end can cancel that.
        let _ = tokio::task::spawn_blocking(maintain).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// Scrubs a small file at the stop of a daemon.
pub fn scrub_at_stop(gallery: &Gallery) {
    scrub_if_due(gallery, MOST_AT_STOP);
}

/// Scrubs at the end of a command that has opened the file itself.
pub fn scrub_after_command(gallery: &Gallery) {
    scrub_if_due(gallery, u64::MAX);
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

/// Scrubs a file of at most `most` bytes that may hold the bytes of deleted or replaced faces.
fn scrub_if_due(gallery: &Gallery, most: u64) {
    let scrubbed = gallery.stats().and_then(|stats| match stats.remnants {
        0 => Ok(None),
        _ if stats.file_bytes > most => Ok(None),
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

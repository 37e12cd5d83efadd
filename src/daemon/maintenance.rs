//! The gallery's file is looked after: one that failed is opened again, what is not on disk is written
//! as soon as it can be, and what is wrong is told. Deleted faces leave the file, not only its tables:
//! the bytes of what was deleted or replaced are removed from time to time, when there are any.

use crate::gallery::{Gallery, Health};
use crate::outbox::{Entry, Outbox};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How soon a file that works again is found to.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// A scrub writes the whole file, so an SD card gets at most four a hour, and none while no subject is
/// deleted; as many copies, which hold no images, and none while nothing changes.
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
        Ok(copied) => tracing::debug!(copied, "the gallery's copy is as the file"),
        Err(error) => tracing::warn!(%error, "the gallery has no copy"),
    }
}

/// Looks after the file for as long as it is polled.
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
            Err(error) => tracing::error!(%error, "the gallery's file is not looked after"),
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

/// In the log, and as a line of the audit log.
fn tell(health: &Health, outbox: &Outbox) {
    let state = json!(health);
    match health.is_well() {
        true => tracing::info!("the gallery's file is well, and all is on disk"),
        false => {
            tracing::error!(%state, "the gallery's file is not well: see docs/gallery-file.md")
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
            "what was deleted is gone from the gallery's file"
        ),
        Err(error) => tracing::error!(%error, "deleted faces are still in the gallery's file"),
    }
}

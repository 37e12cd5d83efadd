//! Deleted faces leave the file, not only its tables: the bytes of what was deleted or replaced are
//! removed from time to time, when there are any.

use crate::gallery::Gallery;
use std::sync::Arc;
use std::time::Duration;

/// A scrub writes the whole file anew, so an SD card gets at most four a hour, and none while nobody
/// is deleted.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// Scrubs for as long as it is polled.
pub async fn scrub_when_due(gallery: Arc<Gallery>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let gallery = gallery.clone();
        // The file is written on a blocking thread; only the runtime's end can cancel that.
        let _ = tokio::task::spawn_blocking(move || scrub_if_due(&gallery)).await;
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

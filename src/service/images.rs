//! Gets the image of a request as bytes or as a camera frame. This is the part of step 8 that waits
//! for the network. It has its own small limit, so that a slow URL delays no other request.

use super::capture::{CaptureContext, NotTaken};
use super::recognition::DetectedPicture;
use super::settings::Settings;
use crate::contract::{Image, ImageField, Refusal, Source};
use crate::fetch::{BadEntry, FetchError, Fetcher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Maximum time of a URL fetch, including redirects.
const FETCH_TIME: Duration = Duration::from_secs(15);
/// Maximum bytes of both images of compare together.
const MAX_BOTH: usize = 6 << 20;

/// An image's bytes, and the field they came from.
pub(super) struct Bytes {
    pub field: ImageField,
    pub bytes: Vec<u8>,
}

/// An image of a request.
pub(super) enum Given {
    /// Bytes to decode.
    Bytes(Bytes),
    /// A camera frame and the faces found in it.
    DetectedPicture(Box<DetectedPicture>),
}

/// Gets the images of requests.
pub(super) struct Images {
    fetcher: Arc<Fetcher>,
    in_flight: Arc<Semaphore>,
}

impl Images {
    /// Makes a fetcher for the hosts and networks that the settings allow.
    pub fn new(settings: &Settings) -> Result<Self, BadEntry> {
        let Settings { url_allow, url_logins, limits, .. } = settings;
        let fetcher = Fetcher::new(url_allow, url_logins, FETCH_TIME, limits.max_bytes)?;
        Ok(Self {
            fetcher: Arc::new(fetcher),
            in_flight: Arc::new(Semaphore::new(settings.url_concurrency.max(1))),
        })
    }

    /// Returns the reference, if there is one, and the probe, in this order.
    pub async fn get(
        &self,
        reference: Option<Image>,
        probe: Image,
        context: CaptureContext<'_>,
    ) -> Result<Vec<Given>, NotTaken> {
        let Some(reference) = reference else {
            return Ok(vec![self.given(probe, context).await?]);
        };
        let (reference, probe) =
            tokio::join!(self.given(reference, context), self.given(probe, context));
        Ok(together(reference?, probe?)?)
    }

    async fn given(
        &self,
        Image { field, source }: Image,
        context: CaptureContext<'_>,
    ) -> Result<Given, NotTaken> {
        let bytes = match source {
            Source::Bytes(bytes) => bytes,
            Source::Url(url) => self.fetched(field, url).await?,
            Source::Camera(patience) => {
                return Ok(Given::DetectedPicture(Box::new(context.best(field, patience).await?)));
            }
            Source::TooLarge(error) => {
                return Err(Refusal::ImageSize { field, why: error.to_string() }.into());
            }
        };
        Ok(Given::Bytes(Bytes { field, bytes }))
    }

    async fn fetched(&self, field: ImageField, url: String) -> Result<Vec<u8>, Refusal> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let fetcher = Arc::clone(&self.fetcher);
        let fetch = move || {
            let fetched = fetcher.fetch(&url);
            // The thread holds the permit, not the request: a request that stops waiting must not
            // free it.
            drop(permit);
            fetched
        };
        let fetched = tokio::task::spawn_blocking(fetch).await.map_err(Refusal::internal)?;
        fetched.map_err(|error| refused(field, &error))
    }
}

/// Returns the contract's code for a URL that gave no image.
fn refused(field: ImageField, error: &FetchError) -> Refusal {
    let why = error.to_string();
    match error {
        FetchError::Timeout(_) => Refusal::ImageTimeout(field),
        FetchError::TooLarge(_) => Refusal::ImageSize { field, why },
        FetchError::NotAllowed(_) | FetchError::Failed(_) => Refusal::ImageFormat { field, why },
    }
}

/// Returns both images of compare, or a refusal if they are too large together.
fn together(reference: Given, probe: Given) -> Result<Vec<Given>, Refusal> {
    if let (Given::Bytes(reference), Given::Bytes(probe)) = (&reference, &probe) {
        let both = reference.bytes.len() + probe.bytes.len();
        if both > MAX_BOTH {
            let why =
                format!("both images have {both} bytes together, at most {MAX_BOTH} are taken");
            return Err(Refusal::ImageSize { field: probe.field, why });
        }
    }
    Ok(vec![reference, probe])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_images_share_one_size_limit() {
        let image = |field, length| Given::Bytes(Bytes { field, bytes: vec![0; length] });
        let (first, second) = (ImageField::Image1, ImageField::Image2);
        assert!(together(image(first, MAX_BOTH - 1), image(second, 1)).is_ok());
        let refused = together(image(first, MAX_BOTH), image(second, 1)).err().unwrap();
        assert_eq!(refused.code(), "INVALID_PAYLOAD_IMAGE_2_SIZE");
    }

    #[test]
    fn url_errors_have_their_codes() {
        let code = |error| refused(ImageField::Image, &error).code();
        assert_eq!(code(FetchError::Timeout(FETCH_TIME)), "INVALID_PAYLOAD_IMAGE_TIMEOUT");
        assert_eq!(code(FetchError::TooLarge(1)), "INVALID_PAYLOAD_IMAGE_SIZE");
        assert_eq!(code(FetchError::NotAllowed("x".into())), "INVALID_PAYLOAD_IMAGE_FORMAT");
        assert_eq!(code(FetchError::Failed("x".into())), "INVALID_PAYLOAD_IMAGE_FORMAT");
    }
}

//! Translates errors of the files into refusals.

use crate::applications::ApplicationsError;
use crate::contract::Refusal;
use crate::gallery::GalleryError;

/// For removals.
const COUNTS: &str = "it counts from here on and is not on disk: it is written as soon as the disk takes \
                      it, and a restart before that forgets it; see health";

impl From<ApplicationsError> for Refusal {
    fn from(error: ApplicationsError) -> Self {
        let told = match &error {
            ApplicationsError::NotOnDisk { .. } => COUNTS,
            ApplicationsError::NotWritten(_) | ApplicationsError::Storage(_) => {
                "the applications cannot be written at present; ask again, and see health"
            }
            _ => return Refusal::internal(error),
        };
        Refusal::Unwritten { told, why: error.to_string() }
    }
}

impl From<GalleryError> for Refusal {
    fn from(error: GalleryError) -> Self {
        let told = match &error {
            GalleryError::NotOnDisk { .. } => COUNTS,
            GalleryError::NoRoom { .. } => "no room for enrolments; nothing was changed",
            GalleryError::NotWritten(_) | GalleryError::Storage(_) => {
                "the gallery cannot be written at present; ask again, and see health"
            }
            _ => return Refusal::internal(error),
        };
        Refusal::Unwritten { told, why: error.to_string() }
    }
}

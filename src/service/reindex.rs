//! `gallery/reindex`: templates of other models get the vector that the present one makes of their
//! stored crop. It comes from the command line alone, portion by portion, so that no request takes
//! minutes; what a portion has done stays done.
//!
//! A template without crop cannot be embedded anew: its subject must be enrolled again. Nor is one
//! whose crop does not plainly show the face it was cut around: who is let in under a name is never
//! guessed.

use super::faces;
use super::recognition::Recognizer;
use crate::contract::{NotEmbedded, Operation, Portion, Refusal, Reindexed, Reply, Sender};
use crate::face::Embedding;
use crate::gallery::{Outdated, TemplateId};
use crate::picture;

/// A crop is the box × 2, less what the picture's border cut off: the face has at least half of its
/// sides. This much is left to the detector's doing; a face in the background has less.
const LEAST_SHARE: f32 = 0.35;

/// Does a portion. Answers `reembedded`, a number of templates; the ids `without_crop`; `failed`, each
/// a `subject_id` and a `reason`; of those the ids `not_recognised`, who have no template that is
/// compared; and `cursor` when there is more.
pub(super) fn reindex(
    recognizer: &Recognizer,
    by: &Sender,
    portion: &Portion,
) -> Result<Reply, Refusal> {
    let gallery = &recognizer.gallery;
    let page = gallery.outdated(portion.limit, portion.cursor.as_deref())?;
    let (mut subjects, mut reembedded) = (0, 0);
    let mut done = Reindexed::default();
    for Outdated { subject_id, templates, comparable } in page.subjects {
        let mut embeddings: Vec<(TemplateId, Embedding)> = Vec::new();
        let mut is_without = false;
        for (template, crop) in templates {
            match crop.map(|crop| recognizer.embedding_of_crop(&crop)) {
                None => is_without = true,
                Some(Ok(embedding)) => embeddings.push((template, embedding)),
                Some(Err(reason)) => {
                    done.failed.push(NotEmbedded { subject_id: subject_id.clone(), reason });
                }
            }
        }
        let given = match portion.dry_run {
            true => embeddings.len(),
            false => gallery.reembed(&subject_id, &embeddings)?,
        };
        // Faces that could not be compared when the subject got its groups can be from here on.
        if given > 0
            && let Some(disagreement) = faces::disagreement(gallery, &subject_id)
        {
            tracing::warn!(subject_id, %disagreement, "faces disagree");
        }
        reembedded += given;
        subjects += usize::from(given > 0);
        if is_without {
            done.without_crop.push(subject_id.clone());
        }
        if embeddings.is_empty() && comparable == 0 {
            done.not_recognised.push(subject_id);
        }
    }
    if subjects > 0 && !portion.dry_run {
        let model_id = recognizer.analyzer.model_id();
        recognizer.audit_trail.reindexed(by, subjects, reembedded, model_id);
    }
    done.reembedded = reembedded as u64;
    done.cursor = page.next;
    Ok(Reply::of(Operation::GalleryReindex, &done))
}

impl Recognizer {
    /// The present model's vector of the face that a stored crop was cut around, or why there is none.
    fn embedding_of_crop(&self, crop: &[u8]) -> Result<Embedding, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{why}; enrol the subject anew");
        let picture =
            picture::decode(crop, &self.settings.limits).map_err(|error| failed(&error))?;
        let found = self.analyzer.detect(&picture).map_err(|error| failed(&error))?;
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        // Enrolled was the largest, and its crop is upright.
        let face = found.faces.first().filter(|face| {
            found.rotation == 0
                && face.width >= LEAST_SHARE * width
                && face.height >= LEAST_SHARE * height
        });
        let face = face.ok_or_else(|| failed(&"no face was found in its crop"))?;
        let portrait = self.analyzer.portrait(&picture, face).map_err(|error| failed(&error))?;
        portrait.template().map_err(|error| failed(&error))
    }
}

//! `gallery/reindex`: embeds the stored crops of templates of other models again with the present
//! model. Only the command line sends it, in portions, so that no request takes minutes; a finished
//! portion stays done.
//!
//! A template without a crop cannot be embedded again: its subject must be enrolled again. The same
//! holds for a crop that does not clearly show the face it was cut around: the identity of a face
//! is never guessed.

use super::faces;
use super::recognition::Recognizer;
use crate::contract::{NotEmbedded, Operation, Portion, Refusal, Reindexed, Reply, Sender};
use crate::face::Embedding;
use crate::gallery::{Outdated, TemplateId};
use crate::picture;

/// A crop is the box × 2, minus the part beyond the picture's border: the face takes at least half
/// of each side. The limit leaves room for the detector's deviation; a face in the background is
/// smaller.
const LEAST_SHARE: f32 = 0.35;

/// Processes a portion. Answers `reembedded`, a number of templates; the ids `without_crop`;
/// `failed`, each with a `subject_id` and a `reason`; `not_recognised`, the ids among those without
/// any comparable template; and `cursor` if there is more.
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
        // Faces that were not comparable when the subject got its groups may be comparable from
        // here on.
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
    /// Embeds the face in a stored crop with the present model; the error says why that is not
    /// possible.
    fn embedding_of_crop(&self, crop: &[u8]) -> Result<Embedding, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{why}; enrol the subject again");
        let picture =
            picture::decode(crop, &self.settings.limits).map_err(|error| failed(&error))?;
        let found = self.analyzer.detect(&picture).map_err(|error| failed(&error))?;
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        // The most prominent face was enrolled, and its crop is upright.
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

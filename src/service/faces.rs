//! Detects duplicates (a face that is also enrolled under another id) and subjects with the faces
//! of several people.
//!
//! A client that may `enroll` can store a person's face under a second id, or add another person's
//! face to an id without a group. Neither is certain, so neither is undone: both are reported and
//! recorded, and refused where configured. A sender without the search permission is never told who
//! else has a face.

use super::recognition::{Recognizer, Requester};
use super::similarity::shown;
use crate::contract::answer_fields::{DuplicateOf, Meta};
use crate::contract::{Refusal, advice};
use crate::face::Embedding;
use crate::face::similarity::{Level, similarity};
use crate::gallery::{Candidate, EnrolMode, Gallery, GalleryError, SubjectChange};
use crate::outbox::Event;
use std::fmt;
use std::sync::{MutexGuard, PoisonError};

/// Lowest similarity of any two templates of a subject that is not reported: FMR 1e-3.
pub(super) const ONE_PERSON: Level = Level::Basic;
/// From this level on a face is reported as another subject's: FMR 1e-4.
const REPORTED: Level = Level::Moderate;
/// From this level on a face is refused, if so configured; the door treats the two as one person:
/// FMR 1e-6.
const REFUSED: Level = Level::High;

/// Another subject that is enrolled with the same face.
#[derive(Debug)]
pub(super) struct Duplicate(Candidate);

/// Reason why the templates of a subject may not be of one person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Disagreement {
    /// Two of them have only this similarity.
    Unlike(f64),
    /// This many were made by another model and cannot be compared.
    OtherModel(usize),
    /// An administrator enrolled some of them and a client without the permission `admin` others.
    /// Even if they are alike, one may be a blend with a stranger's face.
    Mixed,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlike(least) => {
                let needed = ONE_PERSON.similarity();
                write!(f, "two of its faces are {least:.2} similar, one person's at least {needed}")
            }
            Self::Mixed => f.write_str(
                "an administrator enrolled some of its faces, a client without the permission \
                 `admin` others",
            ),
            Self::OtherModel(templates) => {
                write!(f, "{templates} of its templates are another model's and cannot be compared")
            }
        }
    }
}

impl Disagreement {
    /// Returns the reason and what to do about it.
    pub fn why(&self, id: &str) -> String {
        let repair = match self {
            Self::Unlike(_) | Self::Mixed => "enrol it again with mode replace",
            Self::OtherModel(_) => "run `doorward gallery reindex`",
        };
        format!(
            "subject {id} may be of several people: {self}; {repair}, or send accept_faces: true if \
             all of them are to open doors"
        )
    }
}

/// Checks whether a change gives the subject a group that it does not have.
pub(super) fn gains_group(
    gallery: &Gallery,
    id: &str,
    change: &SubjectChange,
) -> Result<bool, GalleryError> {
    let Some(groups) = change.groups.as_ref().filter(|groups| !groups.is_empty()) else {
        return Ok(false);
    };
    let has = gallery.subject(id)?.map_or_else(Vec::new, |subject| subject.groups);
    Ok(groups.iter().any(|group| !has.contains(group)))
}

/// Returns why a subject's templates may not be of one person.
pub(super) fn disagreement(gallery: &Gallery, id: &str) -> Option<Disagreement> {
    let faces: Vec<Embedding> = gallery.faces(id).into_iter().map(|(_, face)| face).collect();
    let pairs = faces.iter().enumerate().flat_map(|(index, face)| {
        faces[..index].iter().map(move |other| similarity(face.cosine(other)))
    });
    let least = pairs.fold(100.0, f64::min);
    if least < ONE_PERSON.similarity() {
        return Some(Disagreement::Unlike(shown(least)));
    }
    let all = gallery.subject(id).ok().flatten().map_or(0, |subject| subject.templates);
    let others = all.saturating_sub(faces.len());
    (others > 0).then_some(Disagreement::OtherModel(others))
}

/// Checks whether a client added to an administrator's faces, or the reverse.
pub(super) fn mixed(gallery: &Gallery, id: &str) -> Option<Disagreement> {
    let mixed = gallery.subject(id).ok().flatten().is_some_and(|subject| subject.mixed_faces);
    mixed.then_some(Disagreement::Mixed)
}

impl Recognizer {
    /// Locks changes. Hold the guard from a query of the enrolled subjects until the change that
    /// depends on it.
    pub fn changing(&self) -> MutexGuard<'_, ()> {
        // The lock guards an order, not data that a panic could leave half changed.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the most similar other subject that is enrolled with one of these faces.
    pub fn duplicate(&self, faces: &[Embedding], subject_id: &str) -> Option<Duplicate> {
        // The subject itself may rank before the other.
        let found = faces.iter().flat_map(|face| self.gallery.search(face, 2));
        let others = found.filter(|candidate| candidate.subject_id != subject_id);
        let best = others.max_by(|a, b| a.cosine.total_cmp(&b.cosine))?;
        (similarity(best.cosine) >= REPORTED.similarity()).then(|| {
            tracing::warn!(subject_id, duplicate_of = best.subject_id, "already enrolled");
            Duplicate(best)
        })
    }

    /// Returns the similarity of these faces, which replace the subject's, to the present ones if
    /// they are another person's.
    pub fn replaced(&self, mode: EnrolMode, faces: &[Embedding], subject_id: &str) -> Option<f64> {
        if mode != EnrolMode::Replace {
            return None;
        }
        let cosines = faces.iter().filter_map(|face| self.gallery.verify(subject_id, face));
        let similarity = cosines.max_by(f32::total_cmp).map(similarity)?;
        (similarity < ONE_PERSON.similarity()).then_some(shown(similarity))
    }

    /// Refuses a duplicate, if so configured.
    pub fn refuse(&self, found: Option<&Duplicate>, by: &Requester) -> Result<(), Refusal> {
        let found = found.filter(|Duplicate(found)| {
            self.settings.refuse_duplicates && similarity(found.cosine) >= REFUSED.similarity()
        });
        let Some(Duplicate(found)) = found else { return Ok(()) };
        let who = match by.may_search {
            true => format!("as {} ({})", found.subject_id, shown(similarity(found.cosine))),
            false => "under another id".to_owned(),
        };
        let why = format!(
            "this face is enrolled {who}; use that id, or delete it first (gallery.refuse_duplicates)"
        );
        Err(Refusal::Duplicate { why })
    }
}

/// Facts to report and record with an enrolment.
#[derive(Clone, Copy, Default)]
pub(super) struct Facts<'a> {
    pub duplicate: Option<&'a Duplicate>,
    pub disagreement: Option<&'a Disagreement>,
    /// Similarity to the faces that were replaced, if those were another person's.
    pub replaced: Option<f64>,
    /// Probability of "live", 0–100, if it was requested.
    pub liveness: Option<f64>,
}

impl Facts<'_> {
    /// Adds the facts to the answer of a sender that may search: for others, an enrolment would be
    /// a search without the permission.
    pub fn add_to_meta(&self, by: &Requester, meta: &mut Meta) {
        if !by.may_search {
            return;
        }
        meta.advice.extend(self.duplicate.map(|_| advice::ALREADY_ENROLLED));
        meta.advice.extend(self.disagreement.map(|_| advice::FACES_DISAGREE));
        meta.advice.extend(self.replaced.map(|_| advice::REPLACED_FACE_DIFFERS));
        meta.duplicate_of = self.duplicate.map(|Duplicate(found)| DuplicateOf {
            subject_id: found.subject_id.clone(),
            similarity: shown(similarity(found.cosine)),
        });
    }

    /// Adds the facts to the event of the enrolment.
    pub fn record(&self, event: &mut Event) {
        event.liveness = self.liveness;
        if let Some(Duplicate(found)) = self.duplicate {
            event.extra.insert("duplicate_of".into(), found.subject_id.as_str().into());
            event.similarity = Some(shown(similarity(found.cosine)));
        }
        if let Some(similarity) = self.replaced {
            event.extra.insert("replaced_similarity".into(), similarity.into());
        }
        if let Some(disagreement) = self.disagreement {
            event.extra.insert("faces_disagree".into(), disagreement.to_string().into());
        }
    }
}

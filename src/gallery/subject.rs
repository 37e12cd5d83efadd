//! Input and output types of the gallery: subjects, enrolments, candidates, counts.
//!
//! Times are Unix seconds, UTC; the file keeps them to the microsecond. The gallery reads no clock.

use crate::face::Embedding;
use serde::Serialize;
use std::fmt;

/// Identifies one template. An id is never given twice, not even after a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateId(pub(super) u64);

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Says whether the subject's present templates are replaced or kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolMode {
    /// They are removed with their images, and the new one replaces them.
    Replace,
    /// They stay, and the new one is added.
    Add,
}

/// One face to store under a subject. Never changes the subject's name, groups, card or validity. A
/// subject that does not exist is created, enabled and without groups.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// 1–128 bytes.
    pub subject_id: String,
    /// Says whether the subject's present templates are replaced or kept.
    pub mode: EnrolMode,
    /// Made by the model the gallery was opened for.
    pub embedding: Embedding,
    /// The face crop as JPEG; not kept when the gallery stores no images.
    pub image: Option<Vec<u8>>,
    /// True if the caller has the permission `admin`. Without it, a subject that has groups or is
    /// disabled gets no new face.
    pub by_admin: bool,
    /// Maximum number of templates of the subject after the enrolment, those of other models
    /// included.
    pub max_templates: usize,
    /// Time of the request.
    pub time: f64,
}

/// Another face of the subject that is being enrolled.
#[derive(Clone, Debug)]
pub struct Pose {
    /// Made by the model the gallery was opened for.
    pub embedding: Embedding,
    /// The face crop as JPEG.
    pub image: Option<Vec<u8>>,
}

/// Result of an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// True if the subject did not exist before.
    pub created: bool,
    /// Number of templates the subject has, those of other models included.
    pub templates: usize,
    /// The new template; the first if there are several.
    pub template: TemplateId,
}

/// An enrolled subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// 1–128 bytes.
    pub id: String,
    /// Display name.
    pub name: Option<String>,
    /// Groups that the door's policy checks; a subject without a group opens no door.
    pub groups: Vec<String>,
    /// Number that a Wiegand output sends for this subject; text, because leading zeros count.
    pub card: Option<String>,
    /// A disabled subject opens no door.
    pub enabled: bool,
    /// True if an administrator disabled it: it counts against every id of the same person, and
    /// only an administrator can delete it.
    pub barred: bool,
    /// True if an administrator enrolled it and a client without the permission `admin` added or
    /// replaced a face, or the reverse.
    pub mixed_faces: bool,
    /// Opens no door before this time.
    pub valid_from: Option<f64>,
    /// Opens no door after this time.
    pub valid_until: Option<f64>,
    /// Time of the first enrolment.
    pub created: f64,
    /// Time of the last enrolment or change.
    pub updated: f64,
    /// Number of its templates, those of other models included.
    pub templates: usize,
}

impl Subject {
    /// Checks whether it may be used now: enabled and within its validity. `now` is the time in
    /// Unix seconds, `None` if it is not known: then no date is kept, and a subject with one is not
    /// active.
    pub fn is_active(&self, now: Option<f64>) -> bool {
        self.enabled && is_valid(self.valid_from, self.valid_until, now)
    }
}

/// Checks whether a time lies between two dates. A comparison with NaN is false, and false means
/// not valid.
pub(super) fn is_valid(from: Option<f64>, until: Option<f64>, now: Option<f64>) -> bool {
    match now {
        Some(now) => from.is_none_or(|from| now >= from) && until.is_none_or(|until| now <= until),
        None => from.is_none() && until.is_none(),
    }
}

/// Changes to a subject: `None` leaves a field, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubjectChange {
    /// Display name.
    pub name: Option<Option<String>>,
    /// Replaces all groups.
    pub groups: Option<Vec<String>>,
    /// Number that a Wiegand output sends.
    pub card: Option<Option<String>>,
    /// True if the subject may open doors at all.
    pub enabled: Option<bool>,
    /// True if the caller has the permission `admin`.
    pub by_admin: bool,
    /// Opens no door before this time.
    pub valid_from: Option<Option<f64>>,
    /// Opens no door after this time.
    pub valid_until: Option<Option<f64>>,
    /// Time of the request.
    pub time: f64,
}

/// One page of subjects, in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Ordered by the bytes of their ids.
    pub subjects: Vec<Subject>,
    /// Cursor of the next page; `None` on the last page.
    pub next: Option<String>,
}

/// A subject that has templates of another model than the one in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outdated {
    /// Subject id.
    pub subject_id: String,
    /// Those templates, each with its image if one was kept.
    pub templates: Vec<(TemplateId, Option<Vec<u8>>)>,
    /// Number of its templates of the present model.
    pub comparable: usize,
}

/// One page of subjects that have templates of other models.
#[derive(Clone, Debug, PartialEq)]
pub struct OutdatedPage {
    /// Ordered by the bytes of their ids.
    pub subjects: Vec<Outdated>,
    /// Cursor of the next page; `None` on the last page. The next page may be empty.
    pub next: Option<String>,
}

/// One subject found by a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Subject id.
    pub subject_id: String,
    /// Cosine of the probe and the subject's best template, −1 to 1.
    pub cosine: f32,
    /// The subject's best template.
    pub template: TemplateId,
}

#[cfg(test)]
impl Candidate {
    /// Makes a candidate like one that a search returns.
    pub(crate) fn of(subject_id: &str, cosine: f32) -> Self {
        Self { subject_id: subject_id.to_owned(), cosine, template: TemplateId(0) }
    }
}

/// Counts of the gallery and the file's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Number of subjects.
    pub subjects: u64,
    /// Number of templates, those of other models included.
    pub templates: u64,
    /// Number of templates that are kept but not compared.
    pub templates_of_other_models: u64,
    /// Number of deleted subjects and replaced templates whose bytes may still be in unused parts
    /// of the file; [`super::Gallery::scrub`] resets it to 0.
    pub remnants: u64,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Version of the file's tables.
    pub schema: u64,
}

/// Result of a scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scrubbed {
    /// Size of the file before, in bytes.
    pub bytes_before: u64,
    /// Size of the file after, in bytes.
    pub bytes_after: u64,
}

//! What goes into the gallery and what comes out: subjects, enrolments, candidates, counts.
//!
//! Times are Unix seconds, UTC; the file keeps them to the microsecond. The gallery reads no clock.

use crate::face::Embedding;
use std::fmt;

/// Names one template for ever: an id is never given twice, also not after a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateId(pub(super) u64);

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happens to the templates a subject has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolMode {
    /// They go, with their images, and the new one takes their place.
    Replace,
    /// They stay, and one more joins them.
    Add,
}

/// One face to be stored under a subject. Never changes the subject's name, groups, card or
/// validity; a subject that does not exist is made, enabled and without groups.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// 1–128 bytes.
    pub subject_id: String,
    /// What happens to the templates the subject has.
    pub mode: EnrolMode,
    /// Made by the model the gallery was opened for.
    pub embedding: Embedding,
    /// The face crop as JPEG; not kept when the gallery stores no images.
    pub image: Option<Vec<u8>>,
    /// Whether the caller has the permission `admin`. Without it, a subject that has groups or is
    /// disabled gets no new face.
    pub by_admin: bool,
    /// How many templates the subject may have afterwards, those of other models included.
    pub max_templates: usize,
    /// When.
    pub time: f64,
}

/// A further face of the subject that is enrolled.
#[derive(Clone, Debug)]
pub struct Pose {
    /// Made by the model the gallery was opened for.
    pub embedding: Embedding,
    /// The face crop as JPEG.
    pub image: Option<Vec<u8>>,
}

/// What an enrolment did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The subject did not exist before.
    pub created: bool,
    /// How many templates the subject has, those of other models included.
    pub templates: usize,
    /// The template that was made; of several the first.
    pub template: TemplateId,
}

/// Who is enrolled.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// 1–128 bytes.
    pub id: String,
    /// For people to read.
    pub name: Option<String>,
    /// What the door's policy goes by; a subject without a group opens no door.
    pub groups: Vec<String>,
    /// What a Wiegand output sends for this subject; text, because leading zeros count.
    pub card: Option<String>,
    /// A subject that is not enabled opens no door.
    pub enabled: bool,
    /// An administrator disabled it: it speaks against every id of the same person, and only an
    /// administrator deletes it.
    pub barred: bool,
    /// An administrator enrolled it, and a client without the permission `admin` added or replaced a
    /// face, or the reverse.
    pub mixed_faces: bool,
    /// Opens no door before this time.
    pub valid_from: Option<f64>,
    /// Opens no door after this time.
    pub valid_until: Option<f64>,
    /// When it was first enrolled.
    pub created: f64,
    /// When it was last enrolled or changed.
    pub updated: f64,
    /// How many templates it has, those of other models included.
    pub templates: usize,
}

/// What to change of a subject: `None` leaves a field, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubjectChange {
    /// For people to read.
    pub name: Option<Option<String>>,
    /// Takes the place of all groups.
    pub groups: Option<Vec<String>>,
    /// What a Wiegand output sends.
    pub card: Option<Option<String>>,
    /// Whether the subject may open doors at all.
    pub enabled: Option<bool>,
    /// Whether the caller has the permission `admin`.
    pub by_admin: bool,
    /// Opens no door before this time.
    pub valid_from: Option<Option<f64>>,
    /// Opens no door after this time.
    pub valid_until: Option<Option<f64>>,
    /// When.
    pub time: f64,
}

/// Some subjects in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// In the order of their ids' bytes.
    pub subjects: Vec<Subject>,
    /// The cursor of the page that follows; none on the last.
    pub next: Option<String>,
}

/// A subject that has templates of another model than the one in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outdated {
    /// Who.
    pub subject_id: String,
    /// These templates, each with its image, if one was kept.
    pub templates: Vec<(TemplateId, Option<Vec<u8>>)>,
    /// How many templates of the present model it has beside them.
    pub comparable: usize,
}

/// Some subjects that have templates of other models.
#[derive(Clone, Debug, PartialEq)]
pub struct OutdatedPage {
    /// In the order of their ids' bytes.
    pub subjects: Vec<Outdated>,
    /// The cursor of the page that follows; none on the last. That page may be empty.
    pub next: Option<String>,
}

/// One subject found by a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Who.
    pub subject_id: String,
    /// Cosine of the probe and the subject's best template, −1 to 1.
    pub cosine: f32,
    /// That template.
    pub template: TemplateId,
}

#[cfg(test)]
impl Candidate {
    /// A candidate as a search might find it.
    pub(crate) fn of(subject_id: &str, cosine: f32) -> Self {
        Self { subject_id: subject_id.to_owned(), cosine, template: TemplateId(0) }
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Subjects.
    pub subjects: u64,
    /// Templates, those of other models included.
    pub templates: u64,
    /// Templates that are kept but not compared.
    pub templates_of_other_models: u64,
    /// Deletions, replacements and changes whose old bytes may still stand in unused parts of the
    /// file; [`super::Gallery::scrub`] brings it to 0.
    pub remnants: u64,
    /// Size of the file.
    pub file_bytes: u64,
    /// Version of the file's tables.
    pub schema: u64,
}

/// What a scrub did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Size of the file before.
    pub bytes_before: u64,
    /// Size of the file after.
    pub bytes_after: u64,
}

//! Identifies the person of a recognised face: one subject, or one person enrolled under several
//! ids.
//!
//! A client that may `enroll` can store a resident's photograph under another id. Such an id must
//! neither keep the resident out nor admit another person. These rules apply to the ids that
//! resemble the face:
//!
//! - The id that opens the door has a group, and reaches the door's threshold by its own templates.
//! - Another id within the margin is a rival, unless it belongs to the same person: the template by
//!   which it was found matches a template of the id that opens the door at [`SAME_PERSON`].
//! - An id ahead by the margin is the person at the door, and its own groups decide. If it has no
//!   groups and belongs to the same person, it decides nothing: no one has configured it.
//! - An id of the same person that an administrator disabled denies all ids of that person. An id
//!   denies nothing if a client without the permission `admin` disabled it, if its validity is
//!   over, or if it has no group.

use super::attempt::Claim;
use super::decision::Reason;
use super::settings::Settings;
use crate::face::Embedding;
use crate::face::similarity::{Level, cosine, similarity};
use crate::gallery::{Candidate, Gallery, GalleryError, Subject, TemplateId};

/// Two templates at least this similar belong to one person: FMR 1e-6.
const SAME_PERSON: Level = Level::High;
/// Most further ids of a person that a decision names; their number is not limited.
const MOST_NAMED: usize = 8;

/// A recognised person.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Person {
    /// The id that opens the door, or the id closest to it.
    pub id: String,
    /// Similarity by that id's own templates.
    pub cosine: f32,
    /// Card number that a Wiegand output sends for the id.
    pub card: Option<String>,
    /// The group that permits the id, or the reason for a denial.
    pub permitted: Result<String, Reason>,
    /// Other ids of the same person.
    pub also: Vec<String>,
}

/// A subject that resembles the face.
struct Lookalike<'a> {
    subject: Subject,
    candidate: &'a Candidate,
    faces: Vec<(TemplateId, Embedding)>,
}

impl Lookalike<'_> {
    fn cosine(&self) -> f32 {
        self.candidate.cosine
    }

    fn is(&self, other: &Lookalike<'_>) -> bool {
        self.subject.id == other.subject.id
    }

    fn has_groups(&self) -> bool {
        !self.subject.groups.is_empty()
    }

    /// Checks whether one of this subject's templates and this template belong to the same person.
    fn matches(&self, template: &Embedding) -> bool {
        let same =
            |face: &Embedding| reaches(face.cosine(template), cosine(SAME_PERSON.similarity()));
        self.faces.iter().any(|(_, face)| same(face))
    }
}

/// What the door requires.
pub(super) struct Identification<'a> {
    pub gallery: &'a Gallery,
    pub settings: &'a Settings,
    /// Similarity that the door requires.
    pub threshold: f64,
}

impl Identification<'_> {
    /// Returns the person, permitted or not, or the reason why the looks so far identify no one.
    pub fn identify(
        &self,
        claim: &Claim<'_>,
        permit: impl Fn(&Subject) -> Result<String, Reason>,
    ) -> Result<Person, Reason> {
        let known = match self.known(claim.together) {
            Ok(known) => known,
            Err((candidate, error)) => return Ok(unreadable(candidate, &error)),
        };
        let mut refused = None;
        let mut why = None;
        for id in known.iter().filter(|id| id.has_groups() && self.suffices(id)) {
            if let Err(reason) = self.confirm_identity(id, &known, claim) {
                why.get_or_insert(reason);
            } else if !self.is_outranked(id, &known) {
                let permitted = match self.barred(id, &known) {
                    Some(other) => Err(Reason::OtherIdDisabled(other.subject.id.clone())),
                    None => permit(&id.subject),
                };
                let person = self.person(id, &known, permitted);
                if person.permitted.is_ok() {
                    return Ok(person);
                }
                refused.get_or_insert(person);
            }
        }
        if let Some(person) = refused {
            return Ok(person);
        }
        // No id that could open the door matches: return the most similar id.
        match known.first().filter(|best| self.suffices(best)) {
            Some(best) => match self.confirm_identity(best, &known, claim) {
                Ok(()) => Ok(self.person(best, &known, permit(&best.subject))),
                Err(reason) => Err(why.unwrap_or(reason)),
            },
            None => Err(why.unwrap_or(Reason::NoAgreement)),
        }
    }

    /// Reads the subjects' records. Subjects deleted since the look are left out.
    fn known<'a>(
        &self,
        found: &'a [Candidate],
    ) -> Result<Vec<Lookalike<'a>>, (&'a Candidate, GalleryError)> {
        let mut known = Vec::with_capacity(found.len());
        for candidate in found {
            let id = &candidate.subject_id;
            match self.gallery.subject(id) {
                Ok(Some(subject)) => {
                    known.push(Lookalike { subject, candidate, faces: self.gallery.faces(id) });
                }
                Ok(None) => {}
                Err(error) => return Err((candidate, error)),
            }
        }
        Ok(known)
    }

    fn suffices(&self, id: &Lookalike<'_>) -> bool {
        reaches(id.cosine(), cosine(self.threshold))
    }

    /// Checks whether one id is far enough ahead of another to tell them apart.
    fn is_clear(&self, ahead: &Lookalike<'_>, of: &Lookalike<'_>) -> bool {
        reaches(ahead.cosine() - of.cosine(), self.settings.margin.into())
    }

    /// Checks whether a candidate's id belongs to the same person, by the template that was found.
    fn is_same(&self, id: &Lookalike<'_>, candidate: &Candidate) -> bool {
        let faces = self.gallery.faces(&candidate.subject_id);
        let template = faces.iter().find(|(template, _)| *template == candidate.template);
        template.is_some_and(|(_, face)| id.matches(face))
    }

    /// Returns an error if the face may be another person's, or if a look names another id.
    fn confirm_identity(
        &self,
        id: &Lookalike<'_>,
        known: &[Lookalike<'_>],
        claim: &Claim<'_>,
    ) -> Result<(), Reason> {
        let names_it =
            |found: &Candidate| found.subject_id == id.subject.id || self.is_same(id, found);
        let each = claim.looks.iter().all(|look| {
            let by_itself = self.gallery.verify(&id.subject.id, &look.embedding);
            look.found.as_ref().is_some_and(names_it)
                && by_itself.is_some_and(|own| similarity(own) >= Level::Basic.similarity())
        });
        if !each {
            return Err(Reason::NoAgreement);
        }
        let rival = known.iter().find(|other| {
            !other.is(id) && !self.is_clear(id, other) && !self.is_same(id, other.candidate)
        });
        match rival {
            Some(rival) => Err(Reason::Ambiguous { margin: (id.cosine() - rival.cosine()).abs() }),
            None => Ok(()),
        }
    }

    /// Checks whether an id that is clearly ahead decides: an id with a group, or any id if this id
    /// does not match the face at [`SAME_PERSON`].
    fn is_outranked(&self, id: &Lookalike<'_>, known: &[Lookalike<'_>]) -> bool {
        let surely = reaches(id.cosine(), cosine(SAME_PERSON.similarity()));
        known.iter().any(|other| {
            other.cosine() > id.cosine()
                && self.is_clear(other, id)
                && (other.has_groups() || !surely)
        })
    }

    /// Returns an id of the same person that an administrator disabled and that would also be
    /// recognised.
    fn barred<'a, 'b>(
        &self,
        id: &Lookalike<'_>,
        known: &'a [Lookalike<'b>],
    ) -> Option<&'a Lookalike<'b>> {
        known.iter().find(|other| {
            other.subject.barred
                && !other.is(id)
                && self.suffices(other)
                && self.is_same(id, other.candidate)
        })
    }

    fn person(
        &self,
        id: &Lookalike<'_>,
        known: &[Lookalike<'_>],
        permitted: Result<String, Reason>,
    ) -> Person {
        let also = known
            .iter()
            .filter(|other| !other.is(id) && self.suffices(other))
            .filter(|other| self.is_same(id, other.candidate));
        Person {
            id: id.subject.id.clone(),
            cosine: id.cosine(),
            card: id.subject.card.clone(),
            permitted,
            also: also.take(MOST_NAMED).map(|other| other.subject.id.clone()).collect(),
        }
    }
}

fn unreadable(candidate: &Candidate, error: &GalleryError) -> Person {
    Person {
        id: candidate.subject_id.clone(),
        cosine: candidate.cosine,
        card: None,
        permitted: Err(Reason::Gallery(error.to_string())),
        also: Vec::new(),
    }
}

/// NaN never passes.
fn reaches(value: f32, least: f64) -> bool {
    f64::from(value) >= least
}

#[cfg(test)]
mod tests;

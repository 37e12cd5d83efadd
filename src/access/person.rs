//! Who a recognised face is: one subject, or one person who is enrolled under several ids.
//!
//! Anybody who may `enroll` can store a resident's photograph under another id. Such an id must not keep
//! the resident out, and must not let anybody in. So of every id that looks like the face:
//!
//! - The id that opens the door has a group, and reaches the door's threshold by its own templates.
//! - Another id as similar as that, within the margin, is a rival, unless it is the same person's: the
//!   template by which it was found matches one of the id that opens the door at [`SAME_PERSON`].
//! - An id that is ahead by the margin is who stands there, and its own groups decide. One without groups
//!   decides nothing where it is the same person's: nobody has decided anything about it.
//! - An id of the same person that an administrator disabled speaks against all of them. One that a
//!   client without the permission `admin` disabled, whose time is over, or that has no group, does not.

use super::attempt::Claim;
use super::decision::Reason;
use super::settings::Settings;
use crate::face::Embedding;
use crate::face::similarity::{Level, cosine, similarity};
use crate::gallery::{Candidate, Gallery, GalleryError, Subject, TemplateId};

/// Two templates at least so similar are of one person: FMR 1e-6.
const SAME_PERSON: Level = Level::High;
/// Further ids of a person that a decision names; there may be any number.
const MOST_NAMED: usize = 8;

/// Who was recognised.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Person {
    /// The id that opens the door, or that comes nearest to it.
    pub id: String,
    /// By that id's own templates.
    pub cosine: f32,
    /// What a Wiegand output sends for it.
    pub card: Option<String>,
    /// The group that lets it in, or why none does.
    pub permitted: Result<String, Reason>,
    /// Further ids of the same person.
    pub also: Vec<String>,
}

/// A subject that looks like the face.
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

    /// Whether one of this subject's templates is of the same person as this template.
    fn matches(&self, template: &Embedding) -> bool {
        let same =
            |face: &Embedding| reaches(face.cosine(template), cosine(SAME_PERSON.similarity()));
        self.faces.iter().any(|(_, face)| same(face))
    }
}

/// What the door asks for.
pub(super) struct Identification<'a> {
    pub gallery: &'a Gallery,
    pub settings: &'a Settings,
    /// Similarity.
    pub threshold: f64,
}

impl Identification<'_> {
    /// Who it is, permitted or not; or why it is nobody, as far as the looks say so far.
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
            if let Err(reason) = self.is_nobody_else(id, &known, claim) {
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
        // No id that could open the door is theirs: it is the most similar one all the same.
        match known.first().filter(|best| self.suffices(best)) {
            Some(best) => match self.is_nobody_else(best, &known, claim) {
                Ok(()) => Ok(self.person(best, &known, permit(&best.subject))),
                Err(reason) => Err(why.unwrap_or(reason)),
            },
            None => Err(why.unwrap_or(Reason::NoAgreement)),
        }
    }

    /// The subjects as they are on record; who was deleted since the look is not among them.
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

    /// By how much an id is ahead of another suffices to tell them apart.
    fn is_clear(&self, ahead: &Lookalike<'_>, of: &Lookalike<'_>) -> bool {
        reaches(ahead.cosine() - of.cosine(), self.settings.margin.into())
    }

    /// Whether a candidate's id is of the same person, by the template that it was found by.
    fn is_same(&self, id: &Lookalike<'_>, candidate: &Candidate) -> bool {
        let faces = self.gallery.faces(&candidate.subject_id);
        let template = faces.iter().find(|(template, _)| *template == candidate.template);
        template.is_some_and(|(_, face)| id.matches(face))
    }

    /// An error, if the face may as well be another person's, or the looks do not each name this one.
    fn is_nobody_else(
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

    /// Whether an id that is clearly ahead decides: one that somebody gave a group, or any, where this id is
    /// not surely the face's own.
    fn is_outranked(&self, id: &Lookalike<'_>, known: &[Lookalike<'_>]) -> bool {
        let surely = reaches(id.cosine(), cosine(SAME_PERSON.similarity()));
        known.iter().any(|other| {
            other.cosine() > id.cosine()
                && self.is_clear(other, id)
                && (other.has_groups() || !surely)
        })
    }

    /// An id of the same person that an administrator disabled, by which the face would be recognised
    /// too.
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

/// What is no number reaches nothing.
fn reaches(value: f32, least: f64) -> bool {
    f64::from(value) >= least
}

#[cfg(test)]
mod tests;

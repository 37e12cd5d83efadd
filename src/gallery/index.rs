//! The in-memory index: every subject's record, and every comparable template as one row of a flat
//! matrix, searched exactly. It holds all gallery data that the door needs, so the door never waits
//! for the disk.
//!
//! It holds all subjects, including those without comparable templates, and templates of one model
//! only. It uses no file, no lock and no image. The gallery changes it after each commit, and
//! before a commit only to remove or restrict. Inserting appends a row; removing moves the last row
//! into the gap. Neither touches the rows of others. The row order depends on history; the results
//! never do: they equal those of comparing the probe with every template in f32, but [`Rows`] skips
//! most of these comparisons.
//!
//! A template costs 669 bytes: 512 for the vector, 128 for its bytes for the scan, 5 for the scan's
//! data about them, 24 for the owner. A subject costs about 350 bytes more with an id of 16 bytes.

use super::subject::{Candidate, Page, Subject, TemplateId};
use super::tables::SubjectRecord;
use crate::face::{EMBEDDING_LEN, Embedding};
use crate::nn::{Level, Rows, dot};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Largest deviation of a unit vector's norm from 1: f32 rounding over 128 elements stays far below
/// it, damage to an exponent is far above it.
const UNIT_TOLERANCE: f32 = 1e-3;

/// Checks that a vector is finite and of unit length, so that a dot product with it is a cosine.
pub(super) fn is_unit(embedding: &Embedding) -> bool {
    // A NaN or an infinity makes the comparison false.
    (dot(&embedding.0, &embedding.0).sqrt() - 1.0).abs() <= UNIT_TOLERANCE
}

/// Rows of templates and their owners.
pub(super) struct Index {
    vectors: Rows<EMBEDDING_LEN>,
    /// The owner of each row.
    owners: Vec<Owner>,
    subjects: BTreeMap<Arc<str>, Known>,
    /// Number of templates, those of other models included.
    all_templates: usize,
    /// Number of rows of subjects that have a group.
    grouped: usize,
}

/// A subject's record and its templates.
struct Known {
    record: SubjectRecord,
    /// Number of its templates, those of other models included.
    templates: usize,
    /// Its rows, in no particular order.
    rows: Vec<usize>,
}

struct Owner {
    subject: Arc<str>,
    template: TemplateId,
}

impl Index {
    /// Makes an empty index.
    pub fn new(level: Level) -> Self {
        Self {
            vectors: Rows::new(level),
            owners: Vec::new(),
            subjects: BTreeMap::new(),
            all_templates: 0,
            grouped: 0,
        }
    }

    /// Adds a subject or replaces its record. `templates` is the number of its templates, those of
    /// other models included; their rows may follow later.
    pub fn put(&mut self, subject: &str, record: SubjectRecord, templates: usize) {
        let known = match self.subjects.get_mut(subject) {
            Some(known) => known,
            None => {
                let rows = Vec::new();
                let new = Known { record: record.clone(), templates: 0, rows };
                self.subjects.entry(subject.into()).or_insert(new)
            }
        };
        self.all_templates = self.all_templates - known.templates + templates;
        let before = known.grouped();
        (known.record, known.templates) = (record, templates);
        self.grouped = self.grouped - before + known.grouped();
    }

    /// Counts one more template, of any model, for a known subject.
    pub fn count_template(&mut self, subject: &str) {
        if let Some(known) = self.subjects.get_mut(subject) {
            known.templates += 1;
            self.all_templates += 1;
        }
    }

    /// Adds a row for one of a subject's templates; does nothing for an unknown subject.
    pub fn insert(&mut self, subject: &str, template: TemplateId, embedding: &Embedding) {
        let Some((key, _)) = self.subjects.get_key_value(subject) else { return };
        let key = key.clone();
        let Some(known) = self.subjects.get_mut(subject) else { return };
        // Most subjects have one template: reserve room for one row until there is a second.
        if known.rows.is_empty() {
            known.rows.reserve_exact(1);
        }
        known.rows.push(self.owners.len());
        self.grouped += usize::from(known.has_group());
        self.owners.push(Owner { subject: key, template });
        self.vectors.push(&embedding.0);
    }

    /// Returns how many templates a search compares.
    pub fn comparable(&self) -> usize {
        self.owners.len()
    }

    /// Returns how many of them belong to subjects with a group.
    pub fn grouped(&self) -> usize {
        self.grouped
    }

    /// Returns the number of templates, those of other models included.
    pub fn templates(&self) -> usize {
        self.all_templates
    }

    /// Returns the number of subjects.
    pub fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// Removes a subject and its templates.
    pub fn remove(&mut self, subject: &str) {
        let Some(known) = self.subjects.remove(subject) else { return };
        self.grouped -= known.grouped();
        let Known { mut rows, templates, .. } = known;
        self.all_templates -= templates;
        // From the highest row down: the row that fills the gap is never one that is still to be
        // removed.
        rows.sort_unstable();
        for row in rows.into_iter().rev() {
            let last = self.owners.len() - 1;
            self.owners.swap_remove(row);
            self.vectors.swap_remove(row);
            if let Some(moved) = self.owners.get(row)
                && let Some(known) = self.subjects.get_mut(&moved.subject)
                && let Some(place) = known.rows.iter_mut().find(|place| **place == last)
            {
                *place = row;
            }
        }
    }

    /// Checks whether this subject is enrolled.
    pub fn contains(&self, subject: &str) -> bool {
        self.subjects.contains_key(subject)
    }

    /// Returns a subject's record.
    pub fn record(&self, subject: &str) -> Option<&SubjectRecord> {
        self.subjects.get(subject).map(|known| &known.record)
    }

    /// Returns the number of a subject's templates, those of other models included.
    pub fn templates_of(&self, subject: &str) -> usize {
        self.subjects.get(subject).map_or(0, |known| known.templates)
    }

    /// Returns a subject in its public form.
    pub fn subject(&self, subject: &str) -> Option<Subject> {
        self.subjects.get(subject).map(|known| known.to_subject(subject))
    }

    /// Returns the subjects after `cursor`, in the order of their ids: at most `limit`, at least
    /// one.
    pub fn page(&self, limit: usize, cursor: Option<&str>) -> Page {
        let after = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = self.subjects.range::<str, _>((after, Bound::Unbounded));
        let subjects: Vec<Subject> =
            range.by_ref().take(limit.max(1)).map(|(id, known)| known.to_subject(id)).collect();
        let next = range.next().and_then(|_| subjects.last().map(|last| last.id.clone()));
        Page { subjects, next }
    }

    /// Returns the best cosine over a subject's templates; `None` for an unknown subject, for one
    /// without comparable templates, or for a probe that is not a unit vector.
    pub fn best_of(&self, subject: &str, probe: &Embedding) -> Option<f32> {
        if !is_unit(probe) {
            return None;
        }
        let rows = &self.subjects.get(subject)?.rows;
        rows.iter().map(|&row| cosine(self.vectors.row(row), probe)).max_by(f32::total_cmp)
    }

    /// Returns a subject's templates.
    pub fn faces(&self, subject: &str) -> Vec<(TemplateId, Embedding)> {
        let rows =
            self.subjects.get(subject).map(|known| known.rows.as_slice()).unwrap_or_default();
        let face = |&row: &usize| (self.owners[row].template, Embedding(*self.vectors.row(row)));
        rows.iter().map(face).collect()
    }

    /// Returns every subject whose best template has at least this cosine with the probe, in the
    /// order of [`Index::search`]; empty for a probe that is not a unit vector.
    pub fn at_least(&self, probe: &Embedding, least: f32) -> Vec<Candidate> {
        if !is_unit(probe) {
            return Vec::new();
        }
        let mut best: HashMap<&str, Found> = HashMap::new();
        self.vectors.search(&probe.0, |row, product| {
            let found = Found { cosine: clamped(product), owner: &self.owners[row] };
            let known = best.get(&*found.owner.subject);
            let better = known.is_none_or(|known| found.order(known) == Ordering::Less);
            if found.cosine >= least && better {
                best.insert(&found.owner.subject, found);
            }
            least
        });
        let mut found: Vec<Found> = best.into_values().collect();
        found.sort_by(Found::order);
        found.iter().map(Found::candidate).collect()
    }

    /// Returns the `limit` most similar subjects, best first, each by its best template. Equal
    /// cosines are ordered by subject id, then by template. Empty for a probe that is not a unit
    /// vector.
    pub fn search(&self, probe: &Embedding, limit: usize) -> Vec<Candidate> {
        self.search_among(probe, limit, |_| true)
    }

    /// Like [`Index::search`], over the subjects that `counts` selects.
    pub fn search_among(
        &self,
        probe: &Embedding,
        limit: usize,
        counts: impl Fn(&SubjectRecord) -> bool,
    ) -> Vec<Candidate> {
        if limit == 0 || !is_unit(probe) {
            return Vec::new();
        }
        let mut best = Best { limit, found: Vec::new() };
        self.vectors.search(&probe.0, |row, product| {
            let found = Found { cosine: clamped(product), owner: &self.owners[row] };
            if best.takes(&found) && self.record(&found.owner.subject).is_some_and(&counts) {
                best.offer(found);
            }
            best.floor()
        });
        best.found.iter().map(Found::candidate).collect()
    }
}

impl Known {
    fn has_group(&self) -> bool {
        !self.record.groups.is_empty()
    }

    fn grouped(&self) -> usize {
        if self.has_group() { self.rows.len() } else { 0 }
    }

    fn to_subject(&self, id: &str) -> Subject {
        self.record.clone().subject(id, self.templates)
    }
}

/// The best results of a search so far, best first, one entry per subject.
struct Best<'a> {
    limit: usize,
    found: Vec<Found<'a>>,
}

impl<'a> Best<'a> {
    /// Returns the product below which a row changes nothing.
    fn floor(&self) -> f32 {
        match self.found.last() {
            // A product below −1 counts as −1, so it equals −1 here.
            Some(last) if self.found.len() == self.limit && last.cosine > -1.0 => last.cosine,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Checks whether a row is better than the last of the present ones, or there is room.
    fn takes(&self, found: &Found<'_>) -> bool {
        let last = self.found.last().filter(|_| self.found.len() == self.limit);
        last.is_none_or(|last| found.order(last) == Ordering::Less)
    }

    /// Inserts a row that [`Best::takes`], unless its subject has a better one. A subject that was
    /// pushed out re-enters only by a better row, so dropping the old row loses nothing.
    fn offer(&mut self, found: Found<'a>) {
        let full = self.found.len() == self.limit;
        let same = |other: &Found<'_>| Arc::ptr_eq(&other.owner.subject, &found.owner.subject);
        match self.found.iter().position(same) {
            Some(at) if found.order(&self.found[at]) == Ordering::Less => {
                self.found.remove(at);
            }
            Some(_) => return,
            None if full => {
                self.found.pop();
            }
            None => {}
        }
        let at = self.found.partition_point(|other| other.order(&found) == Ordering::Less);
        self.found.insert(at, found);
    }
}

/// Result of one row during a search.
struct Found<'a> {
    cosine: f32,
    owner: &'a Owner,
}

impl Found<'_> {
    /// Orders better results first: less is better.
    fn order(&self, other: &Self) -> Ordering {
        other
            .cosine
            .total_cmp(&self.cosine)
            .then_with(|| self.owner.subject.cmp(&other.owner.subject))
            .then_with(|| self.owner.template.cmp(&other.owner.template))
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            subject_id: self.owner.subject.to_string(),
            cosine: self.cosine,
            template: self.owner.template,
        }
    }
}

/// Returns the cosine of two unit vectors.
fn cosine(a: &[f32; EMBEDDING_LEN], b: &Embedding) -> f32 {
    clamped(dot(a, &b.0))
}

/// Clamps a cosine to −1..1: rounding can exceed 1.
fn clamped(product: f32) -> f32 {
    product.clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests;

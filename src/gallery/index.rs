//! The in-memory index: every subject's record, and every comparable template as one row of a flat
//! matrix, searched exactly. What the door needs of the gallery is here: it waits for no disk.
//!
//! It holds templates of one model only, and all subjects, also those that have no comparable
//! template. It knows no file, no lock and no image; the gallery changes it after each commit, and
//! before that only to take away. Inserting appends a row, removing moves the last row into the gap: neither touches the
//! rows of others. Row order therefore depends on history; results never do: they are those of
//! comparing the probe with every template in f32, which [`Rows`] spares most of.
//!
//! A template costs 669 bytes: 512 of vector, 128 of its bytes for the scan, 5 of what the scan knows
//! of them, 24 of owner. A subject costs some 350 more with an id of 16 bytes.

use super::subject::{Candidate, Page, Subject, TemplateId};
use super::tables::SubjectRecord;
use crate::face::{EMBEDDING_LEN, Embedding};
use crate::nn::{Level, Rows, dot};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// How far the norm of a unit vector may be from 1: f32 rounding over 128 elements stays far
/// below, any damage to an exponent far above.
const UNIT_TOLERANCE: f32 = 1e-3;

/// Whether this vector is finite and of unit length, so that a dot product with it is a cosine.
pub(super) fn is_unit(embedding: &Embedding) -> bool {
    // A NaN or an infinity makes the comparison false.
    (dot(&embedding.0, &embedding.0).sqrt() - 1.0).abs() <= UNIT_TOLERANCE
}

/// Rows of templates and who owns them.
pub(super) struct Index {
    vectors: Rows<EMBEDDING_LEN>,
    /// The owner of each row.
    owners: Vec<Owner>,
    subjects: BTreeMap<Arc<str>, Known>,
    /// Templates, those of other models included.
    all_templates: usize,
    /// Rows of subjects that have a group.
    grouped: usize,
}

/// What is known of a subject.
struct Known {
    record: SubjectRecord,
    /// How many templates it has, those of other models included.
    templates: usize,
    /// Its rows, in no order.
    rows: Vec<usize>,
}

struct Owner {
    subject: Arc<str>,
    template: TemplateId,
}

impl Index {
    /// Nobody yet.
    pub fn new(level: Level) -> Self {
        Self {
            vectors: Rows::new(level),
            owners: Vec::new(),
            subjects: BTreeMap::new(),
            all_templates: 0,
            grouped: 0,
        }
    }

    /// Makes a subject known, with or without rows to come, or changes what is known of it.
    /// `templates`: how many it has, those of other models included.
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

    /// A known subject has one template more, of whatever model.
    pub fn count_template(&mut self, subject: &str) {
        if let Some(known) = self.subjects.get_mut(subject) {
            known.templates += 1;
            self.all_templates += 1;
        }
    }

    /// Adds a row for one of a subject's templates; a subject that is not known gets none.
    pub fn insert(&mut self, subject: &str, template: TemplateId, embedding: &Embedding) {
        let Some((key, _)) = self.subjects.get_key_value(subject) else { return };
        let key = key.clone();
        let Some(known) = self.subjects.get_mut(subject) else { return };
        // Most have one template: room for no more, until there is a second.
        if known.rows.is_empty() {
            known.rows.reserve_exact(1);
        }
        known.rows.push(self.owners.len());
        self.grouped += usize::from(known.has_group());
        self.owners.push(Owner { subject: key, template });
        self.vectors.push(&embedding.0);
    }

    /// How many templates are compared.
    pub fn comparable(&self) -> usize {
        self.owners.len()
    }

    /// How many of them are of subjects that have a group.
    pub fn grouped(&self) -> usize {
        self.grouped
    }

    /// How many templates there are, those of other models included.
    pub fn templates(&self) -> usize {
        self.all_templates
    }

    /// How many subjects there are.
    pub fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// Forgets a subject and its templates.
    pub fn remove(&mut self, subject: &str) {
        let Some(known) = self.subjects.remove(subject) else { return };
        self.grouped -= known.grouped();
        let Known { mut rows, templates, .. } = known;
        self.all_templates -= templates;
        // From the highest row down, the row that fills the gap is never one still to be removed.
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

    /// Whether this subject is enrolled.
    pub fn contains(&self, subject: &str) -> bool {
        self.subjects.contains_key(subject)
    }

    /// What is known of a subject.
    pub fn record(&self, subject: &str) -> Option<&SubjectRecord> {
        self.subjects.get(subject).map(|known| &known.record)
    }

    /// How many templates a subject has, those of other models included.
    pub fn templates_of(&self, subject: &str) -> usize {
        self.subjects.get(subject).map_or(0, |known| known.templates)
    }

    /// A subject as it is shown.
    pub fn subject(&self, subject: &str) -> Option<Subject> {
        self.subjects.get(subject).map(|known| known.shown(subject))
    }

    /// At most `limit` subjects (one at least) in the order of their ids, those after `cursor`.
    pub fn page(&self, limit: usize, cursor: Option<&str>) -> Page {
        let after = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = self.subjects.range::<str, _>((after, Bound::Unbounded));
        let subjects: Vec<Subject> =
            range.by_ref().take(limit.max(1)).map(|(id, known)| known.shown(id)).collect();
        let next = range.next().and_then(|_| subjects.last().map(|last| last.id.clone()));
        Page { subjects, next }
    }

    /// The best cosine over a subject's templates; none for an unknown subject, one without
    /// comparable templates, or a probe that is not a unit vector.
    pub fn best_of(&self, subject: &str, probe: &Embedding) -> Option<f32> {
        if !is_unit(probe) {
            return None;
        }
        let rows = &self.subjects.get(subject)?.rows;
        rows.iter().map(|&row| cosine(self.vectors.row(row), probe)).max_by(f32::total_cmp)
    }

    /// A subject's templates.
    pub fn faces(&self, subject: &str) -> Vec<(TemplateId, Embedding)> {
        let rows =
            self.subjects.get(subject).map(|known| known.rows.as_slice()).unwrap_or_default();
        let face = |&row: &usize| (self.owners[row].template, Embedding(*self.vectors.row(row)));
        rows.iter().map(face).collect()
    }

    /// Every subject whose best template has at least this cosine with the probe, in the order of
    /// [`Index::search`]. A probe that is not a unit vector finds nobody.
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

    /// The `limit` most similar subjects, best first, each by its best template. Equal cosines
    /// are ordered by subject id, then by template. A probe that is not a unit vector finds nobody.
    pub fn search(&self, probe: &Embedding, limit: usize) -> Vec<Candidate> {
        if limit == 0 || !is_unit(probe) {
            return Vec::new();
        }
        let mut best = Best { limit, found: Vec::new() };
        self.vectors.search(&probe.0, |row, product| {
            best.offer(Found { cosine: clamped(product), owner: &self.owners[row] });
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

    fn shown(&self, id: &str) -> Subject {
        self.record.clone().subject(id, self.templates)
    }
}

/// The best of a search so far, best first, one entry a subject.
struct Best<'a> {
    limit: usize,
    found: Vec<Found<'a>>,
}

impl<'a> Best<'a> {
    /// The product below which a row changes nothing.
    fn floor(&self) -> f32 {
        match self.found.last() {
            // Whatever is below −1 counts as −1, so there it is equal.
            Some(last) if self.found.len() == self.limit && last.cosine > -1.0 => last.cosine,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Takes a row in if it is better than what there is. A subject that was pushed out re-enters
    /// only by a better row, so what was pushed out is never missed.
    fn offer(&mut self, found: Found<'a>) {
        let full = self.found.len() == self.limit;
        if full && self.found.last().is_some_and(|last| found.order(last) != Ordering::Less) {
            return;
        }
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

/// One row's result during a search.
struct Found<'a> {
    cosine: f32,
    owner: &'a Owner,
}

impl Found<'_> {
    /// Less is better.
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

/// The cosine of two unit vectors.
fn cosine(a: &[f32; EMBEDDING_LEN], b: &Embedding) -> f32 {
    clamped(dot(a, &b.0))
}

/// A cosine without what rounding puts beyond 1.
fn clamped(product: f32) -> f32 {
    product.clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests;

//! The in-memory index: every comparable template as one row of a flat matrix, searched exactly.
//!
//! It holds templates of one model only, and the ids of all subjects, also of those that have no
//! comparable template. It knows no file, no lock and no image; the gallery changes it after each
//! commit. Inserting appends a row, removing moves the last row into the gap: neither touches the
//! rows of others. Row order therefore depends on history; results never do: they are those of
//! comparing the probe with every template in f32, which [`Rows`] spares most of.
//!
//! A template costs 669 bytes: 512 of vector, 128 of its bytes for the scan, 5 of what the scan knows
//! of them, 24 of owner. A subject costs some 150 more with an id of 16 bytes.

use super::subject::{Candidate, TemplateId};
use crate::face::{EMBEDDING_LEN, Embedding};
use crate::nn::{Level, Rows, dot};
use std::cmp::Ordering;
use std::collections::HashMap;
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
    /// The rows of each subject, in no order.
    rows: HashMap<Arc<str>, Vec<usize>>,
}

struct Owner {
    subject: Arc<str>,
    template: TemplateId,
}

impl Index {
    /// Nobody yet.
    pub fn new(level: Level) -> Self {
        Self { vectors: Rows::new(level), owners: Vec::new(), rows: HashMap::new() }
    }

    /// Makes a subject known, with or without templates to come.
    pub fn insert_subject(&mut self, subject: &str) {
        if !self.rows.contains_key(subject) {
            self.rows.insert(subject.into(), Vec::new());
        }
    }

    /// Adds a template, and its subject when it is not yet known.
    pub fn insert(&mut self, subject: &str, template: TemplateId, embedding: &Embedding) {
        let key = match self.rows.get_key_value(subject) {
            Some((key, _)) => key.clone(),
            None => subject.into(),
        };
        let rows = self.rows.entry(key.clone()).or_default();
        // Most have one template: room for no more, until there is a second.
        if rows.is_empty() {
            rows.reserve_exact(1);
        }
        rows.push(self.owners.len());
        self.owners.push(Owner { subject: key, template });
        self.vectors.push(&embedding.0);
    }

    /// How many templates there are.
    pub fn templates(&self) -> usize {
        self.owners.len()
    }

    /// Forgets a subject and its templates.
    pub fn remove(&mut self, subject: &str) {
        let Some(mut rows) = self.rows.remove(subject) else {
            return;
        };
        // From the highest row down, the row that fills the gap is never one still to be removed.
        rows.sort_unstable();
        for row in rows.into_iter().rev() {
            let last = self.owners.len() - 1;
            self.owners.swap_remove(row);
            self.vectors.swap_remove(row);
            if let Some(moved) = self.owners.get(row)
                && let Some(rows) = self.rows.get_mut(&moved.subject)
                && let Some(place) = rows.iter_mut().find(|place| **place == last)
            {
                *place = row;
            }
        }
    }

    /// Whether this subject is enrolled.
    pub fn contains(&self, subject: &str) -> bool {
        self.rows.contains_key(subject)
    }

    /// The best cosine over a subject's templates; none for an unknown subject, one without
    /// comparable templates, or a probe that is not a unit vector.
    pub fn best_of(&self, subject: &str, probe: &Embedding) -> Option<f32> {
        if !is_unit(probe) {
            return None;
        }
        let rows = self.rows.get(subject)?;
        rows.iter().map(|&row| cosine(self.vectors.row(row), probe)).max_by(f32::total_cmp)
    }

    /// A subject's templates.
    pub fn faces(&self, subject: &str) -> Vec<(TemplateId, Embedding)> {
        let rows = self.rows.get(subject).map(Vec::as_slice).unwrap_or_default();
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

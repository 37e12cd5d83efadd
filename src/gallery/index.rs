//! The in-memory index: every comparable template as one row of a flat matrix, searched exactly.
//!
//! It holds templates of one model only, and the ids of all subjects, also of those that have no
//! comparable template. It knows no file, no lock and no image; the gallery changes it after each
//! commit. Inserting appends a row, removing moves the last row into the gap: neither touches the
//! rows of others. Row order therefore depends on history; results never do.

use super::subject::{Candidate, TemplateId};
use crate::face::{EMBEDDING_LEN, Embedding};
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
#[derive(Default)]
pub(super) struct Index {
    /// Row after row, [`EMBEDDING_LEN`] elements each.
    vectors: Vec<f32>,
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
        rows.push(self.owners.len());
        self.owners.push(Owner { subject: key, template });
        self.vectors.extend_from_slice(&embedding.0);
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
            let from = last * EMBEDDING_LEN;
            self.vectors.copy_within(from..from + EMBEDDING_LEN, row * EMBEDDING_LEN);
            self.vectors.truncate(from);
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
        rows.iter().map(|&row| dot(self.row(row), &probe.0)).max_by(f32::total_cmp)
    }

    /// The `limit` most similar subjects, best first, each by its best template. Equal cosines
    /// are ordered by subject id, then by template. A probe that is not a unit vector finds nobody.
    pub fn search(&self, probe: &Embedding, limit: usize) -> Vec<Candidate> {
        // The best so far, one entry a subject. A subject that was pushed out re-enters only by a
        // better row, so what was pushed out is never missed.
        let mut best: Vec<Found> = Vec::new();
        if limit == 0 || !is_unit(probe) {
            return Vec::new();
        }
        for (vector, owner) in self.vectors.chunks_exact(EMBEDDING_LEN).zip(&self.owners) {
            let found = Found { cosine: cosine(vector, &probe.0), owner };
            if best.len() == limit
                && best.last().is_some_and(|last| found.order(last) != Ordering::Less)
            {
                continue;
            }
            match best.iter().position(|other| Arc::ptr_eq(&other.owner.subject, &owner.subject)) {
                Some(at) if found.order(&best[at]) == Ordering::Less => {
                    best.remove(at);
                }
                Some(_) => continue,
                None if best.len() == limit => {
                    best.pop();
                }
                None => {}
            }
            let at = best.partition_point(|other| other.order(&found) == Ordering::Less);
            best.insert(at, found);
        }
        best.iter().map(Found::candidate).collect()
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.vectors[row * EMBEDDING_LEN..(row + 1) * EMBEDDING_LEN]
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

/// The cosine of two unit vectors, without what rounding puts beyond 1.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b).clamp(-1.0, 1.0)
}

/// The dot product. Eight independent sums, so that the compiler may use vector registers: the
/// order of a float sum is part of its result, and one running sum cannot be split.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

const _: () = assert!(EMBEDDING_LEN.is_multiple_of(8));

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(at: usize) -> Embedding {
        let mut vector = [0.0; EMBEDDING_LEN];
        vector[at] = 1.0;
        Embedding(vector)
    }

    fn ids(found: &[Candidate]) -> Vec<(&str, TemplateId)> {
        found.iter().map(|candidate| (candidate.subject_id.as_str(), candidate.template)).collect()
    }

    #[test]
    fn a_subject_appears_once_by_its_best_template() {
        let mut index = Index::default();
        index.insert("a", TemplateId(0), &axis(0));
        index.insert("a", TemplateId(1), &axis(1));
        index.insert("b", TemplateId(2), &axis(2));
        assert_eq!(ids(&index.search(&axis(1), 10)), [("a", TemplateId(1)), ("b", TemplateId(2))]);
    }

    #[test]
    fn equal_cosines_are_ordered_by_id_whatever_the_row_order() {
        for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
            let mut index = Index::default();
            for (row, subject) in order.iter().enumerate() {
                index.insert(subject, TemplateId(row as u64), &axis(0));
            }
            let found = index.search(&axis(0), 2);
            let found: Vec<_> = found.iter().map(|found| &*found.subject_id).collect();
            assert_eq!(found, ["a", "b"]);
        }
    }

    #[test]
    fn removal_keeps_the_rows_of_others() {
        let mut index = Index::default();
        for at in 0..30 {
            index.insert(["a", "b", "c"][at % 3], TemplateId(at as u64), &axis(at));
        }
        index.remove("b");
        index.remove("nobody");
        assert!(!index.contains("b"));
        for at in 0..30 {
            let expected = if at % 3 == 1 { 0.0 } else { 1.0 };
            assert_eq!(index.search(&axis(at), 1)[0].cosine, expected);
            if at % 3 != 1 {
                assert_eq!(index.best_of(["a", "b", "c"][at % 3], &axis(at)), Some(1.0));
            }
        }
        index.remove("a");
        index.remove("c");
        assert!(index.vectors.is_empty() && index.owners.is_empty() && index.rows.is_empty());
    }

    #[test]
    fn a_probe_that_is_no_unit_vector_finds_nobody() {
        let mut index = Index::default();
        index.insert("a", TemplateId(0), &axis(0));
        for bad in [0.0, 2.0, f32::NAN, f32::INFINITY] {
            let probe = Embedding([bad; EMBEDDING_LEN]);
            assert_eq!(index.search(&probe, 10), []);
            assert_eq!(index.best_of("a", &probe), None);
        }
    }

    #[test]
    fn a_subject_without_templates_is_known_and_never_found() {
        let mut index = Index::default();
        index.insert_subject("a");
        assert!(index.contains("a"));
        assert_eq!(index.best_of("a", &axis(0)), None);
        assert_eq!(index.search(&axis(0), 10), []);
        index.insert("a", TemplateId(0), &axis(0));
        index.insert_subject("a");
        assert_eq!(index.best_of("a", &axis(0)), Some(1.0));
    }
}

//! Compares the index with brute force, on every level.

use super::*;
use std::collections::HashSet;

/// SplitMix64: the same values in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn embedding(&mut self) -> Embedding {
        self.near(&Embedding([0.0; EMBEDDING_LEN]), 1.0)
    }

    fn near(&mut self, to: &Embedding, distance: f32) -> Embedding {
        let by = |this: &mut Self| (this.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        Embedding::normalized(to.0.map(|value| value + distance * by(self))).unwrap()
    }
}

/// The index and a plain list of its contents, changed together.
struct IndexPair {
    index: Index,
    all: Vec<(String, TemplateId, Embedding)>,
    next: u64,
}

impl IndexPair {
    fn new(level: Level) -> Self {
        Self { index: Index::new(level), all: Vec::new(), next: 0 }
    }

    fn insert(&mut self, subject: &str, embedding: Embedding) {
        insert(&mut self.index, subject, TemplateId(self.next), &embedding);
        self.all.push((subject.to_owned(), TemplateId(self.next), embedding));
        self.next += 1;
    }

    fn remove(&mut self, subject: &str) {
        self.index.remove(subject);
        self.all.retain(|(other, _, _)| other != subject);
    }

    /// Compares with every template, sorts all results and keeps each subject's first.
    fn brute_force(&self, probe: &Embedding, limit: usize) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = self
            .all
            .iter()
            .map(|(subject, template, embedding)| Candidate {
                subject_id: subject.clone(),
                cosine: dot(&embedding.0, &probe.0).clamp(-1.0, 1.0),
                template: *template,
            })
            .collect();
        all.sort_by(|a, b| {
            let ids = |c: &Candidate| (c.subject_id.clone(), c.template);
            b.cosine.total_cmp(&a.cosine).then_with(|| ids(a).cmp(&ids(b)))
        });
        let mut seen = HashSet::new();
        all.retain(|candidate| seen.insert(candidate.subject_id.clone()));
        all.truncate(limit);
        all
    }

    /// Expects the same subjects, with bit-identical cosines.
    fn expect_equal(&self, what: &str, probe: &Embedding) {
        for limit in [1, 2, 10, 1_000] {
            let found = self.index.search(probe, limit);
            let expected = self.brute_force(probe, limit);
            assert_eq!(found, expected, "{what}, limit {limit}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.cosine.to_bits(), expected.cosine.to_bits(), "{what}");
            }
        }
        let all = self.brute_force(probe, usize::MAX);
        let middle = all.get(all.len() / 2).map_or(-1.0, |candidate| candidate.cosine);
        for least in [-1.0, middle, 0.5, 2.0] {
            let expected: Vec<_> = all.iter().filter(|found| found.cosine >= least).collect();
            let found = self.index.at_least(probe, least);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{what}, at least {least}");
        }
        if let Some((subject, _, _)) = self.all.first() {
            let mut faces = self.index.faces(subject);
            faces.sort_by_key(|(template, _)| *template);
            let own = self.all.iter().filter(|(other, _, _)| other == subject);
            let expected: Vec<_> = own.map(|(_, at, face)| (*at, face.clone())).collect();
            assert!(faces == expected, "{what}");
            let best = self.brute_force(probe, usize::MAX);
            let best = best.iter().find(|candidate| candidate.subject_id == *subject).unwrap();
            assert_eq!(self.index.best_of(subject, probe), Some(best.cosine), "{what}");
        }
    }
}

#[test]
fn random_subjects_with_several_templates_match_brute_force() {
    for level in Level::available() {
        let mut random = Random(1);
        let mut pair = IndexPair::new(level);
        for at in 0..1_500 {
            let subject = format!("s{}", random.below(600));
            let embedding = random.embedding();
            pair.insert(&subject, embedding);
            if at % 5 == 0 {
                pair.remove(&format!("s{}", random.below(600)));
            }
            if at % 50 == 0 {
                let probe = random.embedding();
                pair.expect_equal(&format!("{level} at {at}"), &probe);
                let enrolled = pair.all[random.below(pair.all.len().max(1))].2.clone();
                pair.expect_equal(&format!("{level} at {at}, enrolled"), &enrolled);
            }
        }
    }
}

#[test]
fn near_duplicates_match_brute_force() {
    for level in Level::available() {
        let mut random = Random(2);
        for distance in [1e-1, 1e-2, 1e-4, 1e-6, 1e-8] {
            let mut pair = IndexPair::new(level);
            let centres = [(); 5].map(|()| random.embedding());
            for _ in 0..500 {
                let subject = format!("s{}", random.below(200));
                let centre = &centres[random.below(5)];
                let embedding = random.near(centre, distance);
                pair.insert(&subject, embedding);
            }
            for centre in &centres {
                pair.expect_equal(&format!("{level}, {distance}"), centre);
                let probe = random.near(centre, distance);
                pair.expect_equal(&format!("{level}, near {distance}"), &probe);
            }
        }
    }
}

/// Includes cosines that rounding puts beyond 1 and −1; they count as 1 and −1.
#[test]
fn equal_cosines_match_brute_force() {
    for level in Level::available() {
        let mut random = Random(3);
        let faces = [(); 4].map(|()| random.embedding());
        let longer = |face: &Embedding, by: f32| Embedding(face.0.map(|value| value * by));
        let mut pair = IndexPair::new(level);
        for _ in 0..300 {
            let subject = format!("s{}", random.below(100));
            let sign = [1.0, -1.0][random.below(2)];
            let by = [1.0, 1.0002, 0.9998, 1.0 + f32::EPSILON][random.below(4)];
            let face = longer(&faces[random.below(4)], sign * by);
            pair.insert(&subject, face);
        }
        for face in &faces {
            pair.expect_equal(&format!("{level}"), face);
            pair.expect_equal(&format!("{level}, longer"), &longer(face, 1.0003));
        }
        let mut opposite = IndexPair::new(level);
        for at in (0..40).rev() {
            let by = if at % 3 == 0 { -1.0003 } else { -1.0001 };
            opposite.insert(&format!("s{at:02}"), longer(&faces[0], by));
        }
        opposite.expect_equal(&format!("{level}, all below -1"), &longer(&faces[0], 1.0003));
        for at in 0..40 {
            opposite.insert(&format!("a{at:02}"), axis(at));
        }
        opposite.expect_equal(&format!("{level}, axes"), &axis(7));
        opposite.expect_equal(&format!("{level}, between axes"), &faces[1]);
    }
}

/// Each row is better than all before it: none is skipped, none missed.
#[test]
fn ascending_similarity_matches_brute_force() {
    for level in Level::available() {
        let mut random = Random(4);
        let probe = random.embedding();
        let mut faces: Vec<Embedding> = (0..400).map(|_| random.embedding()).collect();
        faces.sort_by(|a, b| a.cosine(&probe).total_cmp(&b.cosine(&probe)));
        let mut pair = IndexPair::new(level);
        for (at, face) in faces.into_iter().enumerate() {
            pair.insert(&format!("s{at}"), face);
        }
        pair.expect_equal(&format!("{level}"), &probe);
    }
}

fn axis(at: usize) -> Embedding {
    let mut vector = [0.0; EMBEDDING_LEN];
    vector[at] = 1.0;
    Embedding(vector)
}

/// Makes an index at the level used on this processor.
fn empty() -> Index {
    Index::new(Level::available().last().unwrap())
}

fn ids(found: &[Candidate]) -> Vec<(&str, TemplateId)> {
    found.iter().map(|candidate| (candidate.subject_id.as_str(), candidate.template)).collect()
}

fn insert(index: &mut Index, subject: &str, template: TemplateId, embedding: &Embedding) {
    index.put(subject, SubjectRecord::new(0), index.templates_of(subject) + 1);
    index.insert(subject, template, embedding);
}

#[test]
fn a_subject_appears_once_by_its_best_template() {
    let mut index = empty();
    insert(&mut index, "a", TemplateId(0), &axis(0));
    insert(&mut index, "a", TemplateId(1), &axis(1));
    insert(&mut index, "b", TemplateId(2), &axis(2));
    assert_eq!(ids(&index.search(&axis(1), 10)), [("a", TemplateId(1)), ("b", TemplateId(2))]);
}

#[test]
fn equal_cosines_are_ordered_by_id_in_any_row_order() {
    for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
        let mut index = empty();
        for (row, subject) in order.iter().enumerate() {
            insert(&mut index, subject, TemplateId(row as u64), &axis(0));
        }
        let found = index.search(&axis(0), 2);
        let found: Vec<_> = found.iter().map(|found| &*found.subject_id).collect();
        assert_eq!(found, ["a", "b"]);
    }
}

#[test]
fn removal_keeps_the_rows_of_others() {
    let mut index = empty();
    for at in 0..30 {
        insert(&mut index, ["a", "b", "c"][at % 3], TemplateId(at as u64), &axis(at));
    }
    index.remove("b");
    index.remove("unknown");
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
    assert!(index.vectors.is_empty() && index.owners.is_empty() && index.subjects.is_empty());
}

#[test]
fn a_probe_that_is_not_a_unit_vector_finds_no_subject() {
    let mut index = empty();
    insert(&mut index, "a", TemplateId(0), &axis(0));
    for bad in [0.0, 2.0, f32::NAN, f32::INFINITY] {
        let probe = Embedding([bad; EMBEDDING_LEN]);
        assert_eq!(index.search(&probe, 10), []);
        assert_eq!(index.best_of("a", &probe), None);
    }
}

#[test]
fn a_subject_without_templates_is_known_and_never_found() {
    let mut index = empty();
    index.put("a", SubjectRecord::new(0), 0);
    assert!(index.contains("a"));
    assert_eq!(index.best_of("a", &axis(0)), None);
    assert_eq!(index.search(&axis(0), 10), []);
    insert(&mut index, "a", TemplateId(0), &axis(0));
    index.put("a", SubjectRecord::new(0), 1);
    assert_eq!(index.best_of("a", &axis(0)), Some(1.0));
    index.insert("stranger", TemplateId(1), &axis(1));
    assert_eq!((index.comparable(), index.templates(), index.subjects()), (1, 1, 1));
}

#[test]
fn templates_of_subjects_with_a_group_are_counted() {
    let mut index = empty();
    let grouped = |groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        SubjectRecord { groups, ..SubjectRecord::new(0) }
    };
    let mut random = Random(3);
    for step in 0..2000 {
        let id = format!("p{}", random.below(20));
        match random.below(4) {
            0 => index.remove(&id),
            1 => index.put(&id, grouped(&["staff"][..random.below(2)]), index.templates_of(&id)),
            _ => {
                index.put(&id, grouped(&["staff"][..random.below(2)]), index.templates_of(&id) + 1);
                let embedding = random.embedding();
                index.insert(&id, TemplateId(step), &embedding);
            }
        }
        let counted = index.subjects.values().filter(|known| !known.record.groups.is_empty());
        assert_eq!(index.grouped(), counted.map(|known| known.rows.len()).sum::<usize>());
    }
    assert!(index.grouped() > 0);
}

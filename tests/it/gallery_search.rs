//! Tests search with embeddings of real photographs, which are more similar than random ones: the
//! result must equal a comparison with every template, on every CPU level.

use crate::support::gallery_people::{enrolment, open};
use crate::support::terminal;
use doorward::face::{Analyzer, Embedding};
use doorward::gallery::{EnrolMode, Enrolment};
use doorward::nn::{Level, Rows, dot};
use doorward_evaluate::{Embeddings, FaceChoice};
use std::collections::HashSet;

const PHOTOGRAPHS: usize = 400;
const LIMITS: [usize; 3] = [1, 10, 1_000];

/// A subject's cosine with a probe.
type Scores = Vec<(String, f32)>;

/// Sorts all templates by cosine and keeps the best of each subject.
fn brute_force(enrolled: &[(&str, &Embedding)], probe: &Embedding) -> Scores {
    let cosine = |face: &Embedding| dot(face.values(), probe.values()).clamp(-1.0, 1.0);
    let mut all: Scores =
        enrolled.iter().map(|(id, face)| ((*id).to_owned(), cosine(face))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut seen = HashSet::new();
    all.retain(|(id, _)| seen.insert(id.clone()));
    all
}

/// Returns the rows whose product reaches that of the best `limit` templates so far.
fn visited(rows: &Rows<128>, probe: &Embedding, limit: usize) -> Vec<(usize, f32)> {
    let mut best: Vec<(usize, f32)> = Vec::new();
    rows.search(probe.values(), |row, product| {
        best.push((row, product));
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        best.truncate(limit);
        if best.len() == limit { best[limit - 1].1 } else { f32::NEG_INFINITY }
    });
    best
}

#[test]
fn search_of_real_faces_equals_brute_force() {
    let Some(data) = terminal::data("search_of_real_faces_equals_brute_force") else { return };
    let root = data.join("lfw");
    let labels = std::fs::read_to_string(root.join("labels.csv")).unwrap();
    let paths: Vec<&str> =
        labels.lines().skip(1).filter_map(|row| row.split(',').next()).take(PHOTOGRAPHS).collect();
    let analyzer = Analyzer::load().unwrap();
    let embeddings =
        Embeddings::compute(&analyzer, &root, paths.iter().copied(), FaceChoice::Largest).unwrap();
    // Three of four photographs are enrolled, under the name of their folder.
    let (mut enrolled, mut probes) = (Vec::new(), Vec::new());
    for (at, path) in paths.iter().enumerate() {
        let Some(face) = embeddings.get(path) else { continue };
        probes.push(&face.probe);
        if at % 4 != 0 {
            enrolled.push((path.split('/').nth(1).unwrap(), &face.template));
        }
    }
    assert!(probes.len() > PHOTOGRAPHS * 9 / 10, "{} faces", probes.len());

    let folder = tempfile::tempdir().unwrap();
    let gallery = open(&folder.path().join("gallery.redb")).unwrap();
    for (id, face) in &enrolled {
        let enrolment = enrolment(id, (*face).clone());
        gallery.enroll(Enrolment { mode: EnrolMode::Add, ..enrolment }).unwrap();
    }
    let mut rows: Vec<Rows<128>> = Level::available().map(Rows::new).collect();
    for rows in &mut rows {
        enrolled.iter().for_each(|(_, face)| rows.push(face.values()));
    }

    for probe in probes {
        let expected = brute_force(&enrolled, probe);
        for limit in LIMITS {
            let found = gallery.search(probe, limit).into_iter();
            let found: Scores = found.map(|one| (one.subject_id, one.cosine)).collect();
            assert_eq!(found, expected[..limit.min(expected.len())]);
        }
        let mut all: Vec<(usize, f32)> = enrolled
            .iter()
            .map(|(_, face)| dot(face.values(), probe.values()))
            .enumerate()
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for rows in &rows {
            for limit in LIMITS {
                assert_eq!(visited(rows, probe, limit), all[..limit.min(all.len())]);
            }
        }
    }
}

//! Tests that the built-in liveness weights accept live faces and reject prints and screens.
//!
//! The error rates are in `models/liveness.toml`, from models that had not seen the tested face.
//! The shipped model was trained on these faces. This test detects faults between picture and
//! answer: a channel order, a crop, a model fitted to other features.

use crate::support::terminal;
use doorward::face::{Analyzer, Liveness};
use doorward::picture::{self, Limits};
use serde::Deserialize;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
struct Labelled {
    path: String,
    live: u8,
    attack_type: String,
}

fn judge(analyzer: &Analyzer, path: &Path) -> Option<Liveness> {
    let picture = picture::decode(&fs::read(path).unwrap(), &Limits::default()).unwrap();
    let faces = analyzer.detect(&picture).unwrap();
    let upright = faces.turned.as_ref().unwrap_or(&picture);
    Some(analyzer.portrait(upright, faces.faces.first()?).unwrap().liveness().unwrap())
}

#[test]
fn portraits_are_live() {
    let analyzer = Analyzer::load().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits");
    for name in ["biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"] {
        let liveness = judge(&analyzer, &folder.join(name)).unwrap();
        assert!(liveness.probability(0.0) > 90.0 && liveness.raw > 0.9, "{name}: {liveness:?}");
    }
}

#[test]
fn prints_and_screens_are_rejected_and_live_faces_accepted() {
    let name = "prints_and_screens_are_rejected_and_live_faces_accepted";
    let Some(data) = terminal::data(name) else { return };
    let analyzer = Analyzer::load().unwrap();
    for (set, step) in [("liveness_nuaa", 8), ("liveness_replay", 2)] {
        let mut labels = csv::Reader::from_path(data.join(set).join("labels.csv")).unwrap();
        let rows: Vec<Labelled> = labels.deserialize().map(|row| row.unwrap()).collect();
        // Counts: live, refused, attacks, passed. A picture without a detected face is refused.
        let (mut live, mut refused, mut attacks, mut passed) = (0, 0, 0, 0);
        for row in rows.iter().step_by(step).filter(|row| known(&row.attack_type)) {
            let liveness = judge(&analyzer, &data.join(set).join(&row.path));
            let passes = liveness.is_some_and(|liveness| liveness.probability(0.0) >= 50.0);
            if row.live == 1 {
                live += 1;
                refused += usize::from(!passes);
            } else {
                attacks += 1;
                passed += usize::from(passes);
            }
        }
        println!("{set}: {refused} of {live} live refused, {passed} of {attacks} attacks passed");
        assert!(live >= 25 && attacks >= 20, "{set}");
        // Three times the measured rate allows for the chance in a small sample.
        assert!(refused * 20 <= live && passed <= 1, "{set}: {refused} of {live}, {passed}");
    }
}

/// Known gaps: paper masks and replays of masked faces pass, see `docs/liveness.md`.
fn known(species: &str) -> bool {
    !species.contains("paper") && species != "replay (mask worn)"
}

//! Tests `doorward gallery reindex` after a change of the model. Templates of the old model are
//! never compared, so enrolled subjects are unknown until reindexing has embedded the stored crops
//! again. It must restore every subject with a crop, name every subject without one, change nothing
//! else, and lose no subject when killed. Uses the real binary and templates of an invented model.

use crate::support::gallery_people::{Random, enrolment};
use crate::support::terminal::{Terminal, data, portrait};
use doorward::face::similarity::similarity;
use doorward::face::{Analyzer, Embedding};
use doorward::gallery::{Enrolment, Gallery, Pose, Settings, SubjectChange};
use doorward::picture::{self, Limits};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

const OLD: &str = "a-model-of-old";
const NEW: &str = doorward::face::SHIPPED.model_id;

fn open(terminal: &Terminal, model_id: &str) -> Gallery {
    let settings = Settings { model_id: model_id.into(), store_images: true };
    Gallery::open(&terminal.data_dir().join("gallery.redb"), settings).unwrap()
}

/// Prepares a terminal with the gallery of an old version; `fill` enrolls.
fn left_by_an_old_version(fill: impl FnOnce(&Gallery)) -> Terminal {
    // A subject with an end date is active only by a believed clock.
    let terminal = Terminal::prepare("[schedules]\ntrust_clock = true\n");
    fs::create_dir(terminal.data_dir()).unwrap();
    fill(&open(&terminal, OLD));
    terminal
}

/// Embeds the largest face of a photograph.
fn embedding(analyzer: &Analyzer, file: &Path) -> Embedding {
    let picture = picture::decode(&fs::read(file).unwrap(), &Limits::default()).unwrap();
    let found = analyzer.detect(&picture).unwrap();
    let upright = found.turned.as_ref().unwrap_or(&picture);
    analyzer.portrait(upright, &found.faces[0]).unwrap().template().unwrap()
}

/// Returns what enrolling each of these photographs stores: the crop and the template.
fn kept(photographs: &[&Path]) -> Vec<(Vec<u8>, Embedding)> {
    let terminal = Terminal::prepare("");
    let folder = terminal.file("people");
    fs::create_dir(&folder).unwrap();
    for (at, file) in photographs.iter().enumerate() {
        std::os::unix::fs::symlink(file, folder.join(format!("c{at:03}.jpg"))).unwrap();
    }
    terminal.json(&["gallery", "import", folder.to_str().unwrap()]);
    let analyzer = Analyzer::load().unwrap();
    let gallery = open(&terminal, NEW);
    let kept = photographs.iter().map(|file| {
        let probe = embedding(&analyzer, file);
        let best = gallery.search(&probe, 1).remove(0);
        assert!(best.cosine > 0.9999, "{} {}", best.cosine, file.display());
        (gallery.image(best.template).unwrap().unwrap(), probe)
    });
    kept.collect()
}

/// Returns the crop that enrolling each of these photographs stores.
fn crops(photographs: &[&Path]) -> Vec<Vec<u8>> {
    kept(photographs).into_iter().map(|(crop, _)| crop).collect()
}

/// A subject enrolled with the old model, whose vectors the new model cannot compare.
fn person(id: &str, random: &mut Random, image: Option<Vec<u8>>) -> Enrolment {
    Enrolment { image, ..enrolment(id, random.embedding()) }
}

fn report(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// obama has a group, biden has a template without crop besides one with, two have no usable crop.
fn household() -> Terminal {
    let crops = crops(&[&portrait("obama"), &portrait("biden")]);
    left_by_an_old_version(|gallery| {
        let mut random = Random(3);
        gallery.enroll(person("obama", &mut random, Some(crops[0].clone()))).unwrap();
        let change = SubjectChange {
            name: Some(Some("Barack".into())),
            groups: Some(vec!["staff".into()]),
            card: Some(Some("0042".into())),
            valid_until: Some(Some(2e9)),
            time: 1_700_000_000.0,
            ..SubjectChange::default()
        };
        gallery.update("obama", change).unwrap();
        let bare = Pose { embedding: random.embedding(), image: None };
        let biden = person("biden", &mut random, Some(crops[1].clone()));
        gallery.enroll_poses(biden, vec![bare]).unwrap();
        gallery.enroll(person("carl", &mut random, None)).unwrap();
        let mut wall = Vec::new();
        let shade = image::GrayImage::from_pixel(200, 240, image::Luma([128]));
        image::codecs::jpeg::JpegEncoder::new(&mut wall).encode_image(&shade).unwrap();
        gallery.enroll(person("dora", &mut random, Some(wall))).unwrap();
        gallery.enroll(person("emil", &mut random, Some(b"no picture".to_vec()))).unwrap();
    })
}

fn check_household(report: &Value, dry_run: bool, reembedded: u64) {
    assert_eq!((&report["dry_run"], &report["reembedded"]), (&json!(dry_run), &json!(reembedded)));
    assert_eq!(report["without_crop"], json!(["biden", "carl"]));
    let failed = report["failed"].as_array().unwrap();
    let ids: Vec<_> = failed.iter().map(|failed| &failed["subject_id"]).collect();
    assert_eq!(ids, ["dora", "emil"]);
    assert!(failed[0]["reason"].as_str().unwrap().contains("no face was found"), "{report}");
    assert_eq!(report["not_recognised"], json!(["carl", "dora", "emil"]));
}

#[test]
fn subjects_with_crop_are_found_again_and_the_others_are_named() {
    let terminal = household();
    let before = {
        let gallery = open(&terminal, NEW);
        assert_eq!(gallery.comparable_templates(), 0);
        gallery.subjects(100, None).unwrap()
    };
    let (obama2, biden) = (portrait("obama2"), portrait("biden"));
    let verify = |photo: &Path, id| {
        let arguments = ["verify", photo.to_str().unwrap(), "--subject-id", id];
        terminal.cli(&arguments).status.code()
    };
    assert_eq!(verify(&obama2, "obama"), Some(3));

    let dry = terminal.cli(&["gallery", "reindex", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(1));
    check_household(&report(&dry), true, 2);
    assert_eq!(open(&terminal, NEW).comparable_templates(), 0);

    let done = terminal.cli(&["gallery", "reindex"]);
    assert_eq!(done.status.code(), Some(1));
    check_household(&report(&done), false, 2);
    assert_eq!(verify(&obama2, "obama"), Some(0));
    assert_eq!(verify(&biden, "biden"), Some(0));
    assert_eq!(verify(&biden, "obama"), Some(1));
    assert_eq!(verify(&obama2, "carl"), Some(3));
    let found = terminal.json(&["search", obama2.to_str().unwrap(), "--return-image"]);
    assert_eq!(found["matches"][0]["subject_id"], "obama");
    assert!(found["matches"][0]["image"].is_string());
    let lines = terminal.cli(&["audit", "list"]).stdout;
    let line = String::from_utf8(lines).unwrap();
    let line = line.lines().find(|line| line.contains("gallery/reindex")).unwrap();
    assert!(line.contains(NEW) && line.contains("\"templates\":2"), "{line}");

    // Groups, validity and times stay. A second run changes nothing, also after a restart.
    let again = terminal.cli(&["gallery", "reindex"]);
    check_household(&report(&again), false, 0);
    let gallery = open(&terminal, NEW);
    assert_eq!(gallery.subjects(100, None).unwrap(), before);
    let stats = gallery.stats().unwrap();
    assert_eq!((stats.templates, stats.templates_of_other_models), (6, 4));
    // The command has removed the bytes of the old vectors.
    assert_eq!(stats.remnants, 0);
}

#[test]
fn running_daemon_warns_and_does_the_reindexing() {
    let mut terminal = household();
    terminal.run();
    let log = terminal.log();
    let warning = log.lines().find(|line| line.contains("WARN") && line.contains("reindex"));
    let warning = warning.unwrap_or_else(|| panic!("no warning: {log}"));
    assert!(warning.contains("templates=6") && warning.contains(OLD), "{warning}");
    let obama2 = portrait("obama2");
    let search = |terminal: &Terminal| terminal.call_with("search", &json!({}), &obama2);
    assert_eq!(search(&terminal)["matches"], json!([]));
    check_household(&report(&terminal.cli(&["gallery", "reindex"])), false, 2);
    assert_eq!(search(&terminal)["matches"][0]["subject_id"], "obama");
    // The operation does not exist over the broker.
    let asked = terminal.call("gallery/reindex", &json!({}));
    assert_eq!(asked["error_code"], "INVALID_PAYLOAD");
    assert!(terminal.stop());

    // Another process has the gallery, and the command line cannot reach it.
    let held = open(&terminal, NEW);
    let refused = terminal.cli(&["gallery", "reindex"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another doorward process"));
    drop(held);
}

#[test]
fn killed_reindex_loses_no_subject_and_leaves_none_incomplete() {
    const MANY: usize = 40;
    let crops = crops(&[&portrait("obama"), &portrait("obama2")]);
    let terminal = left_by_an_old_version(|gallery| {
        let mut random = Random(7);
        for at in 0..MANY {
            let second = Pose { embedding: random.embedding(), image: Some(crops[1].clone()) };
            let first = person(&format!("p{at:02}"), &mut random, Some(crops[0].clone()));
            gallery.enroll_poses(first, vec![second]).unwrap();
        }
    });
    let mut delay = Duration::from_millis(50);
    let mut partly = 0;
    loop {
        let mut child = terminal
            .command()
            .args(["gallery", "reindex"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();

        let gallery = open(&terminal, NEW);
        let outdated = gallery.outdated(MANY, None).unwrap().subjects;
        for subject in &outdated {
            assert_eq!((subject.templates.len(), subject.comparable), (2, 0));
            let first = &crops[0];
            assert!(subject.templates.iter().any(|(_, image)| image.as_ref() == Some(first)));
        }
        let stats = gallery.stats().unwrap();
        assert_eq!((stats.subjects, stats.templates), (MANY as u64, 2 * MANY as u64));
        assert_eq!(gallery.comparable_templates(), 2 * (MANY - outdated.len()));
        if outdated.is_empty() {
            break;
        }
        partly += usize::from(outdated.len() < MANY);
        if partly == 0 || partly > 5 {
            delay = delay.mul_f32(1.4);
        }
    }
    assert!(partly > 0, "it was never killed during the work");
    let obama3 = portrait("obama3");
    let found =
        terminal.json(&["search", obama3.to_str().unwrap(), "--threshold", "0", "--limit", "10"]);
    assert_eq!(found["matches"].as_array().unwrap().len(), 10);
}

/// People with two photographs each: one is enrolled, the other is the probe.
const PEOPLE: usize = 150;

#[test]
fn crop_is_nearly_as_good_as_its_photograph() {
    let Some(data) = data("crop_is_nearly_as_good_as_its_photograph") else { return };
    let root = data.join("lfw");
    let labels = fs::read_to_string(root.join("labels.csv")).unwrap();
    let mut people: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    for (path, identity) in labels.lines().skip(1).filter_map(|row| row.split_once(',')) {
        people.entry(identity).or_default().push(root.join(path));
    }
    let several: Vec<_> = people.values().filter(|photographs| photographs.len() > 1).collect();
    let step = several.len() / PEOPLE;
    let (enrolled, probes): (Vec<&Path>, Vec<&Path>) = several
        .iter()
        .step_by(step)
        .take(PEOPLE)
        .map(|photographs| (photographs[0].as_path(), photographs[1].as_path()))
        .unzip();
    let (crops, templates): (Vec<_>, Vec<_>) = kept(&enrolled).into_iter().unzip();
    let terminal = left_by_an_old_version(|gallery| {
        let mut random = Random(11);
        for (at, crop) in crops.into_iter().enumerate() {
            gallery.enroll(person(&format!("p{at:03}"), &mut random, Some(crop))).unwrap();
        }
    });
    let report = report(&terminal.cli(&["gallery", "reindex"]));
    let (gallery, analyzer) = (open(&terminal, NEW), Analyzer::load().unwrap());
    let mut same = Vec::new();
    // Cosines of the probe with the enrolled template and with the template of the crop.
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (at, (template, file)) in templates.iter().zip(&probes).enumerate() {
        let id = format!("p{at:03}");
        let Some(cosine) = gallery.verify(&id, template) else { continue };
        same.push(cosine);
        let probe = embedding(&analyzer, file);
        first.push(template.cosine(&probe));
        second.push(gallery.verify(&id, &probe).unwrap());
    }
    for cosines in [&mut same, &mut first, &mut second] {
        cosines.sort_by(f32::total_cmp);
        let [lowest, twentieth, median] = [0, cosines.len() / 20, cosines.len() / 2];
        let [lowest, twentieth, median] = [lowest, twentieth, median].map(|at| cosines[at]);
        let moderate = cosines.iter().filter(|cosine| similarity(**cosine) >= 82.0).count();
        eprintln!(
            "{} of {PEOPLE}: worst {lowest:.3}, 5 % below {twentieth:.3}, median {median:.3}, \
             {moderate} at 82 or above",
            cosines.len()
        );
    }
    assert_eq!(report["reembedded"], same.len());
    assert!(same.len() * 100 >= PEOPLE * 98, "{report}");
    assert!(same[same.len() / 2] > 0.95 && same[same.len() / 20] > 0.9);
    let moderate = |cosines: &[f32]| cosines.iter().filter(|c| similarity(**c) >= 82.0).count();
    assert!(moderate(&second) + 3 >= moderate(&first));
}

//! Tests attempts at the door by real faces: pictures shown one after another in one place count as
//! separate attempts, a resident does not inherit a stranger's cooldown, and a resident who steps
//! out and in does not keep the door unlocked. Needs the development photographs.

use crate::support::gallery_people::Random;
use crate::support::terminal;
use doorward::access::{Groups, Judge, LivenessPolicy, Now, Outcome, Settings};
use doorward::face::{Analyzer, Embedding};
use doorward::gallery::{self, EnrolMode, Enrolment, Gallery, Pose, SubjectChange};
use doorward::picture::{self, Limits, Picture};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Size of a frame.
const FRAME: (usize, usize) = (640, 480);

/// A door with one resident.
struct Scene {
    judge: Judge,
    now: u64,
    _folder: tempfile::TempDir,
}

/// Two photographs of the resident, and one of each stranger.
struct People {
    resident: Vec<Picture>,
    strangers: Vec<Picture>,
}

fn people(data: &Path, strangers: usize) -> People {
    let labels = fs::read_to_string(data.join("lfw/labels.csv")).unwrap();
    let mut photographs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in labels.lines().skip(1) {
        let (path, identity) = line.split_once(',').unwrap();
        photographs.entry(identity).or_default().push(path);
    }
    let read = |path: &&str| {
        let bytes = fs::read(data.join("lfw").join(path)).unwrap();
        picture::decode(&bytes, &Limits::default()).unwrap()
    };
    let many = photographs.values().max_by_key(|paths| paths.len()).unwrap();
    let single = photographs.values().filter(|paths| paths.len() == 1);
    People {
        resident: many.iter().take(2).map(read).collect(),
        strangers: single.step_by(7).take(strangers).map(|paths| read(&paths[0])).collect(),
    }
}

/// Returns a frame with the photograph `x` pixels from the left.
fn frame(photograph: &Picture, x: usize) -> Picture {
    let (width, height) = (photograph.width() as usize, photograph.height() as usize);
    let mut rgb = vec![90; FRAME.0 * FRAME.1 * 3];
    for row in 0..height.min(FRAME.1) {
        let from = &photograph.rgb()[row * width * 3..(row + 1) * width * 3];
        let at = (row * FRAME.0 + x) * 3;
        rgb[at..at + from.len()].copy_from_slice(from);
    }
    Picture::new(FRAME.0 as u32, FRAME.1 as u32, rgb).unwrap()
}

impl Scene {
    fn with(resident: &Picture) -> Self {
        let analyzer = Arc::new(Analyzer::load().unwrap());
        let embedding = template(&analyzer, resident);
        Self::of(analyzer, &[("resident", &[embedding], true)])
    }

    /// Creates a scene with these subjects: id, templates, and whether the subject has a group.
    fn of(analyzer: Arc<Analyzer>, subjects: &[(&str, &[Embedding], bool)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let used_by =
            gallery::Settings { model_id: analyzer.model_id().into(), store_images: false };
        let gallery = Gallery::open(&folder.path().join("gallery"), used_by).unwrap();
        for (id, templates, is_grouped) in subjects {
            let mut poses =
                templates.iter().map(|template| Pose { embedding: template.clone(), image: None });
            let Some(first) = poses.next() else { continue };
            let enrolment = Enrolment {
                subject_id: (*id).to_owned(),
                mode: EnrolMode::Replace,
                embedding: first.embedding,
                image: None,
                by_admin: false,
                max_templates: templates.len(),
                time: 1.0,
            };
            gallery.enroll_poses(enrolment, poses.collect()).unwrap();
            if *is_grouped {
                let groups = Some(vec!["family".to_owned()]);
                gallery.update(id, SubjectChange { groups, ..Default::default() }).unwrap();
            }
        }
        let settings = Settings {
            groups: Groups::parse(&["family: always".to_owned()]).unwrap(),
            liveness: LivenessPolicy::Off,
            ..Settings::default()
        };
        let judge =
            Judge::new(analyzer, Arc::new(gallery), settings, Arc::default(), || Box::new(()));
        Self { judge, now: 0, _folder: folder }
    }

    /// Shows a frame for `ms`, ten times a second; returns the decisions with their times.
    fn show(&mut self, frame: &Picture, ms: u64) -> Vec<(u64, Outcome)> {
        let mut decided = Vec::new();
        for _ in 0..ms / 100 {
            let monotonic = Duration::from_millis(self.now);
            let now = Now { monotonic, unix: 0.0, synchronised: false };
            if let Some(decision) = self.judge.judge(frame, now, None).unwrap() {
                decided.push((self.now, decision.outcome));
            }
            self.now += 100;
        }
        decided
    }
}

fn template(analyzer: &Analyzer, picture: &Picture) -> Embedding {
    let found = analyzer.detect(picture).unwrap();
    let face = found.faces.first().unwrap();
    analyzer.portrait(picture, face).unwrap().template().unwrap()
}

/// Returns a unit vector at this cosine to `from`, in the direction of `towards`.
fn at_cosine(cosine: f32, from: &Embedding, towards: &Embedding) -> Embedding {
    let along = from.cosine(towards);
    let side: Vec<f32> = towards.0.iter().zip(from.0).map(|(to, x)| to - along * x).collect();
    let norm = side.iter().map(|x| x * x).sum::<f32>().sqrt();
    let sine = (1.0 - cosine * cosine).sqrt();
    Embedding(std::array::from_fn(|at| cosine * from.0[at] + sine * side[at] / norm))
}

#[test]
fn many_subjects_without_a_group_keep_no_resident_out() {
    let Some(data) = terminal::data("a crowd without a group") else { return };
    let people = people(&data, 1);
    let analyzer = Arc::new(Analyzer::load().unwrap());
    let photograph = &people.resident[0];
    let (seen, other) =
        (template(&analyzer, photograph), template(&analyzer, &people.strangers[0]));
    let crowd: Vec<Embedding> = {
        let mut random = Random(7);
        (0..1000).map(|_| random.embedding()).collect()
    };
    // Counts the residents of decreasing similarity that are granted, among `others` subjects.
    let granted = |others: usize, is_grouped: bool| {
        let crowd = ("crowd", &crowd[..others], is_grouped);
        let is_granted = |step: &u8| {
            let cosine = 0.7 - f32::from(*step) * 0.05;
            let resident = [at_cosine(cosine, &seen, &other)];
            let mut scene = Scene::of(analyzer.clone(), &[crowd, ("resident", &resident, true)]);
            let decided = scene.show(&frame(photograph, 100), 1500);
            decided.iter().any(|(_, outcome)| *outcome == Outcome::Granted)
        };
        (0..8).filter(is_granted).count()
    };
    let alone = granted(0, false);
    assert_eq!(granted(1000, false), alone);
    let among_residents = granted(1000, true);
    assert!(0 < among_residents && among_residents < alone, "{among_residents} {alone}");
}

#[test]
fn successive_pictures_cause_a_lock_out_at_any_position() {
    let Some(data) = terminal::data("pictures one after another") else { return };
    let people = people(&data, 12);
    for apart in [0, 40] {
        let mut scene = Scene::with(&people.resident[0]);
        let mut decided = Vec::new();
        for (index, stranger) in people.strangers.iter().enumerate() {
            decided.extend(scene.show(&frame(stranger, 100 + index % 4 * apart), 3000));
        }
        let count = |wanted| decided.iter().filter(|(_, outcome)| *outcome == wanted).count();
        assert_eq!(count(Outcome::Granted), 0, "{apart}: {decided:?}");
        // Twelve people in 36 s: five, then one after 5 s, 10 s, …
        assert!((5..=8).contains(&count(Outcome::Unknown)), "{apart}: {decided:?}");
        assert!(count(Outcome::LockedOut) >= 2, "{apart}: {decided:?}");
    }
}

#[test]
fn resident_does_not_inherit_a_strangers_cooldown() {
    let Some(data) = terminal::data("a resident after a stranger") else { return };
    let people = people(&data, 1);
    let mut scene = Scene::with(&people.resident[0]);
    let refused = scene.show(&frame(&people.strangers[0], 100), 20_000);
    // The stranger stays: judged at growing intervals, without a lock-out.
    assert!((3..=4).contains(&refused.len()), "{refused:?}");
    assert!(refused.iter().all(|(_, outcome)| *outcome == Outcome::Unknown), "{refused:?}");
    let came = scene.now;
    let decided = scene.show(&frame(&people.resident[1], 100), 2000);
    let (at, outcome) = decided[0];
    assert_eq!(outcome, Outcome::Granted);
    assert!(at - came <= 1200, "after {} ms", at - came);
}

#[test]
fn repeated_grants_to_one_resident_get_growing_intervals() {
    let Some(data) = terminal::data("a resident who lingers") else { return };
    let people = people(&data, 0);
    let mut scene = Scene::with(&people.resident[0]);
    let (inside, outside) = (frame(&people.resident[1], 100), frame(&people.resident[1], 0));
    // The same room without a person.
    let outside = outside.cropped(300, 250, 640, 480).unwrap();
    let mut grants = Vec::new();
    for _ in 0..40 {
        let decided = scene.show(&inside, 2000);
        assert!(decided.iter().all(|(_, outcome)| *outcome == Outcome::Granted), "{decided:?}");
        grants.extend(decided.into_iter().map(|(at, _)| at));
        assert!(scene.show(&outside, 1100).is_empty());
    }
    let gaps: Vec<_> = grants.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let least = [5000, 10_000, 20_000, 40_000];
    assert!(gaps.iter().zip(least).all(|(gap, least)| *gap >= least), "{gaps:?}");
    assert!((4..=6).contains(&grants.len()), "{grants:?}");
}

//! Approaches: a person walks up to the door, and the judge decides who it is.
//!
//! Each approach is made of one photograph that the gallery does not contain, cropped to its
//! person: frames of 640×480 in which the face comes nearer (from [`FAR`] to its full size in the
//! photograph; more would only blur it), sways and tilts, with the noise and the changing light of
//! a camera. Liveness is off, so that only recognition is measured. The same photographs give the
//! same frames.
//!
//! *False grant*: a stranger is granted as any subject, or a resident as another subject. *False
//! denial*: a resident's approach ends without a grant.

use super::EvaluateError;
use crate::access::{Decision, Groups, Judge, LivenessPolicy, Now, Outcome, Settings};
use crate::face::{Analyzer, Border, EMBEDDING_LEN, Embedding, FaceError, Picture};
use crate::gallery::{EnrolMode, Enrolment, Gallery, GalleryError, SubjectChange};
use doorward_evaluate::manifest::{Identified, rows};
use doorward_evaluate::photographs::{self, read};
use doorward_evaluate::{FaceChoice, rounded};
use indicatif::{ProgressBar, ProgressIterator};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Size of a frame.
const FRAME: (u32, u32) = (640, 480);
/// Number of frames of walking: 2 s.
const WALK: u32 = 20;
/// Number of frames of an approach: walking, then 2 s of standing in front of the door.
const FRAMES: u32 = 40;
/// Time between two frames.
const INTERVAL: Duration = Duration::from_millis(100);
/// Size of the photograph in the first frame, relative to its full size in the last.
const FAR: f32 = 0.6;
/// Margin of the photograph around the face, in sizes of its box.
const AROUND: f32 = 0.7;
/// Standard deviation of a frame's noise, in levels.
const NOISE: f32 = 148.0 / 62.0;
/// Maximum number of templates of one resident, as in `enroll_mode`.
const MOST_TEMPLATES: usize = 5;
/// The group of all enrolled subjects.
const GROUP: &str = "residents";

/// Numbers of enrolled subjects and approaches.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// Subjects enrolled. Those with several photographs come first: all their photographs except
    /// the last are enrolled.
    pub enrolled: usize,
    /// Additional subjects, each with one random direction as template: they look like no one and
    /// only add search time.
    pub besides: usize,
    /// Approaches of enrolled people.
    pub residents: usize,
    /// Approaches of people who are not enrolled.
    pub strangers: usize,
    /// Accepted probability that a stranger is taken for an enrolled subject.
    pub target_fpir: f64,
}

/// A person who approaches.
struct Walker<'a> {
    path: &'a str,
    /// `None`: a stranger.
    identity: Option<&'a str>,
}

/// Result of an approach.
struct Ended {
    decision: Option<Decision>,
    /// Processing time from the first frame that was passed to the networks until the decision.
    processing: Duration,
}

/// Measures approaches; `labels` has columns `path, identity`. The gallery is a temporary file.
pub fn approaches(
    analyzer: &Arc<Analyzer>,
    root: &Path,
    labels: &Path,
    crowd: Population,
) -> Result<Value, EvaluateError> {
    let labels: Vec<Identified> = rows(labels)?;
    let mut people: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &labels {
        people.entry(&row.identity).or_default().push(&row.path);
    }
    let (several, single): (Vec<_>, Vec<_>) =
        people.into_iter().partition(|(_, paths)| paths.len() > 1);
    let others = crowd.enrolled.saturating_sub(several.len());

    let mut enrolled: Vec<(&str, &str)> = Vec::new();
    let mut walkers: Vec<Walker<'_>> = Vec::new();
    for (identity, paths) in several.iter().take(crowd.enrolled) {
        if let Some((last, kept)) = paths.split_last() {
            enrolled.extend(kept.iter().take(MOST_TEMPLATES).map(|path| (*identity, *path)));
            walkers.push(Walker { path: last, identity: Some(identity) });
        }
    }
    // Spread over the alphabet, because there is no better order.
    let step = (walkers.len() / crowd.residents.max(1)).max(1);
    let mut walkers: Vec<_> = walkers.into_iter().step_by(step).take(crowd.residents).collect();
    let (extra, strangers) = single.split_at(others.min(single.len()));
    enrolled
        .extend(extra.iter().filter_map(|(identity, paths)| Some((*identity, *paths.first()?))));
    for (_, paths) in strangers.iter().take(crowd.strangers) {
        walkers.extend(paths.first().map(|path| Walker { path, identity: None }));
    }

    let folder = tempfile::tempdir().map_err(|error| EvaluateError::Approach(error.to_string()))?;
    let gallery = Arc::new(filled(analyzer, root, &enrolled, crowd.besides, folder.path())?);
    let settings = settings(crowd.target_fpir)?;
    let progress = ProgressBar::new(walkers.len() as u64);
    let ended = walkers
        .iter()
        .progress_with(progress)
        .map(|walker| {
            let photograph = alone(analyzer, read(&root.join(walker.path))?)?;
            let judge = Judge::new(
                analyzer.clone(),
                gallery.clone(),
                settings.clone(),
                Arc::default(),
                || Box::new(()),
            );
            Ok(walk(judge, &photograph)?)
        })
        .collect::<Result<Vec<Ended>, EvaluateError>>()?;
    Ok(summary(&gallery, &walkers, &ended))
}

fn settings(target_fpir: f64) -> Result<Settings, EvaluateError> {
    let (groups, liveness) = (residents()?, LivenessPolicy::Off);
    Ok(Settings { groups, liveness, target_fpir, ..Settings::default() })
}

/// Returns the group of all enrolled subjects, valid at any time.
pub(super) fn residents() -> Result<Groups, EvaluateError> {
    Groups::parse(&[format!("{GROUP}: always")])
        .map_err(|error| EvaluateError::Approach(error.to_string()))
}

/// Makes a gallery of the faces of these photographs and of `besides` random subjects.
fn filled(
    analyzer: &Analyzer,
    root: &Path,
    enrolled: &[(&str, &str)],
    besides: usize,
    folder: &Path,
) -> Result<Gallery, EvaluateError> {
    let files: Vec<PathBuf> = enrolled.iter().map(|(_, path)| root.join(path)).collect();
    let embeddings: Vec<Option<Embedding>> = photographs::each(&files, |picture| {
        FaceChoice::Centre.judge(analyzer, picture, |portrait| portrait.template())
    })?;
    let faces = enrolled.iter().zip(embeddings);
    let faces = faces.filter_map(|((identity, _), face)| Some(((*identity).to_owned(), face?)));
    let mut noise = Noise(1);
    let others = (0..besides).filter_map(|other| {
        let direction: [f32; EMBEDDING_LEN] = std::array::from_fn(|_| noise.next());
        Some((format!("random-{other}"), Embedding::normalized(direction)?))
    });
    gallery_of(analyzer, faces.chain(others), folder)
}

/// Makes a gallery of these subjects' faces in a folder, all of them residents.
pub(super) fn gallery_of(
    analyzer: &Analyzer,
    faces: impl IntoIterator<Item = (String, Embedding)>,
    folder: &Path,
) -> Result<Gallery, EvaluateError> {
    let failed = |error: GalleryError| EvaluateError::Approach(error.to_string());
    let settings =
        crate::gallery::Settings { model_id: analyzer.model_id().to_owned(), store_images: false };
    let gallery = Gallery::open(&folder.join("gallery.redb"), settings)
        .map_err(|error| EvaluateError::Approach(error.to_string()))?;
    for (identity, embedding) in faces {
        let enrolment = Enrolment {
            subject_id: identity.clone(),
            mode: EnrolMode::Add,
            embedding,
            image: None,
            by_admin: true,
            max_templates: MOST_TEMPLATES,
            time: 0.0,
        };
        if gallery.enroll(enrolment).map_err(failed)?.created {
            let groups = Some(vec![GROUP.to_owned()]);
            let change = SubjectChange { groups, ..SubjectChange::default() };
            gallery.update(&identity, change).map_err(failed)?;
        }
    }
    Ok(gallery)
}

/// Crops a photograph to its person, without other people.
fn alone(analyzer: &Analyzer, photograph: Picture) -> Result<Picture, FaceError> {
    let found = analyzer.detect(&photograph)?;
    let upright = found.turned.as_ref().unwrap_or(&photograph);
    let Some(face) = FaceChoice::Centre.pick(&found.faces, upright) else { return Ok(photograph) };
    let (across, down) = (AROUND * face.width, AROUND * face.height);
    let region = upright.cropped(
        (face.x - across) as i64,
        (face.y - down) as i64,
        (face.x + face.width + across) as i64,
        (face.y + face.height + down) as i64,
    );
    Ok(region.unwrap_or(photograph))
}

/// Passes the frames to the judge until it decides.
fn walk(mut judge: Judge, photograph: &Picture) -> Result<Ended, FaceError> {
    let mut processing = Duration::ZERO;
    for step in 0..FRAMES {
        let frame = frame(photograph, step);
        let now = Now { monotonic: INTERVAL * step, unix: 0.0, synchronised: false };
        let started = Instant::now();
        let decision = judge.judge(&frame, now, None)?;
        if judge.is_looking() || decision.is_some() {
            processing += started.elapsed();
        }
        if decision.is_some() {
            return Ok(Ended { decision, processing });
        }
    }
    Ok(Ended { decision: None, processing })
}

/// Makes one frame of an approach.
fn frame(photograph: &Picture, step: u32) -> Picture {
    let share = (step as f32 / WALK as f32).min(1.0);
    let phase = step as f32 * 0.9;
    let scale = FAR.powf(1.0 - share);
    let (turn_sin, turn_cos) = (0.05 * (phase * 0.7).sin()).sin_cos();
    let centre = [photograph.width() as f32 / 2.0, photograph.height() as f32 / 2.0];
    let at = [
        FRAME.0 as f32 / 2.0 + 24.0 * (1.0 - share) + 3.0 * phase.sin(),
        FRAME.1 as f32 / 2.0 + 3.0 * (phase * 1.3).cos(),
    ];
    // Maps the frame to the photograph.
    let (a, b) = (turn_cos / scale, turn_sin / scale);
    let matrix =
        [a, b, centre[0] - a * at[0] - b * at[1], -b, a, centre[1] + b * at[0] - a * at[1]];
    let seen = photograph.warped(&matrix, FRAME.0, FRAME.1, Border::Repeated);
    let light = 1.0 + 0.06 * (phase * 0.4).sin();
    let mut noise = Noise(u64::from(step) + 1);
    let rgb = seen
        .rgb()
        .iter()
        .map(|&value| (f32::from(value) * light + NOISE * noise.next()).clamp(0.0, 255.0) as u8);
    let rgb: Vec<u8> = rgb.collect();
    Picture::new(FRAME.0, FRAME.1, rgb).unwrap_or(seen)
}

/// xorshift64: random noise, the same in every run.
struct Noise(u64);

impl Noise {
    /// Returns an approximately normally distributed number with mean 0 and standard deviation 1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let sum = self.0.to_le_bytes()[..4].iter().map(|&byte| f32::from(byte)).sum::<f32>();
        (sum - 510.0) / 148.0
    }
}

fn summary(gallery: &Gallery, walkers: &[Walker<'_>], ended: &[Ended]) -> Value {
    let mut strangers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut residents: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut false_grants, mut false_denials, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    for (walker, ended) in walkers.iter().zip(ended) {
        let decision = ended.decision.as_ref();
        let outcome = decision.map_or("none", |decision| decision.outcome.name());
        let counts = if walker.identity.is_some() { &mut residents } else { &mut strangers };
        *counts.entry(outcome).or_default() += 1;
        latencies.extend(decision.map(|_| ended.processing.as_secs_f64() * 1e3));
        let granted = decision.filter(|decision| decision.outcome == Outcome::Granted);
        let granted_as = granted.and_then(|decision| decision.subject_id.as_deref());
        let told = || {
            json!({
                "path": walker.path,
                "outcome": outcome,
                "as": decision.and_then(|decision| decision.subject_id.as_deref()),
                "similarity": decision.and_then(|decision| decision.similarity).map(rounded),
                "reason": decision.map(|decision| decision.reason.to_string()),
            })
        };
        match (walker.identity, granted_as) {
            (identity, Some(name)) if identity != Some(name) => false_grants.push(told()),
            (Some(_), None) => false_denials.push(told()),
            _ => {}
        }
    }
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = latencies.len().saturating_sub(1);
        latencies.get((last as f64 * share).round() as usize).copied().map(rounded)
    };
    json!({
        "templates": gallery.comparable_templates(),
        "strangers": strangers,
        "residents": residents,
        "false_grants": false_grants.len(),
        "false_denials": false_denials.len(),
        "processing_ms": {"n": latencies.len(), "p50": at(0.5), "p95": at(0.95), "max": at(1.0)},
        "granted_wrongly": false_grants,
        "denied_wrongly": false_denials,
    })
}

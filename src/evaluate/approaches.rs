//! Approaches: somebody walks up to the door, and the judgement says who it is.
//!
//! Each approach is made of one photograph that the gallery does not hold, cut down to the person it
//! is of: frames of 640×480 in which the face comes nearer (from [`FAR`] to all of its size in the
//! photograph, which would only blur beyond that), sways, tilts, and is seen with the noise and the
//! changing light of a camera. Liveness is off, so that recognition alone is judged. The same
//! photographs give the same frames.
//!
//! *False grant*: a stranger is granted as anybody, or a resident as somebody else. *False denial*:
//! a resident's approach ends without a grant.

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
/// Frames of an approach: 2 s of walking …
const WALK: u32 = 20;
/// … and 2 s of standing before the door.
const FRAMES: u32 = 40;
/// Time from one to the next.
const INTERVAL: Duration = Duration::from_millis(100);
/// Size of the photograph in the first frame, against its own, which it has in the last.
const FAR: f32 = 0.6;
/// How far the photograph is kept around the face, in sizes of its box.
const AROUND: f32 = 0.7;
/// Deviation of a frame's noise, in levels.
const NOISE: f32 = 148.0 / 62.0;
/// Templates of one resident at most, as `enroll_mode` takes.
const MOST_TEMPLATES: usize = 5;
/// The group that everybody enrolled is in.
const GROUP: &str = "residents";

/// Whose approaches are made, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// Subjects enrolled: those with several photographs first, all of whose photographs but the
    /// last are enrolled.
    pub enrolled: usize,
    /// Subjects enrolled besides, each with one random direction for a template: nobody looks like
    /// them, they are there for the time that searching takes.
    pub besides: usize,
    /// Approaches of enrolled people.
    pub residents: usize,
    /// Approaches of people who are not enrolled.
    pub strangers: usize,
    /// Accepted chance that a stranger is taken for somebody enrolled.
    pub target_fpir: f64,
}

/// Who walks up.
struct Walker<'a> {
    path: &'a str,
    /// None: a stranger.
    identity: Option<&'a str>,
}

/// What became of an approach.
struct Ended {
    decision: Option<Decision>,
    /// Processing from the first frame that was worth the networks to the decision.
    processing: Duration,
}

/// Measures; `labels` has columns `path, identity`. The gallery is a file that is gone afterwards.
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
    // Spread over the alphabet, for want of a better order.
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

/// The group that everybody enrolled is in, at any time.
pub(super) fn residents() -> Result<Groups, EvaluateError> {
    Groups::parse(&[format!("{GROUP}: always")])
        .map_err(|error| EvaluateError::Approach(error.to_string()))
}

/// A gallery of these photographs' faces and so many others.
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
        Some((format!("nobody-{other}"), Embedding::normalized(direction)?))
    });
    gallery_of(analyzer, faces.chain(others), folder)
}

/// A gallery of these subjects' faces in a folder, all of them residents.
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

/// The part of a photograph that shows the person it is of, without those beside them.
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

/// Shows the frames to the judgement until it decides.
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

/// One frame of an approach.
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
    // From the frame back into the photograph.
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

/// xorshift64: noise without an order, the same every time.
struct Noise(u64);

impl Noise {
    /// Nearly normally distributed around 0, with a deviation of 1.
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

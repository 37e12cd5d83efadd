//! Clips: the door's decisions, liveness included, on filmed people and on films of films.
//!
//! A clip is a folder of frames in the order of their names. The person it shows is enrolled from
//! its first frames, and the judge sees the rest. A replay therefore shows a resident, the worst
//! case.

use super::EvaluateError;
use super::approaches::{gallery_of, residents};
use crate::access::{Judge, Now, Settings};
use crate::face::Analyzer;
use doorward_evaluate::manifest::rows;
use doorward_evaluate::photographs::read;
use doorward_evaluate::{FaceChoice, rounded};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Divisor of a clip's frames: the first quarter enrols its person.
const ENROLLED: usize = 4;
/// Maximum number of templates of one person.
const TEMPLATES: usize = 3;

#[derive(Deserialize)]
struct Clip {
    file: String,
    live: u8,
}

/// Measures the clips listed in `labels` (columns `file`, `live`). Their frames, `fps` per second,
/// are in the folder with the file's name without its extension.
pub fn clips(
    analyzer: &Arc<Analyzer>,
    root: &Path,
    labels: &Path,
    fps: f64,
) -> Result<Value, EvaluateError> {
    let mut shown = Vec::new();
    for clip in rows::<Clip>(labels)? {
        let folder = root.join(Path::new(&clip.file).with_extension(""));
        let (enrolled, decisions) = judged(analyzer, &folder, fps)?;
        let count = |outcome: &str| decisions.iter().filter(|d| d["outcome"] == outcome).count();
        shown.push(json!({
            "clip": clip.file,
            "live": clip.live == 1,
            "templates": enrolled,
            "granted": count("granted"),
            "spoof": count("spoof"),
            "decisions": decisions,
        }));
    }
    Ok(json!({ "clips": shown }))
}

/// Returns the number of templates of a clip's person, and the decisions on the clip.
fn judged(
    analyzer: &Arc<Analyzer>,
    folder: &Path,
    fps: f64,
) -> Result<(usize, Vec<Value>), EvaluateError> {
    let unreadable = |reason: std::io::Error| doorward_evaluate::EvaluateError::Photograph {
        path: folder.to_owned(),
        reason: reason.to_string(),
    };
    let mut frames: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(unreadable)?;
    frames.sort();
    let (first, rest) = frames.split_at(frames.len() / ENROLLED);
    let step = (first.len() / TEMPLATES).max(1);
    let mut templates = Vec::new();
    for file in first.iter().step_by(step).take(TEMPLATES) {
        let largest = FaceChoice::Largest;
        let seen = largest.judge(analyzer, &read(file)?, |portrait| portrait.template())?;
        templates.extend(seen.map(|embedding| ("resident".to_owned(), embedding)));
    }
    let enrolled = templates.len();
    let scratch = tempfile::tempdir().map_err(unreadable)?;
    let gallery = Arc::new(gallery_of(analyzer, templates, scratch.path())?);
    let settings = Settings { groups: residents()?, ..Settings::default() };
    let mut judge =
        Judge::new(analyzer.clone(), gallery, settings, Arc::default(), || Box::new(()));
    let mut decisions = Vec::new();
    for (index, file) in rest.iter().enumerate() {
        let monotonic = Duration::from_secs_f64(index as f64 / fps);
        let now = Now { monotonic, unix: 0.0, synchronised: false };
        let frame = read(file)?;
        let started = Instant::now();
        if let Some(decision) = judge.judge(&frame, now, None)? {
            decisions.push(json!({
                "at_s": rounded(monotonic.as_secs_f64()),
                "outcome": decision.outcome.name(),
                "reason": decision.reason.to_string(),
                "liveness": decision.liveness.map(rounded),
                "looks": decision.looks,
                "last_frame_ms": rounded(started.elapsed().as_secs_f64() * 1e3),
            }));
        }
    }
    Ok((enrolled, decisions))
}

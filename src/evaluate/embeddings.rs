//! The embeddings of many photographs, each computed once, on all cores.

use super::EvaluateError;
use crate::face::{Analyzer, Detection, Embedding};
use crate::picture::{self, Limits, Picture};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which of several faces in a photograph is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FaceChoice {
    /// The one that minimises |Δx| + |Δy| from the photograph's middle − 0.3 · its width: for
    /// labelled photographs with bystanders.
    Centre,
    /// The largest: the rule of the service.
    Largest,
}

impl FaceChoice {
    /// The one that is meant; `faces` are largest first.
    pub fn pick<'a>(self, faces: &'a [Detection], picture: &Picture) -> Option<&'a Detection> {
        let distance = |face: &Detection| {
            let [x, y] = face.centre();
            (x - picture.width() as f32 / 2.0).abs() + (y - picture.height() as f32 / 2.0).abs()
                - 0.3 * face.width
        };
        match self {
            Self::Largest => faces.first(),
            Self::Centre => faces.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))),
        }
    }
}

/// Embeddings by path; photographs without a face have none.
pub struct Embeddings {
    by_path: HashMap<String, Option<Embedding>>,
}

impl Embeddings {
    /// Embeds every photograph named, on all cores, with progress on standard error.
    pub fn compute<'a>(
        analyzer: &Analyzer,
        root: &Path,
        paths: impl IntoIterator<Item = &'a str>,
        choice: FaceChoice,
    ) -> Result<Self, EvaluateError> {
        let paths: Vec<&str> = paths.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let progress = ProgressBar::new(paths.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} photographs, {eta}")
        {
            progress.set_style(style);
        }
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Ok(HashMap::with_capacity(paths.len())));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let embedding = embed(analyzer, &root.join(path), choice);
                        progress.inc(1);
                        let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                        match (embedding, done.as_mut()) {
                            (Ok(embedding), Ok(map)) => {
                                map.insert((*path).to_owned(), embedding);
                            }
                            (Err(error), Ok(_)) => *done = Err(error),
                            (_, Err(_)) => return,
                        }
                    }
                });
            }
        });
        progress.finish_and_clear();
        let by_path = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())?;
        Ok(Self { by_path })
    }

    /// The embedding of a photograph; `None` when it shows no face.
    pub fn get(&self, path: &str) -> Option<&Embedding> {
        self.by_path.get(path)?.as_ref()
    }

    /// The cosine of two photographs, 0 when one shows no face.
    pub fn cosine(&self, a: &str, b: &str) -> f32 {
        match (self.get(a), self.get(b)) {
            (Some(a), Some(b)) => a.cosine(b),
            _ => 0.0,
        }
    }

    /// How many photographs show no face.
    pub fn without_face(&self) -> usize {
        self.by_path.values().filter(|embedding| embedding.is_none()).count()
    }
}

fn embed(
    analyzer: &Analyzer,
    path: &Path,
    choice: FaceChoice,
) -> Result<Option<Embedding>, EvaluateError> {
    let unreadable = |reason: String| EvaluateError::Photograph { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let picture = picture::decode(&bytes, &Limits::default())
        .map_err(|error| unreadable(error.to_string()))?;
    let found = analyzer.detect(&picture)?;
    let upright = found.turned.as_ref().unwrap_or(&picture);
    match choice.pick(&found.faces, upright) {
        Some(face) => Ok(Some(analyzer.portrait(upright, face)?.embedding()?)),
        None => Ok(None),
    }
}

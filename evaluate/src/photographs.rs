//! Processes many photographs, each once, on all cores, with progress on standard error.

use super::EvaluateError;
use doorward_face::{Analyzer, Detection, FaceError, Portrait};
use doorward_picture::{self as picture, Limits, Picture};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Selects one of several faces in a photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FaceChoice {
    /// The face that minimises |Δx| + |Δy| from the photograph's middle − 0.3 · its width: for
    /// labelled photographs with bystanders.
    Centre,
    /// The most prominent, usually the largest: the rule of the service.
    Largest,
}

impl FaceChoice {
    /// Returns the selected face; `faces` are the most prominent first.
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

    /// Judges the selected face; `None` when the picture shows no face.
    pub fn judge<Seen>(
        self,
        analyzer: &Analyzer,
        picture: &Picture,
        judge: impl FnOnce(&Portrait<'_>) -> Result<Seen, FaceError>,
    ) -> Result<Option<Seen>, FaceError> {
        let found = analyzer.detect(picture)?;
        let upright = found.turned.as_ref().unwrap_or(picture);
        self.pick(&found.faces, upright)
            .map(|face| judge(&analyzer.portrait(upright, face)?))
            .transpose()
    }
}

/// Returns the result of `look` for each file, in the order of the files. The first unreadable file
/// is an error.
pub fn each<File: AsRef<Path> + Sync, Seen: Send>(
    files: &[File],
    look: impl Fn(&Picture) -> Result<Seen, FaceError> + Sync,
) -> Result<Vec<Seen>, EvaluateError> {
    let progress = ProgressBar::new(files.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} photographs, {eta}") {
        progress.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Ok(Vec::with_capacity(files.len())));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index) else { return };
                    let seen = read(file.as_ref()).and_then(|picture| Ok(look(&picture)?));
                    progress.inc(1);
                    let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    match (seen, done.as_mut()) {
                        (Ok(seen), Ok(all)) => all.push((index, seen)),
                        (Err(error), Ok(_)) => *done = Err(error),
                        (_, Err(_)) => return,
                    }
                }
            });
        }
    });
    progress.finish_and_clear();
    let mut all = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())?;
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, seen)| seen).collect())
}

/// Decodes a picture file like the daemon.
pub fn read(file: &Path) -> Result<Picture, EvaluateError> {
    let unreadable = |reason: String| EvaluateError::Photograph { path: file.to_owned(), reason };
    let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    picture::decode(&bytes, &Limits::default()).map_err(|error| unreadable(error.to_string()))
}

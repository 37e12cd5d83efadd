//! The embeddings of many photographs by path, each computed once.

use super::{EvaluateError, FaceChoice, photographs};
use crate::face::{Analyzer, Embedding};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

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
        let paths: BTreeSet<&str> = paths.into_iter().collect();
        let files: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
        let embeddings = photographs::each(&files, |picture| {
            choice.judge(analyzer, picture, |portrait| portrait.embedding())
        })?;
        let by_path = paths.into_iter().map(str::to_owned).zip(embeddings).collect();
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

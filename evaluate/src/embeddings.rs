//! Embeds the faces of many photographs, each once, and stores them by path.

use super::{EvaluateError, FaceChoice, photographs};
use doorward_face::{Analyzer, Embedding, FaceError, Portrait};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// One face, both as enrolled and as a probe.
pub struct Embedded {
    /// The embedding that `enroll` stores.
    pub template: Embedding,
    /// The embedding that is compared with it.
    pub probe: Embedding,
}

impl Embedded {
    /// Embeds the face.
    pub fn of(portrait: &Portrait<'_>) -> Result<Self, FaceError> {
        Ok(Self { template: portrait.template()?, probe: portrait.embedding()? })
    }

    /// Returns the cosine of this face, enrolled, and another probe.
    pub fn cosine(&self, probe: &Self) -> f32 {
        self.template.cosine(&probe.probe)
    }
}

/// Faces by path; photographs without a face have none.
pub struct Embeddings {
    by_path: HashMap<String, Option<Embedded>>,
}

impl Embeddings {
    /// Embeds every named photograph, on all cores, with progress on standard error.
    pub fn compute<'a>(
        analyzer: &Analyzer,
        root: &Path,
        paths: impl IntoIterator<Item = &'a str>,
        choice: FaceChoice,
    ) -> Result<Self, EvaluateError> {
        let paths: BTreeSet<&str> = paths.into_iter().collect();
        let files: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
        let embeddings =
            photographs::each(&files, |picture| choice.judge(analyzer, picture, Embedded::of))?;
        let by_path = paths.into_iter().map(str::to_owned).zip(embeddings).collect();
        Ok(Self { by_path })
    }

    /// Returns the face of a photograph; `None` when it shows none.
    pub fn get(&self, path: &str) -> Option<&Embedded> {
        self.by_path.get(path)?.as_ref()
    }

    /// Returns the cosine of one photograph, enrolled, and another, 0 when one shows no face.
    pub fn cosine(&self, enrolled: &str, probe: &str) -> f32 {
        match (self.get(enrolled), self.get(probe)) {
            (Some(enrolled), Some(probe)) => enrolled.cosine(probe),
            _ => 0.0,
        }
    }

    /// Returns how many photographs show no face.
    pub fn without_face(&self) -> usize {
        self.by_path.values().filter(|embedding| embedding.is_none()).count()
    }
}

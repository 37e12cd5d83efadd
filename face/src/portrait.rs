//! One face of a picture, and the networks' results for it. Each step runs when its result is first
//! requested, and only once: a check that is not requested costs nothing.

use super::align::{shown, smooth_crop};
use super::embedder::Trunk;
use super::second_look::SecondLook;
use super::{Analyzer, Detection, Embedding, FaceError, Liveness, Quality, aligned_crop};
use crate::Picture;
use std::cell::OnceCell;

/// A detection of an upright picture, ready to be judged; made by [`Analyzer::portrait`].
pub struct Portrait<'a> {
    analyzer: &'a Analyzer,
    picture: &'a Picture,
    /// With the landmarks of the second look, if there was one.
    face: Detection,
    second_look: Option<SecondLook>,
    /// The aligned crop.
    crop: Picture,
    trunk: OnceCell<Trunk>,
}

impl<'a> Portrait<'a> {
    pub(super) fn new(
        analyzer: &'a Analyzer,
        picture: &'a Picture,
        face: &'a Detection,
    ) -> Result<Self, FaceError> {
        let second_look = SecondLook::at(analyzer.detector(), picture, face)?;
        let landmarks = second_look.as_ref().map_or(face.landmarks, SecondLook::landmarks);
        let face = Detection { landmarks, ..*face };
        let crop = aligned_crop(picture, &face).ok_or(FaceError::OnePoint)?;
        Ok(Self { analyzer, picture, face, second_look, crop, trunk: OnceCell::new() })
    }

    /// Returns sharpness, brightness and colour.
    pub fn quality(&self) -> Quality {
        let shown = shown(self.picture, &self.face).unwrap_or_default();
        match smooth_crop(self.picture, &self.face) {
            Some(crop) => Quality::of_crop(&crop, &shown),
            None => Quality::of_crop(&self.crop, &shown),
        }
    }

    /// Returns the liveness: is this a living face, or a picture of one?
    pub fn liveness(&self) -> Result<Liveness, FaceError> {
        let (liveness, cores) = (self.analyzer.liveness(), self.analyzer.cores());
        // The networks know upright faces: of tilted ones they take one in three for a spoof.
        match self.second_look.as_ref().and_then(|look| look.upright(self.picture)) {
            Some((upright, face)) => liveness.judge(&upright, &face, cores),
            None => liveness.judge(self.picture, &self.face, cores),
        }
    }

    /// Returns the embedding of the face.
    pub fn embedding(&self) -> Result<Embedding, FaceError> {
        self.analyzer.embedder().embed(self.trunk()?)
    }

    /// Returns the embedding to be stored: the mean of the embeddings of the face and of its mirror
    /// image, which averages out what the network sees on one side only. Compared with an embedding
    /// of one image it recognises more faces at the same false-match rate (docs/accuracy.md).
    pub fn template(&self) -> Result<Embedding, FaceError> {
        let embedder = self.analyzer.embedder();
        let mirrored = embedder.embed(&embedder.trunk(&self.crop.mirrored())?)?;
        Embedding::mean(&[self.embedding()?, mirrored]).ok_or(FaceError::NoDirection)
    }

    /// Returns the same face with its aligned crop mirrored: another embedding of the same person.
    pub fn mirrored(self) -> Self {
        Self { crop: self.crop.mirrored(), trunk: OnceCell::new(), ..self }
    }

    /// Returns everything of the embedder except its last matrix; the attributes read it too.
    pub(super) fn trunk(&self) -> Result<&Trunk, FaceError> {
        if let Some(trunk) = self.trunk.get() {
            return Ok(trunk);
        }
        let trunk = self.analyzer.embedder().trunk(&self.crop)?;
        Ok(self.trunk.get_or_init(|| trunk))
    }

    /// Returns the networks.
    pub(super) fn analyzer(&self) -> &'a Analyzer {
        self.analyzer
    }

    /// Returns the upright picture.
    pub(super) fn picture(&self) -> &'a Picture {
        self.picture
    }

    /// Returns the face, in pixels of the picture: its box as detected, its landmarks by a second
    /// look if the face is tilted or small.
    pub fn face(&self) -> &Detection {
        &self.face
    }
}

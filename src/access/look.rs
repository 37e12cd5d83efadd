//! Runs the networks on one face of one frame, with each stage observed. A blurred or dark face is
//! not worth the networks, and a gray one cannot be judged for liveness.

use crate::face::{Analyzer, Coverings, Detection, Embedding, FaceError, Liveness, Observer};
use crate::gallery::{Candidate, Gallery};
use crate::picture::Picture;

/// The result for a face in one frame.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// Not sharp.
    Blurred,
    /// Too dark.
    Dark,
    /// Without colour, which the liveness networks need: of a living person in gray frames they say
    /// nothing.
    Gray,
    /// Good enough to be judged.
    Usable(Box<Usable>),
}

/// The results of the networks.
#[derive(Clone, Debug)]
pub(super) struct Usable {
    /// Sunglasses and mask.
    pub worn: Coverings,
    /// Liveness; `None` when liveness is off.
    pub liveness: Option<Liveness>,
    /// The embedding, mirrored in every second look.
    pub embedding: Embedding,
    /// The best subject by this look alone.
    pub found: Option<Candidate>,
    /// Subjects by the mean of this look's embedding and those before it, best first: every subject
    /// similar enough to open the door or to prevent that. Without one, the best subject.
    pub found_together: Vec<Candidate>,
}

/// Results of the looks before.
pub(super) struct PreviousLooks {
    /// Number of usable looks so far.
    pub looks: usize,
    /// Embeddings of the last looks, to be averaged with the next.
    pub embeddings: Vec<Embedding>,
    /// The lowest cosine at which another subject matters.
    pub least: f32,
}

/// The pixels of a face in a frame, to detect movement.
#[derive(Clone, Debug)]
pub(super) struct FacePixels {
    /// Left, top, right, bottom in the frame.
    region: [i64; 4],
    rgb: Vec<u8>,
}

impl FacePixels {
    /// Copies the pixels of a face from a frame.
    pub fn of(frame: &Picture, face: &Detection) -> Self {
        let region = [face.x, face.y, face.x + face.width, face.y + face.height];
        Self::at(frame, region.map(|edge| edge.round() as i64))
    }

    fn at(frame: &Picture, region: [i64; 4]) -> Self {
        let [left, top, right, bottom] = region;
        let crop = frame.cropped(left, top, right, bottom);
        Self { region, rgb: crop.map(|crop| crop.rgb().to_vec()).unwrap_or_default() }
    }

    /// Returns the mean absolute difference to the same pixels of another frame, 0–255; `None` if
    /// that frame does not have them.
    pub fn change(&self, frame: &Picture) -> Option<f32> {
        let other = Self::at(frame, self.region);
        if self.rgb.is_empty() || other.rgb.len() != self.rgb.len() {
            return None;
        }
        let sum: u64 =
            self.rgb.iter().zip(&other.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        Some(sum as f32 / self.rgb.len() as f32)
    }
}

/// What a look needs.
pub(super) struct LookContext<'a> {
    pub analyzer: &'a Analyzer,
    pub gallery: &'a Gallery,
    /// True if liveness is judged.
    pub liveness: bool,
}

impl LookContext<'_> {
    /// Looks at one face of a frame. Every second look is mirrored: a mean of both kinds separates
    /// people better than a mean of one kind.
    pub fn look(
        &self,
        frame: &Picture,
        face: &Detection,
        before: PreviousLooks,
        observer: &mut dyn Observer,
    ) -> Result<Look, FaceError> {
        // Landmarks that coincide: this face cannot be judged, which is not an error.
        let Ok(portrait) = self.analyzer.portrait(frame, face) else { return Ok(Look::Blurred) };
        let quality = observer.stage("quality", || portrait.quality());
        if quality.dark {
            return Ok(Look::Dark);
        }
        if quality.blur {
            return Ok(Look::Blurred);
        }
        if quality.is_without_colour() && self.liveness {
            return Ok(Look::Gray);
        }
        let liveness = match self.liveness {
            true => Some(observer.stage("liveness", || portrait.liveness())?),
            false => None,
        };
        let portrait = if before.looks % 2 == 1 { portrait.mirrored() } else { portrait };
        let embedding = observer.stage("embed", || portrait.embedding())?;
        let worn = observer.stage("attributes", || portrait.coverings())?;
        let mut together = before.embeddings;
        together.push(embedding.clone());
        let together = Embedding::mean(&together);
        let (found, found_together) = observer.stage("search", || {
            let all_near = |probe: Embedding| {
                let best = self.gallery.search(&probe, 1);
                match best.first().is_some_and(|best| best.cosine >= before.least) {
                    true => self.gallery.at_least(&probe, before.least),
                    false => best,
                }
            };
            let found = self.gallery.search(&embedding, 1).pop();
            (found, together.map(all_near).unwrap_or_default())
        });
        let usable = Usable { worn, liveness, embedding, found, found_together };
        Ok(Look::Usable(Box::new(usable)))
    }

    /// Returns the embedding of a face without judging it; `None` if the face is too dark or
    /// blurred.
    pub fn embedding(
        &self,
        frame: &Picture,
        face: &Detection,
    ) -> Result<Option<Embedding>, FaceError> {
        let Ok(portrait) = self.analyzer.portrait(frame, face) else { return Ok(None) };
        let quality = portrait.quality();
        match quality.dark || quality.blur {
            true => Ok(None),
            false => portrait.embedding().map(Some),
        }
    }
}

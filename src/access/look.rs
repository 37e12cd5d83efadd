//! One look: what the networks say of one face in one frame, each stage observed. A frame whose face is
//! blurred or dark is not worth the networks.

use crate::face::{Analyzer, Coverings, Detection, Embedding, FaceError, Liveness, Observer};
use crate::gallery::{Candidate, Gallery};
use crate::picture::Picture;

/// What a face looks like in one frame.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// Not sharp.
    Blurred,
    /// Not lit.
    Dark,
    /// Good enough to be judged.
    Usable(Box<Usable>),
}

/// What the networks say.
#[derive(Clone, Debug)]
pub(super) struct Usable {
    /// What covers it.
    pub worn: Coverings,
    /// How live it looks; none when liveness is off.
    pub liveness: Option<Liveness>,
    /// Whose face it is.
    pub embedding: Embedding,
    /// The subject that is best by this look alone.
    pub found: Option<Candidate>,
    /// By the mean of this look's embedding and those before it: every subject that resembles it so much
    /// that the door opens or must not open for it, best first; where there is none, the best.
    pub found_together: Vec<Candidate>,
}

/// What was seen of the face before.
pub(super) struct PreviousLooks {
    /// Usable looks so far.
    pub looks: usize,
    /// Embeddings of the last of them, to be judged together with the next.
    pub embeddings: Vec<Embedding>,
    /// The least cosine of a subject that matters beside the best one.
    pub least: f32,
}

/// The face as it is in the frame: for telling whether it moves.
#[derive(Clone, Debug)]
pub(super) struct FacePixels {
    /// Left, top, right, bottom in the frame.
    region: [i64; 4],
    rgb: Vec<u8>,
}

impl FacePixels {
    /// Of a face in a frame.
    pub fn of(frame: &Picture, face: &Detection) -> Self {
        let region = [face.x, face.y, face.x + face.width, face.y + face.height];
        Self::at(frame, region.map(|edge| edge.round() as i64))
    }

    fn at(frame: &Picture, region: [i64; 4]) -> Self {
        let [left, top, right, bottom] = region;
        let crop = frame.cropped(left, top, right, bottom);
        Self { region, rgb: crop.map(|crop| crop.rgb().to_vec()).unwrap_or_default() }
    }

    /// Mean absolute difference of the same pixels in another frame, 0–255; none when that frame
    /// does not have them.
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
    /// Whether to judge liveness.
    pub liveness: bool,
}

impl LookContext<'_> {
    /// Looks at one face of a frame; every second time as in a mirror, since embeddings of both kinds
    /// together tell people apart better than as many of one.
    pub fn look(
        &self,
        frame: &Picture,
        face: &Detection,
        before: PreviousLooks,
        observer: &mut dyn Observer,
    ) -> Result<Look, FaceError> {
        // Landmarks that fall together: no face to judge, and no reason to stop.
        let Ok(portrait) = self.analyzer.portrait(frame, face) else { return Ok(Look::Blurred) };
        let quality = observer.stage("quality", || portrait.quality());
        if quality.dark {
            return Ok(Look::Dark);
        }
        if quality.blur {
            return Ok(Look::Blurred);
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

    /// Whose face it is, without a judgement; none where it is not worth the networks.
    pub fn glance(
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

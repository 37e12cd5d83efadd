//! One look: what the networks say of one face in one frame, each stage timed. A frame whose face is
//! blurred or dark is not worth the networks.

use crate::face::{Analyzer, Coverings, Detection, FaceError, Liveness};
use crate::gallery::{Candidate, Gallery};
use crate::picture::Picture;
use crate::service::Times;

/// What a face looks like in one frame.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// Not sharp.
    Blurred,
    /// Not lit.
    Dark,
    /// Good enough to be judged.
    Usable(Usable),
}

/// What the networks say.
#[derive(Clone, Debug)]
pub(super) struct Usable {
    /// What covers it.
    pub worn: Coverings,
    /// How live it looks; none when liveness is off.
    pub liveness: Option<Liveness>,
    /// The best subject and the next.
    pub found: Vec<Candidate>,
}

/// The face as it is in the frame: for telling whether it moves.
#[derive(Clone, Debug)]
pub(super) struct Skin {
    /// Left, top, right, bottom in the frame.
    region: [i64; 4],
    rgb: Vec<u8>,
}

impl Skin {
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
pub(super) struct Eyes<'a> {
    pub analyzer: &'a Analyzer,
    pub gallery: &'a Gallery,
    /// Whether to judge liveness.
    pub liveness: bool,
}

impl Eyes<'_> {
    /// Looks at one face of a frame.
    pub fn look(
        &self,
        frame: &Picture,
        face: &Detection,
        times: &mut Times,
    ) -> Result<Look, FaceError> {
        // Landmarks that fall together: no face to judge, and no reason to stop.
        let Ok(portrait) = self.analyzer.portrait(frame, face) else { return Ok(Look::Blurred) };
        let quality = times.stage("quality", || portrait.quality());
        if quality.dark {
            return Ok(Look::Dark);
        }
        if quality.blur {
            return Ok(Look::Blurred);
        }
        let liveness = match self.liveness {
            true => Some(times.stage("liveness", || portrait.liveness())?),
            false => None,
        };
        let embedding = times.stage("embed", || portrait.embedding())?;
        let worn = times.stage("attributes", || portrait.coverings())?;
        let found = times.stage("search", || self.gallery.search(&embedding, 2));
        Ok(Look::Usable(Usable { worn, liveness, found }))
    }
}

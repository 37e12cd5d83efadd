//! All networks, loaded, and the search for faces in a picture.

use super::attributes::AttributeHeads;
use super::cores::Cores;
use super::detector::blended;
use super::prominence::most_prominent_first;
use super::{Detection, Detector, Embedder, FaceError, LivenessModel, Portrait};
use crate::Picture;
use doorward_nn::Weights;
use std::borrow::Cow;

/// Detections below this score are not faces.
const MIN_SCORE: f32 = 0.6;
/// From this score a face counts as upright and the picture is not rotated. Faces that are sideways
/// or upside down reach 0.87 as upright ones; of upright faces (LFW) 99 % reach it.
const SURELY_UPRIGHT: f32 = 0.9;
/// A face in a rotated picture counts from this score if no upright face is found: upright faces
/// seen upside down reach 0.77. If one is found, the rotated one must surely be upright (a masked
/// face that fills the picture reached 0.87 upside down) …
const MIN_SCORE_TURNED: f32 = 0.8;
/// … and have a score higher by this much.
const TURNED_AHEAD: f32 = 0.05;
/// The picture's long sides in pixels that the detector is run at. The first finds faces that fill
/// the picture, the second finds small ones.
const SCALES: [u32; 2] = [320, 640];
/// The last resort for a face larger than the picture …
const SMALLEST_SCALE: u32 = 160;
/// … and for a small face in a picture smaller than these, which is enlarged (of 19 thumbnails of
/// veiled faces and sunglasses without a detection, 9 then had one).
const ENLARGED_SCALES: [u32; 2] = [320, 480];
/// The very last resort in a picture smaller than the enlarged ones: a face that is mostly covered
/// (veiled except for the eyes) and is found at both of these scales …
const CONFIRMING_SCALES: [u32; 2] = [800, 1024];
/// … in boxes that overlap by this much, at scores whose mean is [`MIN_SCORE`] or more …
const CONFIRMING_OVERLAP: f32 = 0.5;
/// … and whose sides are at least this share of the picture's long side: enlarged specks of grain
/// resemble anything.
const CONFIRMED_SIDE: f32 = 0.1;

/// The bytes of the networks' GGUF files.
pub struct ModelFiles<'a> {
    /// Detector.
    pub yunet: &'a [u8],
    /// Embedder.
    pub sface: &'a [u8],
    /// Liveness, of a crop 2.7 times the box.
    pub minifasnet_v2: &'a [u8],
    /// Liveness, of a crop 4 times the box.
    pub minifasnet_v1se: &'a [u8],
    /// Heads of the attributes.
    pub attributes: &'a [u8],
    /// Liveness: the weights of the two networks' results.
    pub liveness: &'a [u8],
    /// Id of the embedder and its quantization.
    pub model_id: &'a str,
}

impl<'a> ModelFiles<'a> {
    /// Each file and its name in `models/`.
    pub fn by_name(&self) -> [(&'static str, &'a [u8]); 6] {
        [
            ("yunet.gguf", self.yunet),
            ("sface.gguf", self.sface),
            ("minifasnet-v2.gguf", self.minifasnet_v2),
            ("minifasnet-v1se.gguf", self.minifasnet_v1se),
            ("attributes.gguf", self.attributes),
            ("liveness.gguf", self.liveness),
        ]
    }
}

/// The models that are part of the program.
pub static SHIPPED: ModelFiles<'static> = ModelFiles {
    yunet: include_bytes!("../../models/yunet.gguf"),
    sface: include_bytes!("../../models/sface.gguf"),
    minifasnet_v2: include_bytes!("../../models/minifasnet-v2.gguf"),
    minifasnet_v1se: include_bytes!("../../models/minifasnet-v1se.gguf"),
    attributes: include_bytes!("../../models/attributes.gguf"),
    liveness: include_bytes!("../../models/liveness.gguf"),
    model_id: "sface-2021dec-i8",
};

/// The faces of one picture that are beyond doubt.
#[derive(Clone, Debug)]
pub struct Faces {
    /// Clockwise rotation in degrees (0, 90, 180, 270) that makes the picture upright.
    pub rotation: u16,
    /// The picture rotated by `rotation`, unless that is 0; `faces` are in its pixels.
    pub turned: Option<Picture>,
    /// The most prominent first, which is to be judged; then the others, largest first.
    pub faces: Vec<Detection>,
}

/// All networks, loaded; can be shared by threads.
pub struct Analyzer {
    detector: Detector,
    embedder: Embedder,
    liveness: LivenessModel,
    attribute_heads: AttributeHeads,
    model_id: String,
    cores: Cores,
}

impl Analyzer {
    /// Loads the networks built into the program.
    pub fn load() -> Result<Self, FaceError> {
        Self::from_files(&SHIPPED)
    }

    /// Loads other weights of the same networks.
    pub fn from_files(files: &ModelFiles<'_>) -> Result<Self, FaceError> {
        Ok(Self {
            liveness: LivenessModel::load(
                &Weights::read(files.minifasnet_v2)?,
                &Weights::read(files.minifasnet_v1se)?,
                &Weights::read(files.liveness)?,
            )?,
            detector: Detector::load(&Weights::read(files.yunet)?)?,
            embedder: Embedder::load(&Weights::read(files.sface)?)?,
            attribute_heads: AttributeHeads::load(&Weights::read(files.attributes)?)?,
            model_id: files.model_id.to_owned(),
            cores: Cores::default(),
        })
    }

    /// Sets the number of cores per face: the same results, sooner.
    pub fn on(self, cores: Cores) -> Self {
        Self { cores, ..self }
    }

    /// Returns the id of the embedding network and its quantization: templates of different ids are
    /// never compared.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Finds faces; rotates the picture by 90, 180 and 270 degrees unless a face is surely upright.
    pub fn detect(&self, picture: &Picture) -> Result<Faces, FaceError> {
        let faces = self.detect_upright(picture)?;
        let upright_score = best_score(&faces);
        let mut best = Faces { rotation: 0, turned: None, faces };
        // One rotated picture at a time: a large one takes much memory.
        if upright_score >= SURELY_UPRIGHT {
            most_prominent_first(&mut best.faces, picture);
            return Ok(best);
        }
        let mut score_to_beat = match best.faces.is_empty() {
            true => MIN_SCORE_TURNED,
            false => SURELY_UPRIGHT.max(upright_score + TURNED_AHEAD),
        };
        for rotation in [90, 180, 270] {
            let turned = picture.turned(rotation);
            let mut faces = self.detect_upright(&turned)?;
            faces.retain(|face| face.score >= MIN_SCORE_TURNED);
            let score = best_score(&faces);
            if score > score_to_beat {
                score_to_beat = score;
                best = Faces { rotation, turned: None, faces };
            }
        }
        if best.rotation != 0 {
            best.turned = Some(picture.turned(best.rotation));
        }
        if best.faces.is_empty() {
            best.faces.extend(self.detect_confirmed(picture)?);
        }
        most_prominent_first(&mut best.faces, best.turned.as_ref().unwrap_or(picture));
        Ok(best)
    }

    /// Finds the faces in a camera frame that are beyond doubt, the most prominent first: the rule
    /// of [`Analyzer::detect`] for the faces of [`Analyzer::faces_in_frame`].
    pub fn prominent_in_frame(&self, frame: &Picture) -> Result<Vec<Detection>, FaceError> {
        let mut faces = self.faces_in_frame(frame)?;
        most_prominent_first(&mut faces, frame);
        Ok(faces)
    }

    /// Finds all faces in a camera frame, largest first: upright ones, of at least a twentieth of
    /// the frame's long side. Fast enough for every frame of a video; [`Analyzer::detect`] takes
    /// longer to find a face in any picture.
    pub fn faces_in_frame(&self, frame: &Picture) -> Result<Vec<Detection>, FaceError> {
        let seen = shrunk(frame, SCALES[0]);
        let mut faces = self.detect_in(&seen, frame, MIN_SCORE)?;
        if faces.is_empty() {
            // A face close to the lens may be larger than the frame. Shrinking a large frame again
            // would cost more than the network.
            faces = self.detect_in(&shrunk(&seen, SMALLEST_SCALE), frame, MIN_SCORE)?;
        }
        faces.sort_by(|a, b| b.area().total_cmp(&a.area()));
        Ok(faces)
    }

    /// Finds the face of a small picture that no single scale shows well, at two scales.
    fn detect_confirmed(&self, picture: &Picture) -> Result<Option<Detection>, FaceError> {
        let long_side = picture.width().max(picture.height());
        if ENLARGED_SCALES.iter().all(|scale| long_side >= *scale) {
            return Ok(None);
        }
        let [first, second] = CONFIRMING_SCALES;
        // If two scores have that mean, neither is lower.
        let least = 2.0 * MIN_SCORE - 1.0;
        let seen = self.detect_resized(picture, first, least)?;
        if seen.is_empty() {
            return Ok(None);
        }
        let again = self.detect_resized(picture, second, least)?;
        let pairs = seen.iter().flat_map(|a| again.iter().map(move |b| (a, b)));
        let confirmed = pairs
            .filter(|(a, b)| a.overlap(b) >= CONFIRMING_OVERLAP)
            .map(|(a, b)| Detection { score: (a.score + b.score) / 2.0, ..*b })
            .filter(|face| face.score >= MIN_SCORE)
            .filter(|face| face.width.min(face.height) >= CONFIRMED_SIDE * long_side as f32);
        Ok(confirmed.max_by(|a, b| a.score.total_cmp(&b.score)))
    }

    /// Finds upright faces in the picture, largest first.
    fn detect_upright(&self, picture: &Picture) -> Result<Vec<Detection>, FaceError> {
        let long_side = picture.width().max(picture.height());
        let seen_at = |scale| move || self.detect_at(picture, scale);
        let [large, small] = SCALES.map(seen_at);
        let mut faces = if long_side > SCALES[0] {
            let (large, small) = self.cores.both(large, small);
            [large?, small?].concat()
        } else {
            large()?
        };
        if faces.is_empty() && long_side > SMALLEST_SCALE {
            faces = self.detect_at(picture, SMALLEST_SCALE)?;
        }
        for scale in ENLARGED_SCALES {
            if faces.is_empty() && long_side < scale {
                faces = self.detect_resized(picture, scale, MIN_SCORE)?;
            }
        }
        let mut faces = blended(faces);
        faces.sort_by(|a, b| b.area().total_cmp(&a.area()));
        Ok(faces)
    }

    /// Finds faces with the picture's long side reduced to `long_side`.
    fn detect_at(&self, picture: &Picture, long_side: u32) -> Result<Vec<Detection>, FaceError> {
        self.detect_in(&shrunk(picture, long_side), picture, MIN_SCORE)
    }

    /// Finds faces of at least that score with the picture's long side reduced or enlarged to
    /// `long_side`.
    fn detect_resized(
        &self,
        picture: &Picture,
        long_side: u32,
        min_score: f32,
    ) -> Result<Vec<Detection>, FaceError> {
        self.detect_in(&resized(picture, long_side), picture, min_score)
    }

    /// Finds faces of at least that score in a resized picture; returns them in the original
    /// picture's pixels.
    fn detect_in(
        &self,
        seen: &Picture,
        picture: &Picture,
        min_score: f32,
    ) -> Result<Vec<Detection>, FaceError> {
        let (horizontal, vertical) = (
            picture.width() as f32 / seen.width() as f32,
            picture.height() as f32 / seen.height() as f32,
        );
        let found = self.detector.detect(seen, min_score)?;
        Ok(found.iter().map(|face| face.scaled(horizontal, vertical)).collect())
    }

    /// Returns one detection of this picture, to be judged and embedded.
    pub fn portrait<'a>(
        &'a self,
        picture: &'a Picture,
        face: &'a Detection,
    ) -> Result<Portrait<'a>, FaceError> {
        Portrait::new(self, picture, face)
    }

    pub(super) fn cores(&self) -> Cores {
        self.cores
    }

    pub(super) fn liveness(&self) -> &LivenessModel {
        &self.liveness
    }

    pub(super) fn detector(&self) -> &Detector {
        &self.detector
    }

    pub(super) fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    pub(super) fn attribute_heads(&self) -> &AttributeHeads {
        &self.attribute_heads
    }
}

/// Returns the picture with its long side reduced to `long_side`, or unchanged if it is not longer.
fn shrunk(picture: &Picture, long_side: u32) -> Cow<'_, Picture> {
    match picture.width().max(picture.height()) <= long_side {
        true => Cow::Borrowed(picture),
        false => Cow::Owned(resized(picture, long_side)),
    }
}

/// Returns the picture with its long side resized to `long_side`.
fn resized(picture: &Picture, long_side: u32) -> Picture {
    let present = picture.width().max(picture.height());
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(long_side) / u64::from(present);
        u32::try_from(side).unwrap_or(long_side).max(1)
    };
    picture.resized(scaled(picture.width()), scaled(picture.height()))
}

/// 0 without faces.
fn best_score(faces: &[Detection]) -> f32 {
    faces.iter().map(|face| face.score).fold(0.0, f32::max)
}

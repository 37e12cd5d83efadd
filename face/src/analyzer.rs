//! All networks, loaded, and how a face is looked for in a picture.

use super::attributes::AttributeHeads;
use super::cores::Cores;
use super::detector::blended;
use super::{Detection, Detector, Embedder, FaceError, LivenessModel, Portrait};
use crate::Picture;
use doorward_nn::Weights;
use std::borrow::Cow;

/// Detections below this score are not faces.
const MIN_SCORE: f32 = 0.6;
/// From this score on a face stands upright and the picture is not turned. Faces on their side or on
/// their head, taken for upright ones, reach 0.87; of upright ones (LFW) 99 % reach it.
const SURELY_UPRIGHT: f32 = 0.9;
/// A face in a turned picture is believed from this score on where none is found upright: upright
/// faces seen upside down reach 0.77. Where one is found, the turned one must surely stand upright
/// (a masked face that fills the picture reached 0.87 upside down) …
const MIN_SCORE_TURNED: f32 = 0.8;
/// … and be ahead of it by this much.
const TURNED_AHEAD: f32 = 0.05;
/// Long sides in pixels the detector sees a picture at. The first finds faces that fill the picture,
/// the second small ones.
const SCALES: [u32; 2] = [320, 640];
/// The last resort for a face larger than the picture …
const SMALLEST_SCALE: u32 = 160;
/// … and for a small one in a picture smaller than these: enlarged, it may be found (of 19 thumbnails
/// of veiled faces and sunglasses without a detection, 9 then had one).
const ENLARGED_SCALES: [u32; 2] = [320, 480];
/// The very last resort in a picture smaller than the enlarged ones: a face of which little is seen
/// (all but the eyes veiled) that is found at both of these scales …
const CONFIRMING_SCALES: [u32; 2] = [800, 1024];
/// … in boxes that overlap by this much, at scores whose mean is [`MIN_SCORE`] or more …
const CONFIRMING_OVERLAP: f32 = 0.5;
/// … and whose sides are at least this share of the picture's long side: specks of grain look like
/// anything, enlarged.
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
    /// Liveness, what the two networks are worth.
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

/// What the detector saw in one picture.
#[derive(Clone, Debug)]
pub struct Faces {
    /// Clockwise turn in degrees (0, 90, 180, 270) that brings the picture upright.
    pub rotation: u16,
    /// The picture turned by `rotation`, when that is not 0; `faces` are in its pixels.
    pub turned: Option<Picture>,
    /// Largest first.
    pub faces: Vec<Detection>,
}

/// All networks, loaded; may be shared by threads.
pub struct Analyzer {
    detector: Detector,
    embedder: Embedder,
    liveness: LivenessModel,
    attribute_heads: AttributeHeads,
    model_id: String,
    cores: Cores,
}

impl Analyzer {
    /// Loads the networks that are part of the program.
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

    /// With so many cores for one face: the same results, sooner.
    pub fn on(self, cores: Cores) -> Self {
        Self { cores, ..self }
    }

    /// The id of the embedding network and its quantization: templates of different ids are never
    /// compared.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Finds faces; turns the picture by 90, 180 and 270 degrees unless one surely stands upright.
    pub fn detect(&self, picture: &Picture) -> Result<Faces, FaceError> {
        let faces = self.detect_upright(picture)?;
        let upright_score = best_score(&faces);
        let mut best = Faces { rotation: 0, turned: None, faces };
        // One turned picture at a time: a large one takes much memory.
        if upright_score >= SURELY_UPRIGHT {
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
        Ok(best)
    }

    /// Finds the faces in a frame of a camera, largest first: upright ones, of at least a twentieth
    /// of the frame's long side. For every frame of a video, where [`Analyzer::detect`] takes its
    /// time to find a face in whatever was sent.
    pub fn faces_in_frame(&self, frame: &Picture) -> Result<Vec<Detection>, FaceError> {
        let seen = shrunk(frame, SCALES[0]);
        let mut faces = self.detect_in(&seen, frame, MIN_SCORE)?;
        if faces.is_empty() {
            // Before the lens a face may be larger than the frame. Shrinking a large frame again
            // would cost more than the network.
            faces = self.detect_in(&shrunk(&seen, SMALLEST_SCALE), frame, MIN_SCORE)?;
        }
        faces.sort_by(|a, b| b.area().total_cmp(&a.area()));
        Ok(faces)
    }

    /// The face of a small picture that is hardly seen at any one scale, by two of them.
    fn detect_confirmed(&self, picture: &Picture) -> Result<Option<Detection>, FaceError> {
        let long_side = picture.width().max(picture.height());
        if ENLARGED_SCALES.iter().all(|scale| long_side >= *scale) {
            return Ok(None);
        }
        let [first, second] = CONFIRMING_SCALES;
        // Of two scores with that mean, none is lower.
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

    /// Finds faces that stand upright in the picture, largest first.
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

    /// Faces seen with the picture's long side brought down to `long_side`.
    fn detect_at(&self, picture: &Picture, long_side: u32) -> Result<Vec<Detection>, FaceError> {
        self.detect_in(&shrunk(picture, long_side), picture, MIN_SCORE)
    }

    /// Faces of at least that score seen with the picture's long side brought down or up to
    /// `long_side`.
    fn detect_resized(
        &self,
        picture: &Picture,
        long_side: u32,
        min_score: f32,
    ) -> Result<Vec<Detection>, FaceError> {
        self.detect_in(&resized(picture, long_side), picture, min_score)
    }

    /// Faces of at least that score seen in a picture at another size, in the picture's own pixels.
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

    /// One detection of this picture, to be judged and embedded.
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

    pub(super) fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    pub(super) fn attribute_heads(&self) -> &AttributeHeads {
        &self.attribute_heads
    }
}

/// The picture with its long side brought down to `long_side`; itself when it is no longer.
fn shrunk(picture: &Picture, long_side: u32) -> Cow<'_, Picture> {
    match picture.width().max(picture.height()) <= long_side {
        true => Cow::Borrowed(picture),
        false => Cow::Owned(resized(picture, long_side)),
    }
}

/// The picture with its long side brought down or up to `long_side`.
fn resized(picture: &Picture, long_side: u32) -> Picture {
    let present = picture.width().max(picture.height());
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(long_side) / u64::from(present);
        u32::try_from(side).unwrap_or(long_side).max(1)
    };
    picture.resized(scaled(picture.width()), scaled(picture.height()))
}

/// 0 of none.
fn best_score(faces: &[Detection]) -> f32 {
    faces.iter().map(|face| face.score).fold(0.0, f32::max)
}

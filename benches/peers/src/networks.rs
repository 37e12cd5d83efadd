//! The networks, each on a picture of its input size: raw R, G, B from `{network}.rgb`. A pass is
//! all that the program does with such a picture: from pixels to the decoded result (boxes, an
//! embedding, logits).

use super::{Failure, Work, read};
use doorward::face::{Detector, Embedder, FaceError, MiniFasNet, ModelFiles};
use doorward::nn::{Weights, WeightsError};
use doorward::picture::Picture;
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::Path;

/// Detections below this score are not faces, as in the program.
const MIN_SCORE: f32 = 0.6;
/// Boxes that overlap by more belong to one face.
const ONE_FACE: f32 = 0.3;

fn picture(folder: &Path, network: &str, side: u32) -> Result<Picture, Failure> {
    let name = format!("{network}.rgb");
    let rgb = read(folder, &name)?;
    Picture::new(side, side, rgb).ok_or_else(|| Failure::Content(folder.join(name)))
}

fn loaded<Network>(network: Result<Network, WeightsError>) -> Result<Network, Failure> {
    network.map_err(|error| FaceError::from(error).into())
}

fn weights(file: &[u8]) -> Result<Weights<'_>, Failure> {
    loaded(Weights::read(file))
}

/// YuNet with its decoding.
pub struct Detection(Detector, Picture);

impl Detection {
    pub fn load(folder: &Path, files: &ModelFiles<'_>) -> Result<Self, Failure> {
        let detector = loaded(Detector::load(&weights(files.yunet)?))?;
        Ok(Self(detector, picture(folder, "yunet", 320)?))
    }
}

impl Work for Detection {
    fn pass(&mut self) -> Result<(), Failure> {
        black_box(self.0.detect(&self.1, MIN_SCORE)?);
        Ok(())
    }

    /// Returns detections, best first; for each face its best cell, because peers report only that:
    /// left, top, width, height, ten numbers of landmarks, score.
    fn outputs(&mut self) -> Result<Value, Failure> {
        let cells = self.0.cells(&self.1, MIN_SCORE)?;
        let found = self.0.detect(&self.1, MIN_SCORE)?;
        let best = found.iter().filter_map(|face| {
            let of_it = cells.iter().filter(|cell| cell.overlap(face) > ONE_FACE);
            of_it.max_by(|a, b| a.score.total_cmp(&b.score))
        });
        let rows = best.map(|face| {
            let mut row = vec![face.x, face.y, face.width, face.height];
            row.extend(face.landmarks.as_flattened());
            row.push(face.score);
            row
        });
        Ok(json!(rows.collect::<Vec<_>>()))
    }
}

/// SFace with its last matrix.
pub struct Embedding(Embedder, Picture);

impl Embedding {
    pub fn load(folder: &Path, files: &ModelFiles<'_>) -> Result<Self, Failure> {
        let embedder = loaded(Embedder::load(&weights(files.sface)?))?;
        Ok(Self(embedder, picture(folder, "sface", 112)?))
    }
}

impl Work for Embedding {
    fn pass(&mut self) -> Result<(), Failure> {
        black_box(self.0.embed(&self.0.trunk(&self.1)?)?);
        Ok(())
    }

    /// Of unit length.
    fn outputs(&mut self) -> Result<Value, Failure> {
        let embedding = self.0.embed(&self.0.trunk(&self.1)?)?;
        Ok(json!(embedding.values().to_vec()))
    }
}

/// MiniFASNetV2 and MiniFASNetV1SE.
pub struct Liveness([(MiniFasNet, Picture); 2]);

impl Liveness {
    pub fn load(folder: &Path, files: &ModelFiles<'_>) -> Result<Self, Failure> {
        let network = |file, name| {
            Ok::<_, Failure>((
                loaded(MiniFasNet::load(&weights(file)?))?,
                picture(folder, name, 80)?,
            ))
        };
        Ok(Self([
            network(files.minifasnet_v2, "minifasnet-v2")?,
            network(files.minifasnet_v1se, "minifasnet-v1se")?,
        ]))
    }
}

impl Work for Liveness {
    fn pass(&mut self) -> Result<(), Failure> {
        for (network, crop) in &self.0 {
            black_box(network.logits(crop)?);
        }
        Ok(())
    }

    /// Three logits of each.
    fn outputs(&mut self) -> Result<Value, Failure> {
        let logits = self.0.iter().map(|(network, crop)| network.logits(crop));
        Ok(json!(logits.collect::<Result<Vec<_>, _>>()?))
    }
}

//! YuNet: detects faces and their five landmarks at one scale.
//!
//! W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023. Decoding follows
//! OpenCV's `FaceDetectorYN`; the parity tests check its numbers.

use super::{Detection, FaceError};
use crate::Picture;
use candle_core::Result;
use doorward_nn::{
    Activation, Bordered, Depthwise, Map, PixelFormat, Pointwise, Pool, Resampler, Stem, Weights,
    WeightsError,
};

/// Candidates kept before overlapping ones are removed, best first.
const MOST_CANDIDATES: usize = 2000;
/// Boxes with a larger intersection over union belong to one face.
const ONE_FACE: f32 = 0.3;
/// From this overlap with the best box of a face, a cell's box has the same extent and counts in
/// the mean. With 0.5 and 0.7 the error rates on LFW are the same to 0.0001.
const SAME_EXTENT: f32 = 0.6;
/// B, G, R, 0–255, padded with black to multiples of the coarsest stride.
const FORMAT: PixelFormat = PixelFormat { bgr: true, scale: 1.0, offset: 0.0, multiple: 32 };

/// A pointwise convolution followed by a depthwise one: the building block of YuNet.
struct Unit {
    pointwise: Pointwise,
    depthwise: Depthwise,
}

impl Unit {
    fn load(
        weights: &Weights<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let pointwise = format!("{name}.pointwise");
        let depthwise = format!("{name}.depthwise");
        let straight = Activation::Identity;
        Ok(Self {
            pointwise: Pointwise::load(weights, &pointwise, inputs, outputs, straight)?,
            depthwise: Depthwise::load(weights, &depthwise, outputs, 1, Activation::Relu)?,
        })
    }

    /// Replaces `x` by the unit's output.
    fn update(&self, x: &mut Map, between: &mut Map) -> Result<()> {
        self.pointwise.forward(x, between)?;
        self.depthwise.forward(between, x)
    }
}

/// The predictions at every cell of one stride, in the order of the channels.
const HEAD: [(&str, usize); 4] = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)];
/// Channels of a head.
const HEAD_LEN: usize = 16;

/// The four sibling branches of a stride run as one layer pair over 16 channels.
struct Head {
    stride: usize,
    pointwise: Pointwise,
    depthwise: Depthwise,
}

impl Head {
    fn load(weights: &Weights<'_>, stride: usize) -> std::result::Result<Self, WeightsError> {
        let layers = |kind: &str| {
            HEAD.map(|(branch, outputs)| (format!("head.{branch}.{stride}.{kind}"), outputs))
        };
        Ok(Self {
            stride,
            pointwise: Pointwise::load_side_by_side(weights, 64, &layers("pointwise"))?,
            depthwise: Depthwise::load_side_by_side(weights, &layers("depthwise"))?,
        })
    }

    /// Returns faces with at least that score, in pixels of the network's input.
    fn decode(
        &self,
        x: &Map,
        [between, y]: &mut [Map; 2],
        min_score: f32,
        found: &mut Vec<Detection>,
    ) -> Result<()> {
        self.pointwise.forward(x, between)?;
        self.depthwise.forward(between, y)?;
        let (_, columns, _) = y.shape();
        // A plane holds exactly these channels: the map is one plane, cell after cell.
        y.read(|y| {
            let cells = y.chunks_exact(HEAD_LEN).enumerate();
            found.extend(cells.filter_map(|(cell, values)| {
                let place = ((cell / columns) as f32, (cell % columns) as f32);
                self.decode_cell(place, values, min_score)
            }));
        })
    }

    fn decode_cell(
        &self,
        (row, column): (f32, f32),
        values: &[f32],
        min_score: f32,
    ) -> Option<Detection> {
        let score = (sigmoid(values[0]) * sigmoid(values[1])).sqrt();
        if score < min_score {
            return None;
        }
        let stride = self.stride as f32;
        let (width, height) = (values[4].exp() * stride, values[5].exp() * stride);
        let (x, y) = ((column + values[2]) * stride, (row + values[3]) * stride);
        let landmarks = std::array::from_fn(|i| {
            [(column + values[6 + 2 * i]) * stride, (row + values[7 + 2 * i]) * stride]
        });
        let (x, y) = (x - width / 2.0, y - height / 2.0);
        let detection = Detection { x, y, width, height, landmarks, score };
        detection.is_finite().then_some(detection)
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The working memory of a forward pass.
struct Maps {
    pixels: Bordered,
    /// The layers' outputs, alternating.
    flow: [Map; 2],
    /// Of strides 8, 16, 32: from the backbone, then from the neck.
    levels: [Map; 3],
}

impl Maps {
    fn new() -> Result<Self> {
        let map = Map::new;
        Ok(Self {
            pixels: Bordered::new()?,
            flow: [map()?, map()?],
            levels: [map()?, map()?, map()?],
        })
    }
}

/// The network, loaded.
pub struct Detector {
    stem: Stem,
    /// Backbone stages 0 to 2; stage 0 has one unit, its first layer is the stem.
    shallow: Vec<Vec<Unit>>,
    /// Stages 3 to 5, whose outputs go to the neck.
    deep: [[Unit; 2]; 3],
    /// Strides 8, 16, 32.
    neck: Vec<Unit>,
    heads: Vec<Head>,
    resampler: Resampler,
    maps: Pool<Maps>,
}

impl Detector {
    /// Reads `yunet.gguf`.
    pub fn load(weights: &Weights<'_>) -> std::result::Result<Self, WeightsError> {
        let stem = Stem::load(weights, "backbone.0.conv1", 16, 2, FORMAT, Activation::Relu)?;
        let stage = |stage, inputs, outputs| {
            let unit = |unit, outputs| {
                Unit::load(weights, &format!("backbone.{stage}.conv{unit}"), inputs, outputs)
            };
            Ok::<_, WeightsError>([unit(1, inputs)?, unit(2, outputs)?])
        };
        let first = Unit::load(weights, "backbone.0.conv2", 16, 16)?;
        let shallow = vec![vec![first], stage(1, 16, 32)?.into(), stage(2, 32, 64)?.into()];
        let deep = [stage(3, 64, 64)?, stage(4, 64, 64)?, stage(5, 64, 64)?];
        let mut neck = Vec::new();
        let mut heads = Vec::new();
        for stride in [8, 16, 32] {
            neck.push(Unit::load(weights, &format!("neck.{stride}"), 64, 64)?);
            heads.push(Head::load(weights, stride)?);
        }
        let resampler = Resampler(weights.level());
        Ok(Self { stem, shallow, deep, neck, heads, resampler, maps: Pool::new(Maps::new) })
    }

    /// Returns faces of at least that score in the picture at its own size, best first, in its
    /// pixels.
    pub fn detect(
        &self,
        picture: &Picture,
        min_score: f32,
    ) -> std::result::Result<Vec<Detection>, FaceError> {
        Ok(blended(self.cells(picture, min_score)?))
    }

    /// Returns the predictions of all cells with at least that score, in no order: several per
    /// face, before [`Detector::detect`] merges them.
    pub fn cells(
        &self,
        picture: &Picture,
        min_score: f32,
    ) -> std::result::Result<Vec<Detection>, FaceError> {
        let found = self.maps.lend(|maps| self.forward(picture, min_score, maps));
        found.map_err(FaceError::Network)
    }

    fn forward(
        &self,
        picture: &Picture,
        min_score: f32,
        maps: &mut Maps,
    ) -> Result<Vec<Detection>> {
        let Maps { pixels, flow, levels } = maps;
        self.stem.forward(picture.into(), pixels, &mut flow[0])?;
        let [x, between] = flow;
        // The map is halved after stages 0, 2, 3 and 4; the last three maps go to the neck.
        for (stage, units) in self.shallow.iter().enumerate() {
            for unit in units {
                unit.update(x, between)?;
            }
            if stage != 1 {
                self.resampler.halve(x, between)?;
                std::mem::swap(x, between);
            }
        }
        for (stage, [first, second]) in self.deep.iter().enumerate() {
            if stage > 0 {
                self.resampler.halve(&levels[stage - 1], x)?;
            }
            first.update(x, between)?;
            second.pointwise.forward(x, between)?;
            second.depthwise.forward(between, &mut levels[stage])?;
        }
        let [fine, middle, coarse] = levels;
        let between = &mut flow[0];
        self.neck[2].update(coarse, between)?;
        self.resampler.add_doubled(coarse, middle, self.neck[1].pointwise.input())?;
        self.neck[1].update(middle, between)?;
        self.resampler.add_doubled(middle, fine, self.neck[0].pointwise.input())?;
        self.neck[0].update(fine, between)?;
        let mut found = Vec::new();
        for (head, map) in self.heads.iter().zip(levels) {
            head.decode(map, flow, min_score, &mut found)?;
        }
        Ok(found)
    }
}

/// Returns one detection per face, best first: greedy non-maximum suppression, but instead of the
/// best box the mean of those that agree with it, weighted by score (blending; V. Bazarevsky et
/// al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019). Which of several
/// neighbouring cells is best changes with a picture's noise; their mean hardly does.
pub(super) fn blended(mut found: Vec<Detection>) -> Vec<Detection> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MOST_CANDIDATES);
    let mut best: Vec<&Detection> = Vec::new();
    for face in &found {
        if best.iter().all(|better| better.overlap(face) <= ONE_FACE) {
            best.push(face);
        }
    }
    let agreeing = |best: &Detection| {
        let mean = best.at_mean_of(found.iter().filter(|face| best.overlap(face) >= SAME_EXTENT));
        // A box so large or so small that its overlap with itself is not finite is kept unchanged.
        if mean.is_finite() { mean } else { *best }
    };
    best.into_iter().map(agreeing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(x: f32, width: f32, score: f32) -> Detection {
        Detection { x, y: 0.0, width, height: 100.0, landmarks: [[x + 30.0, 40.0]; 5], score }
    }

    #[test]
    fn overlapping_cells_merge_into_their_weighted_mean() {
        let (best, near, other) =
            (seen(0.0, 100.0, 0.9), seen(9.0, 100.0, 0.6), seen(300.0, 80.0, 0.7));
        let faces = blended(vec![near, other, best]);
        assert_eq!(faces.len(), 2);
        // (0.9 · 0 + 0.6 · 9) / 1.5
        assert!((faces[0].x - 3.6).abs() < 1e-4, "{faces:?}");
        assert!((faces[0].landmarks[4][0] - 33.6).abs() < 1e-4, "{faces:?}");
        assert_eq!((faces[0].width, faces[0].score), (100.0, 0.9));
        assert!((faces[1].x - other.x).abs() < 1e-3, "{faces:?}");
    }

    #[test]
    fn extreme_boxes_stay_finite() {
        for width in [0.0, f32::MAX / 2.0] {
            let faces = blended(vec![seen(0.0, width, 0.9), seen(0.0, width, 0.8)]);
            assert!(!faces.is_empty() && faces.iter().all(Detection::is_finite), "{faces:?}");
        }
    }

    #[test]
    fn a_box_of_half_the_face_is_dropped_not_averaged() {
        let faces = blended(vec![seen(0.0, 50.0, 0.8), seen(0.0, 100.0, 0.9)]);
        assert_eq!(faces.len(), 1);
        assert!((faces[0].width - 100.0).abs() < 1e-3, "{faces:?}");
    }
}

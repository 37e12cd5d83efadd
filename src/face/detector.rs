//! YuNet: faces and their five landmarks at one scale.
//!
//! W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023. Decoding follows
//! OpenCV's `FaceDetectorYN`, whose numbers the parity tests hold.

use super::{Detection, FaceError};
use crate::nn::{
    Activation, Dense, Depthwise, Linear, MaxPool2, Pointwise, UpsampleAdd, Weights, WeightsError,
};
use crate::picture::Picture;
use candle_core::{Device, Result, Tensor};
use candle_nn::Module;

/// Candidates kept before overlapping ones are removed, best first.
const MOST_CANDIDATES: usize = 2000;
/// Of two boxes whose intersection over union is larger, the better one stays.
const MOST_OVERLAP: f32 = 0.3;
/// The coarsest stride: sides are padded to a multiple of it.
const COARSEST: u32 = 32;

/// A pointwise convolution followed by a depthwise one: YuNet is made of them.
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
        let linear = Linear::load(weights, &pointwise, inputs, outputs, Activation::Identity)?;
        Ok(Self {
            pointwise: linear.into(),
            depthwise: Depthwise::load(weights, &depthwise, outputs, 1, Activation::Relu)?,
        })
    }
}

impl Module for Unit {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.depthwise.forward(&self.pointwise.forward(x)?)
    }
}

/// What is predicted at every cell of one stride, in the order of the channels.
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
            pointwise: Linear::load_side_by_side(weights, 64, &layers("pointwise"))?.into(),
            depthwise: Depthwise::load_side_by_side(weights, &layers("depthwise"))?,
        })
    }

    /// Faces with at least that score, in pixels of the network's input.
    fn decode(&self, x: &Tensor, min_score: f32, found: &mut Vec<Detection>) -> Result<()> {
        let y = self.depthwise.forward(&self.pointwise.forward(x)?)?;
        let (_, columns, _) = y.dims3()?;
        let y = y.flatten_all()?.to_vec1::<f32>()?;
        let stride = self.stride as f32;
        for (cell, values) in y.chunks_exact(HEAD_LEN).enumerate() {
            let score = (sigmoid(values[0]) * sigmoid(values[1])).sqrt();
            if score < min_score {
                continue;
            }
            let (row, column) = ((cell / columns) as f32, (cell % columns) as f32);
            let (width, height) = (values[4].exp() * stride, values[5].exp() * stride);
            let (x, y) = ((column + values[2]) * stride, (row + values[3]) * stride);
            let landmarks = std::array::from_fn(|i| {
                [(column + values[6 + 2 * i]) * stride, (row + values[7 + 2 * i]) * stride]
            });
            let detection = Detection {
                x: x - width / 2.0,
                y: y - height / 2.0,
                width,
                height,
                landmarks,
                score,
            };
            if detection.is_finite() {
                found.push(detection);
            }
        }
        Ok(())
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The network, loaded.
pub struct Detector {
    stem: Dense,
    /// By backbone stage; stage 0 has one unit, its first layer is the stem.
    stages: Vec<Vec<Unit>>,
    /// Strides 8, 16, 32.
    neck: Vec<Unit>,
    heads: Vec<Head>,
}

impl Detector {
    /// Reads `yunet.gguf`.
    pub fn load(weights: &Weights<'_>) -> std::result::Result<Self, WeightsError> {
        let stem = Dense::load(weights, "backbone.0.conv1", (3, 16), 2, Activation::Relu)?;
        let mut stages = vec![vec![Unit::load(weights, "backbone.0.conv2", 16, 16)?]];
        for (stage, inputs, outputs) in
            [(1, 16, 32), (2, 32, 64), (3, 64, 64), (4, 64, 64), (5, 64, 64)]
        {
            stages.push(vec![
                Unit::load(weights, &format!("backbone.{stage}.conv1"), inputs, inputs)?,
                Unit::load(weights, &format!("backbone.{stage}.conv2"), inputs, outputs)?,
            ]);
        }
        let mut neck = Vec::new();
        let mut heads = Vec::new();
        for stride in [8, 16, 32] {
            neck.push(Unit::load(weights, &format!("neck.{stride}"), 64, 64)?);
            heads.push(Head::load(weights, stride)?);
        }
        Ok(Self { stem, stages, neck, heads })
    }

    /// Faces of at least that score in the picture at its own size, best first, in its pixels.
    pub fn detect(
        &self,
        picture: &Picture,
        min_score: f32,
    ) -> std::result::Result<Vec<Detection>, FaceError> {
        let found = self.candidates(picture, min_score).map_err(FaceError::network)?;
        Ok(without_overlaps(found))
    }

    fn candidates(&self, picture: &Picture, min_score: f32) -> Result<Vec<Detection>> {
        let mut x = self.stem.forward(&input(picture)?)?;
        // A map is halved after stages 0, 2, 3 and 4; the last three maps go to the neck.
        let mut maps = Vec::new();
        for (stage, units) in self.stages.iter().enumerate() {
            for unit in units {
                x = unit.forward(&x)?;
            }
            if stage >= 3 {
                maps.push(x.clone());
            }
            if matches!(stage, 0 | 2 | 3 | 4) {
                x = x.apply_op1_no_bwd(&MaxPool2)?;
            }
        }
        let coarse = self.neck[2].forward(&maps[2])?;
        let middle = maps[1].apply_op2_no_bwd(&coarse, &UpsampleAdd)?;
        let middle = self.neck[1].forward(&middle)?;
        let fine = maps[0].apply_op2_no_bwd(&middle, &UpsampleAdd)?;
        let fine = self.neck[0].forward(&fine)?;
        let mut found = Vec::new();
        for (head, map) in self.heads.iter().zip([&fine, &middle, &coarse]) {
            head.decode(map, min_score, &mut found)?;
        }
        Ok(found)
    }
}

/// The picture as the network wants it: `[height, width, 3]`, B, G, R, 0–255, padded with black at
/// the right and the bottom to multiples of 32.
fn input(picture: &Picture) -> Result<Tensor> {
    let padded = |side: u32| side.next_multiple_of(COARSEST) as usize;
    let (width, height) = (padded(picture.width()), padded(picture.height()));
    let mut values = vec![0f32; width * height * 3];
    let rows = picture.rgb().chunks_exact(picture.width() as usize * 3);
    for (row, into) in rows.zip(values.chunks_exact_mut(width * 3)) {
        for (rgb, bgr) in row.chunks_exact(3).zip(into.chunks_exact_mut(3)) {
            bgr.copy_from_slice(&[rgb[2].into(), rgb[1].into(), rgb[0].into()]);
        }
    }
    Tensor::from_vec(values, (height, width, 3), &Device::Cpu)
}

/// Greedy non-maximum suppression: best first, what overlaps a better one goes.
pub(super) fn without_overlaps(mut found: Vec<Detection>) -> Vec<Detection> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MOST_CANDIDATES);
    let mut kept: Vec<Detection> = Vec::new();
    for face in found {
        if kept.iter().all(|better| better.overlap(&face) <= MOST_OVERLAP) {
            kept.push(face);
        }
    }
    kept
}

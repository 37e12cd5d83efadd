//! MiniFASNet: turns a crop of a face with its surroundings into the logits of three classes; one
//! is live and the others are attacks.
//!
//! Minivision, Silent-Face-Anti-Spoofing, 2020. Two networks of one design; the second weighs
//! channels (squeeze and excite) and sees more of the surroundings. Widths, scale and the live
//! class are in the weights' file.

use super::{Detection, FaceError};
use crate::Picture;
use candle_core::Result;
use doorward_nn::{
    Activation, Bordered, Depthwise, Map, PixelFormat, Pointwise, Pool, SqueezeExcite, Squeezed,
    Stem, Weights, WeightsError, WholeDepthwise,
};

/// Side of the crop in pixels.
const CROP: u32 = 80;
/// Number of classes.
pub const CLASSES: usize = 3;
/// B, G, R, 0–255.
const FORMAT: PixelFormat = PixelFormat { bgr: true, scale: 1.0, offset: 0.0, multiple: 1 };
/// Channels after the first layers.
const STEM: usize = 32;
/// The block of stride 2 that opens a stage, the residual blocks after it, the stage's channels and
/// the side of its maps.
const STAGES: [(&str, &str, usize, usize); 3] =
    [("conv_23", "conv_3", 64, 20), ("conv_34", "conv_4", 128, 10), ("conv_45", "conv_5", 128, 5)];
/// Side of the last map and its channels after `conv_6_sep`.
const LAST_SIDE: usize = 5;
const LAST_CHANNELS: usize = 512;
/// Values between the last map and the logits.
const FEATURES: usize = 128;

/// Widen (1×1), filter (depthwise 3×3), narrow (1×1).
struct Block {
    widen: Pointwise,
    depthwise: Depthwise,
    narrow: Pointwise,
}

impl Block {
    fn load(
        weights: &Weights<'_>,
        name: &str,
        (inputs, outputs): (usize, usize),
        stride: usize,
    ) -> std::result::Result<Self, WeightsError> {
        let [widen, depthwise, narrow] =
            ["conv", "conv_dw", "project"].map(|part| format!("{name}.{part}"));
        let hidden = weights.outputs(&widen)?;
        let prelu = |layer: &str| weights.prelu(layer, hidden);
        Ok(Self {
            widen: Pointwise::load(weights, &widen, inputs, hidden, prelu(&widen)?)?,
            depthwise: Depthwise::load(weights, &depthwise, hidden, stride, prelu(&depthwise)?)?,
            narrow: Pointwise::load(weights, &narrow, hidden, outputs, Activation::Identity)?,
        })
    }

    /// Widens and filters `x`; `wide[1]` is the part to be narrowed.
    fn look(&self, x: &Map, wide: &mut [Map; 2]) -> Result<()> {
        self.widen.forward(x, &mut wide[0])?;
        let [from, to] = wide;
        self.depthwise.forward(from, to)
    }
}

struct Stage {
    reduction: Block,
    residual: Vec<Block>,
    /// Weighs the channels of the last residual block.
    excitation: Option<SqueezeExcite>,
}

impl Stage {
    /// Replaces `maps.x` by the stage's output.
    fn update(&self, Maps { x, next, wide, squeezed, .. }: &mut Maps) -> Result<()> {
        self.reduction.look(x, wide)?;
        self.reduction.narrow.forward(&wide[1], x)?;
        for (index, block) in self.residual.iter().enumerate() {
            block.look(x, wide)?;
            match &self.excitation {
                Some(excitation) if index + 1 == self.residual.len() => {
                    let [narrowed, looked] = wide;
                    block.narrow.forward(looked, narrowed)?;
                    excitation.forward_plus(narrowed, x, next, squeezed)?;
                }
                _ => block.narrow.forward_plus(&wide[1], x, next)?,
            }
            std::mem::swap(x, next);
        }
        Ok(())
    }
}

/// The working memory of a forward pass.
struct Maps {
    pixels: Bordered,
    x: Map,
    /// The next value of `x`.
    next: Map,
    wide: [Map; 2],
    squeezed: Squeezed,
}

impl Maps {
    fn new() -> Result<Self> {
        let map = Map::new;
        Ok(Self {
            pixels: Bordered::new()?,
            x: map()?,
            next: map()?,
            wide: [map()?, map()?],
            squeezed: Squeezed::new()?,
        })
    }
}

/// One of the networks, loaded.
pub struct MiniFasNet {
    crop_scale: f32,
    live_class: usize,
    stem: Stem,
    second: Depthwise,
    stages: Vec<Stage>,
    widen: Pointwise,
    whole: WholeDepthwise,
    features: Pointwise,
    logits: Pointwise,
    maps: Pool<Maps>,
}

impl MiniFasNet {
    /// Reads `minifasnet-v2.gguf` or `minifasnet-v1se.gguf`.
    pub fn load(weights: &Weights<'_>) -> std::result::Result<Self, WeightsError> {
        let excites = weights.metadata("minifasnet.squeeze_excite")?.to_bool()?;
        let lengths = weights.metadata("minifasnet.residual_blocks")?.to_vec()?;
        let mut stages = Vec::new();
        let mut inputs = STEM;
        for ((reduction, name, channels, side), length) in STAGES.into_iter().zip(lengths) {
            let residual = (0..length.to_u32()?)
                .map(|i| {
                    Block::load(weights, &format!("{name}.model.{i}"), (channels, channels), 1)
                })
                .collect::<std::result::Result<Vec<_>, _>>()?;
            let last = format!("{name}.model.{}.se", residual.len().saturating_sub(1));
            stages.push(Stage {
                reduction: Block::load(weights, reduction, (inputs, channels), 2)?,
                residual,
                excitation: match excites {
                    true => Some(SqueezeExcite::load(weights, &last, channels, side)?),
                    false => None,
                },
            });
            inputs = channels;
        }
        let prelu = |layer: &str, channels| weights.prelu(layer, channels);
        let linear = |layer, inputs, outputs, activation| {
            Pointwise::load(weights, layer, inputs, outputs, activation)
        };
        Ok(Self {
            crop_scale: weights.metadata("minifasnet.crop_scale")?.to_f32()?,
            live_class: weights.metadata("minifasnet.live_class")?.to_u32()? as usize,
            stem: Stem::load(weights, "conv1", STEM, 2, FORMAT, prelu("conv1", STEM)?)?,
            second: Depthwise::load(weights, "conv2_dw", STEM, 1, prelu("conv2_dw", STEM)?)?,
            stages,
            widen: linear(
                "conv_6_sep",
                inputs,
                LAST_CHANNELS,
                prelu("conv_6_sep", LAST_CHANNELS)?,
            )?,
            whole: WholeDepthwise::load(weights, "conv_6_dw", LAST_CHANNELS, LAST_SIDE)?,
            features: linear("linear", LAST_CHANNELS, FEATURES, Activation::Identity)?,
            logits: linear("prob", FEATURES, CLASSES, Activation::Identity)?,
            maps: Pool::new(Maps::new),
        })
    }

    /// Returns the index of the class live.
    pub fn live_class(&self) -> usize {
        self.live_class
    }

    /// Returns the face with its surroundings, as this network was trained to see it.
    pub fn crop(
        &self,
        picture: &Picture,
        face: &Detection,
    ) -> std::result::Result<Picture, FaceError> {
        picture
            .sampled(surroundings(picture, face, self.crop_scale), CROP, CROP)
            .ok_or(FaceError::NoPixel)
    }

    /// Returns the logits of the three classes, from a crop of 80×80.
    pub fn logits(&self, crop: &Picture) -> std::result::Result<[f32; CLASSES], FaceError> {
        let logits = self.maps.lend(|maps| {
            self.forward(crop, maps)?;
            maps.x.read(|logits| std::array::from_fn(|class| logits[class]))
        });
        logits.map_err(FaceError::Network)
    }

    fn forward(&self, crop: &Picture, maps: &mut Maps) -> Result<()> {
        self.stem.forward(crop.into(), &mut maps.pixels, &mut maps.next)?;
        self.second.forward(&maps.next, &mut maps.x)?;
        for stage in &self.stages {
            stage.update(maps)?;
        }
        let Maps { x, wide: [wide, vector], .. } = maps;
        self.widen.forward(x, wide)?;
        self.whole.forward(wide, vector)?;
        self.features.forward(vector, wide)?;
        self.logits.forward(wide, x)
    }
}

/// Returns left, top, width and height of the box enlarged `scale` times about its centre. The box
/// is enlarged less if the picture is too small, and shifted, not cut, to lie inside the picture.
/// Same crop as the authors': corners are rounded down, and both belong to the crop.
fn surroundings(picture: &Picture, face: &Detection, scale: f32) -> [u32; 4] {
    let (width, height) = ((picture.width() - 1) as f32, (picture.height() - 1) as f32);
    let scale = scale.min(height / face.height).min(width / face.width);
    let span = |centre: f32, length: f32, end: f32| {
        let first = (centre - length * scale / 2.0).max(0.0).min(end - length * scale).max(0.0);
        let last = (first + length * scale).min(end);
        (first as u32, last as u32 - first as u32 + 1)
    };
    let [x, y] = face.centre();
    let (left, columns) = span(x, face.width, width);
    let (top, rows) = span(y, face.height, height);
    [left, top, columns, rows]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(face: [f32; 4], scale: f32) -> [u32; 4] {
        let picture = Picture::new(101, 81, vec![0; 101 * 81 * 3]).unwrap();
        let [x, y, width, height] = face;
        let face = Detection { x, y, width, height, landmarks: [[0.0; 2]; 5], score: 0.9 };
        surroundings(&picture, &face, scale)
    }

    #[test]
    fn the_box_is_enlarged_about_its_centre() {
        // Centre 50, 40; 20 × 16 twice: from 30, 24 to 70, 56, both included.
        assert_eq!(around([40.0, 32.0, 20.0, 16.0], 2.0), [30, 24, 41, 33]);
    }

    #[test]
    fn at_the_border_it_is_shifted_not_cut() {
        assert_eq!(around([0.0, 0.0, 20.0, 16.0], 2.0), [0, 0, 41, 33]);
        assert_eq!(around([90.0, 70.0, 20.0, 16.0], 2.0), [60, 48, 41, 33]);
    }

    #[test]
    fn in_a_small_picture_it_is_enlarged_less() {
        assert_eq!(around([30.0, 20.0, 40.0, 40.0], 4.0), [10, 0, 81, 81]);
        assert_eq!(around([-50.0, -50.0, 400.0, 20.0], 4.0), [0, 0, 101, 6]);
    }
}

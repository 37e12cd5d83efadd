//! YuNet: a face detector of depthwise-separable convolutions, exported with batch-norm folded.
//!
//! Each unit is a 1×1 convolution followed by a depthwise 3×3. The exporter kept only the names of
//! the former, so the latter is found as the convolution that reads its output.

use super::layer::Layer;
use super::onnx::{self, Node};
use super::weights::{Malformed, Weights};

/// Picture pixels per cell, level by level.
const STRIDES: [usize; 3] = [8, 16, 32];
/// Score of the class, score of the place, box, landmarks.
const HEADS: [&str; 4] = ["cls", "obj", "bbox", "kps"];
/// Region and scales of the two upsamplings, which are not weights.
const RESIZE_OPERANDS: [&str; 3] = ["240", "464", "465"];

pub fn convert(bytes: &[u8]) -> Result<Vec<Layer>, Malformed> {
    let (graph, mut weights) = onnx::read(bytes)?;
    let first = graph.reader("Conv", "input")?;
    let mut layers = vec![convolution("backbone.0.conv1".to_owned(), first, &mut weights)?];
    for (ours, theirs) in units() {
        let pointwise = graph.reader("Conv", &format!("{theirs}.conv1.weight"))?;
        let depthwise = graph.next(pointwise, "Conv")?;
        layers.push(convolution(format!("{ours}.pointwise"), pointwise, &mut weights)?);
        layers.push(convolution(format!("{ours}.depthwise"), depthwise, &mut weights)?);
    }
    for operand in RESIZE_OPERANDS {
        weights.take(operand)?;
    }
    weights.finish()?;
    Ok(layers)
}

/// Returns our name and the exporter's name of every unit.
fn units() -> Vec<(String, String)> {
    let mut units = vec![("backbone.0.conv2".to_owned(), "backbone.model0.conv2".to_owned())];
    for (stage, unit) in (1..=5).flat_map(|stage| [(stage, 1), (stage, 2)]) {
        let theirs = format!("backbone.model{stage}.conv{unit}");
        units.push((format!("backbone.{stage}.conv{unit}"), theirs));
    }
    for (level, stride) in STRIDES.into_iter().enumerate() {
        units.push((format!("neck.{stride}"), format!("neck.lateral_convs.{level}")));
    }
    for head in HEADS {
        for (level, stride) in STRIDES.into_iter().enumerate() {
            let theirs = format!("bbox_head.multi_level_{head}.{level}");
            units.push((format!("head.{head}.{stride}"), theirs));
        }
    }
    units
}

fn convolution(name: String, node: &Node, weights: &mut Weights) -> Result<Layer, Malformed> {
    let weight = weights.take(node.operand(1)?)?;
    let bias = weights.take(node.operand(2)?)?;
    Layer::new(name, &weight)?.with_bias(&bias)
}

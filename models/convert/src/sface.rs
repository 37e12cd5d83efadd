//! SFace: a MobileNetV1-shaped embedder, every convolution with batch-norm and PReLU, then one
//! matrix between two batch-norms.
//!
//! The graph's own input scaling is not folded into the weights: the first convolution pads its
//! scaled input with zeros, which weights cannot express. The reader of the file scales the pixels.

use super::layer::{BatchNorm, Layer};
use super::onnx::{self, Graph, Node};
use super::weights::{Malformed, Weights};

/// The graph's x ↦ (x − 127.5) · 0.0078125, which the reader of our file repeats.
const INPUT_SCALING: [(&str, f32); 2] = [("scalar_op1", 127.5), ("scalar_op2", 0.0078125)];
/// The input map of the matrix: channels, height, width.
const LAST_MAP: [usize; 3] = [1024, 7, 7];

pub fn convert(bytes: &[u8]) -> Result<Vec<Layer>, Malformed> {
    let (graph, mut weights) = onnx::read(bytes)?;
    for (name, expected) in INPUT_SCALING {
        let found = weights.take(name)?;
        if found.data() != [expected] {
            let expected = "the input scaling (x - 127.5) * 0.0078125";
            let found = found.shape().to_vec();
            return Err(Malformed::Shape { name: name.to_owned(), expected, found });
        }
    }
    let mut layers = vec![block(&graph, &mut weights, "conv_1", "conv_1")?];
    for number in 2..=14 {
        let (depthwise, pointwise) = (format!("conv_{number}_dw"), format!("conv_{number}"));
        let ours = |part| format!("conv_{number}.{part}");
        layers.push(block(&graph, &mut weights, &ours("depthwise"), &depthwise)?);
        layers.push(block(&graph, &mut weights, &ours("pointwise"), &pointwise)?);
    }
    layers.push(embedding(&graph, &mut weights)?);
    weights.finish()?;
    Ok(layers)
}

/// Convolution, batch-norm, PReLU.
fn block(
    graph: &Graph,
    weights: &mut Weights,
    ours: &str,
    theirs: &str,
) -> Result<Layer, Malformed> {
    let conv = graph.reader("Conv", &format!("{theirs}_conv2d_weight"))?;
    let norm = graph.next(conv, "BatchNormalization")?;
    let prelu = graph.next(norm, "PRelu")?;
    let weight = weights.take(conv.operand(1)?)?;
    let slope = weights.take(prelu.operand(1)?)?;
    Layer::new(ours, &weight)?.followed_by(&batch_norm(norm, weights)?)?.with_slope(&slope)
}

/// Reads batch-norm, a matrix over the whole map, batch-norm. The matrix is a convolution as large
/// as the map and therefore has no padding, so both batch-norms fold into it exactly.
fn embedding(graph: &Graph, weights: &mut Weights) -> Result<Layer, Malformed> {
    let gemm = graph.reader("Gemm", "pre_fc1_weight")?;
    let before = graph.reader("BatchNormalization", "bn1_gamma")?;
    let after = graph.next(gemm, "BatchNormalization")?;
    let matrix = weights.take(gemm.operand(1)?)?;
    let bias = weights.take(gemm.operand(2)?)?;
    let rows = bias.data().len();
    let kernel = [[rows].as_slice(), &LAST_MAP].concat();
    let layer = Layer::new("embedding", &matrix.reshape("pre_fc1_weight", kernel)?)?;
    let layer = layer.with_bias(&bias)?.preceded_by(&batch_norm(before, weights)?)?;
    layer.followed_by(&batch_norm(after, weights)?)
}

fn batch_norm(node: &Node, weights: &mut Weights) -> Result<BatchNorm, Malformed> {
    let mut take = |index| weights.take(node.operand(index)?);
    let arrays = [take(1)?, take(2)?, take(3)?, take(4)?];
    BatchNorm::new(arrays.each_ref(), f64::from(node.attribute("epsilon")?))
}

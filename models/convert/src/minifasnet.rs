//! MiniFASNet V2 and V1SE: two liveness networks of one design, pruned to different widths.
//!
//! The design: conv1 (stride 2), conv2_dw, then three times a block of stride 2 followed by
//! residual blocks, then conv_6_sep, conv_6_dw over the whole 5×5 map, linear, prob. A block is a
//! 1×1 convolution, a depthwise 3×3 and a 1×1 projection; in V1SE the last residual block of each
//! stage weighs the channels of its projection (squeeze and excite) before the sum.

use candle_core::quantized::gguf_file::Value;

use super::layer::{BatchNorm, Layer};
use super::pickle;
use super::weights::{Malformed, Weights};

/// Each stage's block of stride 2, the residual blocks that follow it, and their number.
const STAGES: [(&str, &str, u32); 3] =
    [("conv_23", "conv_3", 4), ("conv_34", "conv_4", 6), ("conv_45", "conv_5", 2)];
/// torch's default, which the authors did not change.
const EPSILON: f64 = 1e-5;

pub fn metadata(crop_scale: f32, squeeze_excite: bool) -> Vec<(&'static str, Value)> {
    let blocks = STAGES.map(|(_, _, blocks)| Value::U32(blocks)).to_vec();
    vec![
        ("minifasnet.crop_scale", Value::F32(crop_scale)),
        ("minifasnet.residual_blocks", Value::Array(blocks)),
        ("minifasnet.squeeze_excite", Value::Bool(squeeze_excite)),
        ("minifasnet.live_class", Value::U32(1)),
    ]
}

pub fn convert(bytes: &[u8], squeeze_excite: bool) -> Result<Vec<Layer>, Malformed> {
    let mut weights = pickle::read(bytes)?;
    let mut layers = Vec::new();
    let mut push = |layer: Result<Layer, Malformed>| layer.map(|layer| layers.push(layer));
    for name in ["conv1", "conv2_dw"] {
        push(convolution(&mut weights, name))?;
    }
    for (reduction, stage, blocks) in STAGES {
        let residual = (0..blocks).map(|block| format!("{stage}.model.{block}"));
        for block in std::iter::once(reduction.to_owned()).chain(residual) {
            for part in ["conv", "conv_dw", "project"] {
                push(convolution(&mut weights, &format!("{block}.{part}")))?;
            }
        }
        if squeeze_excite {
            let block = format!("{stage}.model.{}", blocks - 1);
            push(excitation(&mut weights, &block, 1))?;
            push(excitation(&mut weights, &block, 2))?;
        }
    }
    for name in ["conv_6_sep", "conv_6_dw"] {
        push(convolution(&mut weights, name))?;
    }
    let linear = weights.take("module.linear.weight")?;
    let norm = batch_norm(&mut weights, "module.bn")?;
    push(Layer::new("linear", &linear)?.followed_by(&norm))?;
    push(Layer::new("prob", &weights.take("module.prob.weight")?))?;
    weights.finish()?;
    Ok(layers)
}

/// Reads convolution, batch-norm and, where the authors have one, PReLU.
fn convolution(weights: &mut Weights, name: &str) -> Result<Layer, Malformed> {
    let weight = weights.take(&format!("module.{name}.conv.weight"))?;
    let norm = batch_norm(weights, &format!("module.{name}.bn"))?;
    let layer = Layer::new(name, &weight)?.followed_by(&norm)?;
    match format!("module.{name}.prelu.weight") {
        slope if weights.contains(&slope) => layer.with_slope(&weights.take(&slope)?),
        _ => Ok(layer),
    }
}

/// Reads one of the two matrices that compute channel weights from a block's channel means.
fn excitation(weights: &mut Weights, block: &str, number: u32) -> Result<Layer, Malformed> {
    let weight = weights.take(&format!("module.{block}.se_module.fc{number}.weight"))?;
    let norm = batch_norm(weights, &format!("module.{block}.se_module.bn{number}"))?;
    Layer::new(format!("{block}.se.fc{number}"), &weight)?.followed_by(&norm)
}

fn batch_norm(weights: &mut Weights, name: &str) -> Result<BatchNorm, Malformed> {
    let mut take = |part| weights.take(&format!("{name}.{part}"));
    let arrays = [take("weight")?, take("bias")?, take("running_mean")?, take("running_var")?];
    BatchNorm::new(arrays.each_ref(), EPSILON)
}

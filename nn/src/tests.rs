//! Compares the same network in f32 and in bytes, with layers read from a file.

use super::*;
use candle_core::quantized::{GgmlDType, QStorage, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use std::borrow::Cow;
use std::io::Cursor;

const CHANNELS: usize = 20;
const OUTPUTS: usize = 24;

/// Deterministic values from −1 to 1.
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// A Q8_0 matrix with the scale 2⁻⁸ in every row; `uneven` changes one block's scale.
fn stored(rows: usize, columns: usize, seed: usize, uneven: bool) -> QTensor {
    let padded = columns.next_multiple_of(32);
    let mut data = Vec::new();
    for (row, weights) in values(rows * columns, seed).chunks_exact(columns).enumerate() {
        let mut weights: Vec<u8> =
            weights.iter().map(|x| ((x * 127.0) as i8).cast_unsigned()).collect();
        weights.resize(padded, 0);
        for (group, weights) in weights.chunks_exact(32).enumerate() {
            // 2⁻⁸ and 2⁻⁷ as f16.
            let scale: u16 = if uneven && (row, group) == (1, 1) { 0x2000 } else { 0x1c00 };
            data.extend(scale.to_le_bytes());
            data.extend_from_slice(weights);
        }
    }
    let storage = QStorage::from_data(Cow::Owned(data), &Device::Cpu, GgmlDType::Q8_0).unwrap();
    QTensor::new(storage, (rows, padded)).unwrap()
}

fn vector(values: Vec<f32>) -> QTensor {
    let length = values.len();
    let values = Tensor::from_vec(values, length, &Device::Cpu).unwrap();
    QTensor::quantize(&values, GgmlDType::F32).unwrap()
}

/// A stem, a depthwise and a pointwise layer; with the ranges of their maps, they compute in bytes.
fn file(ranges: Option<[[f32; 2]; 2]>, uneven: bool) -> Vec<u8> {
    let mut tensors = vec![
        ("stem.weight", stored(CHANNELS, 27, 1, false)),
        ("stem.bias", vector(values(CHANNELS, 2))),
        ("stem.slope", vector(values(CHANNELS, 3))),
        ("look.weight", stored(CHANNELS, 9, 4, false)),
        ("look.bias", vector(values(CHANNELS, 5))),
        ("mix.weight", stored(OUTPUTS, if uneven { 40 } else { CHANNELS }, 6, uneven)),
        ("mix.bias", vector(values(OUTPUTS, 7))),
        ("mix.slope", vector(values(OUTPUTS, 8))),
    ];
    if let Some([stem, look]) = ranges {
        tensors.push(("stem.output", vector(stem.to_vec())));
        tensors.push(("look.input", vector(stem.to_vec())));
        tensors.push(("look.output", vector(look.to_vec())));
        tensors.push(("mix.input", vector(look.to_vec())));
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &[], &tensors).unwrap();
    file.into_inner()
}

/// Least and greatest value of a map.
fn span(map: &Map) -> (f32, f32) {
    map.read(|values| values.iter().fold((0f32, 0f32), |(a, b), x| (a.min(*x), b.max(*x)))).unwrap()
}

fn range((low, high): (f32, f32)) -> [f32; 2] {
    let scale = (high - low) / 255.0;
    [scale, (-low / scale).round()]
}

/// The maps after each layer, the last as a tensor.
fn run(file: &[u8], level: Level) -> (Map, Map, Vec<f32>) {
    let weights = Weights::read_for(file, level).unwrap();
    let format = PixelFormat { bgr: true, scale: 1.0 / 255.0, offset: 0.0, multiple: 4 };
    let prelu = |layer, channels| weights.prelu(layer, channels).unwrap();
    let stem = Stem::load(&weights, "stem", CHANNELS, 2, format, prelu("stem", CHANNELS)).unwrap();
    let look = Depthwise::load(&weights, "look", CHANNELS, 1, Activation::Relu).unwrap();
    let mix = Pointwise::load(&weights, "mix", CHANNELS, OUTPUTS, prelu("mix", OUTPUTS)).unwrap();
    let rgb: Vec<u8> = (0..30 * 21 * 3).map(|i| (i * 37 % 251) as u8).collect();
    let mut maps = [Map::new().unwrap(), Map::new().unwrap(), Map::new().unwrap()];
    let [first, second, last] = &mut maps;
    let pixels = Pixels { rgb: &rgb, height: 30, width: 21 };
    stem.forward(pixels, &mut Bordered::new().unwrap(), first).unwrap();
    look.forward(first, second).unwrap();
    mix.forward(second, last).unwrap();
    assert_eq!(last.shape(), (16, 12, OUTPUTS));
    let tensor = last.to_tensor().unwrap();
    let [first, second, _] = maps;
    (first, second, tensor.flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn byte_layers_agree_closely_with_f32() {
    for level in Level::available() {
        let (stem, look, exact) = run(&file(None, false), level);
        let ranges = [range(span(&stem)), range(span(&look))];
        let (_, _, rounded) = run(&file(Some(ranges), false), level);
        let power = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
        let error = power(&mut exact.iter().zip(&rounded).map(|(a, b)| a - b));
        let relative = (error / power(&mut exact.iter().copied())).sqrt();
        assert!(relative < 0.02, "{level}: {relative} of the values");
        assert!(exact != rounded, "{level}: nothing was rounded");
    }
}

#[test]
fn a_map_with_another_range_is_refused() {
    let level = Level::detect().unwrap();
    let (exact, _, _) = run(&file(None, false), level);
    let in_bytes = file(Some([[0.01, 3.0], [0.02, 0.0]]), false);
    let weights = Weights::read_for(&in_bytes, level).unwrap();
    let look = Depthwise::load(&weights, "look", CHANNELS, 1, Activation::Relu).unwrap();
    let error = look.forward(&exact, &mut Map::new().unwrap()).unwrap_err();
    assert!(error.to_string().contains("0.01"), "{error}");
}

#[test]
fn rows_of_several_scales_and_impossible_ranges_are_refused() {
    let load = |file: &[u8], inputs| {
        let weights = Weights::read(file).unwrap();
        Pointwise::load(&weights, "mix", inputs, OUTPUTS, Activation::Identity).err()
    };
    let sound = [[0.01, 3.0], [0.02, 0.0]];
    assert!(load(&file(Some(sound), false), CHANNELS).is_none());
    let error = load(&file(Some(sound), true), 40).unwrap().to_string();
    assert!(error.contains("several scales"), "{error}");
    for impossible in [[0.0, 0.0], [f32::NAN, 0.0], [-1.0, 0.0], [0.1, 256.0], [0.1, 0.5]] {
        let error = load(&file(Some([sound[0], impossible]), false), CHANNELS);
        assert!(error.is_some(), "{impossible:?}");
    }
}

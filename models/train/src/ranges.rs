//! Makes the embedder compute in bytes: from its unquantized weights and the portraits of the tests, a
//! file of the same network whose layers state what their bytes stand for. The same portraits give the
//! same bytes. It is not what the program ships: with it the similarity anchors must be measured anew.
//!
//! Weights get one scale an output channel; Q8_0 holds that as blocks of equal scales. A map's range
//! holds 0 and every value that was seen: cutting off the rarest ten thousandth made the common values
//! finer and the embeddings worse. The first layer, which reads pixels, and the last matrix, which sums
//! 50,176 values, compute in f32; so does what leaves the last map.

use candle_core::quantized::gguf_file::{self, Content};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use doorward::face::{Detector, Embedder, FaceError, SHIPPED, aligned_crop};
use doorward::nn::Weights;
use doorward::picture::{self, Limits, Picture};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;

/// Written here, beside the unquantized weights that it is made from.
const FILE: &str = "target/models-bytes/sface.gguf";
const UNQUANTIZED: &str = "target/models-f32/sface.gguf";
/// Photographs that are part of the project: few faces, so each is shown in many ways.
const PORTRAITS: [&str; 5] = ["obama", "obama2", "obama3", "biden", "replayed"];
/// Long sides in pixels the portraits are brought to: sharp faces and blurred ones.
const SIDES: [u32; 3] = [96, 160, 320];
/// byte · gain + offset: as they are, dark, bright, without contrast, with too much of it.
const LIGHTS: [(f32, f32); 5] = [(1.0, 0.0), (0.5, 0.0), (1.4, 0.0), (0.7, 70.0), (1.6, -60.0)];
/// Detections below this score are not faces.
const MIN_SCORE: f32 = 0.6;

/// Weights that share a scale in Q8_0.
const GROUP: usize = 32;

/// The layer whose output stays f32.
const LAST_MAP: &str = "conv_14.pointwise";
/// The layer that reads pixels.
const STEM: &str = "conv_1";
/// The last matrix.
const LAST: &str = "embedding";

/// Writes the file.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let unquantized = fs::read(UNQUANTIZED)
        .map_err(|error| format!("{UNQUANTIZED}: {error}; `cargo xtask models` makes it"))?;
    let crops = crops()?;
    let file = embedder_in_bytes(&unquantized, &crops)?;
    fs::create_dir_all("target/models-bytes")?;
    fs::write(FILE, &file)?;
    println!("{FILE}: {} bytes, by {} crops", file.len(), crops.len());
    Ok(())
}

/// Every portrait at every size in every light, as it is and mirrored.
fn crops() -> Result<Vec<Picture>, Box<dyn std::error::Error>> {
    let detector = Detector::load(&Weights::read(SHIPPED.yunet)?)?;
    let mut crops = Vec::new();
    for name in PORTRAITS {
        let bytes = fs::read(format!("tests/portraits/{name}.jpg"))?;
        let picture = picture::decode(&bytes, &Limits::default())?;
        let long = picture.width().max(picture.height());
        for side in SIDES {
            let scaled = |length: u32| (length * side / long).max(1);
            let picture = picture.resized(scaled(picture.width()), scaled(picture.height()));
            // Best first; a portrait holds one.
            let found = detector.detect(&picture, MIN_SCORE)?;
            let crop = found.first().and_then(|face| aligned_crop(&picture, face));
            let crop = crop.ok_or_else(|| format!("no face in {name} at {side} pixels"))?;
            for (gain, offset) in LIGHTS {
                crops.extend([lit(&crop, gain, offset, false), lit(&crop, gain, offset, true)]);
            }
        }
    }
    Ok(crops.into_iter().flatten().collect())
}

fn lit(picture: &Picture, gain: f32, offset: f32, mirrored: bool) -> Option<Picture> {
    let mut pixels: Vec<[u8; 3]> = picture.rgb().as_chunks().0.to_vec();
    for pixel in &mut pixels {
        *pixel = pixel.map(|value| (f32::from(value) * gain + offset).clamp(0.0, 255.0) as u8);
    }
    if mirrored {
        pixels.chunks_exact_mut(picture.width() as usize).for_each(<[_]>::reverse);
    }
    Picture::new(picture.width(), picture.height(), pixels.into_flattened())
}

/// The file of the embedder in bytes, from its f32 file and aligned crops of faces.
fn embedder_in_bytes(
    unquantized: &[u8],
    crops: &[Picture],
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let ranges = ranges(&Embedder::load(&Weights::read(unquantized)?)?, crops)?;
    let content = Content::read(&mut Cursor::new(unquantized))?;
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    for name in names {
        let tensor = content.tensor(&mut Cursor::new(unquantized), name, &Device::Cpu)?;
        let values = tensor.dequantize(&Device::Cpu)?;
        let stored = match name.strip_suffix(".weight") {
            Some(STEM | LAST) => QTensor::quantize(&values, GgmlDType::Q8_0)?,
            Some(_) => one_scale_a_row(&values)?,
            None => QTensor::quantize(&values, GgmlDType::F32)?,
        };
        tensors.push((name.clone(), stored));
    }
    let vector = |range: [f32; 2]| -> candle_core::Result<QTensor> {
        QTensor::quantize(&Tensor::new(&range, &Device::Cpu)?, GgmlDType::F32)
    };
    let mut input = None;
    for (layer, range) in &ranges {
        if let Some(input) = input {
            tensors.push((format!("{layer}.input"), vector(input)?));
        }
        if layer != LAST_MAP {
            tensors.push((format!("{layer}.output"), vector(*range)?));
        }
        input = Some(*range);
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata: BTreeMap<_, _> = content.metadata.iter().collect();
    let metadata: Vec<_> = metadata.into_iter().map(|(key, value)| (key.as_str(), value)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors)?;
    Ok(file.into_inner())
}

/// Scale and zero of each layer's output, in the order of the layers.
fn ranges(embedder: &Embedder, crops: &[Picture]) -> Result<Vec<(String, [f32; 2])>, FaceError> {
    let mut spans: Vec<(String, f32, f32)> = Vec::new();
    for crop in crops {
        let mut layer = 0;
        embedder.trace(crop, |name, map| {
            if layer == spans.len() {
                spans.push((name.to_owned(), 0.0, 0.0));
            }
            let (_, low, high) = &mut spans[layer];
            layer += 1;
            map.read(|values| {
                for value in values {
                    (*low, *high) = (low.min(*value), high.max(*value));
                }
            })
        })?;
    }
    let range = |(layer, low, high): (String, f32, f32)| {
        let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
        (layer, [scale, (-low / scale).round().clamp(0.0, 255.0)])
    };
    Ok(spans.into_iter().map(range).collect())
}

/// Q8_0 whose blocks share one scale in each row.
fn one_scale_a_row(values: &Tensor) -> candle_core::Result<QTensor> {
    let (rows, columns) = values.dims2()?;
    let mut data = Vec::new();
    for row in values.to_vec2::<f32>()? {
        let most = row.iter().fold(0f32, |most, weight| most.max(weight.abs()));
        // As the file rounds it.
        let stored = Tensor::new(&[most / 127.0], &Device::Cpu)?.to_dtype(DType::F16)?;
        let scale = stored.to_dtype(DType::F32)?.to_vec1::<f32>()?[0];
        let bits = f16_bits(&stored)?;
        for group in row.chunks_exact(GROUP) {
            data.extend(bits);
            data.extend(group.iter().map(|weight| match scale {
                0.0 => 0,
                _ => ((weight / scale).round().clamp(-127.0, 127.0) as i8).cast_unsigned(),
            }));
        }
    }
    let storage = QStorage::from_data(Cow::Owned(data), &Device::Cpu, GgmlDType::Q8_0)?;
    QTensor::new(storage, (rows, columns))
}

/// The two bytes of an f16, by way of a GGUF tensor of that type.
fn f16_bits(value: &Tensor) -> candle_core::Result<[u8; 2]> {
    let stored = QTensor::quantize(&value.to_dtype(DType::F32)?, GgmlDType::F16)?;
    let data = stored.data()?;
    Ok([data[0], data[1]])
}

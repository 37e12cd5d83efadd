//! What the bytes of the networks' maps stand for: the least and the greatest value that each map
//! held while the unquantized networks looked at the portraits of the tests, in many sizes and
//! lights. `cargo xtask models` makes networks that compute in bytes by them.
//!
//! A span holds 0 and every value that was seen: cutting off the rarest ten thousandth made the common
//! values finer and the embeddings worse. Spans are widened to few digits, so that processors that
//! round differently write the same file.

use doorward::face::{Detection, Detector, Embedder, MiniFasNet, aligned_crop};
use doorward::nn::{Spans, Weights};
use doorward::picture::{self, Limits, Picture};
use std::collections::BTreeMap;
use std::fs;

const FILE: &str = "models/ranges.toml";
const HEADING: &str = "\
# Written by `cargo xtask train-ranges`: what the maps of the networks hold at least and at most. A
# layer whose input is named here computes in bytes, a map whose writer is named here is kept in bytes.

";
/// Photographs that are part of the project: few faces, so each is shown in many ways.
const PORTRAITS: [&str; 5] = ["obama", "obama2", "obama3", "biden", "replayed"];
/// Long sides in pixels the portraits are brought to: sharp faces and blurred ones.
const SIDES: [u32; 3] = [96, 160, 320];
/// byte · gain + offset: as they are, dark, bright, without contrast, with too much of it.
const LIGHTS: [(f32, f32); 5] = [(1.0, 0.0), (0.5, 0.0), (1.4, 0.0), (0.7, 70.0), (1.6, -60.0)];
/// Detections below this score are not faces.
const MIN_SCORE: f32 = 0.6;
/// Significant digits of a span.
const DIGITS: i32 = 3;

/// Least and greatest value of each map.
type Ranges = BTreeMap<String, [f64; 2]>;

/// Writes the file.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let portraits = portraits()?;
    let detector = Detector::load(&Weights::read(&unquantized("yunet")?)?)?;
    let mut faces = Vec::new();
    for picture in &portraits {
        // Best first; a portrait holds one, which all lights but the worst show.
        let found = detector.detect(picture, MIN_SCORE)?;
        faces.extend(found.first().map(|face| (picture, *face)));
    }
    let networks: BTreeMap<&str, Ranges> = [
        ("yunet", yunet(&portraits)?),
        ("sface", sface(&faces)?),
        ("minifasnet-v2", minifasnet("minifasnet-v2", &faces)?),
        ("minifasnet-v1se", minifasnet("minifasnet-v1se", &faces)?),
    ]
    .into();
    fs::write(FILE, format!("{HEADING}{}", toml::to_string(&networks)?))?;
    println!("{FILE}: by {} pictures, {} faces", portraits.len(), faces.len());
    Ok(())
}

/// Every portrait at every size in every light, as it is and mirrored.
fn portraits() -> Result<Vec<Picture>, Box<dyn std::error::Error>> {
    let mut pictures = Vec::new();
    for name in PORTRAITS {
        let bytes = fs::read(format!("tests/portraits/{name}.jpg"))?;
        let picture = picture::decode(&bytes, &Limits::default())?;
        let long = picture.width().max(picture.height());
        for side in SIDES {
            let scaled = |length: u32| (length * side / long).max(1);
            let picture = picture.resized(scaled(picture.width()), scaled(picture.height()));
            for (gain, offset) in LIGHTS {
                pictures.push(lit(&picture, gain, offset, false));
                pictures.push(lit(&picture, gain, offset, true));
            }
        }
    }
    Ok(pictures.into_iter().flatten().collect())
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

fn unquantized(network: &str) -> Result<Vec<u8>, String> {
    let file = format!("target/models-f32/{network}.gguf");
    fs::read(&file).map_err(|error| format!("{file}: {error}; `cargo xtask models` makes it"))
}

/// All but what the heads' filters read and write: scores, boxes and landmarks lie on one map, and one
/// step would be too coarse for some.
fn yunet(portraits: &[Picture]) -> Result<Ranges, Box<dyn std::error::Error>> {
    let (file, spans) = (unquantized("yunet")?, Spans::default());
    let network = Detector::load(&Weights::read(&file)?.watched(&spans))?;
    for picture in portraits {
        network.detect(picture, MIN_SCORE)?;
    }
    Ok(chosen(&spans, |map| !map.starts_with("head.") || map.ends_with(".pointwise.input")))
}

/// All but the last map, of which the last matrix sums 50,176 values.
fn sface(faces: &[(&Picture, Detection)]) -> Result<Ranges, Box<dyn std::error::Error>> {
    let (file, spans) = (unquantized("sface")?, Spans::default());
    let network = Embedder::load(&Weights::read(&file)?.watched(&spans))?;
    for (picture, face) in faces {
        network.trunk(&aligned_crop(picture, face).ok_or("a face outside its picture")?)?;
    }
    Ok(chosen(&spans, |map| map != "conv_14.pointwise.output"))
}

/// All but what is one value a channel, what it is made of, and the channels that are yet to be
/// weighed.
fn minifasnet(
    name: &str,
    faces: &[(&Picture, Detection)],
) -> Result<Ranges, Box<dyn std::error::Error>> {
    let (file, spans) = (unquantized(name)?, Spans::default());
    let network = MiniFasNet::load(&Weights::read(&file)?.watched(&spans))?;
    for (picture, face) in faces {
        network.logits(&network.crop(picture, face)?)?;
    }
    let all = spans.all();
    Ok(chosen(&spans, |map| {
        let weighed = map.strip_suffix(".project.output").map(|block| format!("{block}.se.output"));
        let vector = ["linear.", "prob."].iter().any(|layer| map.starts_with(layer));
        let excitation = map.contains(".se.") && !map.ends_with(".se.output");
        let summed = map == "conv_6_sep.output";
        !(vector || excitation || summed || weighed.is_some_and(|sum| all.contains_key(&sum)))
    }))
}

/// The spans of the maps that are to be kept in bytes.
fn chosen(spans: &Spans, in_bytes: impl Fn(&str) -> bool) -> Ranges {
    let mut spans = spans.all();
    spans.retain(|map, _| in_bytes(map));
    spans.into_iter().map(|(map, span)| (map, span.map(outwards))).collect()
}

/// The next number away from 0 that has [`DIGITS`] significant digits.
fn outwards(value: f32) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let unit = 10f64.powi(f64::from(value.abs()).log10().floor() as i32 + 1 - DIGITS);
    let rounded = (f64::from(value.abs()) / unit).ceil() * unit;
    // Free of what the division left behind.
    let rounded = format!("{rounded:.6}").parse().unwrap_or(rounded);
    if value < 0.0 { -rounded } else { rounded }
}

//! Finds the ranges of the networks' byte maps: the least and the greatest value of each map while
//! the unquantized networks process the portraits of the tests, in many sizes and lights. `cargo
//! xtask models` makes byte networks from these ranges.
//!
//! A span includes 0 and every value that occurred: cutting off the rarest ten thousandth made the
//! common values finer and the embeddings worse. Spans are rounded outwards to few digits, so that
//! processors that round differently write the same file.
//!
//! The channels of one map have different ranges, but share one step. A *shift* is the power of two
//! that a channel is multiplied by when it is written and divided by when it is read. It changes
//! nothing else, ReLU and PReLU included: a channel with half the range gets steps of half the
//! size. M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through
//! Weight Equalization and Bias Correction", 2019.

use doorward_face::{Detection, Detector, Embedder, MiniFasNet, aligned_crop};
use doorward_nn::{Spans, Weights};
use doorward_picture::{self as picture, Limits, Picture};
use std::collections::BTreeMap;
use std::fs;

const FILE: &str = "models/ranges.toml";
const HEADING: &str = "\
# Written by `cargo xtask train-ranges`: the least and the greatest value of the networks' maps.
# A layer whose input is named here computes in bytes; a map whose writer is named here is kept in
# bytes.

";
/// Photographs of the project: few faces, so each is used in many variants.
const PORTRAITS: [&str; 5] = ["obama", "obama2", "obama3", "biden", "replayed"];
/// Long sides in pixels of the resized portraits: sharp faces and blurred ones.
const SIDES: [u32; 3] = [96, 160, 320];
/// byte · gain + offset: unchanged, dark, bright, low contrast, too much contrast.
const LIGHTS: [(f32, f32); 5] = [(1.0, 0.0), (0.5, 0.0), (1.4, 0.0), (0.7, 70.0), (1.6, -60.0)];
/// Detections below this score are not faces.
const MIN_SCORE: f32 = 0.6;
/// Significant digits of a span.
const DIGITS: i32 = 3;
/// Most doublings of a channel; they are written as one digit.
const MOST_SHIFT: f32 = 7.0;

/// By map.
type Ranges = BTreeMap<String, Range>;

/// The value range of a map.
#[derive(serde::Serialize)]
struct Range {
    /// Least and greatest value, shifts included.
    span: [f64; 2],
    /// One digit per channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    shifts: Option<String>,
}

/// Writes the file.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let portraits = portraits()?;
    let detector = Detector::load(&Weights::read(&unquantized("yunet")?)?)?;
    let mut faces = Vec::new();
    for picture in &portraits {
        // A portrait holds one face, visible in all lights but the worst; its best cell is used.
        let cells = detector.cells(picture, MIN_SCORE)?;
        let best = cells.into_iter().max_by(|a, b| a.score.total_cmp(&b.score));
        faces.extend(best.map(|face| (picture, face)));
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

/// Returns every portrait at every size in every light, original and mirrored.
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
    let light = |value: &u8| (f32::from(*value) * gain + offset).clamp(0.0, 255.0) as u8;
    let rgb = picture.rgb().iter().map(light).collect();
    let lit = Picture::new(picture.width(), picture.height(), rgb);
    if mirrored { lit.map(|lit| lit.mirrored()) } else { lit }
}

fn unquantized(network: &str) -> Result<Vec<u8>, String> {
    let file = format!("target/models-f32/{network}.gguf");
    fs::read(&file).map_err(|error| format!("{file}: {error}; `cargo xtask models` makes it"))
}

/// All maps except inputs and outputs of the heads' filters: scores, boxes and landmarks share one
/// map, and one step would be too coarse for some. The maps between units are halved, added and
/// read by several layers, so their channels are not shifted.
fn yunet(portraits: &[Picture]) -> Result<Ranges, Box<dyn std::error::Error>> {
    let (file, spans) = (unquantized("yunet")?, Spans::default());
    let weights = Weights::read(&file)?.watched(&spans);
    let network = Detector::load(&weights)?;
    for picture in portraits {
        network.detect(picture, MIN_SCORE)?;
    }
    let spans = spans.all();
    let in_bytes = |map: &str| !map.starts_with("head.") || map.ends_with(".pointwise.input");
    let mut pairs = Vec::new();
    for name in spans.keys().filter(|name| !name.starts_with("head.")) {
        let unit = name.strip_suffix(".pointwise.output");
        pairs.extend(unit.map(|unit| [format!("{unit}.pointwise"), format!("{unit}.depthwise")]));
    }
    ranges(&weights, &spans, in_bytes, &pairs)
}

/// All maps except the last, of which the last matrix sums 50,176 values. The attributes read the
/// middle map, so its channels are not shifted.
fn sface(faces: &[(&Picture, Detection)]) -> Result<Ranges, Box<dyn std::error::Error>> {
    let (file, spans) = (unquantized("sface")?, Spans::default());
    let weights = Weights::read(&file)?.watched(&spans);
    let network = Embedder::load(&weights)?;
    for (picture, face) in faces {
        network.trunk(&aligned_crop(picture, face).ok_or("a face outside its picture")?)?;
    }
    let mut layers = vec!["conv_1".to_owned()];
    layers.extend(
        (2..=14).flat_map(|n| ["depthwise", "pointwise"].map(|part| format!("conv_{n}.{part}"))),
    );
    let pairs = layers.windows(2).map(|pair| [pair[0].clone(), pair[1].clone()]);
    let pairs: Vec<_> = pairs.filter(|[writer, _]| writer != "conv_12.pointwise").collect();
    ranges(&weights, &spans.all(), |map| map != "conv_14.pointwise.output", &pairs)
}

/// All maps except those with one value per channel, their inputs, and channels that are not yet
/// weighted. The channels of maps that blocks add to are not shifted.
fn minifasnet(
    name: &str,
    faces: &[(&Picture, Detection)],
) -> Result<Ranges, Box<dyn std::error::Error>> {
    let (file, spans) = (unquantized(name)?, Spans::default());
    let weights = Weights::read(&file)?.watched(&spans);
    let network = MiniFasNet::load(&weights)?;
    for (picture, face) in faces {
        network.logits(&network.crop(picture, face)?)?;
    }
    let spans = spans.all();
    let in_bytes = |map: &str| {
        let weighed = map.strip_suffix(".project.output").map(|block| format!("{block}.se.output"));
        let vector = ["linear.", "prob."].iter().any(|layer| map.starts_with(layer));
        let excitation = map.contains(".se.") && !map.ends_with(".se.output");
        let summed = map == "conv_6_sep.output";
        !(vector || excitation || summed || weighed.is_some_and(|sum| spans.contains_key(&sum)))
    };
    let first = [["conv1", "conv2_dw"], ["conv2_dw", "conv_23.conv"]];
    let mut pairs: Vec<_> = first.map(|pair| pair.map(str::to_owned)).into();
    for name in spans.keys() {
        for [writer, reader] in [["conv", "conv_dw"], ["conv_dw", "project"]] {
            let block = name.strip_suffix(&format!(".{writer}.output"));
            pairs.extend(block.map(|block| [writer, reader].map(|part| format!("{block}.{part}"))));
        }
    }
    ranges(&weights, &spans, in_bytes, &pairs)
}

/// Returns the ranges of the maps to be kept in bytes. Between the layers of a pair, one writer and
/// its only reader, the channels are shifted.
fn ranges(
    weights: &Weights<'_>,
    spans: &BTreeMap<String, Vec<[f32; 2]>>,
    in_bytes: impl Fn(&str) -> bool,
    pairs: &[[String; 2]],
) -> Result<Ranges, Box<dyn std::error::Error>> {
    let mut ranges = Ranges::new();
    for (map, channels) in spans.iter().filter(|(map, _)| in_bytes(map)) {
        let pair = pairs.iter().find(|[writer, reader]| {
            *map == format!("{writer}.output") || *map == format!("{reader}.input")
        });
        let shifts = match pair {
            Some([_, reader]) => shifts(weights, reader, channels)?,
            None => vec![0; channels.len()],
        };
        let shifted = channels.iter().zip(&shifts).map(|([low, high], shift)| {
            let factor = f32::from(1u16 << shift);
            [low * factor, high * factor]
        });
        let [low, high] = shifted
            .reduce(|[low, high], [l, h]| [low.min(l), high.max(h)])
            .ok_or("a map without channels")?;
        let shifts = pair.map(|_| shifts.iter().map(u8::to_string).collect::<String>());
        let span = [outwards(low), outwards(high)];
        ranges.insert(map.clone(), Range { span, shifts });
    }
    Ok(ranges)
}

/// Returns how often each channel can be doubled without exceeding the largest one. For a reader
/// that sums over channels, only half as often, minus what would make its weights uneven: a divided
/// weight has coarser steps.
fn shifts(
    weights: &Weights<'_>,
    reader: &str,
    channels: &[[f32; 2]],
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let reach = |[low, high]: &[f32; 2]| high.max(-low);
    let most = channels.iter().map(reach).fold(0f32, f32::max);
    let room = channels.iter().map(|span| (most / reach(span)).log2());
    let filters = ["depthwise", "_dw"].iter().any(|end| reader.ends_with(end));
    let doublings: Vec<f32> = match filters {
        true => room.map(f32::floor).collect(),
        false => {
            let outputs = weights.outputs(reader)?;
            let rows = weights.matrix(reader, outputs, channels.len())?.to_vec2::<f32>()?;
            let shares = column_shares(&rows);
            room.zip(shares).map(|(room, share)| ((room + share.log2()) / 2.0).floor()).collect()
        }
    };
    // NaN, from a channel that is always 0, becomes 0.
    Ok(doublings.into_iter().map(|shift| shift.clamp(0.0, MOST_SHIFT) as u8).collect())
}

/// Returns for each column the largest weight as a share of the largest of its row.
fn column_shares(rows: &[Vec<f32>]) -> Vec<f32> {
    let mut shares = vec![f32::MIN_POSITIVE; rows.first().map_or(0, Vec::len)];
    for row in rows {
        let largest = row.iter().fold(f32::MIN_POSITIVE, |most, weight| most.max(weight.abs()));
        let columns = shares.iter_mut().zip(row);
        columns.for_each(|(share, weight)| *share = share.max(weight.abs() / largest));
    }
    shares
}

/// Returns the next number away from 0 with [`DIGITS`] significant digits.
fn outwards(value: f32) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let unit = 10f64.powi(f64::from(value.abs()).log10().floor() as i32 + 1 - DIGITS);
    let rounded = (f64::from(value.abs()) / unit).ceil() * unit;
    // Without the rounding error of the division.
    let rounded = format!("{rounded:.6}").parse().unwrap_or(rounded);
    if value < 0.0 { -rounded } else { rounded }
}

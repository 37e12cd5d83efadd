//! Prints the networks' exact results for pictures, so that processors and their levels can be
//! compared; and runs a given number of passes of one network, so that their cost can be measured
//! from outside. The level is that of `DOORWARD_CPU`.
//!
//! ```text
//! cargo run --release --example passes -- models all 1 tests/portraits/obama.jpg
//! ```
//!
//! One line per picture and network: its names, then the result in f32, as hexadecimal bits. Two
//! more lines per picture, `pixels` and `resized`, are hashes: they show whether a difference
//! arises before the networks. `passes levels` lists the processor's levels, the best last. Every
//! picture is resized to 320 × 320 pixels.

use doorward::face::{Detection, Detector, Embedder, MiniFasNet, aligned_crop};
use doorward::nn::{Level, Weights};
use doorward::picture::{self, Limits, Picture};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;

/// The picture size for the detector: the size at which it is measured.
const SIDE: u32 = 320;
/// Same as at the door.
const MIN_SCORE: f32 = 0.6;
const LIVENESS: [&str; 2] = ["minifasnet-v2", "minifasnet-v1se"];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["levels"] {
        Level::available().for_each(|level| println!("{level}"));
        return Ok(());
    }
    let [models, network, passes, pictures @ ..] = arguments.as_slice() else {
        return Err("usage: passes MODELS all|yunet|sface|minifasnet-v2|minifasnet-v1se PASSES \
                    PICTURE.jpg ..., or: passes levels"
            .into());
    };
    let networks = Networks::load(Path::new(models), network, passes.parse()?)?;
    for path in pictures {
        let path = Path::new(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for (what, said) in networks.all(&picture::decode(&fs::read(path)?, &Limits::default())?)? {
            println!("{name} {what} {said}");
        }
    }
    Ok(())
}

/// The detector is always loaded, because the others need a face.
struct Networks {
    detector: Detector,
    embedder: Option<Embedder>,
    liveness: Vec<(&'static str, MiniFasNet)>,
    /// The network that is to be repeated.
    repeated: String,
    passes: u32,
}

impl Networks {
    fn load(folder: &Path, wanted: &str, passes: u32) -> Outcome<Self> {
        let read = |name: &str| {
            let path = folder.join(format!("{name}.gguf"));
            fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let chosen = |name: &&str| wanted == "all" || wanted == *name;
        if !["all", "yunet", "sface"].iter().chain(&LIVENESS).any(|name| *name == wanted) {
            return Err(format!("{wanted} is not a network").into());
        }
        let mut liveness = Vec::new();
        for name in LIVENESS.into_iter().filter(chosen) {
            liveness.push((name, MiniFasNet::load(&Weights::read(&read(name)?)?)?));
        }
        Ok(Self {
            detector: Detector::load(&Weights::read(&read("yunet")?)?)?,
            embedder: match chosen(&"sface") {
                true => Some(Embedder::load(&Weights::read(&read("sface")?)?)?),
                false => None,
            },
            liveness,
            repeated: wanted.to_owned(),
            passes,
        })
    }

    /// Runs one pass, or the requested number of passes.
    fn pass<T>(&self, name: &str, pass: impl Fn() -> Outcome<T>) -> Outcome<T> {
        if self.repeated == "all" || self.repeated == name {
            for _ in 1..self.passes {
                black_box(pass()?);
            }
        }
        pass()
    }

    fn all(&self, picture: &Picture) -> Outcome<Vec<(&'static str, String)>> {
        let mut said = vec![("pixels", hash(picture))];
        let picture = picture.resized(SIDE, SIDE);
        said.push(("resized", hash(&picture)));
        let found = self.pass("yunet", || Ok(self.detector.detect(&picture, MIN_SCORE)?))?;
        let face = found.first().ok_or("no face found")?;
        said.push(("yunet", hexadecimal(&numbers(face))));
        if let Some(embedder) = &self.embedder {
            let crop = aligned_crop(&picture, face).ok_or("the face cannot be aligned")?;
            let embedding = self.pass("sface", || Ok(embedder.embed(&embedder.trunk(&crop)?)?))?;
            said.push(("sface", hexadecimal(embedding.values())));
        }
        for (name, network) in &self.liveness {
            let crop = network.crop(&picture, face)?;
            said.push((name, hexadecimal(&self.pass(name, || Ok(network.logits(&crop)?))?)));
        }
        Ok(said)
    }
}

fn numbers(face: &Detection) -> Vec<f32> {
    let mut numbers = vec![face.x, face.y, face.width, face.height, face.score];
    numbers.extend(face.landmarks.iter().flatten());
    numbers
}

fn hexadecimal(values: &[f32]) -> String {
    values.iter().map(|value| format!("{:08x}", value.to_bits())).collect()
}

fn hash(picture: &Picture) -> String {
    Sha256::digest(picture.rgb()).iter().map(|byte| format!("{byte:02x}")).collect()
}

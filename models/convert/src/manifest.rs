//! Writes `models/manifest.toml`: for each weights file its content, its source and its hash.

use std::collections::BTreeMap;

use serde::Serialize;

use super::network::Network;
use super::source::Wheel;
use crate::sha256;

const HEADING: &str = "\
# Written by `cargo xtask models`, which makes the same files again from the same originals.
# tests/it/models.rs checks the files against it.

";
/// The values stored in 8 bits, and how.
pub const QUANTIZATION: &str = "Q8_0: every convolution and matrix, one f16 scale for 32 weights; \
     where ranges.toml names the input, for a row of weights, and the layer computes in bytes";
/// The values stored in F32, and why.
const UNQUANTIZED: &str = "biases and PReLU slopes, F32: one number a channel, added to \
     or scaling sums that are in full precision";

/// One table per model, named like its file.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub struct Manifest(BTreeMap<&'static str, Entry>);

#[derive(Serialize)]
struct Entry {
    file: String,
    sha256: String,
    bytes: usize,
    card: String,
    licence: &'static str,
    licence_file: &'static str,
    input: &'static str,
    quantization: &'static str,
    unquantized: &'static str,
    source: Source,
}

#[derive(Serialize)]
struct Source {
    package: String,
    version: String,
    wheel_sha256: String,
    path: &'static str,
    sha256: &'static str,
}

impl Manifest {
    pub fn add(&mut self, network: &Network, wheel: &Wheel, bytes: &[u8]) {
        let source = Source {
            package: wheel.package.clone(),
            version: wheel.version.clone(),
            wheel_sha256: wheel.sha256.clone(),
            path: network.original.path,
            sha256: network.original.sha256,
        };
        let entry = Entry {
            file: format!("{}.gguf", network.name),
            sha256: sha256(bytes),
            bytes: bytes.len(),
            card: format!("{}.md", network.name),
            licence: network.licence,
            licence_file: network.licence_file,
            input: network.input,
            quantization: QUANTIZATION,
            unquantized: UNQUANTIZED,
            source,
        };
        self.0.insert(network.name, entry);
    }

    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self).map(|tables| format!("{HEADING}{tables}"))
    }
}

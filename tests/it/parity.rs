//! Tests that our networks compute the same as OpenCV and onnxruntime with the authors' files, and
//! that the 8-bit weights compute nearly the same as the f32 ones.
//!
//! The reference numbers come from `cargo xtask reference`. Those of the portraits are committed;
//! those of a hundred people are computed where the development photographs exist. The f32 path
//! needs the unquantized weights, which `cargo xtask models` leaves in `target/models-f32`.

use crate::support::terminal;
use doorward::face::{self, Detection, Detector, Embedder, Embedding, MiniFasNet};
use doorward::nn::Weights;
use doorward::picture::{self, Limits, Picture};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Reference {
    pictures: Vec<Seen>,
}

/// OpenCV's result for one picture, which was resized to `run_width` × `run_height` first.
#[derive(Deserialize)]
struct Seen {
    path: String,
    run_width: u32,
    run_height: u32,
    chosen: usize,
    faces: Vec<Face>,
}

#[derive(Deserialize)]
struct Face {
    #[serde(rename = "box")]
    area: [f32; 4],
    landmarks: [[f32; 2]; 5],
    score: f32,
    embedding: Vec<f32>,
}

impl Face {
    fn detection(&self) -> Detection {
        let [x, y, width, height] = self.area;
        Detection { x, y, width, height, landmarks: self.landmarks, score: self.score }
    }
}

struct Networks {
    detector: Detector,
    embedder: Embedder,
}

impl Networks {
    fn load(folder: &Path) -> Self {
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let (yunet, sface) = (read("yunet.gguf"), read("sface.gguf"));
        Self {
            detector: Detector::load(&Weights::read(&yunet).unwrap()).unwrap(),
            embedder: Embedder::load(&Weights::read(&sface).unwrap()).unwrap(),
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Loads the unquantized weights; required where the development photographs are: CI makes them.
fn f32_networks(test: &str) -> Option<Networks> {
    let folder = root().join("target/models-f32");
    if folder.join("sface.gguf").exists() {
        return Some(Networks::load(&folder));
    }
    assert!(std::env::var_os("DOORWARD_DATA").is_none(), "run `cargo xtask models` first");
    eprintln!("SKIPPED {test}: target/models-f32 does not exist; `cargo xtask models` makes it");
    None
}

fn portraits() -> (PathBuf, Reference) {
    let text = fs::read_to_string(root().join("tests/parity/portraits.json")).unwrap();
    (root().join("tests/portraits"), serde_json::from_str(&text).unwrap())
}

fn people(test: &str) -> Option<(PathBuf, Reference)> {
    terminal::data(test)?;
    let file = root().join("target/reference/lfw.json");
    let text = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{file:?}: {error}; run `cargo xtask reference` first"));
    let reference: Reference = serde_json::from_str(&text).unwrap();
    assert_eq!(reference.pictures.len(), 100);
    Some((root().join("target/reference"), reference))
}

fn open(folder: &Path, seen: &Seen) -> Picture {
    let bytes = fs::read(folder.join(&seen.path)).unwrap();
    let picture = picture::decode(&bytes, &Limits::default()).unwrap();
    if (picture.width(), picture.height()) == (seen.run_width, seen.run_height) {
        return picture;
    }
    picture.resized(seen.run_width, seen.run_height)
}

/// Checks that each reference face is found, and that its best cell has box and landmarks within
/// `tolerance` pixels: OpenCV uses only that cell.
fn same_faces(networks: &Networks, folder: &Path, reference: &Reference, tolerance: f32) {
    let mut worst = 0f32;
    for seen in &reference.pictures {
        let picture = open(folder, seen);
        let found = networks.detector.detect(&picture, 0.6).unwrap();
        assert_eq!(found.len(), seen.faces.len(), "{}", seen.path);
        let cells = networks.detector.cells(&picture, 0.6).unwrap();
        for face in &seen.faces {
            let expected = face.detection();
            let of_it = cells.iter().filter(|cell| cell.overlap(&expected) > 0.3);
            let best = of_it.max_by(|a, b| a.score.total_cmp(&b.score)).unwrap();
            let apart = furthest(best, &expected);
            assert!(apart <= tolerance, "{}: {apart} px apart", seen.path);
            worst = worst.max(apart);
        }
    }
    println!("{} pictures: at most {worst} px apart", reference.pictures.len());
}

fn furthest(a: &Detection, b: &Detection) -> f32 {
    let corners = |d: &Detection| [[d.x, d.y], [d.x + d.width, d.y + d.height]];
    let points = |d: &Detection| corners(d).into_iter().chain(d.landmarks).flatten().collect();
    let (a, b): (Vec<f32>, Vec<f32>) = (points(a), points(b));
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Returns the cosines between our embedding and the reference's of each chosen face, aligned by
/// the reference's landmarks; worst first.
fn cosines(networks: &Networks, folder: &Path, reference: &Reference) -> Vec<f32> {
    let mut cosines: Vec<f32> = reference
        .pictures
        .iter()
        .map(|seen| {
            let face = &seen.faces[seen.chosen];
            let crop = face::aligned_crop(&open(folder, seen), &face.detection()).unwrap();
            let expected = Embedding::normalized(&face.embedding).unwrap();
            networks
                .embedder
                .embed(&networks.embedder.trunk(&crop).unwrap())
                .unwrap()
                .cosine(&expected)
        })
        .collect();
    cosines.sort_by(f32::total_cmp);
    cosines
}

#[test]
fn f32_finds_the_same_faces_as_opencv() {
    let name = "f32_finds_the_same_faces_as_opencv";
    let Some(networks) = f32_networks(name) else { return };
    // OpenCV shrinks the portraits by area, we by a triangle filter: they differ slightly more than
    // pictures that neither resizes.
    let (folder, reference) = portraits();
    same_faces(&networks, &folder, &reference, 2.0);
    if let Some((folder, reference)) = people(name) {
        same_faces(&networks, &folder, &reference, 1.0);
    }
}

#[test]
fn f32_embeddings_equal_onnxruntime() {
    let name = "f32_embeddings_equal_onnxruntime";
    let Some(networks) = f32_networks(name) else { return };
    let (folder, reference) = portraits();
    let worst = cosines(&networks, &folder, &reference)[0];
    assert!(worst >= 0.99, "portraits, resized: {worst}");
    if let Some((folder, reference)) = people(name) {
        let worst = cosines(&networks, &folder, &reference)[0];
        println!("f32 against onnxruntime: worst cosine {worst}");
        assert!(worst >= 0.999, "{worst}");
    }
}

#[test]
fn quantized_embeddings_are_close_to_onnxruntime() {
    let networks = Networks::load(&root().join("models"));
    let people = people("quantized_embeddings_are_close_to_onnxruntime");
    for (folder, reference) in [Some(portraits()), people].iter().flatten() {
        let cosines = cosines(&networks, folder, reference);
        let (worst, median) = (cosines[0], cosines[cosines.len() / 2]);
        println!("quantized against f32: worst {worst}, median {median}");
        assert!(worst >= 0.97 && median >= 0.99, "worst {worst}, median {median}");
    }
}

#[test]
fn quantized_finds_the_same_faces_as_opencv() {
    let networks = Networks::load(&root().join("models"));
    let (folder, reference) = portraits();
    for seen in &reference.pictures {
        let found = networks.detector.detect(&open(&folder, seen), 0.6).unwrap();
        assert_eq!(found.len(), seen.faces.len(), "{}", seen.path);
        let expected = seen.faces[0].detection();
        assert!(found[0].overlap(&expected) > 0.8, "{}", seen.path);
    }
}

/// Returns the softmax of the logits for the class live.
fn live(network: &MiniFasNet, picture: &Picture, face: &Detection) -> f32 {
    let logits = network.logits(&network.crop(picture, face).unwrap()).unwrap();
    let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
    logits[network.live_class()].exp() / sum
}

#[test]
fn quantized_liveness_is_close_to_f32() {
    let name = "quantized_liveness_is_close_to_f32";
    if f32_networks(name).is_none() {
        return;
    }
    let sets = [Some(portraits()), people(name)];
    for file in ["minifasnet-v2.gguf", "minifasnet-v1se.gguf"] {
        let [exact, rounded] = ["target/models-f32", "models"].map(|folder| {
            let bytes = fs::read(root().join(folder).join(file)).unwrap();
            MiniFasNet::load(&Weights::read(&bytes).unwrap()).unwrap()
        });
        for (folder, reference) in sets.iter().flatten() {
            let apart = reference.pictures.iter().map(|seen| {
                let (picture, face) = (open(folder, seen), seen.faces[seen.chosen].detection());
                (live(&exact, &picture, &face) - live(&rounded, &picture, &face)).abs()
            });
            let apart: Vec<f32> = apart.collect();
            let (worst, mean) = (
                apart.iter().copied().fold(0.0, f32::max),
                apart.iter().sum::<f32>() / apart.len() as f32,
            );
            println!("{file}: {} faces, worst {worst}, mean {mean}", apart.len());
            assert!(worst < 0.3 && mean < 0.03, "{file}: worst {worst}, mean {mean}");
        }
    }
}

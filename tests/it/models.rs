//! Tests that the weights in `models/` match the manifest, or the report of their training.
//!
//! A file that was changed, truncated by a merge or left behind by an older `cargo xtask models`
//! would run and give plausible, wrong results. No other test detects this.
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Size limit of all models in a package, in bytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn manifest() -> toml::Table {
    fs::read_to_string(models().join("manifest.toml")).unwrap().parse().unwrap()
}

/// Returns the table `file` of the report of each model that is trained here, by name.
fn reports() -> Vec<(String, toml::Value)> {
    let paths = fs::read_dir(models()).unwrap().map(|entry| entry.unwrap().path());
    let of_a_model = |path: &PathBuf| {
        let other = ["manifest.toml", "ranges.toml"].iter().any(|name| path.ends_with(name));
        path.extension().is_some_and(|end| end == "toml") && !other
    };
    let report = |path: PathBuf| {
        let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), table["file"].clone())
    };
    paths.filter(of_a_model).map(report).collect()
}

fn text<'a>(entry: &'a toml::Value, key: &str) -> &'a str {
    entry.get(key).and_then(toml::Value::as_str).unwrap_or_else(|| panic!("no {key}: {entry}"))
}

#[test]
fn each_file_has_the_hash_and_size_of_the_manifest() {
    let mut total = 0;
    let originals = manifest().into_iter().map(|(name, entry)| (name, entry, "file"));
    let fitted = reports().into_iter().map(|(name, entry)| (name, entry, "name"));
    for (name, entry, file) in originals.chain(fitted) {
        let bytes = fs::read(models().join(text(&entry, file))).unwrap();
        let hash = Sha256::digest(&bytes);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, text(&entry, "sha256"), "{name}: build it again, see models/{name}.md");
        assert_eq!(Some(bytes.len() as i64), entry["bytes"].as_integer(), "{name}");
        total += bytes.len();
    }
    assert!(total < MOST_BYTES, "{total} bytes of weights");
}

#[test]
fn each_file_of_weights_has_its_entry_or_its_report() {
    let manifest = manifest();
    assert_eq!(manifest.len(), 4);
    let reports = reports();
    let fitted = reports.iter().map(|(_, file)| text(file, "name"));
    let mut listed: Vec<&str> =
        manifest.values().map(|entry| text(entry, "file")).chain(fitted).collect();
    listed.sort_unstable();
    let names = fs::read_dir(models()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut found: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    found.retain(|name| name.ends_with(".gguf"));
    found.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn each_model_has_its_card_its_licence_and_its_source() {
    for (name, entry) in manifest() {
        let card = fs::read_to_string(models().join(text(&entry, "card"))).unwrap();
        let licence_file = text(&entry, "licence_file");
        assert!(card.contains(licence_file), "{name}: the card does not point to its licence");
        assert!(!fs::read_to_string(models().join(licence_file)).unwrap().is_empty());
        for part in ["package", "version", "path"] {
            assert!(!text(&entry["source"], part).is_empty(), "{name}");
        }
        for hash in ["wheel_sha256", "sha256"] {
            assert_eq!(text(&entry["source"], hash).len(), 64, "{name}");
        }
    }
}

#[test]
fn each_fitted_model_has_its_card_and_its_licence() {
    for (name, file) in reports() {
        assert_eq!(text(&file, "name"), format!("{name}.gguf"));
        assert_eq!(text(&file, "licence"), "MIT OR Apache-2.0", "{name}");
        let card = fs::read_to_string(models().join(format!("{name}.md"))).unwrap();
        assert!(
            card.contains(&format!("{name}.toml")),
            "{name}: the card does not point to its report"
        );
    }
}

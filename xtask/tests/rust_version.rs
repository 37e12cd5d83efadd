//! The dependencies build with the Rust version that the workspace promises. For its own code
//! clippy's `incompatible_msrv` checks that.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `1.90` and `1.90.0` are the same.
fn version(text: &str) -> Vec<u32> {
    let mut parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
    parts.resize(3, 0);
    parts
}

#[test]
fn no_dependency_needs_a_newer_rust_than_promised() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let promised = version(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let Some(needs) = package["rust_version"].as_str() else { continue };
        assert!(version(needs) <= promised, "{} needs Rust {needs}", package["name"]);
    }
}

#[test]
fn the_readme_names_the_same_rust() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("Rust ≥ {}", env!("CARGO_PKG_RUST_VERSION"))));
}

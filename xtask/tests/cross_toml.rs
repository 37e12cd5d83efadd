//! `cross` only warns of an unknown key, and then builds something else than intended. So
//! `cross.toml` is checked against the documentation of cross 0.2.5 (its `docs/config_file.md`),
//! and its targets against rustc's. This test does not run cross: it would replace the machine's
//! toolchain.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::path::Path;
use std::process::Command;
use toml::{Table, Value};

/// The release whose images are named.
const CROSS: &str = "0.2.5";
/// Keys of `[build]`.
const BUILD: [&str; 6] = ["build-std", "xargo", "default-target", "pre-build", "env", "dockerfile"];
/// Keys of `[target.TARGET]`.
const TARGET: [&str; 7] =
    ["build-std", "xargo", "image", "runner", "pre-build", "env", "dockerfile"];
/// The terminals' targets.
const TERMINALS: [&str; 2] = ["aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf"];

fn configuration() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cross.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Returns what cross would not understand, as text.
fn faults(configuration: &Table, targets: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for (section, value) in configuration {
        let Some(value) = value.as_table() else {
            faults.push(format!("{section} is not a table"));
            continue;
        };
        match section.as_str() {
            "build" => check_keys("build", value, &BUILD, &mut faults),
            "target" => {
                for (target, value) in value {
                    let name = format!("target.{target}");
                    if !targets.contains(&target.as_str()) {
                        faults.push(format!("rustc knows no target {target}"));
                    }
                    match value.as_table() {
                        Some(value) => check_keys(&name, value, &TARGET, &mut faults),
                        None => faults.push(format!("{name} is not a table")),
                    }
                }
            }
            _ => faults.push(format!("there is no section {section}")),
        }
    }
    faults
}

fn check_keys(section: &str, table: &Table, known: &[&str], faults: &mut Vec<String>) {
    for (key, value) in table {
        let name = format!("{section}.{key}");
        if !known.contains(&key.as_str()) {
            faults.push(format!("there is no key {name}"));
            continue;
        }
        let fits = match key.as_str() {
            "build-std" | "xargo" => value.is_bool(),
            "image" | "default-target" => value.is_str(),
            "runner" => ["qemu-system", "qemu-user", "native"].map(Value::from).contains(value),
            // A script's path, or lines of shell.
            "pre-build" => value.is_str() || is_strings(value),
            "dockerfile" => value.is_str() || value.is_table(),
            "env" => value.as_table().is_some_and(|env| {
                env.iter().all(|(key, value)| {
                    ["volumes", "passthrough"].contains(&key.as_str()) && is_strings(value)
                })
            }),
            _ => false,
        };
        if !fits {
            faults.push(format!("{name} is not of the type that cross reads"));
        }
    }
}

fn is_strings(value: &Value) -> bool {
    value.as_array().is_some_and(|lines| lines.iter().all(Value::is_str))
}

/// Returns every target that the compiler knows.
fn rustc_targets() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-list"]).output().unwrap();
    assert!(output.status.success(), "rustc does not print its targets");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn cross_knows_every_key_and_rustc_every_target() {
    let targets = rustc_targets();
    let targets: Vec<&str> = targets.lines().collect();
    assert_eq!(faults(&configuration(), &targets), Vec::<String>::new());
}

/// A typing error in each place, so that the test above cannot pass by checking nothing.
#[test]
fn keys_that_cross_would_ignore_are_found() {
    let targets = ["aarch64-unknown-linux-gnu"];
    for wrong in [
        "build.prebuild = []",
        "build.image = 'ubuntu'",
        "build.pre-build = [1]",
        "targets.aarch64-unknown-linux-gnu.image = 'x'",
        "target.aarch64-linux-gnu.image = 'x'",
        "target.aarch64-unknown-linux-gnu.images = 'x'",
        "target.aarch64-unknown-linux-gnu.image = true",
        "target.aarch64-unknown-linux-gnu.runner = 'qemu'",
        "target.aarch64-unknown-linux-gnu.env.pass = []",
        "target.aarch64-unknown-linux-gnu = 'x'",
        "image = 'x'",
    ] {
        let found = faults(&wrong.parse().unwrap(), &targets);
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
    }
}

#[test]
fn every_terminal_has_an_image_of_its_own_with_an_old_glibc() {
    let configuration = configuration();
    for target in TERMINALS {
        let image = configuration["target"][target]["image"].as_str().unwrap();
        assert_eq!(image, format!("ghcr.io/cross-rs/{target}:{CROSS}"));
    }
}

/// Without libclang the build ends in "Unable to find libclang".
#[test]
fn the_image_gets_libclang_for_the_bindings_of_video4linux() {
    let configuration = configuration();
    let lines = configuration["build"]["pre-build"].as_array().unwrap();
    assert!(
        lines.iter().any(|line| {
            let words: Vec<&str> = line.as_str().unwrap().split_whitespace().collect();
            words.contains(&"apt-get")
                && words.contains(&"install")
                && words.contains(&"libclang-dev")
        }),
        "{lines:?}"
    );
}

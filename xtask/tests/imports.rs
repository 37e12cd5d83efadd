//! Dependencies between packages and modules have one direction (ARCHITECTURE.md, "Architecture
//! invariants"). An import against it compiles like any other, and later changes then depend on it.
//! So each rule is listed here, and checked against cargo's metadata and the sources.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The daemon, and the network, disk and camera libraries that only it links.
const DAEMON: &[&str] = &[
    "doorward",
    "tokio",
    "redb",
    "rumqttc",
    "mqtt5",
    "axum",
    "ureq",
    "rustls",
    "v4l",
    "doorward-board",
];
/// A package, and what it must not link, directly or indirectly.
const PACKAGES: &[(&str, &[&[&str]])] = &[
    (
        "doorward-nn",
        &[DAEMON, &["doorward-face", "doorward-picture", "doorward-evaluate", "image"]],
    ),
    ("doorward-face", &[DAEMON, &["doorward-picture", "doorward-evaluate", "image"]]),
    ("doorward-picture", &[DAEMON, &["doorward-evaluate"]]),
    ("doorward-evaluate", &[DAEMON]),
    ("doorward-train", &[DAEMON]),
];

const CLOCK: &[&str] = &["Instant", "SystemTime", "::now()"];
/// Readings of a clock; a moment that was passed in may be kept.
const READING_OF_A_CLOCK: &[&str] = &["::now", "SystemTime", "UNIX_EPOCH", ".elapsed("];
const DISK_AND_NETWORK: &[&str] = &["std::fs", "std::net", "std::os::unix::net", "std::process"];
/// A group at the root would hide its imports from this test.
const ROOT_GROUPS: &[&str] = &["use std::{", "use super::super"];
/// A folder of sources, and what must not occur in them outside of tests.
const SOURCES: &[(&str, &[&[&str]])] = &[
    ("nn/src", &[CLOCK, DISK_AND_NETWORK, ROOT_GROUPS]),
    ("face/src", &[CLOCK, DISK_AND_NETWORK, ROOT_GROUPS]),
    ("picture/src", &[CLOCK, DISK_AND_NETWORK, ROOT_GROUPS]),
    (
        "src/access",
        &[
            CLOCK,
            DISK_AND_NETWORK,
            ROOT_GROUPS,
            &["crate::service", "super::service", "crate::daemon", "crate::mqtt", "use crate::{"],
        ],
    ),
    ("src/gallery", &[&["crate::service", "crate::access", "crate::picture", "use crate::{"]]),
    ("src/contract", &[READING_OF_A_CLOCK, DISK_AND_NETWORK, ROOT_GROUPS, &["use crate::{"]]),
    ("src/applications", &[ROOT_GROUPS, &["use crate::{"]]),
    (
        "src/service",
        &[
            ROOT_GROUPS,
            &["crate::mqtt", "crate::daemon", "crate::import", "crate::config", "use crate::{"],
        ],
    ),
    ("src/http", &[ROOT_GROUPS, &["super::super", "use crate::{"]]),
    ("src/transport", &[ROOT_GROUPS, &["use crate::{"]]),
    ("evaluate/src", &[&["std::net"], ROOT_GROUPS]),
];
/// A folder of the daemon, and the only modules of the daemon that it may import.
const ONLY: &[(&str, &[&str])] = &[
    // The meaning of a text (base64, a URL, the camera) and the bounds of a picture.
    ("src/contract", &["contract", "picture"]),
    ("src/applications", &["applications", "contract", "record_file", "secret"]),
    ("src/webhook", &["config", "outbox", "secret", "time", "webhook"]),
    // What it shows of the others comes by an interface.
    ("src/http", &["contract", "http", "secret", "time", "transport"]),
    ("src/transport", &["contract", "transport"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the names of all packages linked into this one; without build and development
/// dependencies.
fn linked(metadata: &Value, package: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let name_of = |id: &str| {
        let found = packages.iter().find(|package| package["id"] == id).unwrap();
        found["name"].as_str().unwrap().to_owned()
    };
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let id = packages.iter().find(|entry| entry["name"] == package);
    let id = id.unwrap_or_else(|| panic!("there is no package {package}"))["id"].as_str().unwrap();
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![id]);
    while let Some(id) = ahead.pop() {
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let id = dependency["pkg"].as_str().unwrap();
            if kinds.iter().any(|kind| kind["kind"].is_null()) && seen.insert(id) {
                ahead.push(id);
            }
        }
    }
    seen.into_iter().map(name_of).collect()
}

/// Returns the lines of a source outside of comments and of the module `tests`, with their numbers.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = source.find("#[cfg(test)]\nmod tests").unwrap_or(source.len());
    let lines = source[..tests].lines().enumerate();
    lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or(line)))
}

/// Returns true if a line holds the text, but not as a part of a longer name.
fn holds(line: &str, text: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(text).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + text.len()..].chars().next();
        let goes_on = |end: Option<char>, beyond: Option<char>| {
            end.is_some_and(is_name) && beyond.is_some_and(is_name)
        };
        !goes_on(text.chars().next(), before) && !goes_on(text.chars().next_back(), after)
    })
}

/// Returns the modules of its own crate that a line names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices("crate::").filter_map(move |(at, prefix)| {
        let rest = &line[at + prefix.len()..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        (!line[..at].ends_with(is_name)).then_some(&rest[..end])
    })
}

/// Returns what a source imports of its own crate beyond the allowed modules.
fn beyond(source: &str, only: &[&str]) -> Vec<String> {
    let of_line = |(number, line)| {
        let found = named(line).filter(|module| !only.contains(module));
        found.map(move |module| format!("line {number}: crate::{module}"))
    };
    code(source).flat_map(of_line).collect()
}

/// Returns the forbidden texts that occur in a source.
fn faults(source: &str, forbidden: &[&[&str]]) -> Vec<String> {
    let texts = forbidden.concat();
    let of_line = |(number, line)| {
        let found = texts.iter().filter(move |text| holds(line, text));
        found.map(move |text| format!("line {number}: {text}"))
    };
    code(source).flat_map(of_line).collect()
}

/// Returns the sources below a folder that are not tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the faults of every source below a folder, with their places.
fn faults_below(folder: &str, faults: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let files = sources(&root().join(folder));
    assert!(!files.is_empty(), "{folder} has no sources");
    let of_file = |file: PathBuf| {
        let source = std::fs::read_to_string(&file).unwrap();
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        faults(&source).into_iter().map(move |fault| format!("{place}, {fault}"))
    };
    files.into_iter().flat_map(of_file).collect()
}

#[test]
fn packages_link_only_lower_layers() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Checks the walk itself: the daemon does link them.
    assert!(
        linked(&metadata, "doorward").is_superset(&["redb", "tokio"].map(str::to_owned).into())
    );
    for (package, forbidden) in PACKAGES {
        let linked = linked(&metadata, package);
        let found: Vec<_> =
            forbidden.concat().into_iter().filter(|name| linked.contains(*name)).collect();
        assert!(found.is_empty(), "{package} links {found:?}");
    }
}

#[test]
fn sources_import_only_lower_layers() {
    let mut found = Vec::new();
    for (folder, forbidden) in SOURCES {
        found.extend(faults_below(folder, |source| faults(source, forbidden)));
    }
    for (folder, only) in ONLY {
        found.extend(faults_below(folder, |source| beyond(source, only)));
    }
    assert!(found.is_empty(), "against the direction of the arrows:\n{}", found.join("\n"));
}

#[test]
fn only_forbidden_imports_are_found() {
    let rules: &[&[&str]] = &[CLOCK, DISK_AND_NETWORK, &["crate::service"]];
    for bad in [
        "use crate::service::Times;",
        "use std::time::{Duration, Instant};",
        "let started = std::time::SystemTime::UNIX_EPOCH;",
        "let zoned = jiff::Zoned::now();",
        "    std::fs::read(path)",
    ] {
        assert_eq!(faults(bad, rules).len(), 1, "{bad}");
    }
    for good in [
        "// use crate::service::Times;",
        "use crate::services;",
        "struct Instantaneous;",
        "use std::time::Duration;",
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
    ] {
        assert_eq!(faults(good, rules), [""; 0], "{good}");
    }
}

#[test]
fn clock_readings_are_found_and_passed_in_moments_are_not() {
    for bad in [
        "let now = Instant::now();",
        "let read = Timestamp::now;",
        "use std::time::UNIX_EPOCH;",
        "let time: std::time::SystemTime;",
        "let age = since.elapsed();",
    ] {
        assert_eq!(faults(bad, &[READING_OF_A_CLOCK]).len(), 1, "{bad}");
    }
    assert_eq!(faults("pub expires: Option<std::time::Instant>,", &[READING_OF_A_CLOCK]), [""; 0]);
}

#[test]
fn imports_of_modules_not_allowed_are_found() {
    let beyond = |source| beyond(source, &["contract"]);
    for (bad, fault) in [
        ("use crate::gallery::Gallery;", "line 1: crate::gallery"),
        ("\nlet answer = crate::mqtt::call();", "line 2: crate::mqtt"),
        ("pub(in crate::service) fn f() {}", "line 1: crate::service"),
    ] {
        assert_eq!(beyond(bad), [fault], "{bad}");
    }
    for good in ["use crate::contract::field;", "pub(crate) fn f() {}", "// crate::gallery"] {
        assert_eq!(beyond(good), [""; 0], "{good}");
    }
}

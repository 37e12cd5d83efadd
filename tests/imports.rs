//! The arrows between the modules of the daemon, read from the source: what a module must not know
//! it does not import. Text that only mentions a path (comments) does not count.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

/// Ways to read a clock.
const CLOCKS: [&str; 5] =
    ["Instant::now", "SystemTime", "UNIX_EPOCH", "Timestamp::now", ".elapsed("];

/// Every `.rs` file below a folder of `src`, with its code.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = code_of(&fs::read_to_string(&path).unwrap());
                sources.push((path, code));
            }
        }
    }
    assert!(!sources.is_empty(), "src/{module} has no files");
    sources
}

/// A source without its comments.
fn code_of(source: &str) -> String {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line.split(" // ").next().unwrap_or(line), "\n"]).collect()
}

/// The modules of this crate that code names, as in `crate::gallery::Gallery` and
/// `crate::{gallery, mqtt::Session}`.
fn named(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => modules.push(word(rest)),
            Some(group) => {
                let (mut depth, mut item) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        ',' if depth == 0 => modules.push(word(&std::mem::take(&mut item))),
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        c => item.push(c),
                    }
                }
                modules.push(word(&item));
            }
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What in a module names another one that `is_allowed` does not hold.
fn wrong_imports(module: &str, is_allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let sources = sources(module);
    let wrong = sources.iter().flat_map(|(path, code)| {
        let wrong = named(code).into_iter().filter(|module| !is_allowed(module));
        wrong.map(|module| format!("{} names crate::{module}", path.display())).collect::<Vec<_>>()
    });
    wrong.collect()
}

const NONE: [String; 0] = [];

#[test]
fn contract_imports_only_picture() {
    // What a text stands for (base64, a URL, the camera) and the bounds of a picture.
    let is_allowed = |module: &str| ["contract", "picture"].contains(&module);
    assert_eq!(wrong_imports("contract", is_allowed), NONE);
}

#[test]
fn contract_reads_no_clock() {
    for (path, code) in sources("contract") {
        for clock in CLOCKS {
            assert!(!code.contains(clock), "{} has {clock}", path.display());
        }
    }
}

#[test]
fn applications_import_only_the_contract_and_the_file() {
    let is_allowed = |module: &str| ["applications", "contract", "record_file"].contains(&module);
    assert_eq!(wrong_imports("applications", is_allowed), NONE);
}

#[test]
fn service_imports_no_transport() {
    let is_allowed = |module: &str| !["mqtt", "daemon", "import", "config"].contains(&module);
    assert_eq!(wrong_imports("service", is_allowed), NONE);
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::gallery::Gallery;\nlet x = crate::mqtt::call();\nuse crate::{face, \
                outbox::{Outbox, Event},\n    access};\npub(crate) fn f() {}";
    assert_eq!(named(code), ["gallery", "mqtt", "face", "outbox", "access"]);
    assert_eq!(code_of("a\n  // crate::b\nc // crate::d\n"), "a\nc\n");
}

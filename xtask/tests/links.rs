//! Checks that every link in a document leads to a file of the repository, and to a heading of it
//! if it names one, and that the paths that CONTRIBUTING.md names exist.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the documents that git knows, by their path below the root.
fn documents() -> BTreeMap<PathBuf, String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"])
        .arg("*.md")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).unwrap();
    let there = paths.lines().map(PathBuf::from).filter(|path| root().join(path).exists());
    there.map(|path| (path.clone(), std::fs::read_to_string(root().join(path)).unwrap())).collect()
}

/// Returns GitHub's anchor for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

/// Returns the lines that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

fn has_heading(text: &str, wanted: &str) -> bool {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).any(|found| found == wanted)
}

/// Returns the targets between `](` and `)`, after a link's text or picture.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_link_has_a_target() {
    let documents = documents();
    let mut broken = Vec::new();
    for (path, text) in &documents {
        for target in prose(text).flat_map(targets).filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let at = match file {
                "" => root().join(path),
                file => root().join(path).with_file_name("").join(file),
            };
            let is_there = at.exists();
            let leads = is_there
                && (heading.is_empty() || {
                    has_heading(&std::fs::read_to_string(&at).unwrap(), heading)
                });
            if !leads {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(documents.len() > 10, "documents: {}", documents.len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn contributing_names_paths_that_exist() {
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let code = prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2));
    // Paths of the repository: not what a build makes, nor a pattern such as `models/NAME.md`.
    let is_path = |code: &&str| {
        let folder = code.split_once('/').map(|(folder, _)| folder);
        let made = folder == Some("target");
        folder.is_some() && !made && !code.contains([' ', '*', '<']) && !code.contains("NAME")
    };
    let paths: Vec<&str> = code.filter(is_path).collect();
    let missing: Vec<&&str> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(paths.len() > 30, "paths: {}", paths.len());
    assert!(missing.is_empty(), "{missing:?}");
}

//! `doorward evaluate` on the real binary, with tiny labelled sets made of the portraits: the exact
//! keys, JSON alone on standard output, and what it says about files that are missing or wrong.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/terminal.rs"]
mod terminal;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with the portraits and a picture without a face.
fn photographs() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["obama", "obama2", "obama3", "biden"] {
        fs::copy(terminal::portrait(name), dir.path().join(format!("{name}.jpg"))).unwrap();
    }
    image::GrayImage::from_pixel(320, 240, image::Luma([128]))
        .save(dir.path().join("wall.png"))
        .unwrap();
    dir
}

fn write(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn evaluate(root: &Path, kind: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(["evaluate", kind, "--root"]).arg(root).args(arguments).output().unwrap()
}

/// Standard output, which must be one JSON value and nothing else.
fn result(output: &Output) -> Value {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const VERIFICATION: [&str; 6] = ["pairs", "same", "no_face", "threshold_cosine", "accuracy", "tar"];
const RATES: [&str; 4] = ["1e-2", "1e-3", "1e-4", "1e-5"];
const SEARCH: [&str; 6] = ["gallery", "mated", "non_mated", "no_face", "rank1", "fnir"];

#[test]
fn verification_of_pairs() {
    let dir = photographs();
    let pairs = write(
        &dir,
        "pairs.csv",
        "path_a,path_b,same,fold\n\
         obama.jpg,obama2.jpg,1,0\n\
         obama.jpg,obama3.jpg,1,0\n\
         obama.jpg,biden.jpg,0,0\n\
         biden.jpg,obama2.jpg,0,1\n",
    );
    for face in ["centre", "largest"] {
        let output = evaluate(dir.path(), "verification", &["--pairs", &pairs, "--face", face]);
        let figures = result(&output);
        assert_eq!(keys(&figures), VERIFICATION);
        assert_eq!(keys(&figures["tar"]), RATES);
        assert_eq!(figures["pairs"], 4);
        assert_eq!(figures["same"], 2);
        assert_eq!(figures["no_face"], 0);
        assert_eq!(figures["accuracy"], 1.0);
        assert_eq!(figures["tar"]["1e-2"], 1.0);
        let threshold = figures["threshold_cosine"].as_f64().unwrap();
        assert!((0.3..0.45).contains(&threshold), "{threshold}");
    }
}

#[test]
fn with_labels_the_tar_is_over_all_their_pairs() {
    let dir = photographs();
    let pairs = write(&dir, "pairs.csv", "path_a,path_b,same\nobama.jpg,obama2.jpg,1\n");
    // One pair has no impostors, so alone it has no TAR.
    let alone = result(&evaluate(dir.path(), "verification", &["--pairs", &pairs]));
    assert_eq!(keys(&alone["tar"]), RATES);
    assert_eq!(alone["tar"]["1e-3"], Value::Null);
    let labels = write(
        &dir,
        "labels.csv",
        "path,identity\nobama.jpg,o\nobama2.jpg,o\nobama3.jpg,o\nbiden.jpg,b\nwall.png,w\n",
    );
    let arguments = ["--pairs", &pairs, "--labels", &labels];
    let figures = result(&evaluate(dir.path(), "verification", &arguments));
    assert_eq!(keys(&figures), VERIFICATION);
    assert_eq!(figures["pairs"], 1);
    assert_eq!(figures["no_face"], 1);
    assert_eq!(figures["tar"]["1e-3"], 1.0);
}

#[test]
fn a_photograph_without_a_face_counts_as_cosine_zero() {
    let dir = photographs();
    let pairs = write(
        &dir,
        "pairs.csv",
        "path_a,path_b,same\nobama.jpg,obama2.jpg,1\nobama.jpg,wall.png,1\nobama.jpg,biden.jpg,0\n",
    );
    let figures = result(&evaluate(dir.path(), "verification", &["--pairs", &pairs]));
    assert_eq!(figures["no_face"], 1);
    assert_eq!(figures["accuracy"], 0.6667);
}

#[test]
fn search_of_mates_and_strangers() {
    let dir = photographs();
    let gallery = write(&dir, "gallery.csv", "path,identity\nobama.jpg,obama\n");
    let probes = write(
        &dir,
        "probes.csv",
        "path,identity,mated\nobama2.jpg,obama,1\nobama3.jpg,obama,1\nwall.png,obama,1\n\
         biden.jpg,biden,0\n",
    );
    let arguments = ["--gallery", &gallery, "--probes", &probes];
    let figures = result(&evaluate(dir.path(), "search", &arguments));
    assert_eq!(keys(&figures), SEARCH);
    assert_eq!(
        figures,
        json!({
            "gallery": 1, "mated": 3, "non_mated": 1, "no_face": 1, "rank1": 0.6667,
            "fnir": { "0.01": 0.3333, "0.003": 0.3333 },
        })
    );
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let dir = photographs();
    let good = write(&dir, "good.csv", "path,identity\nobama.jpg,obama\n");
    let missing = write(&dir, "missing.csv", "path_a,path_b,same\nobama.jpg,nobody.jpg,1\n");
    let empty = write(&dir, "empty.csv", "path_a,path_b,same\n");
    let words = write(&dir, "words.csv", "path_a,path_b,same\nobama.jpg,biden.jpg,no\n");
    let nowhere = dir.path().join("nowhere.csv").display().to_string();
    let text = write(&dir, "text.jpg", "no picture");
    let no_picture = write(&dir, "text.csv", "path_a,path_b,same\ntext.jpg,obama.jpg,0\n");
    for (pairs, named) in [
        (&missing, "nobody.jpg"),
        (&empty, "empty.csv"),
        (&words, "line: 2"),
        (&nowhere, "nowhere.csv"),
        (&good, "path_a"),
        (&no_picture, text.as_str()),
    ] {
        let output = evaluate(dir.path(), "verification", &["--pairs", pairs]);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(4), "{pairs}: {err}");
        assert_eq!(out, "", "{pairs}");
        assert!(err.contains(named), "{pairs}: {err}");
    }
    let output = evaluate(dir.path(), "search", &["--gallery", &good, "--probes", &good]);
    assert_eq!(output.status.code(), Some(4));
    assert!(texts(&output).1.contains("mated"), "{}", texts(&output).1);
    let output = evaluate(dir.path(), "verification", &["--pairs", &good, "--face", "left"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn sixty_pairs_of_photographs() {
    let Some(data) = terminal::data("sixty_pairs_of_photographs") else { return };
    let root = data.join("lfw");
    let text = fs::read_to_string(root.join("pairs.csv")).unwrap();
    let rows: Vec<&str> = text.lines().skip(1).collect();
    let of = |same: &str| {
        let wanted = move |row: &&&str| row.split(',').nth(2) == Some(same);
        rows.iter().filter(wanted).take(30).copied().collect::<Vec<_>>().join("\n")
    };
    let dir = tempfile::tempdir().unwrap();
    let csv = format!("{}\n{}\n{}\n", text.lines().next().unwrap(), of("1"), of("0"));
    let pairs = write(&dir, "pairs.csv", &csv);
    let figures = result(&evaluate(&root, "verification", &["--pairs", &pairs]));
    assert_eq!((&figures["pairs"], &figures["same"]), (&json!(60), &json!(30)));
    assert_eq!(figures["no_face"], 0);
    assert!(figures["accuracy"].as_f64().unwrap() >= 0.96, "{figures}");
}

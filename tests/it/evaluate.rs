//! Tests `doorward evaluate` with the real binary and small labelled sets made of the portraits:
//! the exact keys, only JSON on standard output, and the errors for missing or wrong files.

use crate::support::terminal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Creates a folder with the portraits and a picture without a face.
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

/// Parses standard output, which must be exactly one JSON value.
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
fn labels_give_the_tar_over_all_pairs() {
    let dir = photographs();
    let pairs = write(&dir, "pairs.csv", "path_a,path_b,same\nobama.jpg,obama2.jpg,1\n");
    // A single genuine pair has no impostors, and therefore no TAR.
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
fn photograph_without_a_face_counts_as_cosine_zero() {
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

const LIVENESS: [&str; 14] = [
    "live",
    "spoof",
    "no_face",
    "threshold",
    "operating_point",
    "bpcer",
    "apcer",
    "eer",
    "refused",
    "accepted",
    "bpcer_95",
    "apcer_95",
    "species",
    "groups",
];
const SPECIES: [&str; 4] = ["n", "apcer", "accepted", "apcer_95"];
const GROUP: [&str; 8] =
    ["live", "spoof", "bpcer", "apcer", "refused", "accepted", "bpcer_95", "apcer_95"];
const PROPERTY: [&str; 10] = [
    "positives",
    "negatives",
    "tpr",
    "fpr",
    "auc",
    "hits",
    "false_alarms",
    "no_face",
    "tpr_95",
    "fpr_95",
];

#[test]
fn liveness_by_species_and_group() {
    let dir = photographs();
    let labels = write(
        &dir,
        "labels.csv",
        "path,live,attack_type,source_group\n\
         obama.jpg,1,live,a\n\
         obama2.jpg,1,live,b\n\
         wall.png,1,live,a\n\
         obama3.jpg,0,replay phone,a\n\
         biden.jpg,0,print,b\n\
         wall.png,0,print,b\n",
    );
    let run = |more: &[&str]| {
        let arguments = [&["--labels", labels.as_str()], more].concat();
        result(&evaluate(dir.path(), "liveness", &arguments))
    };
    let figures = run(&[]);
    assert_eq!(keys(&figures), LIVENESS);
    assert_eq!((&figures["live"], &figures["spoof"]), (&json!(3), &json!(3)));
    assert_eq!((&figures["no_face"], &figures["threshold"]), (&json!(2), &json!(50.0)));
    assert_eq!(keys(&figures["species"]), ["print", "replay phone"]);
    assert_eq!(keys(&figures["species"]["print"]), SPECIES);
    assert_eq!(figures["species"]["print"]["n"], 2);
    assert_eq!(keys(&figures["groups"]), ["a", "b"]);
    assert_eq!(keys(&figures["groups"]["a"]), GROUP);

    // An operating point that every face reaches, and one that none reaches: a picture without a
    // face is refused with both.
    let open = run(&["--operating-point", "-1000000"]);
    assert_eq!((&open["bpcer"], &open["apcer"]), (&json!(0.3333), &json!(0.6667)));
    assert_eq!((&open["refused"], &open["accepted"]), (&json!(1), &json!(2)));
    assert_eq!(open["species"]["print"]["apcer"], 0.5);
    assert_eq!(open["species"]["replay phone"]["apcer"], 1.0);
    assert_eq!(
        (&open["groups"]["a"]["bpcer"], &open["groups"]["b"]["bpcer"]),
        (&json!(0.5), &json!(0.0))
    );
    let shut = run(&["--operating-point", "1000000"]);
    assert_eq!((&shut["bpcer"], &shut["apcer"]), (&json!(1.0), &json!(0.0)));
    assert_eq!(shut["eer"], open["eer"], "the EER does not depend on the operating point");
    let low = run(&["--threshold", "0", "--operating-point", "1000000"]);
    assert_eq!((&low["threshold"], &low["accepted"]), (&json!(0.0), &json!(2)));
}

#[test]
fn attributes_are_measured_only_where_labelled() {
    let dir = photographs();
    let labels = write(
        &dir,
        "labels.csv",
        "path,mask,eyewear,headwear\n\
         obama.jpg,0,none,none\n\
         obama2.jpg,0,eyeglasses,none\n\
         biden.jpg,0,tinted,none\n\
         obama3.jpg,0,none,unchecked\n\
         wall.png,1,sunglasses,hat\n",
    );
    let figures = result(&evaluate(dir.path(), "attributes", &["--labels", &labels]));
    assert_eq!(keys(&figures), ["sunglasses", "mask", "veil", "hat", "no_face"]);
    assert_eq!(figures["no_face"], 1);
    for (name, positives, negatives) in
        [("sunglasses", 1, 2), ("mask", 1, 2), ("veil", 0, 3), ("hat", 1, 2)]
    {
        let property = &figures[name];
        assert_eq!(keys(property), PROPERTY);
        assert_eq!(property["positives"], positives, "{name}");
        assert_eq!(property["negatives"], negatives, "{name}");
        assert_eq!(property["fpr"], 0.0, "{name} on bare faces: {figures}");
        assert_eq!(property["hits"], 0, "{name} without a face is a miss");
    }
    assert_eq!((&figures["mask"]["tpr"], &figures["veil"]["tpr"]), (&json!(0.0), &Value::Null));

    let labels = write(&dir, "veil.csv", "path,class,note\nwall.png,hijab,\n");
    let figures = result(&evaluate(dir.path(), "attributes", &["--labels", &labels]));
    assert_eq!(keys(&figures), ["sunglasses", "mask", "veil", "no_face"]);
}

#[test]
fn quality_of_blurred_dark_and_gray_faces() {
    let dir = photographs();
    let portrait = image::open(terminal::portrait("obama")).unwrap().thumbnail(400, 500);
    let save = |name: &str, picture: image::DynamicImage| {
        picture.save(dir.path().join(name)).unwrap();
    };
    save("soft.png", portrait.blur(6.0));
    save("gray.png", image::DynamicImage::ImageLuma8(portrait.to_luma8()));
    let mut dark = portrait.to_rgb8();
    dark.iter_mut().for_each(|value| *value /= 8);
    save("night.png", dark.into());
    let labels = write(
        &dir,
        "labels.csv",
        "path,quality,dark\n\
         obama.jpg,good,\n\
         biden.jpg,good,\n\
         soft.png,soft_blur+low_luma_but_lit,\n\
         gray.png,grayscale,\n\
         night.png,,1\n\
         wall.png,,1\n",
    );
    let figures = result(&evaluate(dir.path(), "quality", &["--labels", &labels]));
    assert_eq!(keys(&figures), ["blur", "dark", "grayscale", "no_face", "labels"]);
    for (name, positives, negatives, tpr) in
        [("blur", 1, 2, 1.0), ("dark", 2, 3, 0.5), ("grayscale", 1, 2, 1.0)]
    {
        let property = &figures[name];
        assert_eq!(keys(property), PROPERTY);
        assert_eq!(property["positives"], positives, "{name}");
        assert_eq!(property["negatives"], negatives, "{name}");
        assert_eq!((&property["tpr"], &property["fpr"]), (&json!(tpr), &json!(0.0)), "{figures}");
    }
    assert_eq!(figures["no_face"], 1);
    assert_eq!(keys(&figures["labels"]), ["good", "grayscale", "low_luma_but_lit", "soft_blur"]);
    assert_eq!(
        figures["labels"]["good"],
        json!({ "n": 2, "blur": 0, "dark": 0, "grayscale": 0, "no_face": 0 })
    );
}

#[test]
fn detection_counts_faces() {
    let dir = photographs();
    let labels = write(
        &dir,
        "labels.csv",
        "path,kind,n_faces\nobama.jpg,single,1\nbiden.jpg,multi,3\nobama2.jpg,no_face,0\n\
         wall.png,no_face,0\nobama3.jpg,multi,\n",
    );
    let figures = result(&evaluate(dir.path(), "detection", &["--labels", &labels]));
    let interval = figures["nface_right_95"].clone();
    assert_eq!(
        figures,
        json!({
            "images": 4, "faces": 4, "found": 2, "false": 1, "nface_right": 2, "no_face": 1,
            "nface_right_95": interval, "uncounted": 1,
        })
    );
}

#[test]
fn labels_without_usable_values_are_refused() {
    let dir = photographs();
    let bare = write(&dir, "bare.csv", "path,colour\nobama.jpg,red\n");
    let silent = write(&dir, "silent.csv", "path,n_faces,eyewear\nobama.jpg,,tinted\n");
    let gone = write(
        &dir,
        "gone.csv",
        "path,live,mask,quality,n_faces\nobama.jpg,1,1,good,1\nmissing.jpg,1,1,good,1\n",
    );
    let empty = write(&dir, "empty.csv", "path,live,mask,quality,n_faces\n");
    let words = write(&dir, "words.csv", "path,live,mask,dark,n_faces\nobama.jpg,x,x,x,x\n");
    for (kind, column) in [
        ("liveness", "live"),
        ("attributes", "headwear"),
        ("quality", "gray"),
        ("detection", "n_faces"),
    ] {
        let mut cases = vec![
            (&bare, column),
            (&gone, "missing.jpg"),
            (&empty, "no rows to measure"),
            (&words, "line: 2"),
        ];
        if kind != "liveness" {
            cases.push((&silent, column));
        }
        for (labels, named) in cases {
            let output = evaluate(dir.path(), kind, &["--labels", labels]);
            let (out, err) = texts(&output);
            assert_eq!(output.status.code(), Some(4), "{kind} {labels}: {err}");
            assert_eq!(out, "", "{kind} {labels}");
            assert!(err.contains(named), "{kind} {labels}: {err}");
        }
    }
    for wrong in ["101", "-1", "half"] {
        let threshold = format!("--threshold={wrong}");
        let output = evaluate(dir.path(), "liveness", &["--labels", &bare, &threshold]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn missing_or_wrong_inputs_are_named() {
    let dir = photographs();
    let good = write(&dir, "good.csv", "path,identity\nobama.jpg,obama\n");
    let missing = write(&dir, "missing.csv", "path_a,path_b,same\nobama.jpg,missing.jpg,1\n");
    let empty = write(&dir, "empty.csv", "path_a,path_b,same\n");
    let words = write(&dir, "words.csv", "path_a,path_b,same\nobama.jpg,biden.jpg,no\n");
    let nowhere = dir.path().join("nowhere.csv").display().to_string();
    let text = write(&dir, "text.jpg", "no picture");
    let no_picture = write(&dir, "text.csv", "path_a,path_b,same\ntext.jpg,obama.jpg,0\n");
    for (pairs, code, named) in [
        (&missing, 4, "missing.jpg"),
        (&empty, 4, "empty.csv"),
        (&words, 4, "line: 2"),
        // A path on the command line that does not exist.
        (&nowhere, 2, "nowhere.csv"),
        (&good, 4, "path_a"),
        (&no_picture, 4, text.as_str()),
    ] {
        let output = evaluate(dir.path(), "verification", &["--pairs", pairs]);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{pairs}: {err}");
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
fn sixty_pairs_reach_the_accuracy_bar() {
    let Some(data) = terminal::data("sixty_pairs_reach_the_accuracy_bar") else { return };
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

//! Tests `doorward calibrate` with the real binary and folders made of the portraits: its results,
//! its errors for too few pictures, and its changes to the configuration file.

use crate::support::terminal::{Terminal, portrait};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// `people/obama/{1,2,3}.jpg`, `people/biden.jpg`, and a wall without a face.
fn people(terminal: &Terminal) -> PathBuf {
    let dir = terminal.file("people");
    fs::create_dir_all(dir.join("obama")).unwrap();
    for (from, to) in [
        ("obama", "obama/1.jpg"),
        ("obama2", "obama/2.jpg"),
        ("obama3", "obama/3.jpg"),
        ("biden", "biden.jpg"),
    ] {
        fs::copy(portrait(from), dir.join(to)).unwrap();
    }
    let wall = image::GrayImage::from_pixel(320, 240, image::Luma([128]));
    wall.save(dir.join("wall.png")).unwrap();
    dir
}

#[test]
fn thresholds_are_measured_on_own_photographs() {
    let mut terminal = Terminal::prepare("");
    let dir = people(&terminal);
    let plot = terminal.file("people.svg");
    let found = terminal.json(&["calibrate", &text(&dir), "--plot", &text(&plot)]);
    assert_eq!((&found["people"], &found["photographs"]), (&json!(2), &json!(5)));
    assert_eq!((&found["genuine_pairs"], &found["impostor_pairs"]), (&json!(3), &json!(3)));
    assert_eq!(found["no_face"], json!([text(&dir.join("wall.png"))]));
    for (level, similarity) in [("basic", 75.0), ("moderate", 82.0), ("high", 90.0)] {
        let figures = &found["levels"][level];
        assert_eq!(figures["similarity"], similarity);
        assert_eq!((&figures["fmr"], &figures["false_matches"]), (&json!(0.0), &json!(0)));
        // For three pairs the upper limit is more than a half, by the rule of 3 as by Wilson.
        assert!(figures["fmr_95"][1].as_f64().unwrap() > 0.5, "{figures}");
    }
    assert_eq!(found["levels"]["moderate"]["fnmr"], 0.0);
    assert_eq!(found["fmr"], json!({ "1e-2": null, "1e-3": null, "1e-4": null }));
    assert_eq!(found["eer"]["rate"], 0.0);
    let table = found["thresholds"].as_array().unwrap();
    for rows in table.windows(2) {
        let of = |row: &Value, name: &str| row[name].as_f64().unwrap();
        assert!(of(&rows[0], "fmr") >= of(&rows[1], "fmr"));
        assert!(of(&rows[0], "fnmr") <= of(&rows[1], "fnmr"));
    }
    assert_eq!(
        (&found["door"]["templates"], &found["door"]["similarity"]),
        (&json!(0), &json!(82.0))
    );
    let drawing = fs::read_to_string(&plot).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.ends_with("</svg>\n"));
    assert!(drawing.contains("FNMR") && drawing.contains("similarity"));

    // Takes the gallery size of a running daemon, and the target, into account.
    terminal.run();
    terminal.json(&["enroll", &text(&portrait("obama")), "--subject-id", "obama"]);
    let mut command = terminal.command();
    command.args(["calibrate", &text(&dir)]).env("DOORWARD__SEARCH__TARGET_FPIR", "0.000001");
    let found: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(
        (&found["door"]["templates"], &found["door"]["similarity"]),
        (&json!(1), &json!(90.0))
    );
    assert_eq!(found["door"]["reaches_target"], true);
}

#[test]
fn one_person_in_two_folders_is_reported() {
    let terminal = Terminal::prepare("");
    let dir = people(&terminal);
    fs::create_dir_all(dir.join("barack")).unwrap();
    fs::rename(dir.join("obama/3.jpg"), dir.join("barack/3.jpg")).unwrap();
    let found = terminal.json(&["calibrate", &text(&dir)]);
    let pairs = found["look_alikes"].as_array().unwrap();
    assert_eq!(pairs.len(), 2, "{found}");
    assert!(pairs.iter().all(|pair| pair["files"][0].as_str().unwrap().contains("barack")));
    assert_eq!(found["levels"]["moderate"]["false_matches"], 2);
}

#[test]
fn too_few_people_error_says_what_is_needed() {
    let terminal = Terminal::prepare("");
    let dir = people(&terminal);
    let refused = |dir: &Path, code: i32, said: &str| {
        let output = terminal.cli(&["calibrate", &text(dir)]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    };
    refused(&dir.join("obama"), 4, "3 people with a face, 0 pairs");
    refused(&dir.join("nowhere"), 2, "nowhere");
    fs::remove_file(dir.join("biden.jpg")).unwrap();
    refused(&dir, 4, "two people are needed");
    fs::write(dir.join("biden.jpg"), "no picture").unwrap();
    refused(&dir, 4, "biden.jpg");
    for arguments in [&["calibrate"][..], &["calibrate", "a", "b"], &["calibrate", "liveness"]] {
        assert_eq!(terminal.cli(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// Writes ten portraits of several sizes, and ten as from a bad screen: small, pale, striped.
fn live_and_spoof(terminal: &Terminal) -> [PathBuf; 2] {
    let dirs = ["live", "spoof"].map(|name| terminal.file(name));
    dirs.iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
    for (index, name) in ["obama", "obama2", "obama3", "biden"].iter().cycle().take(10).enumerate()
    {
        let picture = image::open(portrait(name)).unwrap();
        let side = 400 + 20 * index as u32;
        let picture = picture.thumbnail(side, side).to_rgb8();
        picture.save(dirs[0].join(format!("{index}.png"))).unwrap();
        let mut screen = picture;
        for (x, y, pixel) in screen.enumerate_pixels_mut() {
            let stripe = if (x / 2 + y / 3) % 2 == 0 { 60 } else { 20 };
            pixel.0 = pixel.0.map(|value| value / 2 + stripe);
        }
        screen.save(dirs[1].join(format!("{index}.png"))).unwrap();
    }
    dirs
}

#[test]
fn camera_operating_point_is_found_and_written() {
    let terminal = Terminal::prepare("");
    let [mut live, mut spoof] = live_and_spoof(&terminal);
    let run = |live: &Path, spoof: &Path, more: &[&str]| {
        let (live, spoof) = (text(live), text(spoof));
        let arguments = ["calibrate", "liveness", "--live", &live, "--spoof", &spoof];
        terminal.cli(&[&arguments, more].concat())
    };
    // This test does not decide which set the networks rate as more live: one order is accepted,
    // the other is refused.
    if run(&live, &spoof, &[]).status.code() != Some(0) {
        std::mem::swap(&mut live, &mut spoof);
    }
    let swapped = run(&spoof, &live, &["--write"]);
    assert_eq!(swapped.status.code(), Some(4));
    assert!(stderr(&swapped).contains("swapped"), "{}", stderr(&swapped));

    let file = terminal.file("doorward.toml");
    let text_before = format!(
        "# Front door.\n{}\n[log] # quiet\nlevel = \"warn\"\n",
        fs::read_to_string(&file).unwrap()
    );
    fs::write(&file, &text_before).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let plot = terminal.file("liveness.svg");
    let output = run(&live, &spoof, &["--plot", &text(&plot)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), text_before, "written without --write");
    assert!(fs::read_to_string(&plot).unwrap().contains("APCER"));

    let output = run(&live, &spoof, &["--write"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["live"], &found["spoof"]), (&json!(10), &json!(10)));
    let names: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "live",
            "spoof",
            "no_face",
            "operating_point",
            "balanced",
            "bound",
            "eer",
            "fitted",
            "out_of_fold",
            "as_shipped",
            "notes"
        ]
    );
    assert_eq!(found["out_of_fold"]["bpcer_95"].as_array().unwrap().len(), 2);
    let point = found["operating_point"].as_f64().unwrap();
    // With ten spoofs never looser than −ln(10/3).
    assert!((-1.2..=8.0).contains(&point), "{point}");
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(written, format!("{text_before}\n[liveness]\noperating_point = {point:?}\n"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    let printed = terminal.cli(&["config", "print"]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains(&format!("\noperating_point = {point:?}\n")), "{printed}");
    // A second run writes the same value in the same place.
    assert_eq!(run(&live, &spoof, &["--write"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn too_few_pictures_or_a_broken_configuration_change_nothing() {
    let terminal = Terminal::prepare("");
    let [live, spoof] = live_and_spoof(&terminal);
    let file = terminal.file("doorward.toml");
    let (live_text, spoof_text) = (text(&live), text(&spoof));
    let arguments =
        ["calibrate", "liveness", "--live", &live_text, "--spoof", &spoof_text, "--write"];
    let good = fs::read_to_string(&file).unwrap();
    let refused = |before: &str, code: i32, said: &str| {
        fs::write(&file, before).unwrap();
        let output = terminal.cli(&arguments);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    };
    refused("[liveness\n", 2, "doorward.toml");
    refused("[liveness]\noperating_points = 1\n", 2, "operating_points");
    refused("[liveness]\noperating_point = 80.0\n", 2, "-4 to 8");
    fs::remove_file(spoof.join("3.png")).unwrap();
    refused(&good, 4, "at least 10 are needed");
    fs::remove_dir_all(&spoof).unwrap();
    fs::create_dir(&spoof).unwrap();
    refused(&good, 4, "holds no JPEG or PNG photographs");

    if !Path::new("/etc/doorward/doorward.toml").exists() {
        let output = Command::new(env!("CARGO_BIN_EXE_doorward")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("--config"), "{}", stderr(&output));
    }
}

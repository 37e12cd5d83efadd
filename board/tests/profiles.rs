//! Tests that the shipped profiles are complete and match the documentation, and that a wrong
//! profile is refused with a reason.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward_board::Profile;
use doorward_board::profile::{Function, Wiring};

const DOCS: &str = include_str!("../../docs/board.md");

#[test]
fn every_shipped_profile_wires_every_function() {
    let mut names: Vec<_> = Profile::names().collect();
    for name in &names {
        let profile = Profile::shipped(name).unwrap();
        for function in Function::ALL {
            assert!(profile.lines.contains_key(&function), "{name}: {}", function.name());
        }
        assert_eq!(profile.is_simulated(), *name == "pc");
    }
    let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/profiles"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    names.sort();
    assert_eq!(files, names, "a profile in the folder that is not shipped");
}

/// One wiring fits every board: the functions are on the same header pins.
#[test]
fn header_pins_are_the_same_on_every_board_and_in_the_documentation() {
    let [pi4, pi5, jetson] = ["raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano"]
        .map(|n| Profile::shipped(n).unwrap());
    assert_eq!(pi4.lines, pi5.lines);
    for function in Function::ALL {
        let wired = |profile: &Profile| -> Wiring { profile.lines[&function].clone() };
        let (pi, jetson) = (wired(&pi4), wired(&jetson));
        assert_eq!(pi.header, jetson.header, "{}", function.name());
        assert_eq!(pi.active, jetson.active, "{}", function.name());
        let row = format!(
            "| `{}` | {} | {} | {} |",
            function.name(),
            pi.header.unwrap(),
            pi.line,
            jetson.line
        );
        assert!(DOCS.contains(&row), "docs/board.md lacks {row}");
    }
    for label in [&pi4.chip, &pi5.chip, &jetson.chip] {
        assert!(DOCS.contains(label.as_str()), "docs/board.md lacks {label}");
    }
}

#[test]
fn documentation_shows_a_valid_profile() {
    let shown = DOCS.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    Profile::parse(shown).unwrap();
}

#[test]
fn wrong_profile_is_refused_with_the_reason() {
    let profile = |chip: &str, lines: &str| {
        format!("board = \"x\"\nchip = \"{chip}\"\ntested = \"no\"\n{lines}\n")
    };
    let table = [
        (profile("c", "[lines]\nstrike = { line = 1, active = \"high\", pull = \"up\" }"), "pull"),
        (profile("c", "[lines]\nsiren = { line = 1, active = \"high\" }"), "siren"),
        (profile("c", "colour = 1\n[lines]"), "colour"),
        (profile("c", "[lines]\nstrike = { line = 1 }"), "active"),
        (profile("c", "[lines]\nstrike = { line = 1, active = \"both\" }"), "both"),
        (profile("c", "[lines]\nstrike = { line = -1, active = \"low\" }"), "line"),
        (
            profile(
                "c",
                "[lines]\nred = { line = 4, active = \"high\" }\ngreen = { line = 4, active = \"low\" }",
            ),
            "red and green are both on line 4",
        ),
        (profile("c", "[lines]\nwiegand_d0 = { line = 1, active = \"high\" }"), "wiegand_d1"),
        (profile("/dev/gpiochip4", "[lines]"), "label"),
        (profile("gpiochip0", "[lines]"), "label"),
        ("board = \"x\"".to_owned(), "chip"),
    ];
    for (text, said) in table {
        let error = Profile::parse(&text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}\n{error}");
    }
    let error = Profile::shipped("raspberry-pi-3").unwrap_err().to_string();
    assert!(error.contains("raspberry-pi-4"), "{error}");
}

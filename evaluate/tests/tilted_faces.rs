//! Tests heads that are turned in the plane of the picture. The detector's landmarks of a tilted
//! face are off: the same portrait was 73 similar to itself, and wore sunglasses and a veil; a
//! living face tilted by 25 degrees was a spoof.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward_evaluate::FaceChoice;
use doorward_face::similarity::similarity;
use doorward_face::{Analyzer, Attributes, Border, Embedding, Picture, Portrait};
use doorward_picture::{self as picture, Limits};
use std::path::{Path, PathBuf};

fn read(path: &Path) -> Picture {
    picture::decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap()
}

fn portrait(name: &str) -> Picture {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/portraits/{name}.jpg")))
}

/// Turns a picture about its middle; the canvas keeps its size, or grows until nothing is cut off.
fn tilted(picture: &Picture, degrees: f32, grows: bool) -> Picture {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let (new_width, new_height) = match grows {
        true => (
            (width * cos.abs() + height * sin.abs()).ceil(),
            (width * sin.abs() + height * cos.abs()).ceil(),
        ),
        false => (width, height),
    };
    let (x, y) = (new_width / 2.0 - 0.5, new_height / 2.0 - 0.5);
    let (u, v) = (width / 2.0 - 0.5, height / 2.0 - 0.5);
    let matrix = [cos, -sin, u - cos * x + sin * y, sin, cos, v - sin * x - cos * y];
    picture.warped(&matrix, new_width as u32, new_height as u32, Border::Black)
}

fn judged<Seen>(
    analyzer: &Analyzer,
    picture: &Picture,
    judge: impl FnOnce(&Portrait<'_>) -> Seen,
) -> Option<Seen> {
    let choice = FaceChoice::Centre;
    choice.judge(analyzer, picture, |portrait| Ok(judge(portrait))).unwrap()
}

fn template(analyzer: &Analyzer, picture: &Picture) -> Embedding {
    judged(analyzer, picture, |portrait| portrait.template().unwrap()).unwrap()
}

#[test]
fn a_tilted_portrait_is_similar_to_itself() {
    let analyzer = Analyzer::load().unwrap();
    let mut worst = f64::INFINITY;
    for name in ["obama", "obama2", "obama3", "biden"] {
        let portrait = portrait(name);
        let upright = template(&analyzer, &portrait);
        let face = judged(&analyzer, &portrait, |portrait| *portrait.face()).unwrap();
        for long_side in [480u32, 640, 1000, 1600, 2204, 3000, 4000] {
            let scale = long_side as f32 / portrait.width().max(portrait.height()) as f32;
            if face.width * scale < 80.0 {
                continue;
            }
            let side = |side: u32| (side as f32 * scale).round() as u32;
            let sized = portrait.resized(side(portrait.width()), side(portrait.height()));
            for degrees in [-45.0, -30.0, -20.0, -10.0, 10.0, 20.0, 30.0, 45.0] {
                let tilted = tilted(&sized, degrees, true);
                if tilted.width().max(tilted.height()) > 4000 {
                    continue;
                }
                let probe = judged(&analyzer, &tilted, |portrait| portrait.embedding().unwrap());
                let seen = probe.map_or(0.0, |probe| similarity(upright.cosine(&probe)));
                worst = worst.min(seen);
                assert!(seen >= 90.0, "{name} at {long_side} by {degrees}: {seen:.1}");
            }
        }
    }
    println!("least similarity of a portrait with itself, tilted: {worst:.1}");
}

/// One photograph each of 50 people of LFW without sunglasses.
fn people() -> Option<Vec<Picture>> {
    let data = PathBuf::from(std::env::var_os("DOORWARD_DATA")?);
    let lfw = data.join("lfw");
    let mut people: Vec<PathBuf> =
        std::fs::read_dir(lfw.join("images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    people.sort();
    let worn = std::fs::read_to_string(lfw.join("attributes.csv")).unwrap();
    let photograph = |person: &PathBuf| {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(person).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let name = files[0].file_name().unwrap().to_str().unwrap();
        let worn = worn.lines().any(|line| line.contains(name) && line.contains("sunglasses"));
        (!worn).then(|| read(&files[0]))
    };
    let step = people.len() / 60;
    let chosen: Vec<_> = people.iter().step_by(step).filter_map(photograph).take(50).collect();
    assert_eq!(chosen.len(), 50);
    Some(chosen)
}

#[test]
fn tilted_people_wear_no_sunglasses_and_live() {
    let Some(people) = people() else {
        eprintln!("SKIPPED tilted_people_wear_no_sunglasses_and_live: DOORWARD_DATA is not set");
        return;
    };
    let analyzer = Analyzer::load().unwrap();
    let counted = |degrees: f32| {
        let (mut missed, mut sunglasses, mut spoofs) = (0, 0, 0);
        for person in &people {
            let picture = tilted(person, degrees, false);
            let seen = judged(&analyzer, &picture, |portrait| {
                let worn = portrait.coverings().unwrap().sunglasses >= Attributes::WORN;
                (worn, portrait.liveness().unwrap().probability(0.0) < 50.0)
            });
            match seen {
                None => missed += 1,
                Some((worn, spoof)) => {
                    sunglasses += u32::from(worn);
                    spoofs += u32::from(spoof);
                }
            }
        }
        println!("{degrees}: {missed} missed, {sunglasses} sunglasses, {spoofs} spoofs of 50");
        (sunglasses, spoofs)
    };
    for degrees in [0.0, -10.0, 10.0, -15.0, 15.0, -25.0, 25.0, -35.0, 35.0, -45.0, 45.0] {
        let (sunglasses, spoofs) = counted(degrees);
        assert!(degrees.abs() > 35.0 || sunglasses <= 2, "{degrees}: {sunglasses} sunglasses");
        assert!(degrees.abs() > 25.0 || spoofs <= 4, "{degrees}: {spoofs} spoofs");
    }
}

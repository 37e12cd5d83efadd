//! What blur, darkness and lack of colour are called on real photographs: a resident in good light
//! must never be sent away as dark for the colour of the skin, nor for the camera's resolution.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/terminal.rs"]
mod terminal;

use doorward::face::{Analyzer, Quality};
use doorward::picture::{self, Limits, Picture};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static ANALYZER: LazyLock<Analyzer> = LazyLock::new(|| Analyzer::load().unwrap());

fn read(path: &Path) -> Picture {
    picture::decode(&fs::read(path).unwrap(), &Limits::default()).unwrap()
}

/// Of the largest face; `None` without one.
fn quality(picture: &Picture) -> Option<Quality> {
    let faces = ANALYZER.detect(picture).unwrap();
    let upright = faces.turned.as_ref().unwrap_or(picture);
    let face = faces.faces.first()?;
    Some(ANALYZER.portrait(upright, face).unwrap().quality())
}

/// The photographs whose second column is `label`.
fn labelled(folder: &Path, manifest: &str, label: &str) -> Vec<PathBuf> {
    let mut rows = csv::Reader::from_path(folder.join(manifest)).unwrap();
    let rows = rows.records().map(|row| row.unwrap());
    let paths: Vec<_> =
        rows.filter(|row| &row[1] == label).map(|row| folder.join(&row[0])).collect();
    assert!(paths.len() > 10, "{} of {label}", paths.len());
    paths
}

/// How many of the photographs are as asked, and how many there are.
fn count(photographs: &[PathBuf], asked: impl Fn(&Quality) -> bool) -> (usize, usize) {
    let found = photographs.iter().filter(|path| quality(&read(path)).is_some_and(|q| asked(&q)));
    (found.count(), photographs.len())
}

/// Blurred by a Gaussian of that standard deviation in pixels.
fn blurred(picture: &Picture, sigma: f32) -> Picture {
    let image =
        image::RgbImage::from_raw(picture.width(), picture.height(), picture.rgb().to_vec());
    let image = image::imageops::blur(&image.unwrap(), sigma);
    Picture::new(picture.width(), picture.height(), image.into_raw()).unwrap()
}

#[test]
fn official_portraits_have_nothing_to_complain_about() {
    for name in ["obama", "obama2", "obama3", "biden"] {
        let seen = quality(&read(&terminal::portrait(name))).unwrap();
        assert!(!(seen.blur || seen.dark || seen.grayscale), "{name}: {seen:?}");
    }
}

#[test]
fn however_strong_a_blur_is_it_is_one() {
    let portrait = read(&terminal::portrait("obama"));
    let portrait = portrait.resized(400, 500);
    let faces = ANALYZER.detect(&portrait).unwrap();
    for sigma in [2.0, 4.0, 8.0, 12.0, 16.0, 25.0] {
        let blurred = blurred(&portrait, sigma);
        let seen = ANALYZER.portrait(&blurred, &faces.faces[0]).unwrap().quality();
        assert!(seen.blur, "{sigma}: {seen:?}");
    }
}

/// A face that the picture cuts is judged by what is there, not by the nothing beyond the border.
#[test]
fn a_face_at_the_border_is_as_bright_and_as_sharp() {
    let portrait = read(&terminal::portrait("obama"));
    let faces = ANALYZER.detect(&portrait).unwrap();
    let face = faces.faces[0];
    let whole = ANALYZER.portrait(&portrait, &face).unwrap().quality();
    // From a fifth of the face's height on: the forehead is gone.
    let top = face.y + 0.2 * face.height;
    let (width, height) = (i64::from(portrait.width()), i64::from(portrait.height()));
    let cut = portrait.cropped(0, top as i64, width, height).unwrap();
    let seen = quality(&cut).unwrap();
    assert!((seen.brightness - whole.brightness).abs() < 25.0, "{seen:?} {whole:?}");
    assert!(seen.sharpness < 1.5 * whole.sharpness, "{seen:?} {whole:?}");
    let blurred = blurred(&cut, 8.0);
    assert!(quality(&blurred).is_none_or(|seen| seen.blur));
}

#[test]
fn a_portrait_of_other_resolution_is_as_sharp_and_as_bright() {
    let portrait = read(&terminal::portrait("obama"));
    let at = |factor: f32| {
        let side = |length: u32| (length as f32 * factor) as u32;
        quality(&portrait.resized(side(portrait.width()), side(portrait.height()))).unwrap()
    };
    let whole = at(1.0);
    for factor in [1.6, 0.7, 0.5] {
        let other = at(factor);
        assert!(
            (other.sharpness / whole.sharpness - 1.0).abs() < 0.25,
            "{factor}: {other:?} {whole:?}"
        );
        assert!((other.brightness - whole.brightness).abs() < 3.0, "{factor}: {other:?} {whole:?}");
        assert!(!other.blur);
    }
}

#[test]
fn dark_rooms_are_dark_and_dark_skin_is_not() {
    let Some(data) = terminal::data("dark rooms and dark skin") else { return };
    let rooms = labelled(&data.join("quality_dark"), "labels.csv", "1");
    let (dark, all) = count(&rooms, |quality| quality.dark);
    assert!(dark * 100 >= all * 95, "{dark} of {all} dark rooms");
    let lit = labelled(&data.join("lfw"), "quality.csv", "low_luma_but_lit");
    assert_eq!(count(&lit, |quality| quality.dark).0, 0, "of {} well lit", lit.len());
}

#[test]
fn photographs_without_colour_are_found_and_no_others() {
    let Some(data) = terminal::data("grayscale photographs") else { return };
    let gray = labelled(&data.join("lfw"), "quality.csv", "grayscale");
    let (found, all) = count(&gray, |quality| quality.grayscale);
    assert!(found + 1 >= all, "{found} of {all}");
    let good = labelled(&data.join("lfw"), "quality.csv", "good");
    let bad = count(&good, |quality| quality.grayscale || quality.blur || quality.dark);
    assert_eq!(bad.0, 0, "of {} good photographs", bad.1);
}

/// The more a photograph is blurred the less sharp it is, step by step, until it is called blurred.
#[test]
fn blur_ladders_are_in_order() {
    let Some(data) = terminal::data("blur ladders") else { return };
    let good = labelled(&data.join("lfw"), "quality.csv", "good");
    for path in &good {
        let photograph = read(path);
        // The same face in each step: what is measured is the sharpness, not the detector.
        let faces = ANALYZER.detect(&photograph).unwrap();
        let sharpness =
            |picture: &Picture| ANALYZER.portrait(picture, &faces.faces[0]).unwrap().quality();
        let mut last = sharpness(&photograph);
        for sigma in [0.7, 1.2, 2.0, 3.0, 5.0] {
            let next = sharpness(&blurred(&photograph, sigma));
            let shown = path.display();
            assert!(next.sharpness < last.sharpness, "{shown}, {sigma}: {next:?} after {last:?}");
            last = next;
        }
        assert!(last.blur, "{}: {last:?}", path.display());
    }
}

//! Tests blur, darkness and lack of colour on real photographs: a resident in good light must never
//! be refused as dark because of skin colour or the camera's resolution.

use crate::support::terminal;
use doorward::face::{Analyzer, Quality};
use doorward::picture::{self, Limits, Picture};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static ANALYZER: LazyLock<Analyzer> = LazyLock::new(|| Analyzer::load().unwrap());

fn read(path: &Path) -> Picture {
    picture::decode(&fs::read(path).unwrap(), &Limits::default()).unwrap()
}

/// Returns the quality of the largest face; `None` without a face.
fn quality(picture: &Picture) -> Option<Quality> {
    let faces = ANALYZER.detect(picture).unwrap();
    let upright = faces.turned.as_ref().unwrap_or(picture);
    let face = faces.faces.first()?;
    Some(ANALYZER.portrait(upright, face).unwrap().quality())
}

/// Returns the photographs whose second column is `label`.
fn labelled(folder: &Path, manifest: &str, label: &str) -> Vec<PathBuf> {
    let mut rows = csv::Reader::from_path(folder.join(manifest)).unwrap();
    let rows = rows.records().map(|row| row.unwrap());
    let paths: Vec<_> =
        rows.filter(|row| &row[1] == label).map(|row| folder.join(&row[0])).collect();
    assert!(paths.len() > 10, "{} of {label}", paths.len());
    paths
}

/// Counts the photographs for which `asked` is true, and all of them.
fn count(photographs: &[PathBuf], asked: impl Fn(&Quality) -> bool) -> (usize, usize) {
    let found = photographs.iter().filter(|path| quality(&read(path)).is_some_and(|q| asked(&q)));
    (found.count(), photographs.len())
}

/// Blurs with a Gaussian of this standard deviation in pixels.
fn blurred(picture: &Picture, sigma: f32) -> Picture {
    let image =
        image::RgbImage::from_raw(picture.width(), picture.height(), picture.rgb().to_vec());
    let image = image::imageops::blur(&image.unwrap(), sigma);
    Picture::new(picture.width(), picture.height(), image.into_raw()).unwrap()
}

#[test]
fn official_portraits_have_no_quality_fault() {
    for name in ["obama", "obama2", "obama3", "biden"] {
        let seen = quality(&read(&terminal::portrait(name))).unwrap();
        assert!(!(seen.blur || seen.dark || seen.grayscale), "{name}: {seen:?}");
    }
}

#[test]
fn blur_of_any_strength_is_reported() {
    let portrait = read(&terminal::portrait("obama"));
    let portrait = portrait.resized(400, 500);
    let faces = ANALYZER.detect(&portrait).unwrap();
    for sigma in [2.0, 4.0, 8.0, 12.0, 16.0, 25.0] {
        let blurred = blurred(&portrait, sigma);
        let seen = ANALYZER.portrait(&blurred, &faces.faces[0]).unwrap().quality();
        assert!(seen.blur, "{sigma}: {seen:?}");
    }
}

/// A face cut by the border is judged by its visible part, not by the area outside the picture.
#[test]
fn face_at_the_border_keeps_brightness_and_sharpness() {
    let portrait = read(&terminal::portrait("obama"));
    let faces = ANALYZER.detect(&portrait).unwrap();
    let face = faces.faces[0];
    let whole = ANALYZER.portrait(&portrait, &face).unwrap().quality();
    // Cut at a fifth of the face's height: the forehead is missing.
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
fn resolution_changes_neither_sharpness_nor_brightness() {
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

fn gray(picture: &Picture) -> Picture {
    let luma = |rgb: &[u8]| {
        let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(f32::from);
        [(0.299 * r + 0.587 * g + 0.114 * b).round() as u8; 3]
    };
    let rgb = picture.rgb().chunks_exact(3).flat_map(luma).collect();
    Picture::new(picture.width(), picture.height(), rgb).unwrap()
}

/// A camera in its night mode delivers gray pictures, which may be lit or dark.
#[test]
fn darkness_is_measured_in_gray_pictures_too() {
    let Some(data) = terminal::data("dark rooms and lit faces, in gray") else { return };
    let dark = |photographs: &[PathBuf]| {
        let seen = photographs.iter().filter_map(|path| quality(&gray(&read(path))));
        let seen: Vec<Quality> = seen.collect();
        assert!(seen.iter().all(|quality| quality.grayscale));
        (seen.iter().filter(|quality| quality.dark).count(), seen.len())
    };
    let rooms = dark(&labelled(&data.join("quality_dark"), "labels.csv", "1"));
    let good = dark(&labelled(&data.join("lfw"), "quality.csv", "good"));
    let lit = dark(&labelled(&data.join("lfw"), "quality.csv", "low_luma_but_lit"));
    eprintln!("dark, in gray: rooms {rooms:?}, good {good:?}, dark skin {lit:?}");
    assert!(rooms.0 * 100 >= rooms.1 * 95, "{rooms:?}");
    assert_eq!(good.0, 0, "of {}", good.1);
    assert_eq!(lit.0, 0, "of {}", lit.1);
}

#[test]
fn only_photographs_without_colour_are_grayscale() {
    let Some(data) = terminal::data("grayscale photographs") else { return };
    let gray = labelled(&data.join("lfw"), "quality.csv", "grayscale");
    let (found, all) = count(&gray, |quality| quality.grayscale);
    assert!(found + 1 >= all, "{found} of {all}");
    let good = labelled(&data.join("lfw"), "quality.csv", "good");
    let bad = count(&good, |quality| quality.grayscale || quality.blur || quality.dark);
    assert_eq!(bad.0, 0, "of {} good photographs", bad.1);
}

/// Each step of blur lowers the sharpness, until the photograph is reported as blurred.
#[test]
fn sharpness_falls_with_each_step_of_blur() {
    let Some(data) = terminal::data("blur ladders") else { return };
    let good = labelled(&data.join("lfw"), "quality.csv", "good");
    for path in &good {
        let photograph = read(path);
        // Uses the same face in each step: this measures the sharpness, not the detector.
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

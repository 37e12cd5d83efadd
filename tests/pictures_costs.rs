//! Tests the highest cost of a hostile picture: the worst files of every format, against the limits
//! of a request, 150 MB and 2 s of one core. Without limits a file of 4,937 bytes took a gigabyte
//! and half a minute.
//!
//! `cargo test --release --test pictures_costs -- --nocapture` prints the table of
//! `docs/pictures.md`. This is a separate program because it reads the memory of its process, with
//! a single test because no other test may run at the same time.

#![allow(clippy::unwrap_used, reason = "all of it is test code")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use doorward::face::Analyzer;
use doorward::picture::{DecodeError, Limits, Picture, decode};
use image::codecs::jpeg::JpegEncoder;
use image::imageops;
use rustix::time::{ClockId, clock_gettime};
use support::costly_files::{Jpeg, Png, exif, push};

/// Limit of the memory above the idle process, in MB, including the memory kept by earlier
/// pictures.
const MEMORY: f64 = 150.0;
/// Limit of the CPU time: 2 s on an idle machine of the documented kind, plus a margin for other
/// programs that slow the test.
const SECONDS: f64 = 4.0;

/// Description of the file, its contents, and the expected result.
struct Case {
    format: &'static str,
    trick: &'static str,
    file: Box<dyn Fn() -> Vec<u8>>,
    right: fn(&Result<Picture, DecodeError>) -> bool,
}

fn case(
    format: &'static str,
    trick: &'static str,
    right: fn(&Result<Picture, DecodeError>) -> bool,
    file: impl Fn() -> Vec<u8> + 'static,
) -> Case {
    Case { format, trick, file: Box::new(file), right }
}

/// Reads a field of /proc/self/status, in MB.
fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}

/// Returns the CPU time of this thread in seconds.
fn seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn decoded(result: &Result<Picture, DecodeError>) -> bool {
    result.is_ok()
}

fn too_many(result: &Result<Picture, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::TooManyPixels { .. }))
}

fn too_long(result: &Result<Picture, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::TooLong { .. }))
}

fn damaged(result: &Result<Picture, DecodeError>) -> bool {
    matches!(result, Err(DecodeError::Damaged(_)))
}

/// Many segments without image data.
fn profiles() -> Vec<u8> {
    let mut segments = Vec::new();
    (0..60).for_each(|_| push(&mut segments, 0xE2, &[b"ICC_PROFILE\0", &[7; 65_000][..]].concat()));
    segments
}

/// Removes the end marker: such a file is decoded twice, to see that it lacks no pixel.
fn without_end(mut file: Vec<u8>) -> Vec<u8> {
    assert_eq!(file.split_off(file.len() - 2), [0xFF, 0xD9]);
    file
}

fn jpegs() -> Vec<Case> {
    let baseline = |components| Jpeg::new(7300, 5475, components);
    let scans = || Jpeg::new(4160, 3120, 3);
    let of = |jpeg: Jpeg, ahead: Vec<u8>| Jpeg { ahead, ..jpeg };
    let inks = |width, height| {
        let mut ycck = Vec::new();
        push(&mut ycck, 0xEE, b"Adobe\0\x64\0\0\0\0\x02");
        Jpeg { ahead: ycck, ..Jpeg::new(width, height, 4) }
    };
    let with_precision = |file: Vec<u8>, precision: u8| {
        let mut file = file;
        let frame = file.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        file[frame + 4] = precision;
        file
    };
    let with_frame = |file: Vec<u8>, marker: u8| {
        let mut file = file;
        let frame = file.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        file[frame + 1] = marker;
        file
    };
    let small = || Jpeg::new(640, 480, 3).baseline(0, None);
    vec![
        case("baseline JPEG", "flat", decoded, move || baseline(3).baseline(0, None)),
        case("baseline JPEG", "as full as 5 MiB go", decoded, move || {
            baseline(3).baseline(9, None)
        }),
        case("baseline JPEG", "chroma at half the sides", decoded, move || {
            Jpeg { subsampled: true, ..baseline(3) }.baseline(9, None)
        }),
        case("baseline JPEG", "a restart after every block", decoded, move || {
            baseline(3).baseline(1, Some(1))
        }),
        case("baseline JPEG", "mirrored and turned", decoded, move || {
            of(baseline(3), exif(5)).baseline(0, None)
        }),
        case("baseline JPEG", "17 megapixels, mirrored and turned", decoded, move || {
            of(Jpeg::new(4760, 3570, 3), exif(5)).baseline(9, None)
        }),
        case("baseline JPEG", "16,384 pixels long", decoded, move || {
            Jpeg::new(16_384, 2_400, 3).baseline(9, None)
        }),
        case("baseline JPEG", "16,384 pixels high", decoded, move || {
            Jpeg::new(2_400, 16_384, 3).baseline(9, None)
        }),
        case("baseline JPEG", "gray", decoded, move || baseline(1).baseline(9, None)),
        case("baseline JPEG", "YCCK", decoded, move || inks(7300, 5475).baseline(6, None)),
        case("baseline JPEG", "3.9 MB of profiles", decoded, move || {
            of(baseline(3), profiles()).baseline(0, None)
        }),
        case("baseline JPEG", "65,500 x 610", too_long, move || {
            Jpeg::new(65_500, 610, 3).baseline(0, None)
        }),
        case("baseline JPEG", "41 megapixels", too_many, move || {
            Jpeg::new(7400, 5550, 3).baseline(0, None)
        }),
        case("baseline JPEG", "as full as 5 MiB go, without its end marker", decoded, move || {
            without_end(baseline(3).baseline(9, None))
        }),
        case("JPEG", "12 bits", damaged, move || with_precision(small(), 12)),
        case("JPEG", "arithmetic coding", damaged, move || with_frame(small(), 0xC9)),
        case("JPEG", "lossless", damaged, move || with_frame(small(), 0xC3)),
        case("JPEG in scans", "32 scans, one component each", decoded, move || {
            scans().one_by_one(32, 1)
        }),
        case("JPEG in scans", "13 megapixels of 40", too_many, move || {
            baseline(3).one_by_one(3, 0)
        }),
        case("progressive JPEG", "32 scans, nearly empty", decoded, move || {
            scans().progressive(32, 0)
        }),
        case("progressive JPEG", "32 scans, as full as 5 MiB go", decoded, move || {
            scans().progressive(32, 5)
        }),
        case("progressive JPEG", "32 scans of means", decoded, move || scans().refined_means(32)),
        case("progressive JPEG", "mirrored and turned", decoded, move || {
            of(scans(), exif(7)).progressive(10, 5)
        }),
        case("progressive JPEG", "32 full scans without an end marker", damaged, move || {
            without_end(scans().progressive(32, 5))
        }),
        case("progressive JPEG", "33 scans", damaged, move || scans().progressive(33, 0)),
        case("progressive JPEG", "39 megapixels", too_many, move || {
            Jpeg::new(7200, 5400, 3).progressive(10, 0)
        }),
        case("progressive CMYK JPEG", "32 scans, nearly empty", decoded, move || {
            inks(3460, 2600).progressive(32, 0)
        }),
        case("progressive CMYK JPEG", "32 scans, as full as 5 MiB go", decoded, move || {
            inks(3460, 2600).progressive(32, 5)
        }),
        case("progressive CMYK JPEG", "13 megapixels", too_many, move || {
            inks(4160, 3120).progressive(2, 0)
        }),
    ]
}

fn pngs() -> Vec<Case> {
    let plain = |depth, colour| Png::new(7300, 5475, depth, colour);
    let deep = |depth, colour| Png::new(4760, 3570, depth, colour);
    let turned = |png| Png { orientation: 5, ..png };
    let interlaced = |png| Png { interlaced: true, ..png };
    vec![
        case("PNG", "RGB", decoded, move || plain(8, 2).file()),
        case("PNG", "RGB, mean of neighbours", decoded, move || {
            Png { filter: 3, ..plain(8, 2) }.file()
        }),
        case("PNG", "RGB and alpha, turned", decoded, move || turned(plain(8, 6)).file()),
        case("PNG", "gray and alpha", decoded, move || plain(8, 4).file()),
        case("PNG", "palette with alpha", decoded, move || Png { filter: 0, ..plain(8, 3) }.file()),
        case("PNG", "palette of one bit", decoded, move || Png { filter: 0, ..plain(1, 3) }.file()),
        case("PNG", "16,384 pixels high", decoded, move || Png::new(2_400, 16_384, 8, 6).file()),
        case("PNG", "400 MB behind the pixels", decoded, move || {
            Png { bomb: 400_000_000, ..plain(8, 2) }.file()
        }),
        case("PNG", "400 MB in a text", decoded, move || {
            Png { bomb: 400_000_000, text_bomb: true, ..plain(8, 2) }.file()
        }),
        case("PNG", "400 MB in texts of EXIF", decoded, move || {
            Png { bomb: 400_000_000, exif_bombs: 12, ..plain(8, 2) }.file()
        }),
        case("PNG", "40,000,000 x 1", too_long, move || {
            Png { filter: 0, ..Png::new(40_000_000, 1, 1, 0) }.file()
        }),
        case("PNG", "1 x 1,000,000", too_long, move || {
            Png { filter: 0, ..Png::new(1, 1_000_000, 1, 0) }.file()
        }),
        case("PNG", "41 megapixels", too_many, move || Png::new(7400, 5550, 8, 2).file()),
        case("PNG, 16 bits", "RGB and alpha", decoded, move || deep(16, 6).file()),
        case("PNG, 16 bits", "RGB and alpha, turned", decoded, move || turned(deep(16, 6)).file()),
        case("PNG, interlaced", "RGB", decoded, move || interlaced(deep(8, 2)).file()),
        case("PNG, interlaced", "16 bits, RGB and alpha, turned", decoded, move || {
            interlaced(turned(deep(16, 6))).file()
        }),
        case("PNG, interlaced", "one bit", decoded, move || {
            interlaced(Png { filter: 0, ..deep(1, 0) }).file()
        }),
        case("PNG, interlaced", "40 megapixels", too_many, move || interlaced(plain(8, 2)).file()),
    ]
}

/// Returns an enlarged portrait, turned by 90 degrees.
fn portrait(megapixels: f64) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/portraits");
    let portrait = imageops::rotate90(&image::open(folder.join("obama.jpg")).unwrap().to_rgb8());
    let by = (megapixels * 1e6 / f64::from(portrait.width() * portrait.height())).sqrt();
    let side = |side: u32| (f64::from(side) * by) as u32;
    let (width, height) = (side(portrait.width()), side(portrait.height()));
    let large = imageops::resize(&portrait, width, height, imageops::FilterType::Triangle);
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 70).encode_image(&large).unwrap();
    file
}

fn faces() -> Vec<Case> {
    vec![
        case("baseline JPEG", "a face on its side, 17 megapixels", decoded, || portrait(16.99)),
        case("baseline JPEG", "a face on its side, 40 megapixels", decoded, || portrait(39.99)),
    ]
}

/// Processes a picture as a request does; returns the number of faces.
fn judged(analyzer: &Analyzer, picture: &Picture) -> usize {
    let found = analyzer.detect(picture).unwrap();
    if let Some(face) = found.faces.first() {
        let upright = found.turned.as_ref().unwrap_or(picture);
        let portrait = analyzer.portrait(upright, face).unwrap();
        portrait.quality();
        portrait.attributes().unwrap();
        portrait.liveness().unwrap();
        portrait.template().unwrap();
    }
    found.faces.len()
}

#[test]
fn no_picture_exceeds_the_cost_limits() {
    doorward::nn::give_back_large_buffers();
    let analyzer = Analyzer::load().unwrap();
    let ordinary = Picture::new(640, 480, vec![90; 640 * 480 * 3]).unwrap();
    judged(&analyzer, &ordinary);
    let idle = memory("VmRSS");
    let mut excesses = Vec::new();
    println!("| format | trick | bytes | decoding | in all | memory |\n|---|---|---|---|---|---|");
    // Two rounds: the memory that the allocator keeps must leave room for the next picture.
    for case in [jpegs, pngs, faces, jpegs, pngs, faces].into_iter().flat_map(|cases| cases()) {
        let Case { format, trick, file, right } = case;
        let bytes = file();
        let name = format!("{format}, {trick}, {} bytes", bytes.len());
        assert!(bytes.len() <= Limits::default().max_bytes, "{name}");
        // Resets the peak.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let start = seconds();
        let result = decode(&bytes, &Limits::default());
        let decoding = seconds() - start;
        if let Ok(picture) = &result {
            let faces = judged(&analyzer, picture);
            assert_eq!(faces, usize::from(trick.contains("face")), "{name}");
        }
        let (took, peak) = (seconds() - start, memory("VmHWM") - idle);
        let shown = match &result {
            Ok(_) => format!("{decoding:.2} s | {took:.2} s | {peak:.0} MB"),
            Err(_) => format!("refused, {decoding:.3} s | | {peak:.0} MB"),
        };
        println!("| {format} | {trick} | {} | {shown} |", bytes.len());
        if !right(&result) {
            excesses.push(format!("{name}: {:?}", result.err()));
        }
        if peak > MEMORY || (took > SECONDS && !cfg!(debug_assertions)) {
            excesses.push(format!("{name}: {took:.2} s, {peak:.0} MB"));
        }
    }
    println!("idle {idle:.0} MB; the allocator kept {:.0} MB more", memory("VmRSS") - idle);
    assert!(excesses.is_empty(), "{excesses:#?}");
}

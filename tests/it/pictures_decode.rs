//! Tests pictures that break decoders: a collection of such files, randomly truncated and flipped
//! files, and files with a false size. Each must decode or be refused with the right error. None
//! may panic, take long, or decode to more than the limits. The reference for the collection is
//! Pillow.

use doorward::picture::limits::{FULL, MAX_RATIO, MAX_SIDE};
use doorward::picture::{DecodeError, Limits, Picture, decode, to_jpeg};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Generous, because tests share the machine; a decoder that hangs still exceeds it.
const LONG: Duration = Duration::from_secs(10);

/// Files that Pillow decodes and doorward refuses, with the reason.
const STRICTER_THAN_PILLOW: [(&str, &str); 2] = [
    (
        "image-png/pngsuite/xcsn0g01.png",
        "the checksum of its image data is wrong; PngSuite expects a refusal",
    ),
    (
        "jpeg-decoder/crashtest/images/imagetestsuite/5482a54657765056f1a94116a8dbffe7.jpg",
        "its data are corrupt: they contain a segment that reaches beyond the file",
    ),
];

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("DOORWARD_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "SKIPPED: DOORWARD_DATA is not set, so the collection of tricky files was not decoded"
        );
    }
    folder
}

/// Decodes and checks the time and the limits.
fn try_decode(bytes: &[u8], name: &str) -> Result<Picture, DecodeError> {
    let start = Instant::now();
    let result = decode(bytes, &Limits::default());
    assert!(start.elapsed() < LONG, "{name}: {:?}", start.elapsed());
    if let Ok(picture) = &result {
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        assert!(pixels <= FULL, "{name}");
    }
    result
}

/// Reads the rows of a manifest, without its header. No used field contains a comma.
fn rows(folder: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(folder.join("labels.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn tricky_files_decode_as_with_pillow() {
    let Some(folder) = data().map(|data| data.join("tricky")) else { return };
    let (mut decoded, mut refused) = (0, 0);
    for row in rows(&folder) {
        let [path, _, _, _, width, height, _, orientation, .., pillow] = &row[..] else {
            panic!("{row:?}")
        };
        let bytes = std::fs::read(folder.join(path)).unwrap();
        let ours = bytes.starts_with(b"\xFF\xD8\xFF") || bytes.starts_with(b"\x89PNG\r\n\x1a\n");
        match try_decode(&bytes, path) {
            Err(DecodeError::NotJpegOrPng(_)) => assert!(!ours, "{path}"),
            // Shapes such as 1000 x 1, which no camera makes.
            Err(DecodeError::TooLong { width, height }) => {
                let (short, long) = (width.min(height), width.max(height));
                assert!(long > MAX_SIDE || long > MAX_RATIO * short, "{path}");
                refused += 1;
            }
            Err(error) => {
                assert!(ours, "{path}");
                let meant = STRICTER_THAN_PILLOW.iter().any(|(stricter, _)| stricter == path);
                assert!(meant || pillow != "ok", "{path}: {error}");
                refused += 1;
            }
            Ok(picture) => {
                assert!(ours, "{path}");
                let size = (picture.width().to_string(), picture.height().to_string());
                let turned = matches!(orientation.as_str(), "5" | "6" | "7" | "8");
                let (w, h) = if turned { (height, width) } else { (width, height) };
                assert!(w.is_empty() || size == (w.clone(), h.clone()), "{path}: {size:?}");
                decoded += 1;
            }
        }
    }
    assert!(decoded >= 150 && refused >= 10, "{decoded} decoded, {refused} refused");
}

#[test]
fn portrait_variants_decode_as_labelled() {
    let Some(folder) = data().map(|data| data.join("tricky_faces")) else { return };
    let read = |name: &str| try_decode(&std::fs::read(folder.join(name)).unwrap(), name);
    for row in rows(&folder) {
        let (name, expected) = (row[0].as_str(), row[1].as_str());
        match (name, read(name)) {
            (_, Err(DecodeError::NotJpegOrPng(_))) => {
                assert_eq!(expected, "INVALID_PAYLOAD_IMAGE_FORMAT", "{name}")
            }
            ("truncated_98.jpg", Err(DecodeError::Damaged(_))) => {}
            (_, Ok(_)) => assert!(expected != "INVALID_PAYLOAD_IMAGE_FORMAT", "{name}"),
            (_, Err(error)) => panic!("{name}: {error}"),
        }
    }
    // All four orientations decode to the same portrait.
    let upright = read("exif_2.jpg").unwrap();
    for name in ["exif_5.jpg", "exif_7.jpg", "exif_8.jpg"] {
        let other = read(name).unwrap();
        assert_eq!((other.width(), other.height()), (upright.width(), upright.height()), "{name}");
        let difference: u64 =
            upright.rgb().iter().zip(other.rgb()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = difference as f64 / upright.rgb().len() as f64;
        assert!(mean < 5.0, "{name}: {mean}");
    }
}

/// Returns a picture with some structure, so that its files are not tiny.
fn sample() -> Picture {
    let rgb = (0..96_u32 * 80).flat_map(|i| {
        let (x, y) = (i % 96, i / 96);
        [(x * y / 31) as u8, (x * 2 + y) as u8, (x ^ y) as u8]
    });
    Picture::new(96, 80, rgb.collect()).unwrap()
}

fn sample_jpeg() -> Vec<u8> {
    to_jpeg(&sample(), 90).unwrap()
}

fn png(width: u32, height: u32, colour: ExtendedColorType, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, colour).unwrap();
    bytes
}

fn sample_png() -> Vec<u8> {
    png(96, 80, ExtendedColorType::Rgb8, sample().rgb())
}

#[test]
fn truncated_file_is_refused() {
    for (name, whole) in [("jpeg", sample_jpeg()), ("png", sample_png())] {
        assert!(try_decode(&whole, name).is_ok());
        for sixteenth in 0..16 {
            let cut = &whole[..whole.len() * sixteenth / 16];
            let result = try_decode(cut, name);
            assert!(result.is_err(), "{name} cut at {sixteenth}/16");
        }
    }
}

#[test]
fn bytes_after_the_end_are_ignored() {
    for mut bytes in [sample_jpeg(), sample_png()] {
        let before = decode(&bytes, &Limits::default());
        bytes.extend_from_slice(&[0xFF; 1000]);
        assert_eq!(decode(&bytes, &Limits::default()), before);
    }
}

#[test]
fn flipped_bits_never_panic() {
    // A linear congruential generator (Knuth's MMIX constants): the same flips in every run.
    let mut state = 20_260_101_u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for (name, whole) in [("jpeg", sample_jpeg()), ("png", sample_png())] {
        for _ in 0..1000 {
            let mut bytes = whole.clone();
            for _ in 0..=random(8) {
                // Every other flip hits the headers.
                let range = if random(2) == 0 { bytes.len() } else { 700 };
                bytes[random(range)] ^= 1 << random(8);
            }
            let _ = try_decode(&bytes, name);
        }
    }
}

#[test]
fn stated_size_is_checked_before_allocation() {
    // The size is at a fixed place in PNG, and after the frame marker in JPEG.
    let mut lying_png = sample_png();
    lying_png[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let mut lying_jpeg = sample_jpeg();
    let frame = lying_jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    lying_jpeg[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    for bytes in [lying_png, lying_jpeg] {
        let start = Instant::now();
        let result = decode(&bytes, &Limits::default());
        assert_eq!(result, Err(DecodeError::TooLong { width: 60_000, height: 60_000 }));
        assert!(start.elapsed() < Duration::from_millis(500));
    }
}

/// zune-jpeg 0.5.15 adds 7 in 16 bits to the width of subsampled gray pictures: it overflows.
#[test]
fn gray_jpeg_near_the_16_bit_limit_does_not_overflow() {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
    encoder.write_image(&[0; 64], 8, 8, ExtendedColorType::L8).unwrap();
    let frame = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0, 8, 0xFF, 0xFA]);
    bytes[frame + 11] = 0x21;
    assert!(matches!(try_decode(&bytes, "65530 wide"), Err(DecodeError::TooLong { .. })));
}

//! Simulates a camera: writes a picture to a v4l2loopback device repeatedly, until it is ended.
//! When the file, or the link to it, changes, the camera shows the new picture; while the file does
//! not exist, it shows an empty grey wall.
//!
//! ```text
//! modprobe v4l2loopback video_nr=42
//! cargo run --release --example feed -- /dev/video42 YUYV 5 tests/portraits/obama.jpg
//! ```

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ImageFormat, Rgb, RgbImage};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use v4l::video::Output;
use v4l::{Device, Format, FourCC};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const JPEG_QUALITY: u8 = 90;
/// The wall that a camera sees while no person is there.
const WALL: Rgb<u8> = Rgb([128, 128, 128]);

/// Encodes a picture as the bytes of a frame.
type Encode = fn(&RgbImage) -> Result<Vec<u8>, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, format, rate, picture] = arguments.as_slice() else {
        return Err("usage: feed DEVICE YUYV|MJPG FRAMES_PER_SECOND PICTURE.jpg".into());
    };
    let encode: Encode = match format.as_str() {
        "YUYV" => |picture| Ok(yuyv(picture)),
        "MJPG" => jpeg,
        other => return Err(format!("{other} is not a format: YUYV or MJPG").into()),
    };
    let rate: f64 = rate.parse()?;
    if !(0.1..=60.0).contains(&rate) {
        return Err("frames a second: 0.1 to 60".into());
    }
    let between = Duration::from_secs_f64(1.0 / rate);
    let fourcc: [u8; 4] = format.as_bytes().try_into()?;
    let mut device = Device::with_path(device)?;
    device.set_format(&Format::new(WIDTH, HEIGHT, FourCC::new(&fourcc)))?;

    let mut shown = None;
    let mut frame = encode(&RgbImage::from_pixel(WIDTH, HEIGHT, WALL))?;
    loop {
        let due = Instant::now() + between;
        let wanted = version(Path::new(picture));
        if wanted != shown {
            frame = encode(&match &wanted {
                Some((path, _)) => fitted(path)?,
                None => RgbImage::from_pixel(WIDTH, HEIGHT, WALL),
            })?;
            shown = wanted;
        }
        // One write is one frame; a device accepts it whole or not at all.
        if device.write(&frame)? != frame.len() {
            return Err("the device did not take a whole frame".into());
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Returns the file to show and its modification time; `None` if there is none.
fn version(picture: &Path) -> Option<(PathBuf, SystemTime)> {
    let path = picture.canonicalize().ok()?;
    let modified = path.metadata().ok()?.modified().ok()?;
    Some((path, modified))
}

/// Returns a portrait as a camera sees a person in front of it: the full width of the frame, and
/// the upper part of the height, with the face.
fn fitted(path: &Path) -> Result<RgbImage, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let picture = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg)?.to_rgb8();
    let scale = f64::from(WIDTH) / f64::from(picture.width());
    let height = (f64::from(picture.height()) * scale).round() as u32;
    let scaled = image::imageops::resize(&picture, WIDTH, height.max(1), FilterType::Triangle);
    let mut frame = RgbImage::from_pixel(WIDTH, HEIGHT, WALL);
    image::imageops::replace(&mut frame, &scaled, 0, 0);
    Ok(frame)
}

/// Encodes two pixels in four bytes, Y0 Cb Y1 Cr, in the limited range of ITU-R BT.601; two pixels
/// share the mean of their colours.
fn yuyv(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((WIDTH * HEIGHT * 2) as usize);
    for pair in picture.as_raw().chunks_exact(6) {
        let [r0, g0, b0, r1, g1, b1] = [0, 1, 2, 3, 4, 5].map(|index| f32::from(pair[index]));
        let luma = |r: f32, g: f32, b: f32| 16.0 + (65.481 * r + 128.553 * g + 24.966 * b) / 255.0;
        let (r, g, b) = ((r0 + r1) / 2.0, (g0 + g1) / 2.0, (b0 + b1) / 2.0);
        let cb = 128.0 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255.0;
        let cr = 128.0 + (112.0 * r - 93.786 * g - 18.214 * b) / 255.0;
        bytes.extend([luma(r0, g0, b0), cb, luma(r1, g1, b1), cr].map(|value| value.round() as u8));
    }
    bytes
}

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(picture)?;
    Ok(bytes)
}

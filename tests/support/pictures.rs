//! Pictures that the tests make from the portraits: good ones, and one for each fault.
use super::terminal::portrait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

/// Height of the pictures: the faces are 70 to 130 pixels wide.
const HEIGHT: u32 = 600;

/// Returns a portrait reduced to [`HEIGHT`], which keeps requests small and fast.
pub fn scaled(name: &str) -> RgbImage {
    let picture = image::open(portrait(name)).unwrap().to_rgb8();
    let width = picture.width() * HEIGHT / picture.height();
    imageops::resize(&picture, width, HEIGHT, FilterType::Triangle)
}

/// Encodes a JPEG file without EXIF.
pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 92).encode_image(picture).unwrap();
    file
}

/// Encodes a PNG file.
pub fn png(picture: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .unwrap();
    file
}

/// Encodes a file in base64 for the field `image`.
pub fn base64(file: &[u8]) -> String {
    STANDARD.encode(file)
}

/// Decodes a file from base64.
pub fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// Returns a portrait encoded for the field `image`.
pub fn face(name: &str) -> String {
    base64(&jpeg(&scaled(name)))
}

/// Returns two people in one picture; the left one is nearer.
pub fn two_people() -> RgbImage {
    let (left, right) = (scaled("obama"), scaled("biden"));
    let mut both = RgbImage::new(left.width() + right.width(), HEIGHT);
    imageops::replace(&mut both, &left, 0, 0);
    imageops::replace(&mut both, &right, left.width().into(), 0);
    both
}

/// Adds a portrait next to this picture; it is farther away.
pub fn next_to(picture: &RgbImage, name: &str) -> RgbImage {
    let other = scaled(name);
    let other =
        imageops::resize(&other, other.width() / 2, other.height() / 2, FilterType::Triangle);
    let height = picture.height().max(other.height());
    let mut both = RgbImage::new(picture.width() + other.width(), height);
    imageops::replace(&mut both, picture, 0, 0);
    imageops::replace(&mut both, &other, picture.width().into(), 0);
    both
}

/// Where eyes and mouth are, in pixels; left and right are the viewer's.
pub struct Landmarks {
    pub left_eye: [f32; 2],
    pub right_eye: [f32; 2],
    /// Its left corner.
    pub mouth: [f32; 2],
}

/// Draws black glasses over the eyes.
pub fn with_sunglasses(picture: &RgbImage, landmarks: &Landmarks) -> RgbImage {
    let Landmarks { left_eye: [lx, ly], right_eye: [rx, ry], .. } = *landmarks;
    let apart = (rx - lx).hypot(ry - ly);
    let mut worn = picture.clone();
    for (x, y, pixel) in worn.enumerate_pixels_mut() {
        let (x, y) = (x as f32, y as f32);
        let lens = |cx: f32, cy: f32| {
            let (dx, dy) = ((x - cx) / (0.42 * apart), (y - cy - 0.06 * apart) / (0.32 * apart));
            dx.powi(4) + dy.powi(4) <= 1.0
        };
        // The frame: a bar from lens to lens and on to the temples.
        let bar = (y - (ly + ry) / 2.0 + 0.12 * apart).abs() < 0.05 * apart
            && (lx - 0.7 * apart..rx + 0.7 * apart).contains(&x);
        if lens(lx, ly) || lens(rx, ry) || bar {
            // A little of the background and of the sky shows through.
            let shine = (12.0 * (1.0 - (y - ly) / apart)).clamp(0.0, 20.0) as u8;
            pixel.0 = pixel.0.map(|value| value / 12 + shine);
        }
    }
    worn
}

/// Draws the portrait on the screen of a hand-held phone: bezel, backlight, a pixel grid that
/// causes moiré, and a reflection.
pub fn replayed(picture: &RgbImage) -> RgbImage {
    let height_shown = 220 * picture.height() / picture.width();
    let shown = imageops::resize(picture, 220, height_shown, FilterType::Triangle);
    let (width, height) = (640, 480);
    let (left, top) = ((width - shown.width()) / 2, (height - shown.height()) / 2);
    let bezel = 14;
    let scene = RgbImage::from_fn(width, height, |x, y| {
        let inside = |margin: u32| {
            x + margin >= left
                && x < left + shown.width() + margin
                && y + margin >= top
                && y < top + shown.height() + margin
        };
        if inside(0) {
            let beat = |phase: f32| {
                1.0 + 0.10 * (0.9 * x as f32 + 0.23 * y as f32 + phase).sin()
                    + 0.06 * (2.3 * y as f32 + phase).sin()
            };
            let glare = 30.0 * (1.0 - (x - left) as f32 / shown.width() as f32);
            let pixel = shown.get_pixel(x - left, y - top).0;
            let lit = |channel: usize, gain: f32, phase: f32| {
                (f32::from(pixel[channel]) * gain * beat(phase) + glare).min(255.0) as u8
            };
            Rgb([lit(0, 0.85, 0.0), lit(1, 0.95, 2.1), lit(2, 1.15, 4.2)])
        } else if inside(bezel) {
            Rgb([14, 14, 16])
        } else {
            Rgb([(150 - x / 12) as u8, (140 - y / 14) as u8, 120])
        }
    });
    imageops::blur(&scene, 0.8)
}

/// Blurs strongly, but keeps the face detectable.
pub fn blurred(picture: &RgbImage) -> RgbImage {
    imageops::blur(picture, 8.0)
}

/// Reduces the brightness to an eighth.
pub fn darkened(picture: &RgbImage) -> RgbImage {
    let mut dark = picture.clone();
    dark.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| value / 8));
    dark
}

/// Removes the colour.
pub fn gray(picture: &RgbImage) -> RgbImage {
    let mut gray = picture.clone();
    gray.pixels_mut().for_each(|pixel| pixel.0 = [pixel.0[1]; 3]);
    gray
}

/// Returns a picture without a face.
pub fn flat() -> RgbImage {
    RgbImage::from_pixel(320, 240, Rgb([120, 130, 140]))
}

/// Returns a JPEG whose header claims 60,000 pixels per side.
pub fn bomb() -> Vec<u8> {
    let mut file = jpeg(&flat());
    let frame = file.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    for side in [frame + 5, frame + 7] {
        file[side..side + 2].copy_from_slice(&60_000u16.to_be_bytes());
    }
    file
}

/// A valid GIF of one pixel.
pub const GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3B";

/// Adds an EXIF block that contains only this orientation (1 to 8).
pub fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

/// Returns the stored pixels of a file with this orientation that decodes to `upright`.
pub fn stored_for(upright: &RgbImage, orientation: u8) -> RgbImage {
    let mirrored = || imageops::flip_horizontal(upright);
    match orientation {
        1 => upright.clone(),
        2 => mirrored(),
        3 => imageops::rotate180(upright),
        4 => imageops::flip_vertical(upright),
        5 => imageops::rotate270(&mirrored()),
        6 => imageops::rotate270(upright),
        7 => imageops::rotate90(&mirrored()),
        8 => imageops::rotate90(upright),
        other => panic!("EXIF has no orientation {other}"),
    }
}

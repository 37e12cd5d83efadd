//! Pictures that the tests make of the portraits: good ones, and one for each fault.
#![allow(dead_code, reason = "each test program takes what it needs")]

use crate::terminal::portrait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

/// Height of the pictures: the faces are 70 to 130 pixels wide.
const HEIGHT: u32 = 600;

/// A portrait brought down to [`HEIGHT`], which keeps requests small and quick.
pub fn scaled(name: &str) -> RgbImage {
    let picture = image::open(portrait(name)).unwrap().to_rgb8();
    let width = picture.width() * HEIGHT / picture.height();
    imageops::resize(&picture, width, HEIGHT, FilterType::Triangle)
}

/// As a JPEG file without EXIF.
pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 92).encode_image(picture).unwrap();
    file
}

/// As a PNG file.
pub fn png(picture: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .unwrap();
    file
}

/// Base64 of a file, as the field `image` takes it.
pub fn base64(file: &[u8]) -> String {
    STANDARD.encode(file)
}

/// The file behind base64.
pub fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// A portrait, ready for the field `image`.
pub fn face(name: &str) -> String {
    base64(&jpeg(&scaled(name)))
}

/// Two people in one picture, of whom the left one is nearer.
pub fn two_people() -> RgbImage {
    let (left, right) = (scaled("obama"), scaled("biden"));
    let mut both = RgbImage::new(left.width() + right.width(), HEIGHT);
    imageops::replace(&mut both, &left, 0, 0);
    imageops::replace(&mut both, &right, left.width().into(), 0);
    both
}

/// So blurred that nobody would call it sharp, yet seen as a face.
pub fn blurred(picture: &RgbImage) -> RgbImage {
    imageops::blur(picture, 8.0)
}

/// With an eighth of its light.
pub fn darkened(picture: &RgbImage) -> RgbImage {
    let mut dark = picture.clone();
    dark.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| value / 8));
    dark
}

/// Without colour.
pub fn gray(picture: &RgbImage) -> RgbImage {
    let mut gray = picture.clone();
    gray.pixels_mut().for_each(|pixel| pixel.0 = [pixel.0[1]; 3]);
    gray
}

/// Nobody.
pub fn flat() -> RgbImage {
    RgbImage::from_pixel(320, 240, Rgb([120, 130, 140]))
}

/// A JPEG whose header claims 60,000 pixels a side.
pub fn bomb() -> Vec<u8> {
    let mut file = jpeg(&flat());
    let frame = file.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    for side in [frame + 5, frame + 7] {
        file[side..side + 2].copy_from_slice(&60_000u16.to_be_bytes());
    }
    file
}

/// A whole GIF of one pixel.
pub const GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3B";

/// The same JPEG with an EXIF block that says nothing but this orientation (1 to 8).
pub fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

/// The pixels that a file of this orientation holds, so that a reader who obeys it sees `upright`.
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

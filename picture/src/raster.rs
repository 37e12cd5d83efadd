//! Decodes a file that has been walked and checked against its limits to upright RGB pixels, in
//! memory that is known in advance: three bytes per pixel, and the decoder's memory from the table.
//!
//! PNG is decoded row by row, so that sixteen bits and an alpha channel never exist for the whole
//! picture. A picture with more than [`limits::FULL`] pixels is halved in place.

use super::Picture;
use super::decode::{DecodeError, ImageData};
use super::limits::{self, zeros};
use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, RgbImage};
use std::io::Cursor;

/// Bytes of an RGB pixel.
const RGB: usize = 3;
/// Bits of an RGB pixel.
const RGB_BITS: u8 = 24;
/// Most bytes that the PNG decoder may allocate: a few rows of the longest side, and its window.
const PNG_ROWS: usize = 4 << 20;

/// Decodes the pixels, halves them if they are many, and rotates them upright.
pub(super) fn picture(data: &ImageData) -> Result<Picture, DecodeError> {
    let mut raster = match data.format {
        ImageFormat::Png => png(data)?,
        _ => jpeg(data)?,
    };
    let many = u64::from(data.width) * u64::from(data.height) > limits::FULL;
    let reduction = if many { raster.halve() } else { 1 };
    let mut image = raster.into_image()?;
    let upright = data.orientation.unwrap_or(Orientation::NoTransforms);
    // The picture exists twice: here, and when faces are searched in its rotations.
    limits::room_for(image.as_raw().len() as u64)?;
    if upright != Orientation::NoTransforms {
        let mut turned = DynamicImage::ImageRgb8(image);
        turned.apply_orientation(upright);
        image = turned.into_rgb8();
    }
    Picture::new(image.width(), image.height(), image.into_raw())
        .map(|picture| picture.reduced_by(reduction))
        .ok_or_else(|| DecodeError::Damaged("it has no pixels".to_owned()))
}

/// Rows of pixels, of one or three channels.
struct Raster {
    width: usize,
    height: usize,
    channels: usize,
    /// Room for three channels; the pixels come first.
    bytes: Vec<u8>,
}

impl Raster {
    /// Replaces each 2 × 2 pixels by their mean, in place, and frees the remaining memory; a last
    /// row or column without a neighbour is left out. Returns the factor by which the sides have
    /// shrunk.
    fn halve(&mut self) -> u32 {
        let (width, height) = (self.width / 2, self.height / 2);
        let stride = self.width * self.channels;
        let mut row = vec![0; width * self.channels];
        for y in 0..height {
            let (upper, lower) = self.bytes[2 * y * stride..][..2 * stride].split_at(stride);
            match self.channels {
                1 => means::<1>(&mut row, upper, lower),
                _ => means::<RGB>(&mut row, upper, lower),
            }
            // Writes behind the read position: half as far as it reads.
            self.bytes[y * row.len()..][..row.len()].copy_from_slice(&row);
        }
        (self.width, self.height) = (width, height);
        self.bytes.truncate(width * height * RGB);
        self.bytes.shrink_to_fit();
        2
    }

    fn into_image(self) -> Result<RgbImage, DecodeError> {
        let Self { width, height, channels, mut bytes } = self;
        if channels == 1 {
            // From the end, because pixels grow into the place of others.
            for at in (0..width * height).rev() {
                let value = bytes[at];
                bytes[at * RGB..][..RGB].fill(value);
            }
        }
        RgbImage::from_raw(width as u32, height as u32, bytes)
            .ok_or_else(|| DecodeError::Damaged("it has too few pixels".to_owned()))
    }
}

/// Writes the means of each two pixels of two rows.
fn means<const CHANNELS: usize>(to: &mut [u8], upper: &[u8], lower: &[u8]) {
    let pairs = |row| <[u8]>::chunks_exact(row, 2 * CHANNELS);
    let pixels = to.chunks_exact_mut(CHANNELS).zip(pairs(upper)).zip(pairs(lower));
    for ((to, upper), lower) in pixels {
        for channel in 0..CHANNELS {
            let four = [
                upper[channel],
                upper[channel + CHANNELS],
                lower[channel],
                lower[channel + CHANNELS],
            ];
            let sum: u16 = four.map(u16::from).iter().sum();
            to[channel] = ((sum + 2) / 4) as u8;
        }
    }
}

fn jpeg(data: &ImageData) -> Result<Raster, DecodeError> {
    let (width, height) = (data.width as usize, data.height as usize);
    let damaged = |error: image::ImageError| DecodeError::Damaged(error.to_string());
    let mut decoder = JpegDecoder::new(Cursor::new(&data.bytes)).map_err(damaged)?;
    let mut size = image::Limits::no_limits();
    (size.max_image_width, size.max_image_height) = (Some(data.width), Some(data.height));
    decoder.set_limits(size).map_err(damaged)?;
    if decoder.dimensions() != (data.width, data.height) {
        return Err(DecodeError::Damaged("it states two sizes".to_owned()));
    }
    let channels = match decoder.color_type() {
        image::ColorType::L8 => 1,
        image::ColorType::Rgb8 => RGB,
        _ => return Err(DecodeError::Damaged("its colours are not those of a camera".to_owned())),
    };
    let mut bytes = zeros(width * height * RGB)?;
    limits::room_for((width * height) as u64 * data.bound.scratch)?;
    decoder.read_image(&mut bytes[..width * height * channels]).map_err(damaged)?;
    Ok(Raster { width, height, channels, bytes })
}

fn png(data: &ImageData) -> Result<Raster, DecodeError> {
    let (width, height) = (data.width as usize, data.height as usize);
    let damaged = |error: png::DecodingError| DecodeError::Damaged(error.to_string());
    let limits = png::Limits { bytes: PNG_ROWS };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(&data.bytes), limits);
    // Palettes and fewer than eight bits become eight; sixteen bits stay, because this module
    // rounds them.
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(damaged)?;
    if reader.info().size() != (data.width, data.height) {
        return Err(DecodeError::Damaged("it states two sizes".to_owned()));
    }
    let (colour, depth) = reader.output_color_type();
    let convert = converter(colour, depth)?;
    let stride = width * RGB;
    let mut bytes = zeros(stride * height)?;
    let mut rgb = zeros(stride)?;
    let mut y = 0;
    while let Some(row) = reader.next_interlaced_row().map_err(damaged)? {
        match row.interlace() {
            png::InterlaceInfo::Null(_) => {
                convert(row.data(), bytes.get_mut(y * stride..).unwrap_or_default());
                y += 1;
            }
            png::InterlaceInfo::Adam7(place) => {
                let length = convert(row.data(), &mut rgb);
                png::expand_interlaced_row(&mut bytes, stride, &rgb[..length], place, RGB_BITS);
            }
        }
    }
    Ok(Raster { width, height, channels: RGB, bytes })
}

/// Writes the RGB of a row, as far as there is room, and returns its length.
type Converter = fn(&[u8], &mut [u8]) -> usize;

fn converter(colour: png::ColorType, depth: png::BitDepth) -> Result<Converter, DecodeError> {
    use png::ColorType::{Grayscale, GrayscaleAlpha, Rgb, Rgba};
    Ok(match (colour, depth) {
        (Rgb, png::BitDepth::Eight) => |row, to| {
            let length = row.len().min(to.len());
            to[..length].copy_from_slice(&row[..length]);
            length
        },
        (Grayscale, png::BitDepth::Eight) => |row, to| each::<1>(row, to, |[v]| [v; RGB]),
        (GrayscaleAlpha, png::BitDepth::Eight) => |row, to| each::<2>(row, to, |[v, _]| [v; RGB]),
        (Rgba, png::BitDepth::Eight) => |row, to| each::<4>(row, to, |[r, g, b, _]| [r, g, b]),
        (Grayscale, png::BitDepth::Sixteen) => |row, to| each::<2>(row, to, |v| [eight(v); RGB]),
        (GrayscaleAlpha, png::BitDepth::Sixteen) => {
            |row, to| each::<4>(row, to, |[a, b, ..]| [eight([a, b]); RGB])
        }
        (Rgb, png::BitDepth::Sixteen) => {
            |row, to| each::<6>(row, to, |[a, b, c, d, e, f]| [[a, b], [c, d], [e, f]].map(eight))
        }
        (Rgba, png::BitDepth::Sixteen) => |row, to| {
            each::<8>(row, to, |[a, b, c, d, e, f, ..]| [[a, b], [c, d], [e, f]].map(eight))
        },
        _ => return Err(DecodeError::Damaged("its colours are of no known kind".to_owned())),
    })
}

fn each<const N: usize>(row: &[u8], to: &mut [u8], rgb: impl Fn([u8; N]) -> [u8; RGB]) -> usize {
    let (pixels, to) = (row.as_chunks::<N>().0, to.as_chunks_mut::<RGB>().0);
    for (to, &pixel) in to.iter_mut().zip(pixels) {
        *to = rgb(pixel);
    }
    pixels.len().min(to.len()) * RGB
}

/// Rounds sixteen bits to eight.
fn eight(value: [u8; 2]) -> u8 {
    ((u32::from(u16::from_be_bytes(value)) + 128) / 257) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_worked_by_hand() {
        // 5 x 3 of one channel: the last column and the last row have no neighbour.
        let mut bytes = vec![1, 2, 10, 20, 99, 3, 4, 30, 41, 99, 99, 99, 99, 99, 99];
        bytes.resize(45, 0);
        let mut raster = Raster { width: 5, height: 3, channels: 1, bytes };
        assert_eq!(raster.halve(), 2);
        let image = raster.into_image().unwrap();
        // (1 + 2 + 3 + 4) / 4 = 2.5 and (10 + 20 + 30 + 41) / 4 = 25.25.
        assert_eq!((image.dimensions(), image.into_raw()), ((2, 1), vec![3, 3, 3, 25, 25, 25]));
    }

    #[test]
    fn halving_averages_each_channel_separately() {
        let bytes = [[10, 0, 200], [20, 4, 100], [30, 0, 200], [40, 4, 100]].concat();
        let mut raster = Raster { width: 2, height: 2, channels: 3, bytes };
        raster.halve();
        assert_eq!(raster.into_image().unwrap().into_raw(), [25, 2, 150]);
    }

    #[test]
    fn sixteen_bits_are_rounded() {
        assert_eq!(
            [0, 128, 129, 0xFF7F, 0xFFFF].map(u16::to_be_bytes).map(eight),
            [0, 0, 1, 255, 255]
        );
    }
}

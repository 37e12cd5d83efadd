//! Converts uncompressed camera formats to RGB pixels: YUYV, NV12 and grey.
//!
//! *Stride* is the distance between the starts of two rows in bytes; drivers pad rows, and report
//! it. Luma Y is from 16 (black) to 235 (white) and chroma U, V from 16 to 240 around 128: the
//! limited range of ITU-R BT.601, which V4L2 means by these formats unless a driver says otherwise.
//! Grey is luma alone over the full range 0–255.
//!
//! Every function returns `None` if there are fewer bytes than the size needs; none reads beyond
//! them.

use super::Picture;
use super::limits::zeros;
use std::borrow::Cow;
use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvPackedImage, YuvRange, YuvStandardMatrix,
    yuv_nv12_to_rgb, yuyv422_to_rgb,
};

const RANGE: YuvRange = YuvRange::Limited;
const MATRIX: YuvStandardMatrix = YuvStandardMatrix::Bt601;

/// Returns the bytes of a YUYV picture: Y0 U Y1 V for two pixels. The last row may lack its
/// padding.
pub fn yuyv_bytes(width: u32, height: u32, stride: u32) -> Option<usize> {
    plane(width.div_ceil(2).checked_mul(4)?, height, stride)
}

/// Returns the bytes of an NV12 picture: a plane of Y, then one of half its height with alternating
/// U and V, of the same stride.
pub fn nv12_bytes(width: u32, height: u32, stride: u32) -> Option<usize> {
    let luma = (stride as usize).checked_mul(height as usize)?;
    let chroma = plane(width.div_ceil(2).checked_mul(2)?, height.div_ceil(2), stride)?;
    if stride < width { None } else { luma.checked_add(chroma) }
}

/// Returns the bytes of a grey picture: one per pixel.
pub fn grey_bytes(width: u32, height: u32, stride: u32) -> Option<usize> {
    plane(width, height, stride)
}

/// Returns the bytes of `rows` rows, the last without padding; `None` if a row is longer than the
/// stride or there are no rows.
fn plane(row: u32, rows: u32, stride: u32) -> Option<usize> {
    if row == 0 || row > stride {
        return None;
    }
    (stride as usize).checked_mul(rows.checked_sub(1)? as usize)?.checked_add(row as usize)
}

/// Converts a YUYV picture to RGB.
pub fn yuyv(width: u32, height: u32, stride: u32, bytes: &[u8]) -> Option<Picture> {
    if bytes.len() < yuyv_bytes(width, height, stride)? {
        return None;
    }
    let mut rgb = room(width, height)?;
    let yuy = &whole_rows(bytes, height, stride)?[..];
    let image = YuvPackedImage { yuy, yuy_stride: stride, width, height };
    yuyv422_to_rgb(&image, &mut rgb, 3 * width, RANGE, MATRIX).ok()?;
    Picture::new(width, height, rgb)
}

/// Converts an NV12 picture to RGB.
pub fn nv12(width: u32, height: u32, stride: u32, bytes: &[u8]) -> Option<Picture> {
    if bytes.len() < nv12_bytes(width, height, stride)? {
        return None;
    }
    let mut rgb = room(width, height)?;
    let (y_plane, uv_plane) = bytes.split_at(stride as usize * height as usize);
    let uv_plane = &whole_rows(uv_plane, height.div_ceil(2), stride)?[..];
    let (y_stride, uv_stride) = (stride, stride);
    let image = YuvBiPlanarImage { y_plane, y_stride, uv_plane, uv_stride, width, height };
    let mode = YuvConversionMode::default();
    yuv_nv12_to_rgb(&image, &mut rgb, 3 * width, RANGE, MATRIX, mode).ok()?;
    Picture::new(width, height, rgb)
}

/// Converts a grey picture to RGB.
pub fn grey(width: u32, height: u32, stride: u32, bytes: &[u8]) -> Option<Picture> {
    let bytes = bytes.get(..grey_bytes(width, height, stride)?)?;
    let mut rgb = room(width, height)?;
    let rows = rgb.chunks_exact_mut(width as usize * 3).zip(bytes.chunks(stride as usize));
    for (to, from) in rows {
        for (pixel, &y) in to.chunks_exact_mut(3).zip(from) {
            pixel.fill(y);
        }
    }
    Picture::new(width, height, rgb)
}

/// Returns the rows with the padding of the last, which a driver may leave out.
fn whole_rows(bytes: &[u8], rows: u32, stride: u32) -> Option<Cow<'_, [u8]>> {
    let length = (rows as usize).checked_mul(stride as usize)?;
    if let Some(whole) = bytes.get(..length) {
        return Some(Cow::Borrowed(whole));
    }
    let mut whole = zeros(length).ok()?;
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(Cow::Owned(whole))
}

fn room(width: u32, height: u32) -> Option<Vec<u8>> {
    let length = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
    zeros(length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Y, U, V of the colour bars of BT.601 at full intensity, and their RGB.
    const BARS: [([u8; 3], [u8; 3]); 8] = [
        ([235, 128, 128], [255, 255, 255]),
        ([16, 128, 128], [0, 0, 0]),
        ([126, 128, 128], [128, 128, 128]),
        ([81, 90, 240], [255, 0, 0]),
        ([145, 54, 34], [0, 255, 0]),
        ([41, 240, 110], [0, 0, 255]),
        ([210, 16, 146], [255, 255, 0]),
        ([170, 166, 16], [0, 255, 255]),
    ];

    fn near(seen: &[u8], expected: [u8; 3]) -> bool {
        seen.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) <= 2)
    }

    /// R, G, B of one pixel: BT.601, limited range.
    fn colour(y: u8, u: u8, v: u8) -> [u8; 3] {
        let luma = 255.0 / 219.0 * (f64::from(y) - 16.0);
        let [u, v] = [u, v].map(|chroma| 255.0 / 224.0 * (f64::from(chroma) - 128.0));
        let rgb = [luma + 1.402 * v, luma - 0.344_136 * u - 0.714_136 * v, luma + 1.772 * u];
        rgb.map(|value| value.round() as u8)
    }

    #[test]
    fn colour_bars() {
        for ([y, u, v], expected) in BARS {
            let seen = yuyv(2, 1, 4, &[y, u, y, v]).unwrap();
            assert!(near(&seen.rgb()[..3], expected), "{y} {u} {v}: {:?}", seen.rgb());
            assert!(near(&colour(y, u, v), expected), "{y} {u} {v}");
        }
        // Beyond the valid range, at both ends.
        assert_eq!(yuyv(2, 1, 4, &[255, 128, 0, 128]).unwrap().rgb(), [255, 255, 255, 0, 0, 0]);
    }

    #[test]
    fn the_three_formats_show_the_same_picture() {
        // 4 x 2: a red pair and a blue pair, above and below.
        let ([ry, ru, rv], [by, bu, bv]) = (BARS[3].0, BARS[5].0);
        let row = [ry, ru, ry, rv, by, bu, by, bv];
        let padded = |row: &[u8]| [row, &[7; 4]].concat();
        let packed = yuyv(4, 2, 8, &[row, row].concat()).unwrap();
        // The last row comes without padding.
        let strided = yuyv(4, 2, 12, &[padded(&row), row.to_vec()].concat()).unwrap();
        assert_eq!(packed, strided);
        let luma = padded(&[ry, ry, by, by]);
        let planes = [&luma[..], &luma, &[ru, rv, bu, bv]].concat();
        let planar = nv12(4, 2, 8, &planes).unwrap();
        assert!(planar.rgb().iter().zip(packed.rgb()).all(|(&a, b)| a.abs_diff(*b) <= 2));
        assert!(near(&packed.rgb()[..3], BARS[3].1) && near(&packed.rgb()[21..], BARS[5].1));
        let grey = grey(2, 2, 3, &[0, 9, 99, 200, 255]).unwrap();
        assert_eq!(grey.rgb(), [0, 0, 0, 9, 9, 9, 200, 200, 200, 255, 255, 255]);
    }

    #[test]
    fn odd_sides() {
        // 3 x 3: the last pixel of a row uses the first half of a group, the last row uses a chroma
        // row alone.
        let row = [126, 128, 126, 128, 126, 128, 16, 128];
        let picture = yuyv(3, 3, 8, &row.repeat(3)).unwrap();
        assert!(picture.rgb().iter().all(|&value| value.abs_diff(128) <= 1));
        let planes = [vec![126; 12], vec![128; 8]].concat();
        assert_eq!(nv12_bytes(3, 3, 4), Some(20));
        let picture = nv12(3, 3, 4, &planes).unwrap();
        assert!(picture.rgb().iter().all(|&value| value.abs_diff(128) <= 1));
    }

    #[test]
    fn every_pixel_of_every_width_has_its_own_colour() {
        let mut state = 1u32;
        let mut noise = |length: usize| -> Vec<u8> {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Valid luma and chroma.
                16 + (state >> 24) as u8 / 7 * 6
            };
            (0..length).map(|_| next()).collect()
        };
        for width in 1..=70u32 {
            let stride = width.div_ceil(2) * 4 + 5;
            let (w, s, height) = (width as usize, stride as usize, 3);
            let bytes = noise(yuyv_bytes(width, height as u32, stride).unwrap());
            let seen = yuyv(width, height as u32, stride, &bytes).unwrap();
            for (at, rgb) in seen.rgb().as_chunks::<3>().0.iter().enumerate() {
                let (row, x) = (&bytes[at / w * s..], at % w);
                let expected = colour(row[2 * x], row[x / 2 * 4 + 1], row[x / 2 * 4 + 3]);
                assert!(near(rgb, expected), "YUYV {width}, pixel {at}: {rgb:?} {expected:?}");
            }
            let stride = width.div_ceil(2) * 2;
            let s = stride as usize;
            let bytes = noise(nv12_bytes(width, height as u32, stride).unwrap());
            let seen = nv12(width, height as u32, stride, &bytes).unwrap();
            for (at, rgb) in seen.rgb().as_chunks::<3>().0.iter().enumerate() {
                let (y, x) = (at / w, at % w);
                let chroma = &bytes[(height + y / 2) * s + x / 2 * 2..];
                let expected = colour(bytes[y * s + x], chroma[0], chroma[1]);
                assert!(near(rgb, expected), "NV12 {width}, pixel {at}: {rgb:?} {expected:?}");
            }
        }
    }

    #[test]
    fn too_few_bytes_or_an_impossible_layout_give_none() {
        assert!(yuyv(4, 2, 8, &[0; 15]).is_none());
        assert!(nv12(4, 2, 4, &[0; 11]).is_none());
        assert!(grey(4, 2, 4, &[0; 7]).is_none());
        // A row that does not fit its stride, no rows, no columns, sizes beyond any memory.
        assert!(yuyv(4, 2, 7, &[0; 99]).is_none());
        assert!(nv12(4, 2, 3, &[0; 99]).is_none());
        assert!(grey(4, 2, 3, &[0; 99]).is_none());
        assert!(grey(4, 0, 4, &[0; 99]).is_none());
        assert!(yuyv(0, 4, 4, &[0; 99]).is_none());
        assert!(yuyv(u32::MAX, u32::MAX, u32::MAX, &[0; 99]).is_none());
        assert!(nv12(u32::MAX, u32::MAX, u32::MAX, &[0; 99]).is_none());
    }
}

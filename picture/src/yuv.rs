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
    let bytes = bytes.get(..yuyv_bytes(width, height, stride)?)?;
    let mut rgb = room(width, height)?;
    let rows = rgb.chunks_exact_mut(width as usize * 3).zip(bytes.chunks(stride as usize));
    for (to, from) in rows {
        for (to, from) in to.chunks_mut(6 * GROUPS).zip(from.chunks(4 * GROUPS)) {
            let mut groups = [[0; 4]; GROUPS];
            groups.as_flattened_mut()[..from.len()].copy_from_slice(from);
            put(to, &groups);
        }
    }
    Picture::new(width, height, rgb)
}

/// Converts an NV12 picture to RGB.
pub fn nv12(width: u32, height: u32, stride: u32, bytes: &[u8]) -> Option<Picture> {
    let bytes = bytes.get(..nv12_bytes(width, height, stride)?)?;
    let mut rgb = room(width, height)?;
    let (luma, chroma) = bytes.split_at(stride as usize * height as usize);
    let rows = rgb.chunks_exact_mut(width as usize * 3).zip(luma.chunks(stride as usize));
    for (y, (to, luma)) in rows.enumerate() {
        let chroma = chroma.get(y / 2 * stride as usize..)?;
        let pieces = luma.chunks(2 * GROUPS).zip(chroma.chunks(2 * GROUPS));
        for (to, (luma, chroma)) in to.chunks_mut(6 * GROUPS).zip(pieces) {
            let mut groups = [[0; 4]; GROUPS];
            // The stride holds whole pairs, so a last pixel without a second also has U and V.
            let halves = groups.as_flattened_mut().as_chunks_mut::<2>().0;
            for (half, (&y, &c)) in halves.iter_mut().zip(luma.iter().zip(chroma)) {
                *half = [y, c];
            }
            put(to, &groups);
        }
    }
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

fn room(width: u32, height: u32) -> Option<Vec<u8>> {
    let length = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
    zeros(length).ok()
}

/// Two neighbouring pixels, which share their chroma: Y0 U Y1 V.
type Group = [u8; 4];

/// The number of groups converted at once, each channel in an array of its own: the compiler makes
/// SIMD instructions of that on every processor, four times as fast as one pixel after the other.
const GROUPS: usize = 16;

/// Writes the colours of the groups, as many pixels as there is room for.
fn put(to: &mut [u8], groups: &[Group; GROUPS]) {
    if let Ok(to) = to.try_into() {
        return convert(groups, to);
    }
    let mut all = [0; 6 * GROUPS];
    convert(groups, &mut all);
    to.copy_from_slice(&all[..to.len()]);
}

fn convert(groups: &[Group; GROUPS], rgb: &mut [u8; 6 * GROUPS]) {
    let mut channels = [[0; GROUPS]; 6];
    for (at, &[y0, u, y1, v]) in groups.iter().enumerate() {
        let (first, second) = (colour(y0, u, v), colour(y1, u, v));
        for channel in 0..3 {
            channels[channel][at] = first[channel];
            channels[channel + 3][at] = second[channel];
        }
    }
    for (at, pixels) in rgb.as_chunks_mut::<6>().0.iter_mut().enumerate() {
        for (value, channel) in pixels.iter_mut().zip(&channels) {
            *value = channel[at];
        }
    }
}

/// R, G, B of one pixel: BT.601, limited range, in 8-bit fixed point.
///
/// R = 1.164 (Y − 16) + 1.596 (V − 128), G = 1.164 (Y − 16) − 0.391 (U − 128) − 0.813 (V − 128),
/// B = 1.164 (Y − 16) + 2.018 (U − 128).
///
/// Wrapping sums, though none overflows: checked sums are not vectorised.
#[inline]
fn colour(y: u8, u: u8, v: u8) -> [u8; 3] {
    let luma = (i32::from(y) - 16).wrapping_mul(298).wrapping_add(128);
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let red = luma.wrapping_add(v.wrapping_mul(409));
    let green = luma.wrapping_sub(u.wrapping_mul(100)).wrapping_sub(v.wrapping_mul(208));
    let blue = luma.wrapping_add(u.wrapping_mul(516));
    [red, green, blue].map(|value| (value >> 8).clamp(0, 255) as u8)
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

    #[test]
    fn colour_bars() {
        for ([y, u, v], expected) in BARS {
            let seen = colour(y, u, v);
            assert!(near(&seen, expected), "{y} {u} {v}: {seen:?}");
        }
        // Beyond the valid range, at both ends.
        assert_eq!(colour(255, 128, 128), [255; 3]);
        assert_eq!(colour(0, 128, 128), [0; 3]);
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
        assert_eq!(nv12(4, 2, 8, &planes).unwrap(), packed);
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
                (state >> 24) as u8
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
                assert_eq!(*rgb, expected, "YUYV {width}, pixel {at}");
            }
            let stride = width.div_ceil(2) * 2;
            let s = stride as usize;
            let bytes = noise(nv12_bytes(width, height as u32, stride).unwrap());
            let seen = nv12(width, height as u32, stride, &bytes).unwrap();
            for (at, rgb) in seen.rgb().as_chunks::<3>().0.iter().enumerate() {
                let (y, x) = (at / w, at % w);
                let chroma = &bytes[(height + y / 2) * s + x / 2 * 2..];
                let expected = colour(bytes[y * s + x], chroma[0], chroma[1]);
                assert_eq!(*rgb, expected, "NV12 {width}, pixel {at}");
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

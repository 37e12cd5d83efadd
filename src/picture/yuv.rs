//! What cameras send uncompressed to RGB pixels: YUYV, NV12 and grey.
//!
//! *Stride* is the distance between the starts of two rows in bytes; drivers pad rows, and say so. Luma Y
//! runs from 16 (black) to 235 (white) and chroma U, V from 16 to 240 around 128: the limited range of
//! ITU-R BT.601, which is what V4L2 means by these formats unless a driver says otherwise. Grey is luma
//! alone over the full range 0–255.
//!
//! Every function gives `None` where the bytes are fewer than the size needs; none reads beyond them.

use super::Picture;

/// How many bytes a YUYV picture needs: Y0 U Y1 V for two pixels. The last row may lack its padding.
pub fn yuyv_bytes(width: u32, height: u32, stride: u32) -> Option<usize> {
    plane(width.div_ceil(2).checked_mul(4)?, height, stride)
}

/// How many bytes an NV12 picture needs: a plane of Y, behind it one of half its height with U and V in
/// turns, of the same stride.
pub fn nv12_bytes(width: u32, height: u32, stride: u32) -> Option<usize> {
    let luma = (stride as usize).checked_mul(height as usize)?;
    let chroma = plane(width.div_ceil(2).checked_mul(2)?, height.div_ceil(2), stride)?;
    if stride < width { None } else { luma.checked_add(chroma) }
}

/// How many bytes a grey picture needs: one a pixel.
pub fn grey_bytes(width: u32, height: u32, stride: u32) -> Option<usize> {
    plane(width, height, stride)
}

/// Bytes of `rows` rows, the last without padding; `None` if a row is longer than the stride or there is
/// none.
fn plane(row: u32, rows: u32, stride: u32) -> Option<usize> {
    if row == 0 || row > stride {
        return None;
    }
    (stride as usize).checked_mul(rows.checked_sub(1)? as usize)?.checked_add(row as usize)
}

/// A YUYV picture in RGB.
pub fn yuyv(width: u32, height: u32, stride: u32, bytes: &[u8]) -> Option<Picture> {
    let bytes = bytes.get(..yuyv_bytes(width, height, stride)?)?;
    let mut rgb = room(width, height)?;
    let rows = rgb.chunks_exact_mut(width as usize * 3).zip(bytes.chunks(stride as usize));
    for (to, from) in rows {
        for (pixels, group) in to.chunks_mut(6).zip(from.chunks_exact(4)) {
            let (u, v) = (group[1], group[3]);
            for (pixel, y) in pixels.chunks_exact_mut(3).zip([group[0], group[2]]) {
                pixel.copy_from_slice(&colour(y, u, v));
            }
        }
    }
    Picture::new(width, height, rgb)
}

/// An NV12 picture in RGB.
pub fn nv12(width: u32, height: u32, stride: u32, bytes: &[u8]) -> Option<Picture> {
    let bytes = bytes.get(..nv12_bytes(width, height, stride)?)?;
    let mut rgb = room(width, height)?;
    let (luma, chroma) = bytes.split_at(stride as usize * height as usize);
    let rows = rgb.chunks_exact_mut(width as usize * 3).zip(luma.chunks(stride as usize));
    for (y, (to, luma)) in rows.enumerate() {
        let chroma = chroma.get(y / 2 * stride as usize..)?;
        for ((pixels, luma), uv) in to.chunks_mut(6).zip(luma.chunks(2)).zip(chroma.chunks_exact(2))
        {
            for (pixel, &y) in pixels.chunks_exact_mut(3).zip(luma) {
                pixel.copy_from_slice(&colour(y, uv[0], uv[1]));
            }
        }
    }
    Picture::new(width, height, rgb)
}

/// A grey picture in RGB.
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
    Some(vec![0; length])
}

/// R, G, B of one pixel: BT.601, limited range, in 8-bit fixed point.
///
/// R = 1.164 (Y − 16) + 1.596 (V − 128), G = 1.164 (Y − 16) − 0.391 (U − 128) − 0.813 (V − 128),
/// B = 1.164 (Y − 16) + 2.018 (U − 128).
fn colour(y: u8, u: u8, v: u8) -> [u8; 3] {
    let luma = 298 * (i32::from(y) - 16) + 128;
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [luma + 409 * v, luma - 100 * u - 208 * v, luma + 516 * u]
        .map(|value| (value >> 8).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Y, U, V of the colour bars of BT.601 at full intensity, and the RGB they stand for.
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
        // Beyond the range of a well-behaved camera, both ways.
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
        // 3 x 3: the last pixel of a row uses the first half of a group, the last row a chroma row alone.
        let row = [126, 128, 126, 128, 126, 128, 16, 128];
        let picture = yuyv(3, 3, 8, &row.repeat(3)).unwrap();
        assert!(picture.rgb().iter().all(|&value| value.abs_diff(128) <= 1));
        let planes = [vec![126; 12], vec![128; 8]].concat();
        assert_eq!(nv12_bytes(3, 3, 4), Some(20));
        let picture = nv12(3, 3, 4, &planes).unwrap();
        assert!(picture.rgb().iter().all(|&value| value.abs_diff(128) <= 1));
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

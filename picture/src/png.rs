//! Extracts from a PNG file only what its pixels need.
//!
//! The chunks are walked once, before any decoder sees them: the size and the orientation are read,
//! and the header, the palette and the image data are copied. Compressed texts and profiles, where
//! decompression bombs hide, never reach a decoder; of one text that may hold the orientation, a
//! bounded part is decompressed. Nor do the later frames of an animation, so
//! that its still picture is decoded; nor does transparency, so that the colours are used as
//! stored.
//!
//! A *chunk* is a length, a four-letter type, a body and a checksum.

use super::decode::{DecodeError, ImageData};
use super::{exif, limits, text_orientation};
use std::mem::replace;

pub(super) const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

const IEND: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// Copies the parts that the pixels need. `bytes` starts with [`MAGIC`].
pub(super) fn image_data(bytes: &[u8]) -> Result<ImageData, DecodeError> {
    let mut out = Vec::with_capacity(bytes.len() + IEND.len());
    out.extend_from_slice(MAGIC);
    let mut rest = &bytes[MAGIC.len()..];

    let header = next_chunk(&mut rest).ok_or_else(cut_off)?;
    let (b"IHDR", &[w3, w2, w1, w0, h3, h2, h1, h0, depth, _, _, _, interlace]) =
        (&header.kind, header.body)
    else {
        return Err(damaged("it does not start with its size"));
    };
    let (width, height) =
        (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    out.extend_from_slice(header.whole);
    let bound = if depth > 8 || interlace != 0 { &limits::PNG_DEEP } else { &limits::PNG };

    // EXIF, EXIF as text, XMP, in this order of preference. Of each kind only the first is tried: a
    // file full of compressed texts costs no more than one.
    let mut stated = [None; 3];
    let mut tried = [false; 2];
    let mut data = Data::Ahead;
    while let Some(chunk) = next_chunk(&mut rest) {
        if data == Data::Here && &chunk.kind != b"IDAT" {
            data = Data::Behind;
        }
        match &chunk.kind {
            b"PLTE" if data == Data::Ahead => out.extend_from_slice(chunk.whole),
            b"IDAT" if data != Data::Behind => {
                data = Data::Here;
                out.extend_from_slice(chunk.whole);
            }
            b"eXIf" if !replace(&mut tried[0], true) => stated[0] = exif::orientation(chunk.body),
            b"tEXt" | b"zTXt"
                if text_orientation::is_hex_exif(chunk.body) && !replace(&mut tried[1], true) =>
            {
                stated[1] = text_orientation::in_hex_exif(chunk.body, &chunk.kind == b"zTXt");
            }
            b"iTXt" if stated[2].is_none() => {
                stated[2] = text_orientation::in_png_xmp(chunk.body);
            }
            b"IEND" => break,
            _ => {}
        }
    }
    // A file that is cut off after its image data has lost nothing that is needed. One that is cut
    // off within them fails when the decoder misses pixels.
    if data == Data::Ahead {
        return Err(cut_off());
    }
    out.extend_from_slice(IEND);
    Ok(ImageData {
        format: image::ImageFormat::Png,
        width,
        height,
        orientation: stated.into_iter().flatten().next(),
        bytes: out,
        bound,
        is_unfinished: false,
    })
}

/// The state of the walk: the image data are one run of IDAT chunks.
#[derive(PartialEq)]
enum Data {
    Ahead,
    Here,
    Behind,
}

struct Chunk<'a> {
    kind: [u8; 4],
    body: &'a [u8],
    /// Length, type, body and checksum.
    whole: &'a [u8],
}

/// Takes the next chunk from `rest`; `None` if no whole one is left.
fn next_chunk<'a>(rest: &mut &'a [u8]) -> Option<Chunk<'a>> {
    let &[l3, l2, l1, l0, a, b, c, d, ..] = *rest else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes([l3, l2, l1, l0])).ok()?;
    let (whole, behind) = rest.split_at_checked(length.checked_add(12)?)?;
    *rest = behind;
    Some(Chunk { kind: [a, b, c, d], body: &whole[8..8 + length], whole })
}

fn damaged(what: &str) -> DecodeError {
    DecodeError::Damaged(what.to_owned())
}

fn cut_off() -> DecodeError {
    damaged("it is cut off before its end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::metadata::Orientation;

    fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[..], kind, body, b"csum"].concat()
    }

    fn header() -> Vec<u8> {
        chunk(b"IHDR", &[0, 0, 0, 61, 0, 0, 0, 47, 8, 2, 0, 0, 0])
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        [MAGIC, &chunks.concat()].concat()
    }

    #[test]
    fn only_chunks_needed_for_pixels_are_kept() {
        let exif = b"II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0";
        let bytes = file(&[
            header(),
            chunk(b"iCCP", b"bomb"),
            chunk(b"PLTE", b"colour"),
            chunk(b"tRNS", b"alpha"),
            chunk(b"IDAT", b"one"),
            chunk(b"IDAT", b"two"),
            chunk(b"fdAT", b"another frame"),
            chunk(b"IDAT", b"stray"),
            chunk(b"eXIf", exif),
            chunk(b"IEND", b""),
            b"trailing".to_vec(),
        ]);
        let data = image_data(&bytes).unwrap();
        assert_eq!((data.width, data.height), (61, 47));
        assert_eq!(data.orientation, Some(Orientation::Rotate270));
        let kept = file(&[
            header(),
            chunk(b"PLTE", b"colour"),
            chunk(b"IDAT", b"one"),
            chunk(b"IDAT", b"two"),
            IEND.to_vec(),
        ]);
        assert_eq!(data.bytes, kept);
    }

    #[test]
    fn exif_precedes_its_text_and_xmp_and_each_kind_is_read() {
        let tiff = |value: u8| {
            [&b"II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[value], &[0; 7]].concat()
        };
        let exif = chunk(b"eXIf", &tiff(8));
        let digits: String = tiff(6).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("Raw profile type exif\0\nexif\n      26\n{digits}\n");
        let text = chunk(b"tEXt", text.as_bytes());
        let xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation=\"3\"/>");
        let read = |chunks: &[&Vec<u8>]| {
            let chunks: Vec<_> = chunks.iter().map(|chunk| (*chunk).clone()).collect();
            let data = [chunk(b"IDAT", b"data"), chunk(b"IEND", b"")];
            image_data(&file(&[&[header()][..], &chunks, &data].concat())).unwrap().orientation
        };
        assert_eq!(read(&[&xmp, &text, &exif]), Some(Orientation::Rotate270));
        assert_eq!(read(&[&xmp, &text]), Some(Orientation::Rotate90));
        assert_eq!(read(&[&xmp]), Some(Orientation::Rotate180));
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_length_beyond_the_file_means_cut_off() {
        let mut bytes = file(&[header(), chunk(b"IDAT", b"data")]);
        let length_at = MAGIC.len() + header().len();
        bytes[length_at] = 0xFF;
        assert!(matches!(image_data(&bytes), Err(DecodeError::Damaged(_))));
    }

    #[test]
    fn the_size_comes_first() {
        assert!(image_data(&file(&[chunk(b"IDAT", b"data"), header()])).is_err());
        assert!(image_data(MAGIC).is_err());
    }
}

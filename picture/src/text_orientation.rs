//! Reads the orientation from metadata that are text: XMP packets, and the EXIF blocks that
//! ImageMagick writes into PNG files as hexadecimal digits. It is read where a file has no EXIF
//! block that states it, as in other viewers.
//!
//! Must never parse XML or decompress without a bound: texts of hostile files are bombs.

use super::exif;
use flate2::read::ZlibDecoder;
use image::metadata::Orientation;
use std::io::Read;

/// The first bytes of a JPEG's XMP segment.
pub(super) const XMP_IN_JPEG: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// Keyword of the PNG text that holds XMP, followed by: not compressed.
const XMP_IN_PNG: &[u8] = b"XML:com.adobe.xmp\0\0";
/// Keyword of a PNG text that holds an EXIF block in hexadecimal digits.
const HEX_EXIF: &[u8] = b"Raw profile type exif\0";
/// Most bytes of a text that are read or decompressed. An EXIF block has at most 64 KiB, as many
/// digits again, and line ends.
const MOST_TEXT: usize = 160 << 10;
/// The property, as an attribute or as an element.
const PROPERTY: &[u8] = b"tiff:Orientation";

/// Returns the orientation that an XMP packet states; `None` if it has none.
pub(super) fn in_xmp(packet: &[u8]) -> Option<Orientation> {
    let packet = &packet[..packet.len().min(MOST_TEXT)];
    let mut rest = packet;
    while let Some(at) = position(rest, PROPERTY) {
        rest = &rest[at + PROPERTY.len()..];
        let digit = match rest {
            [b'=', b'"' | b'\'', digit, b'"' | b'\'', ..] | [b'>', digit, b'<', ..] => digit,
            _ => continue,
        };
        return Orientation::from_exif(digit.wrapping_sub(b'0'));
    }
    None
}

/// Returns the orientation that the XMP in the body of an iTXt chunk states.
pub(super) fn in_png_xmp(body: &[u8]) -> Option<Orientation> {
    in_xmp(body.strip_prefix(XMP_IN_PNG)?)
}

/// True if the body of a tEXt or zTXt chunk holds an EXIF block.
pub(super) fn is_hex_exif(body: &[u8]) -> bool {
    body.starts_with(HEX_EXIF)
}

/// Returns the orientation in the EXIF block of a tEXt chunk, or of a zTXt chunk.
pub(super) fn in_hex_exif(body: &[u8], is_compressed: bool) -> Option<Orientation> {
    let text = body.strip_prefix(HEX_EXIF)?;
    let text = match (is_compressed, text) {
        (false, text) => text[..text.len().min(MOST_TEXT)].to_vec(),
        // The only method there is.
        (true, [0, compressed @ ..]) => {
            let mut text = Vec::new();
            // What came before an error is still worth reading.
            let _ = ZlibDecoder::new(compressed).take(MOST_TEXT as u64).read_to_end(&mut text);
            text
        }
        (true, _) => return None,
    };
    // An empty line, the name of the profile and its length stand before the digits.
    let digits = text.splitn(4, |&byte| byte == b'\n').nth(3)?;
    let digits: Vec<u8> = digits
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map_while(|&byte| char::from(byte).to_digit(16).map(|digit| digit as u8))
        .collect();
    let block: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    exif::orientation(&block)
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write;

    const EXIF: &[u8] =
        b"Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0";

    /// A text as ImageMagick writes it: 36 bytes in a line.
    fn text(block: &[u8]) -> Vec<u8> {
        let mut text = format!("\nexif\n{:8}\n", block.len());
        for line in block.chunks(36) {
            text += &line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            text.push('\n');
        }
        text.into_bytes()
    }

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        [HEX_EXIF, &[0], &encoder.finish().unwrap()].concat()
    }

    #[test]
    fn hexadecimal_exif_is_read_compressed_or_not() {
        let expected = Some(Orientation::Rotate270);
        assert_eq!(in_hex_exif(&[HEX_EXIF, &text(EXIF)].concat(), false), expected);
        assert_eq!(in_hex_exif(&compressed(&text(EXIF)), true), expected);
        // Without the prefix, and with a long tail.
        let long = [&EXIF[6..], &[7; 100_000]].concat();
        assert_eq!(in_hex_exif(&compressed(&text(&long)), true), expected);
    }

    #[test]
    fn broken_or_endless_texts_have_no_orientation() {
        let whole = compressed(&text(EXIF));
        for length in 0..whole.len() {
            let _ = in_hex_exif(&whole[..length], true);
            let _ = in_hex_exif(&whole[..length], false);
        }
        let bomb = compressed(&vec![b'0'; 400_000_000]);
        let started = std::time::Instant::now();
        assert_eq!(in_hex_exif(&bomb, true), None);
        assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
        for other in ["", "\nexif\n", "\nexif\n 4\nzz", "exif"] {
            assert_eq!(in_hex_exif(&[HEX_EXIF, other.as_bytes()].concat(), false), None, "{other}");
        }
    }

    #[test]
    fn xmp_states_the_orientation_as_attribute_or_element() {
        for (packet, value) in [
            ("<rdf:Description tiff:Orientation=\"6\"/>", Some(6)),
            ("<rdf:Description tiff:Orientation='3' x='1'/>", Some(3)),
            ("<tiff:Orientation>8</tiff:Orientation>", Some(8)),
            ("<tiff:Orientation>12</tiff:Orientation>", None),
            ("<x tiff:Orientation=\"9\"/>", None),
            ("<x tiff:Orientation", None),
            ("<x/>", None),
        ] {
            let expected = value.and_then(Orientation::from_exif);
            assert_eq!(in_xmp(packet.as_bytes()), expected, "{packet}");
            let body = [XMP_IN_PNG, b"\0\0", packet.as_bytes()].concat();
            assert_eq!(in_png_xmp(&body), expected, "{packet}");
        }
    }
}

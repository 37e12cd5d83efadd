//! Extracts from a JPEG file only what its pixels need.
//!
//! The file is walked once, before any decoder sees it: the size and the orientation are read, and
//! the segments that carry pixels are copied. The dropped parts (profiles, comments, previews,
//! bytes after the end marker) are where hostile files hide attacks and where harmless files are
//! most often damaged. The kept parts are regular: no filler between segments, one frame header, a
//! bounded number of scans.
//!
//! Terms: a *segment* is `FF`, a marker, a two-byte length and a body; a *scan* is an SOS segment
//! and the entropy-coded bytes after it; a *component* is a colour channel.

use super::decode::{DecodeError, ImageData};
use super::limits::{self, Bound};
use super::{exif, text_orientation};

const SOF0: u8 = 0xC0;
const SOF2: u8 = 0xC2;
const DHT: u8 = 0xC4;
const DAC: u8 = 0xCC;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DRI: u8 = 0xDD;
const APP0: u8 = 0xE0;
const APP1: u8 = 0xE1;
const APP14: u8 = 0xEE;

/// Encoders write about ten scans. Each further one costs a pass over the whole picture but may
/// occupy only a few bytes of the file.
const MAX_SCANS: usize = 32;

/// The component ids that make the decoder read three components as R, G and B.
const RGB_IDS: [u8; 3] = *b"RGB";

/// The largest body of one JPEG segment.
const MAX_BODY: usize = 0xFFFF - 2;

/// Zeros kept after data without an end marker: fewer than one block of pixels takes.
const KEPT_ZEROS: usize = 8;
/// Data that decode to something else than the gray of missing data.
const NOISE: [u8; 4] = [0x5A, 0xC3, 0x96, 0x69];

pub(super) const MAGIC: &[u8] = &[0xFF, SOI, 0xFF];

/// Copies the parts that the pixels need. `bytes` starts with [`MAGIC`].
pub(super) fn image_data(bytes: &[u8]) -> Result<ImageData, DecodeError> {
    let mut walk = Walk::new(bytes.len());
    let mut at = 2;
    loop {
        let (marker, body_at) = next_marker(bytes, at).ok_or_else(cut_off)?;
        match marker {
            EOI if walk.scans > 0 => return walk.finish(),
            EOI => return Err(damaged("it ends before any pixels")),
            SOI | RST0..=RST7 | 0x01 => at = body_at,
            _ => {
                let length = bytes.get(body_at..body_at + 2).ok_or_else(cut_off)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                if length < 2 {
                    return Err(damaged("a segment has no length"));
                }
                let end = body_at + length;
                let body = bytes.get(body_at + 2..end).ok_or_else(cut_off)?;
                walk.segment(marker, body)?;
                at = end;
                if marker == SOS {
                    let Some(marker) = scan_end(bytes, end) else {
                        return walk.finish_without_end(&bytes[end..]);
                    };
                    at = marker;
                    walk.out.extend_from_slice(&bytes[end..at]);
                }
            }
        }
    }
}

/// Returns the file with noise between the data of its last scan and its end marker.
pub(super) fn followed_by_noise(data: &ImageData) -> ImageData {
    let end = data.bytes.len() - 2;
    let bytes = [&data.bytes[..end], &NOISE.repeat(64), &data.bytes[end..]].concat();
    ImageData { bytes, ..*data }
}

/// Returns the length of the JPEG file at the start of `bytes`, its end marker included; later
/// bytes do not count, nor do the end markers of previews within its segments. `None` if it is not
/// a JPEG file, or is cut off.
///
/// Cameras state frame lengths that are too large; files of many frames state none.
pub fn length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let mut at = 2;
    loop {
        let (marker, body_at) = next_marker(bytes, at)?;
        at = match marker {
            EOI => return Some(body_at),
            SOI | RST0..=RST7 | 0x01 => body_at,
            _ => {
                let length = bytes.get(body_at..body_at + 2)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let end = body_at + length.max(2);
                if marker == SOS { scan_end(bytes, end)? } else { end }
            }
        };
    }
}

/// Returns the next marker at or after `at`, and the start of its body. Stray bytes are skipped, as
/// every viewer does: `FF 00` and `FF FF` are not markers.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&b| b == 0xFF)?;
        match *bytes.get(at + 1)? {
            0x00 => at += 2,
            0xFF => at += 1,
            marker => return Some((marker, at + 2)),
        }
    }
}

/// Returns where the entropy-coded bytes from `at` end: at the marker of a segment or at EOI.
/// Restart markers and reserved codes belong to the scan.
fn scan_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|&b| b == 0xFF)?;
        match *bytes.get(at + 1)? {
            0xFF => at += 1,
            SOF0..=0xCF | EOI..=0xFE => return Some(at),
            _ => at += 2,
        }
    }
}

/// The data read and copied so far.
struct Walk {
    out: Vec<u8>,
    frame: Option<Frame>,
    scans: usize,
    orientation: Option<image::metadata::Orientation>,
    /// The orientation in XMP, for a file without one in EXIF.
    in_xmp: Option<image::metadata::Orientation>,
    jfif: bool,
    /// The colour transform in an Adobe segment: 0 none, 1 YCbCr, 2 YCCK.
    adobe: Option<u8>,
}

struct Frame {
    width: u32,
    height: u32,
    components: u8,
    /// True if the decoder must keep coefficients until the last scan has come.
    in_scans: bool,
    /// Ids of the components in their order, if they are R, G and B under other names.
    rgb: Option<[u8; 3]>,
}

impl Frame {
    fn bound(&self) -> &'static Bound {
        match (self.in_scans, self.components) {
            (false, _) => &limits::JPEG_BASELINE,
            (true, ..=3) => &limits::JPEG_SCANS,
            (true, _) => &limits::JPEG_SCANS_CMYK,
        }
    }
}

impl Walk {
    fn new(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity + 64);
        out.extend_from_slice(&[0xFF, SOI]);
        // USB cameras omit the standard Huffman tables; with this segment the decoder adds those
        // that are missing.
        push(&mut out, APP0, b"AVI1\0\0\0\0\0\0\0\0\0\0");
        Self {
            out,
            frame: None,
            scans: 0,
            orientation: None,
            in_xmp: None,
            jfif: false,
            adobe: None,
        }
    }

    fn segment(&mut self, marker: u8, body: &[u8]) -> Result<(), DecodeError> {
        match marker {
            APP0 => self.jfif |= body.starts_with(b"JFIF\0"),
            APP1 if self.orientation.is_none() && body.starts_with(exif::PREFIX) => {
                self.orientation = exif::orientation(body);
            }
            APP1 if self.in_xmp.is_none() && body.starts_with(text_orientation::XMP_IN_JPEG) => {
                self.in_xmp = text_orientation::in_xmp(body);
            }
            APP14 if body.starts_with(b"Adobe") => {
                self.adobe = body.get(11).copied().or(self.adobe)
            }
            DHT | DQT | DRI => push(&mut self.out, marker, body),
            SOF0..=SOF2 => self.frame(marker, body)?,
            SOS => self.scan(body)?,
            // Not DHT, JPG or DAC, which are in the same range.
            0xC3..=0xCF if marker != 0xC8 && marker != DAC => {
                return Err(damaged(
                    "it is coded lossless, hierarchical or arithmetic, which no camera does",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn frame(&mut self, marker: u8, body: &[u8]) -> Result<(), DecodeError> {
        if self.frame.is_some() {
            return Err(damaged("it has two frame headers"));
        }
        let &[_precision, h1, h0, w1, w0, count, ref components @ ..] = body else {
            return Err(damaged("its frame header is too short"));
        };
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        let mut body = body.to_vec();
        let mut rgb = None;
        if count == 4 {
            // Only Adobe programs write four components; an unknown transform is read as YCCK.
            if let Some(transform) = self.adobe {
                push(&mut self.out, APP14, &adobe_body(if transform == 0 { 0 } else { 2 }));
            }
        } else if let (&[r, _, _, g, _, _, b, _, _], Some(0), false) =
            (components, self.adobe, self.jfif)
        {
            rgb = Some([r, g, b]);
            for (i, id) in RGB_IDS.into_iter().enumerate() {
                body[6 + 3 * i] = id;
            }
        }
        self.frame = Some(Frame {
            width: width.into(),
            height: height.into(),
            components: count,
            in_scans: marker == SOF2,
            rgb,
        });
        push(&mut self.out, marker, &body);
        Ok(())
    }

    fn scan(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        let Some(frame) = &mut self.frame else {
            return Err(damaged("its pixels come before its size"));
        };
        self.scans += 1;
        frame.in_scans |= self.scans > 1 || body.first() != Some(&frame.components);
        if self.scans > MAX_SCANS {
            return Err(damaged("it has more scans than any camera or editor writes"));
        }
        let mut body = body.to_vec();
        if let Some(ids) = frame.rgb {
            let count = body.first().map_or(0, |&count| usize::from(count));
            for selector in body.iter_mut().skip(1).step_by(2).take(count) {
                if let Some(i) = ids.iter().position(|id| id == selector) {
                    *selector = RGB_IDS[i];
                }
            }
        }
        push(&mut self.out, SOS, &body);
        Ok(())
    }

    /// Ends a file without an end marker after the data of its only scan. Cameras pad the last
    /// buffer with zeros; a few stay, because they may belong to the data.
    fn finish_without_end(mut self, scan: &[u8]) -> Result<ImageData, DecodeError> {
        if self.frame.as_ref().is_none_or(|frame| frame.in_scans) {
            return Err(cut_off());
        }
        let data = scan.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        // The first half of a marker.
        let data = if scan[..data].ends_with(&[0xFF]) { data - 1 } else { data };
        self.out.extend_from_slice(&scan[..data]);
        self.out.extend_from_slice(&[0; KEPT_ZEROS]);
        self.finish().map(|data| ImageData { is_unfinished: true, ..data })
    }

    fn finish(mut self) -> Result<ImageData, DecodeError> {
        let Some(frame) = self.frame else {
            return Err(damaged("it has no frame header"));
        };
        self.out.extend_from_slice(&[0xFF, EOI]);
        Ok(ImageData {
            format: image::ImageFormat::Jpeg,
            width: frame.width,
            height: frame.height,
            orientation: self.orientation.or(self.in_xmp),
            bound: frame.bound(),
            bytes: self.out,
            is_unfinished: false,
        })
    }
}

/// Writes one segment; `body` is from a segment or shorter than one.
fn push(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    debug_assert!(body.len() <= MAX_BODY);
    let length = (body.len() + 2) as u16;
    out.extend_from_slice(&[0xFF, marker]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

fn adobe_body(transform: u8) -> [u8; 12] {
    [b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, transform]
}

fn damaged(what: &str) -> DecodeError {
    DecodeError::Damaged(what.to_owned())
}

pub(super) fn cut_off() -> DecodeError {
    damaged("it is cut off before its end")
}

#[cfg(test)]
mod tests;

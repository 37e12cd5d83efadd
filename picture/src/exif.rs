//! Reads the orientation from EXIF, and nothing else.
//!
//! The standard wants the value as SHORT. Some programs write another integer type; viewers read it
//! all the same, so a person expects the picture to be upright.

use image::metadata::Orientation;

/// The bytes before the TIFF header in JPEG, and by mistake in some PNG files.
pub(super) const PREFIX: &[u8] = b"Exif\0\0";

/// The tag of the orientation.
const ORIENTATION: u64 = 0x0112;
/// Bytes of an entry of a directory: tag, type, count and value.
const ENTRY: usize = 12;

/// Returns the orientation in an EXIF block, with or without [`PREFIX`]; `None` if the block is
/// broken or has none, which is not a reason to refuse a picture.
pub(super) fn orientation(block: &[u8]) -> Option<Orientation> {
    let tiff = Tiff::new(block.strip_prefix(PREFIX).unwrap_or(block))?;
    let directory = usize::try_from(tiff.number(4, 4)?).ok()?;
    let entries = usize::try_from(tiff.number(directory, 2)?).ok()?;
    let entry = (0..entries)
        .map(|entry| directory + 2 + entry * ENTRY)
        .take_while(|&entry| entry + ENTRY <= tiff.bytes.len())
        .find(|&entry| tiff.number(entry, 2) == Some(ORIENTATION))?;
    // BYTE, SHORT, LONG, and the same with a sign. The value is left-justified in its four bytes.
    let length = match tiff.number(entry + 2, 2)? {
        1 | 6 => 1,
        3 | 8 => 2,
        4 | 9 => 4,
        _ => return None,
    };
    let value = tiff.number(entry + 8, length)?;
    u8::try_from(value).ok().and_then(Orientation::from_exif)
}

/// A TIFF file, the form of an EXIF block.
struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Tiff<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [b'I', b'I', 42, 0, ..] => Some(Self { bytes, big_endian: false }),
            [b'M', b'M', 0, 42, ..] => Some(Self { bytes, big_endian: true }),
            _ => None,
        }
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let digits = self.bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        Some(match self.big_endian {
            true => digits.iter().fold(0, add),
            false => digits.iter().rev().fold(0, add),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with one entry, preceded by another one.
    fn block(big_endian: bool, kind: u16, value: u32) -> Vec<u8> {
        let short = |value: u16| match big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let long = |value: u32| match big_endian {
            true => value.to_be_bytes(),
            false => value.to_le_bytes(),
        };
        let value = match kind {
            1 | 6 => vec![value as u8, 0, 0, 0],
            3 | 8 => [short(value as u16), [0; 2]].concat(),
            _ => long(value).to_vec(),
        };
        let order = if big_endian { b"MM" } else { b"II" };
        [
            &order[..],
            &short(42),
            &long(8),
            &short(2),
            &[&short(0x010F)[..], &short(2), &long(1), &[b'x', 0, 0, 0]].concat(),
            &[&short(0x0112)[..], &short(kind), &long(1), &value].concat(),
        ]
        .concat()
    }

    #[test]
    fn every_integer_type_in_both_orders_is_read() {
        for big_endian in [false, true] {
            for kind in [1, 3, 4, 6, 8, 9] {
                for value in 1..=8 {
                    let block = block(big_endian, kind, value);
                    let expected = Orientation::from_exif(value as u8);
                    assert!(expected.is_some());
                    assert_eq!(orientation(&block), expected, "{kind} {value}");
                    assert_eq!(orientation(&[PREFIX, &block].concat()), expected);
                }
            }
        }
    }

    #[test]
    fn other_types_values_and_broken_blocks_have_no_orientation() {
        let good = block(true, 3, 6);
        for length in 0..good.len() {
            assert_eq!(orientation(&good[..length]), None, "{length}");
        }
        for (kind, value) in
            [(2, 6), (5, 6), (11, 6), (0, 6), (3, 0), (3, 9), (4, 262), (9, u32::MAX)]
        {
            assert_eq!(orientation(&block(false, kind, value)), None, "{kind} {value}");
        }
        let mut far = good.clone();
        far[4..8].copy_from_slice(&[0xFF; 4]);
        assert_eq!(orientation(&far), None);
    }
}

//! The limits on the cost of an untrusted picture, all in one table.
//!
//! A file of a few kilobytes can contain gigabytes of pixels. So its sides, their ratio and its
//! pixels are checked against these limits before anything is allocated for them; the limit on
//! pixels depends on the memory that decoding takes in that format. The decoder returns at most
//! [`FULL`] pixels: larger pictures are reduced to half their sides, and every later step works on
//! that.
//!
//! Error messages are built from this table, `docs/pictures.md` is tested against it, and
//! `tests/pictures_costs.rs` measures the worst file of each row.

/// The limit on a picture's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the file.
    pub max_bytes: usize,
}

impl Default for Limits {
    /// 5 MiB, as the contract says.
    fn default() -> Self {
        Self { max_bytes: 5 << 20 }
    }
}

/// Most pixels per side. The decoders keep rows, and the resizer keeps a list of them.
pub const MAX_SIDE: u32 = 16_384;

/// The longest side divided by the shortest may be at most this. No camera exceeds 4; panoramas
/// reach 10.
pub const MAX_RATIO: u32 = 16;

/// Most pixels of a decoded picture: it is held twice while faces are searched in its rotations.
/// The pictures of 12 and 16 megapixels that cameras make are not reduced.
pub const FULL: u64 = 17_000_000;

/// The bounds of one kind of file.
#[derive(Debug, PartialEq, Eq)]
pub struct Bound {
    /// The kind, as named to users.
    pub format: &'static str,
    /// Most pixels, in millions.
    pub megapixels: u64,
    /// Bytes per pixel that the decoder takes besides the three of the result.
    pub scratch: u64,
    /// What the user should do with a larger picture.
    pub instead: &'static str,
}

/// One scan with all components: the decoder keeps one row of blocks.
pub const JPEG_BASELINE: Bound =
    Bound { format: "baseline JPEG", megapixels: 40, scratch: 0, instead: "save it smaller" };

/// Several scans: the decoder keeps two bytes per pixel and component until the last scan has come.
pub const JPEG_SCANS: Bound = Bound {
    format: "progressive JPEG",
    megapixels: 13,
    scratch: 6,
    instead: "save it as baseline JPEG, or smaller",
};

/// The same with four components.
pub const JPEG_SCANS_CMYK: Bound = Bound {
    format: "progressive CMYK JPEG",
    megapixels: 9,
    scratch: 8,
    instead: "save it as baseline JPEG, or smaller",
};

/// Up to eight bits per channel, row after row.
pub const PNG: Bound = Bound {
    format: "PNG",
    megapixels: 40,
    scratch: 0,
    instead: "save it as baseline JPEG, or smaller",
};

/// Twice the bytes to inflate, or seven passes over the picture.
pub const PNG_DEEP: Bound = Bound {
    format: "PNG of 16 bits or interlaced",
    megapixels: 17,
    scratch: 0,
    instead: "save it as baseline JPEG, or smaller",
};

/// All kinds.
pub const BOUNDS: [&Bound; 5] = [&JPEG_BASELINE, &JPEG_SCANS, &JPEG_SCANS_CMYK, &PNG, &PNG_DEEP];

impl Bound {
    /// Returns the most pixels.
    pub fn pixels(&self) -> u64 {
        self.megapixels * 1_000_000
    }
}

/// Returns true if both sides and their ratio are within the limits.
pub(super) fn sides_allowed(width: u32, height: u32) -> bool {
    let (short, long) = (width.min(height), width.max(height));
    long <= MAX_SIDE && u64::from(long) <= u64::from(short) * u64::from(MAX_RATIO)
}

/// There is not enough memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMemory;

/// Returns this many zeros, or an error where an allocation would end the program.
pub(super) fn zeros(length: usize) -> Result<Vec<u8>, NoMemory> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| NoMemory)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Checks that this many bytes could be allocated: used before code that cannot report a failed
/// allocation.
pub(super) fn room_for(length: u64) -> Result<(), NoMemory> {
    let length = usize::try_from(length).map_err(|_| NoMemory)?;
    Vec::<u8>::new().try_reserve_exact(length).map_err(|_| NoMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_and_their_ratio() {
        assert!(
            sides_allowed(1, 1) && sides_allowed(1, MAX_RATIO) && sides_allowed(MAX_SIDE, 4000)
        );
        assert!(!sides_allowed(MAX_RATIO + 1, 1) && !sides_allowed(MAX_SIDE + 1, 4000));
        assert!(!sides_allowed(40_000_000, 1) && !sides_allowed(u32::MAX, u32::MAX));
        // An empty picture is refused because it has no pixels, by the decoder or here.
        assert!(!sides_allowed(0, 5) && !sides_allowed(5, 0));
    }

    #[test]
    fn an_impossible_allocation_is_an_error() {
        assert_eq!(zeros(usize::MAX), Err(NoMemory));
        assert_eq!(room_for(u64::MAX), Err(NoMemory));
        assert_eq!(zeros(3), Ok(vec![0; 3]));
        assert_eq!(room_for(3), Ok(()));
    }

    /// Result, scratch and three copies of the largest file: the decoder's, and two on the way to
    /// it.
    #[test]
    fn no_row_of_the_table_takes_more_than_150_megabytes() {
        let files = 3 * Limits::default().max_bytes as u64;
        for bound in BOUNDS {
            assert!(bound.pixels() * (3 + bound.scratch) + files <= 150_000_000, "{bound:?}");
        }
        assert!(2 * 3 * FULL + files <= 150_000_000);
    }

    #[test]
    fn the_documentation_states_the_table() {
        let page = include_str!("../../docs/pictures.md");
        for Bound { format, megapixels, .. } in BOUNDS {
            let row = format!("| {format} | {megapixels} |");
            assert!(page.contains(&row), "docs/pictures.md lacks {row}");
        }
        for number in [
            MAX_SIDE.to_string(),
            format!("{MAX_RATIO} times"),
            format!("{} megapixels", FULL / 1_000_000),
        ] {
            assert!(page.contains(&number), "docs/pictures.md lacks {number}");
        }
    }
}

//! RGB pixels of a bounded size, and their transformations. This module does not know where pixels
//! come from, and must never write a pixel to a log.

mod shape;

pub use shape::Border;

/// An upright-by-EXIF picture: 8-bit RGB, rows top to bottom, no padding between rows.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
    reduction: u32,
}

impl Picture {
    /// Takes `width * height * 3` bytes in R, G, B order; `None` if the length differs or a side is 0.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
        (width > 0 && height > 0 && rgb.len() == expected).then_some(Self {
            width,
            height,
            rgb,
            reduction: 1,
        })
    }

    /// Returns the width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns how many pixels of the file's sides one pixel here represents: 1, or more if the
    /// decoder has reduced a large picture.
    pub fn reduction(&self) -> u32 {
        self.reduction
    }

    /// Returns the same pixels, each representing this many along the file's sides.
    pub fn reduced_by(self, reduction: u32) -> Self {
        Self { reduction, ..self }
    }

    /// Returns the pixels: R, G, B, 0–255, row after row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl std::fmt::Debug for Picture {
    /// Only the size: pixels of faces do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_must_match() {
        assert!(Picture::new(2, 2, vec![0; 12]).is_some());
        assert!(Picture::new(2, 2, vec![0; 11]).is_none());
        assert!(Picture::new(0, 2, vec![]).is_none());
        assert!(Picture::new(u32::MAX, u32::MAX, vec![0; 12]).is_none());
    }
}

//! Random numbers that depend only on a name: the same photograph always gets the same drawing.

use doorward_picture::Picture;
use sha2::{Digest, Sha256};

/// A stream of random numbers (SplitMix64: G. L. Steele, D. Lea, C. H. Flood, 2014).
pub struct Chance(u64);

impl Chance {
    /// Returns the stream of a name.
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        Self(digest[..8].iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte)))
    }

    /// Returns a number from `low` up to `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 24 bits: the precision of an f32.
        low + (high - low) * ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Returns true with that probability.
    pub fn happens(&mut self, probability: f32) -> bool {
        self.between(0.0, 1.0) < probability
    }

    /// Returns one of `count`, from 0 to `count` − 1.
    pub fn index(&mut self, count: usize) -> usize {
        ((self.between(0.0, 1.0) * count as f32) as usize).min(count - 1)
    }
}

/// Returns the photograph as from a worse camera in another light: softer, darker or brighter, with
/// another tint; same size.
pub fn worse(picture: &Picture, chance: &mut Chance) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let finer = chance.between(0.3, 0.9);
    let small = |side: u32| ((side as f32 * finer) as u32).max(8);
    let soft = picture.resized(small(width), small(height)).resized(width, height);
    let light = chance.between(0.45, 1.3);
    let gamma = chance.between(0.75, 1.35);
    let tint: [f32; 3] = std::array::from_fn(|_| chance.between(0.9, 1.1));
    let curves = tint.map(|tint| {
        let curve = |level: usize| 255.0 * (level as f32 / 255.0).powf(gamma) * light * tint;
        std::array::from_fn::<u8, 256, _>(|level| curve(level) as u8)
    });
    let mut rgb = soft.rgb().to_vec();
    for pixel in rgb.chunks_exact_mut(3) {
        for (value, curve) in pixel.iter_mut().zip(&curves) {
            *value = curve[usize::from(*value)];
        }
    }
    Picture::new(width, height, rgb).unwrap_or(soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_fill_their_range_and_depend_on_the_name() {
        let mut chance = Chance::of("a");
        let numbers: Vec<f32> = (0..1000).map(|_| chance.between(2.0, 4.0)).collect();
        assert!(numbers.iter().all(|number| (2.0..4.0).contains(number)));
        let mean = numbers.iter().sum::<f32>() / 1000.0;
        assert!((mean - 3.0).abs() < 0.06, "{mean}");
        assert_eq!(Chance::of("a").between(0.0, 1.0), Chance::of("a").between(0.0, 1.0));
        assert_ne!(Chance::of("a").between(0.0, 1.0), Chance::of("b").between(0.0, 1.0));
        let mut counts = [0; 3];
        (0..900).for_each(|_| counts[chance.index(3)] += 1);
        assert!(counts.iter().all(|count| (240..360).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_worse_photograph_keeps_its_size_and_differs() {
        let rgb = (0..60 * 40).flat_map(|i| [(i % 60 * 4) as u8, (i / 60 * 6) as u8, 90]).collect();
        let picture = Picture::new(60, 40, rgb).unwrap();
        let worse = worse(&picture, &mut Chance::of("a"));
        assert_eq!((worse.width(), worse.height()), (60, 40));
        assert_ne!(worse, picture);
    }
}

//! Selects the processor's instructions that the kernels use, once, when weights are read.
#![allow(unsafe_code, reason = "entering code compiled for one processor level")]

use super::lanes::{Lanes, Portable};
#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::fmt;
use std::str::FromStr;

/// The environment variable that overrides the choice.
const VARIABLE: &str = "DOORWARD_CPU";

/// A set of instructions that this processor has: only [`Level::detect`] and [`Level::available`]
/// make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// With `sdot`.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

/// The level in `DOORWARD_CPU` is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "DOORWARD_CPU={wanted} is not one of this processor's levels; unset it or choose of: {available}"
)]
pub struct LevelError {
    wanted: String,
    available: String,
}

impl Level {
    /// Returns the best level of this processor, or the one that `DOORWARD_CPU` names.
    pub fn detect() -> Result<Self, LevelError> {
        match std::env::var(VARIABLE) {
            Ok(wanted) if !wanted.is_empty() => wanted.parse(),
            _ => Ok(Self::best()),
        }
    }

    /// Returns the best level of this processor.
    fn best() -> Self {
        Self::available().last().unwrap_or(Self(Instructions::Portable))
    }

    /// Returns all levels of this processor, the best last.
    pub fn available() -> impl Iterator<Item = Self> {
        let levels = [
            (Instructions::Portable, true),
            #[cfg(target_arch = "x86_64")]
            (
                Instructions::Avx2,
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            ),
            #[cfg(target_arch = "x86_64")]
            (
                Instructions::Avx512,
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni"),
            ),
            #[cfg(target_arch = "aarch64")]
            (Instructions::Neon, is_aarch64_feature_detected!("neon")),
            #[cfg(target_arch = "aarch64")]
            (
                Instructions::NeonDot,
                is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod"),
            ),
        ];
        levels.into_iter().filter_map(|(level, here)| here.then_some(Self(level)))
    }

    /// Runs a kernel with the level's instructions.
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: every processor has this level.
            Instructions::Portable => unsafe { kernel.run::<Portable>() },
            // SAFETY: `available` made this level, so the processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { avx2(kernel) },
            // SAFETY: `available` made this level, so the processor has AVX-512 F, BW and VNNI; F
            // includes AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { avx512(kernel) },
            // SAFETY: `available` made this level, so the processor has NEON.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { neon::<false, K>(kernel) },
            // SAFETY: `available` made this level, so the processor has NEON and `sdot`.
            #[cfg(target_arch = "aarch64")]
            Instructions::NeonDot => unsafe { neon::<true, K>(kernel) },
        }
    }
}

/// Work written with [`Lanes`]. Its `run` is `#[inline(always)]`, so that it is compiled with the
/// instructions of the level that calls it.
pub(super) trait Kernel {
    type Output;
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn run<V: Lanes>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function is only entered with AVX2 and FMA.
    unsafe { kernel.run::<super::lanes::Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function is only entered with AVX-512 F, BW and VNNI.
    unsafe { kernel.run::<super::lanes::Avx512>() }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon<const DOT: bool, K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function is only entered with NEON, and with `DOT` only if there is `sdot`.
    unsafe { kernel.run::<super::lanes::Neon<DOT>>() }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Instructions::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Instructions::NeonDot => "neon-dot",
        })
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(wanted: &str) -> Result<Self, LevelError> {
        Self::available().find(|level| level.to_string() == wanted).ok_or_else(|| LevelError {
            wanted: wanted.to_owned(),
            available: Self::available()
                .map(|level| level.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_found_by_its_name() {
        for level in Level::available() {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("portable".parse::<Level>().is_ok());
    }

    #[test]
    fn an_unavailable_level_is_refused_with_the_available_ones() {
        let error = "pentium".parse::<Level>().unwrap_err().to_string();
        assert!(error.contains("pentium") && error.contains("portable"), "{error}");
    }
}

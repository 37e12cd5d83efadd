//! Measures the peak of one core on a level: products and sums that wait neither for memory nor for
//! each other. Kernels are compared with it.
#![allow(unsafe_code, reason = "the instructions themselves")]

use super::layers::Arithmetic;
use super::measure::nanoseconds;
use doorward_nn::Level;

/// Number of measurements; the best counts.
const TRIES: usize = 20;
/// Rounds of each.
const ROUNDS: u64 = 1_000_000;

/// Returns Gop/s; `None` for a level whose instructions are not listed here.
pub fn of(level: Level, arithmetic: Arithmetic) -> Option<f64> {
    let (run, operations) = instructions(level, arithmetic)?;
    let best = (0..TRIES).map(|_| {
        let started = nanoseconds();
        run();
        ROUNDS as f64 * operations / (nanoseconds() - started) as f64
    });
    Some(best.fold(0.0, f64::max))
}

/// A function that runs all rounds, and the operations of one round.
type Loop = (fn(), f64);

#[cfg(target_arch = "x86_64")]
fn instructions(level: Level, arithmetic: Arithmetic) -> Option<Loop> {
    match (level.to_string().as_str(), arithmetic) {
        // SAFETY: a `Level` is of this processor, so it has the instructions.
        ("avx512", Arithmetic::Values) => Some((|| unsafe { x86::fused_512() }, 14.0 * 32.0)),
        // SAFETY: a `Level` is of this processor, so it has the instructions.
        ("avx512", Arithmetic::Bytes) => Some((|| unsafe { x86::dots_512() }, 14.0 * 128.0)),
        // SAFETY: a `Level` is of this processor, so it has the instructions.
        ("avx2", Arithmetic::Values) => Some((|| unsafe { x86::fused_256() }, 14.0 * 16.0)),
        // SAFETY: a `Level` is of this processor, so it has the instructions.
        ("avx2", Arithmetic::Bytes) => Some((|| unsafe { x86::dots_256() }, 14.0 * 32.0)),
        _ => None,
    }
}

#[cfg(target_arch = "aarch64")]
fn instructions(level: Level, arithmetic: Arithmetic) -> Option<Loop> {
    match (level.to_string().as_str(), arithmetic) {
        // SAFETY: a `Level` is of this processor, so it has the instructions.
        ("neon" | "neon-dot", Arithmetic::Values) => Some((|| unsafe { arm::fused() }, 16.0 * 8.0)),
        _ => None,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions(_: Level, _: Arithmetic) -> Option<Loop> {
    None
}

/// A loop of one instruction on enough registers to hide its latency.
macro_rules! endless {
    ($name:ident, $features:literal, $registers:literal, $zero:expr, $step:expr) => {
        /// # Safety
        /// The processor has these features.
        #[target_feature(enable = $features)]
        pub unsafe fn $name() {
            let mut sums = [$zero; $registers];
            let (a, b) = (black_box($zero), black_box($zero));
            for _ in 0..super::ROUNDS {
                for sum in &mut sums {
                    *sum = $step(*sum, a, b);
                }
                // Without it the compiler may find out that the sums do not change.
                std::hint::black_box(());
            }
            black_box(sums);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    endless!(fused_512, "avx512f", 14, _mm512_setzero_ps(), |sum, a, b| _mm512_fmadd_ps(a, b, sum));
    endless!(dots_512, "avx512f,avx512vnni", 14, _mm512_setzero_si512(), |sum, a, b| {
        _mm512_dpbusd_epi32(sum, a, b)
    });
    endless!(fused_256, "avx2,fma", 14, _mm256_setzero_ps(), |sum, a, b| {
        _mm256_fmadd_ps(a, b, sum)
    });
    // The operations for widened bytes: sixteen products, added in pairs. One operand is the sum,
    // so that the products differ each round.
    endless!(dots_256, "avx2", 14, _mm256_setzero_si256(), |sum, _, b| {
        _mm256_add_epi32(sum, _mm256_madd_epi16(sum, b))
    });
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::hint::black_box;

    endless!(fused, "neon", 16, vdupq_n_f32(0.0), |sum, a, b| vfmaq_f32(sum, a, b));
}

//! Converts the integer sums of a layer to the input of the next one.
//!
//! A map in bytes represents values by a *range*: value = scale · (byte − zero). All of a layer's
//! scales are divided by its output's scale when it is packed. So a byte is one fused multiply-add
//! (one of two where the activation bends) and one rounding: the same bits on every level.

use crate::activation::Activation;
use crate::lanes::{BLOCK, Lanes};

/// The values of a map in bytes: value = scale · (byte − zero).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The size of one step.
    pub scale: f32,
    /// The byte that represents 0.
    pub zero: u8,
}

impl Range {
    /// Returns factor and summand that convert a byte to its value in steps of another range.
    pub(crate) fn in_steps_of(self, other: Self) -> [f32; 2] {
        let factor = self.scale / other.scale;
        [factor, -f32::from(self.zero) * factor]
    }

    /// Returns the position of 0 among the values that a byte is stored from: −128…127.
    pub(crate) fn zero_stored(self) -> f32 {
        f32::from(self.zero) - 128.0
    }
}

/// A cell of a map.
pub(crate) trait Cell: Copy {
    /// Reads cells as they are, without applying a range.
    ///
    /// # Safety
    /// The processor has the level of `V`; sixteen cells can be read at `from`.
    unsafe fn get<V: Lanes>(from: *const Self) -> V;
    /// Returns the greater of two cells of one range.
    fn larger(self, other: Self) -> Self;
    /// # Safety
    /// The processor has the level of `V`; sixteen cells can be written at `to`.
    unsafe fn put<V: Lanes>(value: V, to: *mut Self);
    /// Writes blocks one after the other.
    ///
    /// # Safety
    /// The processor has the level of `V`; sixteen cells a value can be written at `to`.
    #[inline(always)]
    unsafe fn put_all<V: Lanes, const COUNT: usize>(values: [V; COUNT], to: *mut Self) {
        for (index, value) in values.into_iter().enumerate() {
            // SAFETY: the caller guarantees it.
            unsafe { Self::put(value, to.add(index * BLOCK)) }
        }
    }
}

impl Cell for f32 {
    #[inline(always)]
    unsafe fn get<V: Lanes>(from: *const Self) -> V {
        // SAFETY: the caller guarantees it.
        unsafe { V::load(from) }
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    #[inline(always)]
    unsafe fn put<V: Lanes>(value: V, to: *mut Self) {
        // SAFETY: the caller guarantees it.
        unsafe { value.store(to) }
    }
}

impl Cell for u8 {
    #[inline(always)]
    unsafe fn get<V: Lanes>(from: *const Self) -> V {
        // SAFETY: the caller guarantees it.
        unsafe { V::load_unsigned(from) }
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        self.max(other)
    }

    #[inline(always)]
    unsafe fn put<V: Lanes>(value: V, to: *mut Self) {
        // SAFETY: the caller guarantees it.
        unsafe { value.store_shifted(to) }
    }

    #[inline(always)]
    unsafe fn put_all<V: Lanes, const COUNT: usize>(values: [V; COUNT], to: *mut Self) {
        let mut index = 0;
        // SAFETY: the caller guarantees it.
        unsafe {
            while index + 4 <= COUNT {
                let four = [values[index], values[index + 1], values[index + 2], values[index + 3]];
                V::store_four_shifted(four, to.add(index * BLOCK));
                index += 4;
            }
            while index < COUNT {
                Self::put(values[index], to.add(index * BLOCK));
                index += 1;
            }
        }
    }
}

/// Converts sums to values of the output, in steps of its range.
#[derive(Clone, Debug)]
pub(crate) struct Rounding {
    /// Above the bend: factor and summand of each channel.
    above: [Vec<f32>; 2],
    /// Below the bend; empty if there is no bend.
    below: [Vec<f32>; 2],
    /// The value at the bend.
    bend: f32,
}

impl Rounding {
    /// `scales` are those of the weights, one per channel. Without `output` the results are plain
    /// values.
    pub fn new(
        scales: &[f32],
        bias: &[f32],
        activation: &Activation,
        input: Range,
        output: Option<Range>,
    ) -> Self {
        let channels = bias.len();
        assert_eq!(scales.len(), channels, "one scale a channel");
        let step = output.map_or(1.0, |range| range.scale);
        let zero = output.map_or(0.0, Range::zero_stored);
        let line = |slope: &dyn Fn(usize) -> f32| {
            let factor = |channel: usize| scales[channel] * input.scale / step * slope(channel);
            let summand = |channel: usize| bias[channel] / step * slope(channel) + zero;
            let mut line = [
                (0..channels).map(factor).collect::<Vec<f32>>(),
                (0..channels).map(summand).collect(),
            ];
            line[0].resize(channels.next_multiple_of(BLOCK), 0.0);
            line[1].resize(channels.next_multiple_of(BLOCK), zero);
            line
        };
        let below = match activation {
            Activation::Identity => [Vec::new(), Vec::new()],
            // Where 0 is the lowest byte, saturation cuts lower values.
            Activation::Relu if output.is_some_and(|range| range.zero == 0) => {
                [Vec::new(), Vec::new()]
            }
            Activation::Relu => line(&|_| 0.0),
            Activation::PRelu(slopes) => line(&|channel| slopes[channel]),
        };
        Self { above: line(&|_| 1.0), below, bend: zero }
    }

    /// Returns the number of channel blocks.
    pub fn blocks(&self) -> usize {
        self.above[0].len() / BLOCK
    }

    /// Returns the part for one block.
    ///
    /// # Safety
    /// The processor has the level of `V`.
    #[inline(always)]
    pub(super) unsafe fn block<V: Lanes>(&self, block: usize) -> RoundBlock<V> {
        let at = block * BLOCK..(block + 1) * BLOCK;
        // SAFETY: sixteen values each; the caller guarantees the level.
        unsafe {
            let [factor, summand] = &self.below;
            RoundBlock {
                above: [
                    V::load(self.above[0][at.clone()].as_ptr()),
                    V::load(self.above[1][at.clone()].as_ptr()),
                ],
                below: match factor.is_empty() {
                    true => None,
                    false => {
                        Some([V::load(factor[at.clone()].as_ptr()), V::load(summand[at].as_ptr())])
                    }
                },
                bend: V::splat(self.bend),
            }
        }
    }
}

/// A block's part of a [`Rounding`].
#[derive(Clone, Copy)]
pub(super) struct RoundBlock<V> {
    above: [V; 2],
    below: Option<[V; 2]>,
    bend: V,
}

impl<V: Lanes> RoundBlock<V> {
    /// Returns the value of a sum, before rounding.
    ///
    /// # Safety
    /// The processor has the level of `V`.
    #[inline(always)]
    pub unsafe fn value(&self, sums: V::Sums) -> V {
        // SAFETY: the caller guarantees it.
        unsafe {
            let sum = V::values(sums);
            let value = sum.fused(self.above[0], self.above[1]);
            match self.below {
                None => value,
                Some([factor, summand]) => {
                    value.choose(self.bend, value, sum.fused(factor, summand))
                }
            }
        }
    }
}

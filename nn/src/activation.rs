//! The function after a layer's sum.

use super::lanes::BLOCK;

/// A function of one value, for all channels or per channel.
#[derive(Clone, Debug)]
pub enum Activation {
    /// The value itself.
    Identity,
    /// max(x, 0).
    Relu,
    /// x, or x times the channel's slope below zero.
    PRelu(Vec<f32>),
}

impl Activation {
    /// Pads to whole blocks of channels.
    pub(super) fn padded(self, channels: usize) -> Self {
        match self {
            Self::PRelu(mut slopes) => {
                assert_eq!(slopes.len(), channels, "one slope a channel");
                slopes.resize(channels.next_multiple_of(BLOCK), 0.0);
                Self::PRelu(slopes)
            }
            same => same,
        }
    }

    /// Returns the slopes of a block, if each channel has its own.
    pub(super) fn slopes(&self, block: usize) -> Option<&[f32]> {
        match self {
            Self::PRelu(slopes) => Some(&slopes[block * BLOCK..][..BLOCK]),
            _ => None,
        }
    }
}

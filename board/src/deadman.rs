//! The dead man: a small child process that alone holds the strike's line, so that the line goes
//! back to its safe level by the child's own timer, or when the daemon is gone.
//!
//! The daemon sends messages of eight bytes down a pipe ([`Message`]); the child ([`hold`]) obeys.
//! The pulse ends, whichever comes first: when the child is told to lock, when its time is over,
//! when the pipe closes (the kernel closes it when the daemon dies, also by SIGKILL), or when
//! anything but a message arrives. After the last two the child ends. It must never wait for the
//! daemon, never trust it with a longer pulse than [`Pulse::MAX`], and never prolong a pulse.
//!
//! The daemon's side is a pin ([`HeldPin`]) like any other, so [`Strike`] need not know.

mod held_pin;
mod holder;

pub use held_pin::{HeldPin, HeldPinError, SpawnError};
pub use holder::{HoldError, hold};

#[cfg(doc)]
use crate::Strike;
use crate::{Pulse, PulseError};
use core::time::Duration;

/// What the child writes, one byte, once it holds the line at its safe level.
pub const READY: u8 = b'R';

/// What the daemon may say to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Let people pass for a pulse; without effect while one lasts.
    Engage(Pulse),
    /// End the pulse.
    Lock,
}

/// Bytes that are no message: the stream cannot be trusted from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// Wrong start, command or checksum.
    #[error("{0:02x?} is no message of a doorward daemon; the line was locked")]
    Bytes([u8; Message::LENGTH]),
    /// A pulse that no door has.
    #[error(transparent)]
    Pulse(#[from] PulseError),
}

impl Message {
    /// Bytes of a message: `DWL1`, the command (1 engage, 0 lock), the pulse in milliseconds (two
    /// bytes, little-endian), and the complement of the XOR of all these.
    pub const LENGTH: usize = 8;
    const START: [u8; 4] = *b"DWL1";

    /// The message on the wire.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let (command, milliseconds) = match self {
            // Pulse::MAX is 30,000 ms.
            Self::Engage(pulse) => (1, pulse.length().as_millis() as u16),
            Self::Lock => (0, 0),
        };
        let [a, b, c, d] = Self::START;
        let [low, high] = milliseconds.to_le_bytes();
        let mut bytes = [a, b, c, d, command, low, high, 0];
        bytes[7] = check(&bytes);
        bytes
    }

    /// The message of these bytes.
    ///
    /// # Errors
    /// Anything that [`Message::to_bytes`] does not make.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Result<Self, Garbage> {
        let [a, b, c, d, command, low, high, sum] = bytes;
        let milliseconds = u16::from_le_bytes([low, high]);
        if [a, b, c, d] != Self::START || sum != check(&bytes) {
            return Err(Garbage::Bytes(bytes));
        }
        match (command, milliseconds) {
            (1, _) => Ok(Self::Engage(Pulse::new(Duration::from_millis(u64::from(milliseconds)))?)),
            (0, 0) => Ok(Self::Lock),
            _ => Err(Garbage::Bytes(bytes)),
        }
    }
}

/// All zeros and all ones both fail it.
fn check(bytes: &[u8; Message::LENGTH]) -> u8 {
    !bytes[..7].iter().fold(0, |sum, byte| sum ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_sent() {
        for ms in [100, 257, 3000, 30_000] {
            let message = Message::Engage(Pulse::new(Duration::from_millis(ms)).unwrap());
            assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
        }
        assert_eq!(Message::from_bytes(Message::Lock.to_bytes()), Ok(Message::Lock));
    }

    #[test]
    fn every_single_wrong_bit_is_noticed() {
        for message in [Message::Engage(Pulse::default()), Message::Lock] {
            for bit in 0..64 {
                let mut bytes = message.to_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Message::from_bytes(bytes).is_err(), "bit {bit}");
            }
        }
        assert!(Message::from_bytes([0; 8]).is_err());
        assert!(Message::from_bytes([0xff; 8]).is_err());
    }

    #[test]
    fn a_pulse_out_of_range_is_refused_although_its_checksum_is_right() {
        let mut bytes = *b"DWL1\x01\xff\xff\0";
        bytes[7] = check(&bytes);
        assert!(matches!(Message::from_bytes(bytes), Err(Garbage::Pulse(_))));
    }
}

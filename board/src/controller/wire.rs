//! The messages between commander and controller on their Unix socket: frames of 32 bytes.
//!
//! | bytes | content |
//! |---|---|
//! | 0–3 | `DWL` and the version of the protocol |
//! | 4 | kind of the message |
//! | 5–7 | small values of the kind |
//! | 8–11 | sequence number, little-endian |
//! | 12–19, 20–27 | two values of the kind, little-endian; times are milliseconds of `CLOCK_MONOTONIC` |
//! | 28–31 | FNV-1a of the bytes before |
//!
//! An invalid frame ends the connection, and with it the commander's release.

use super::events::{Cause, Event, Numbered};
use crate::contact::ContactEvent;
use crate::door::Part;
use crate::strike::{Pulse, PulseError};
use core::time::Duration;

/// The version of the protocol.
pub const PROTOCOL: u8 = 2;

/// An order of a commander.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Lets people pass for a pulse from now on. During a commander's release it extends the
    /// release to a pulse from now, at most [`Pulse::MAX`] from its start.
    Release {
        /// The cause of the release.
        by: Cause,
        /// The length of the pulse.
        pulse: Pulse,
        /// Deadline of the order, by `CLOCK_MONOTONIC`.
        not_after: Duration,
    },
    /// Lets people pass until the lease ends; another order renews it.
    Hold {
        /// The length of the lease.
        lease: Pulse,
        /// Deadline of the order, by `CLOCK_MONOTONIC`.
        not_after: Duration,
    },
    /// Ends the commander's release.
    Lock,
}

/// The outcome of an order, by the level that was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// People can pass.
    Released,
    /// People cannot pass.
    Locked,
    /// The order came too late, or its deadline is too far in the future.
    Stale,
    /// The coil is in cooldown after [`Pulse::MAX`] of current.
    Resting,
    /// A lease needs a coil that is rated for continuous duty.
    NotContinuous,
    /// The strike's line does not follow.
    Line,
}

/// The status of the controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The cause if people can pass, else `None`.
    pub released: Option<Cause>,
    /// True if the leaf is open; `None` without a contact, or before it has settled.
    pub open: Option<bool>,
    /// True if the fire input is active; `None` without one.
    pub fire: Option<bool>,
    /// Parts that fail, by their number.
    pub failing: [bool; Part::COUNT],
}

/// The controller's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Fingerprint of its settings: [`super::Settings::fingerprint`].
    pub fingerprint: u64,
    /// True if a supervisor, not a daemon, starts it and keeps it running.
    pub supervised: bool,
}

/// A message of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Commander: it is alive; the controller answers with its status.
    Heartbeat,
    /// Commander: an order; an outcome with the same number answers it.
    Command(u32, Command),
    /// Commander: it has taken the events up to this number.
    Taken(u32),
    /// Controller: the first message to its commander.
    Welcome(Welcome),
    /// Controller: another commander is connected.
    Busy,
    /// Controller: its status.
    Status(Status),
    /// Controller: the outcome of an order.
    Outcome(u32, Outcome),
    /// Controller: an event.
    Event(Numbered),
}

/// Bytes that are not a message: the rest of the stream cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Wrong start, kind or checksum.
    #[error("the other end does not speak version {PROTOCOL} of the lock controller's protocol")]
    NotAFrame,
    /// A pulse out of range.
    #[error(transparent)]
    Pulse(#[from] PulseError),
}

impl Message {
    /// Length of a frame in bytes.
    pub const LENGTH: usize = 32;
    const START: [u8; 4] = [b'D', b'W', b'L', PROTOCOL];

    /// Encodes the message.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut frame = Frame::default();
        match self {
            Self::Heartbeat => frame.kind = 1,
            Self::Command(number, command) => {
                frame.number = number;
                match command {
                    Command::Release { by, pulse, not_after } => {
                        frame.kind = 2;
                        frame.small[0] = code(&CAUSES, by);
                        frame.values = [ms(pulse.length()), ms(not_after)];
                    }
                    Command::Hold { lease, not_after } => {
                        frame.kind = 3;
                        frame.values = [ms(lease.length()), ms(not_after)];
                    }
                    Command::Lock => frame.kind = 4,
                }
            }
            Self::Taken(number) => (frame.kind, frame.number) = (5, number),
            Self::Welcome(Welcome { fingerprint, supervised }) => {
                frame.kind = 16;
                frame.small[0] = u8::from(supervised);
                frame.values[0] = fingerprint;
            }
            Self::Busy => frame.kind = 17,
            Self::Status(Status { released, open, fire, failing }) => {
                frame.kind = 18;
                let released = released.map_or(0, |by| code(&CAUSES, by));
                frame.small = [released, perhaps(open), perhaps(fire)];
                let bits = failing.iter().enumerate();
                frame.values[0] = bits.map(|(part, &fails)| u64::from(fails) << part).sum();
            }
            Self::Outcome(number, outcome) => {
                (frame.kind, frame.number) = (19, number);
                frame.small[0] = code(&OUTCOMES, outcome);
            }
            Self::Event(Numbered { number, at, event }) => {
                (frame.kind, frame.number) = (20, number);
                frame.values[0] = ms(at);
                (frame.small[0], frame.small[1]) = match event {
                    Event::Released(by) => (1, code(&CAUSES, by)),
                    Event::Locked => (2, 0),
                    Event::ExitPressed => (3, 0),
                    Event::Fire(alarm) => (4, u8::from(alarm)),
                    Event::Contact(contact) => (5, code(&CONTACTS, contact)),
                    Event::Fault(part) => (6, part as u8),
                    Event::Recovered(part) => (7, part as u8),
                    Event::Missed(count) => {
                        frame.values[1] = u64::from(count);
                        (8, 0)
                    }
                };
            }
        }
        frame.to_bytes()
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// Bytes that [`Message::to_bytes`] does not produce.
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Result<Self, FrameError> {
        let frame = Frame::from_bytes(bytes)?;
        let [first, second, third] = frame.small;
        let message = match frame.kind {
            1 => Self::Heartbeat,
            2 => {
                let pulse = Pulse::new(Duration::from_millis(frame.values[0]))?;
                let not_after = Duration::from_millis(frame.values[1]);
                let by = decode(&CAUSES, first)?;
                Self::Command(frame.number, Command::Release { by, pulse, not_after })
            }
            3 => {
                let lease = Pulse::new(Duration::from_millis(frame.values[0]))?;
                let not_after = Duration::from_millis(frame.values[1]);
                Self::Command(frame.number, Command::Hold { lease, not_after })
            }
            4 => Self::Command(frame.number, Command::Lock),
            5 => Self::Taken(frame.number),
            16 => Self::Welcome(Welcome { fingerprint: frame.values[0], supervised: first == 1 }),
            17 => Self::Busy,
            18 => Self::Status(Status {
                released: (first != 0).then(|| decode(&CAUSES, first)).transpose()?,
                open: (second != 0).then_some(second == 2),
                fire: (third != 0).then_some(third == 2),
                failing: core::array::from_fn(|part| frame.values[0] >> part & 1 == 1),
            }),
            19 => Self::Outcome(frame.number, decode(&OUTCOMES, first)?),
            20 => {
                let part = || Part::ALL.get(usize::from(second)).copied();
                let event = match first {
                    1 => Event::Released(decode(&CAUSES, second)?),
                    2 => Event::Locked,
                    3 => Event::ExitPressed,
                    4 => Event::Fire(second == 1),
                    5 => Event::Contact(decode(&CONTACTS, second)?),
                    6 => Event::Fault(part().ok_or(FrameError::NotAFrame)?),
                    7 => Event::Recovered(part().ok_or(FrameError::NotAFrame)?),
                    8 => Event::Missed(u32::try_from(frame.values[1]).unwrap_or(u32::MAX)),
                    _ => return Err(FrameError::NotAFrame),
                };
                let at = Duration::from_millis(frame.values[0]);
                Self::Event(Numbered { number: frame.number, at, event })
            }
            _ => return Err(FrameError::NotAFrame),
        };
        Ok(message)
    }
}

const CAUSES: [Cause; 6] =
    [Cause::Face, Cause::Remote, Cause::Hours, Cause::Exit, Cause::Unreadable, Cause::Fire];

const OUTCOMES: [Outcome; 6] = [
    Outcome::Released,
    Outcome::Locked,
    Outcome::Stale,
    Outcome::Resting,
    Outcome::NotContinuous,
    Outcome::Line,
];

const CONTACTS: [ContactEvent; 4] =
    [ContactEvent::Opened, ContactEvent::ForcedOpen, ContactEvent::HeldOpen, ContactEvent::Closed];

/// Returns a value's position in its table, from 1.
fn code<T: PartialEq>(table: &[T], value: T) -> u8 {
    table.iter().position(|known| *known == value).map_or(0, |place| place as u8 + 1)
}

fn decode<T: Copy>(table: &[T], code: u8) -> Result<T, FrameError> {
    let place = usize::from(code).checked_sub(1);
    place.and_then(|place| table.get(place)).copied().ok_or(FrameError::NotAFrame)
}

fn perhaps(value: Option<bool>) -> u8 {
    value.map_or(0, |value| 1 + u8::from(value))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Frame {
    kind: u8,
    small: [u8; 3],
    number: u32,
    values: [u64; 2],
}

impl Frame {
    fn to_bytes(&self) -> [u8; Message::LENGTH] {
        let mut bytes = [0; Message::LENGTH];
        bytes[..4].copy_from_slice(&Message::START);
        bytes[4] = self.kind;
        bytes[5..8].copy_from_slice(&self.small);
        bytes[8..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.values[0].to_le_bytes());
        bytes[20..28].copy_from_slice(&self.values[1].to_le_bytes());
        let sum = checksum(&bytes);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; Message::LENGTH]) -> Result<Self, FrameError> {
        let (number, [first, second], sum) = (
            u32::from_le_bytes(part(bytes, 8)),
            [u64::from_le_bytes(part(bytes, 12)), u64::from_le_bytes(part(bytes, 20))],
            u32::from_le_bytes(part(bytes, 28)),
        );
        if bytes[..4] != Message::START || sum != checksum(bytes) {
            return Err(FrameError::NotAFrame);
        }
        let small = part(bytes, 5);
        Ok(Self { kind: bytes[4], small, number, values: [first, second] })
    }
}

/// Returns `N` bytes of a frame from `start` on.
fn part<const N: usize>(bytes: &[u8; Message::LENGTH], start: usize) -> [u8; N] {
    core::array::from_fn(|index| bytes[start + index])
}

/// Returns FNV-1a of all bytes before the checksum. Frames of all zeros and of all ones fail it.
fn checksum(bytes: &[u8; Message::LENGTH]) -> u32 {
    bytes[..28]
        .iter()
        .fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        let at = Duration::from_millis(123_456_789);
        let pulse = Pulse::new(Duration::from_millis(257)).unwrap();
        let mut failing = [false; Part::COUNT];
        failing[Part::Exit as usize] = true;
        let mut messages = vec![
            Message::Heartbeat,
            Message::Command(9, Command::Lock),
            Message::Command(7, Command::Hold { lease: Pulse::default(), not_after: at }),
            Message::Taken(u32::MAX),
            Message::Busy,
            Message::Welcome(Welcome { fingerprint: u64::MAX, supervised: true }),
            Message::Status(Status::default()),
            Message::Status(Status {
                released: Some(Cause::Fire),
                open: Some(false),
                fire: Some(true),
                failing,
            }),
        ];
        for by in CAUSES {
            let release = Command::Release { by, pulse, not_after: at };
            messages.push(Message::Command(1, release));
            let event = Event::Released(by);
            messages.push(Message::Event(Numbered { number: 3, at, event }));
        }
        messages.extend(OUTCOMES.map(|outcome| Message::Outcome(4, outcome)));
        let events = [
            Event::Locked,
            Event::ExitPressed,
            Event::Fire(true),
            Event::Contact(ContactEvent::HeldOpen),
            Event::Fault(Part::Strike),
            Event::Recovered(Part::Fire),
            Event::Missed(45),
        ];
        let event = |event| Message::Event(Numbered { number: 3, at, event });
        messages.extend(events.map(event));
        messages
    }

    #[test]
    fn messages_survive_encoding_and_decoding() {
        for message in messages() {
            assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
        }
    }

    #[test]
    fn every_single_wrong_bit_is_detected() {
        for message in messages() {
            for bit in 0..Message::LENGTH * 8 {
                let mut bytes = message.to_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Message::from_bytes(&bytes).is_err(), "{message:?}, bit {bit}");
            }
        }
        assert!(Message::from_bytes(&[0; Message::LENGTH]).is_err());
        assert!(Message::from_bytes(&[0xff; Message::LENGTH]).is_err());
    }

    #[test]
    fn pulse_out_of_range_is_refused_despite_a_correct_checksum() {
        let frame = Frame { kind: 2, small: [1, 0, 0], number: 1, values: [30_001, 0] };
        let refused = Message::from_bytes(&frame.to_bytes());
        assert!(matches!(refused, Err(FrameError::Pulse(_))), "{refused:?}");
    }
}

//! Wiegand output: sends a card number to an access controller that expects a card reader. Two
//! lines are idle; a pulse on D0 is a 0, a pulse on D1 is a 1, most significant bit first.
//!
//! A frame is one bit of even parity over the first half, facility code and card number, and one
//! bit of odd parity over the second half. Between the parities there are 8 + 16 bits in the 26-bit
//! format (SIA AC-01, HID's H10301) and 16 + 16 bits in the 34-bit format.

use core::str::FromStr;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{OutputPin, PinState};
use serde::Deserialize;

/// Width of a pulse: SIA AC-01 allows 20 to 100 µs.
pub const PULSE_US: u32 = 50;
/// From the end of a pulse to the start of the next: SIA AC-01 allows 0.2 to 20 ms.
pub const INTERVAL_US: u32 = 2_000;

/// The number of bits of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Format {
    /// Facility code 0–255.
    #[serde(rename = "26")]
    Bits26,
    /// Facility code 0–65535.
    #[serde(rename = "34")]
    Bits34,
}

/// A card: `FACILITY:NUMBER`, both decimal, as in `17:40321`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Facility or site code.
    pub facility: u16,
    /// Card number within the facility.
    pub number: u16,
}

/// A card that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Not `FACILITY:NUMBER`.
    #[error("{0:?} is not a card: write FACILITY:NUMBER, both 0 to 65535, such as 17:40321")]
    Form(String),
    /// The facility code does not fit into 8 bits.
    #[error("facility code {0} does not fit 26 bits: use one up to 255, or the 34-bit format")]
    Facility(u16),
}

impl FromStr for Card {
    type Err = CardError;

    fn from_str(text: &str) -> Result<Self, CardError> {
        let form = || CardError::Form(text.to_owned());
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let (facility, number) = text
            .split_once(':')
            .filter(|(facility, number)| digits(facility) && digits(number))
            .ok_or_else(form)?;
        Ok(Self {
            facility: facility.parse().map_err(|_| form())?,
            number: number.parse().map_err(|_| form())?,
        })
    }
}

/// The bits of one transmission, including parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    bits: u64,
    length: u32,
}

impl Frame {
    /// Encodes a card in a format.
    ///
    /// # Errors
    /// A facility code too large for the format.
    pub fn new(format: Format, card: Card) -> Result<Self, CardError> {
        if format == Format::Bits26 && card.facility > 0xff {
            return Err(CardError::Facility(card.facility));
        }
        let payload = u64::from(card.facility) << 16 | u64::from(card.number);
        let width = match format {
            Format::Bits26 => 24,
            Format::Bits34 => 32,
        };
        let half = width / 2;
        let even = u64::from((payload >> half).count_ones() % 2);
        let odd = u64::from((payload & ((1 << half) - 1)).count_ones() % 2 == 0);
        Ok(Self { bits: even << (width + 1) | payload << 1 | odd, length: width + 2 })
    }

    /// Returns the bits in the order of transmission.
    pub fn bits(self) -> impl Iterator<Item = bool> {
        (0..self.length).rev().map(move |at| self.bits >> at & 1 == 1)
    }
}

/// The two lines with logical levels: high is the pulse, which is 0 V on the wire.
#[derive(Debug)]
pub struct Wiegand<Pin> {
    d0: Pin,
    d1: Pin,
}

impl<Pin: OutputPin> Wiegand<Pin> {
    /// Takes two idle lines, as a profile opens them.
    pub fn new(d0: Pin, d1: Pin) -> Self {
        Self { d0, d1 }
    }

    /// Sends a frame, which takes 53 or 70 ms: never call it in the loop that steps a door.
    ///
    /// # Errors
    /// The pins' errors. The controller then sees a short frame and drops it, and both lines are
    /// idle again.
    pub fn send(&mut self, delay: &mut impl DelayNs, frame: Frame) -> Result<(), Pin::Error> {
        for bit in frame.bits() {
            pulse(if bit { &mut self.d1 } else { &mut self.d0 }, delay)?;
            delay.delay_us(INTERVAL_US);
        }
        Ok(())
    }
}

fn pulse<Pin: OutputPin>(pin: &mut Pin, delay: &mut impl DelayNs) -> Result<(), Pin::Error> {
    let begun = pin.set_state(PinState::High);
    if begun.is_ok() {
        delay.delay_us(PULSE_US);
    }
    let ended = pin.set_state(PinState::Low);
    begun.and(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::delay::{CheckedDelay, Transaction as Wait};
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::io::ErrorKind;

    fn text(format: Format, card: &str) -> String {
        let frame = Frame::new(format, card.parse().unwrap()).unwrap();
        frame.bits().map(|bit| if bit { '1' } else { '0' }).collect()
    }

    #[test]
    fn frames_begin_with_even_and_end_with_odd_parity() {
        // Parities calculated by hand: 12 and 12 bits, 16 and 16 bits.
        assert_eq!(text(Format::Bits26, "0:0"), "0 00000000 0000000000000000 1".replace(' ', ""));
        assert_eq!(text(Format::Bits26, "1:1"), "1 00000001 0000000000000001 0".replace(' ', ""));
        // 11111111 1111 | 000000000001: 12 ones, 1 one.
        assert_eq!(
            text(Format::Bits26, "255:61441"),
            "0 11111111 1111000000000001 0".replace(' ', "")
        );
        // 00010001 1001 | 110110000001: 4 ones, 5 ones.
        assert_eq!(
            text(Format::Bits26, "17:40321"),
            "0 00010001 1001110110000001 0".replace(' ', "")
        );
        assert_eq!(
            text(Format::Bits34, "256:3"),
            "1 0000000100000000 0000000000000011 1".replace(' ', "")
        );
    }

    #[test]
    fn bit_is_a_pulse_of_50_us_and_a_pause_of_2_ms_on_its_line() {
        let frame = Frame::new(Format::Bits26, Card { facility: 17, number: 40321 }).unwrap();
        let pulses = |ones: bool| -> Vec<Transaction> {
            let bits = frame.bits().filter(|&bit| bit == ones);
            let pulse = [Transaction::set(State::High), Transaction::set(State::Low)];
            bits.flat_map(|_| pulse.clone()).collect()
        };
        let mut d0 = Mock::new(&pulses(false));
        let mut d1 = Mock::new(&pulses(true));
        let waits: Vec<_> =
            (0..26).flat_map(|_| [Wait::delay_us(50), Wait::delay_us(2000)]).collect();
        let mut delay = CheckedDelay::new(&waits);
        let mut wiegand = Wiegand::new(d0.clone(), d1.clone());
        wiegand.send(&mut delay, frame).unwrap();
        d0.done();
        d1.done();
        delay.done();
    }

    #[test]
    fn failed_line_ends_the_frame_and_becomes_idle() {
        let failure = MockError::Io(ErrorKind::NotConnected);
        let mut d0 = Mock::new(&[
            Transaction::set(State::High).with_error(failure),
            Transaction::set(State::Low),
        ]);
        let mut d1 = Mock::new(&[]);
        let mut delay = CheckedDelay::new(&[]);
        let frame = Frame::new(Format::Bits26, Card { facility: 0, number: 0 }).unwrap();
        let mut wiegand = Wiegand::new(d0.clone(), d1.clone());
        assert!(wiegand.send(&mut delay, frame).is_err());
        d0.done();
        d1.done();
        delay.done();
    }

    #[test]
    fn invalid_cards_are_refused_with_the_expected_form() {
        for text in ["", ":", "1", "1:", ":1", "1:65536", "+1:2", "1:2:3", " 1:2", "a:b"] {
            assert_eq!(text.parse::<Card>(), Err(CardError::Form(text.to_owned())));
        }
        let card = "256:1".parse().unwrap();
        assert_eq!(Frame::new(Format::Bits26, card), Err(CardError::Facility(256)));
    }
}

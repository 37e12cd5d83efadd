//! Hands the controller's lines and stored events to another version of the program. A socket
//! carries them: it is the standard input of the program that replaces this one in the same
//! process. The lines stay held during the handover, and so keep their levels.
//!
//! The other version uses a line only for its previous function and wiring. It frees any other line
//! before it requests lines, a strike's line without current: after a profile moves the strike to
//! another line, a magnet on the old line must not keep the door shut.

use super::settings::fingerprint;
use super::{Kept, Message, Numbered};
use crate::level::ActiveLevel;
use crate::linux::{Gpio, GpioError, GpioLine};
use crate::profile::{Function, Lines, Profile, Wiring};
use crate::strike::NO_CURRENT;
use embedded_hal::digital::{OutputPin, PinState};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Environment variable of the program that takes over.
pub const VARIABLE: &str = "DOORWARD_LOCKD_HANDOVER";

/// Most lines of a controller: strike, button, fire input, contact.
const LINES: usize = 4;
/// First bytes of a handover. Another form is not understood.
const FORM: [u8; 4] = *b"DWH1";
/// Bytes per line: function, active level, and wiring.
const LINE: usize = 10;
/// Bytes before the events: the form, the number of lines, the lines, the number of the next event
/// and the count of lost events.
const HEAD: usize = FORM.len() + 1 + LINES * LINE + 4 + 4;
const MOST: usize = HEAD + Kept::MOST * Message::LENGTH;

/// A held line and its function.
#[derive(Debug)]
pub struct HeldLine {
    function: Function,
    active: ActiveLevel,
    /// A fingerprint of chip and wiring.
    wiring: u64,
    descriptor: OwnedFd,
}

impl HeldLine {
    /// Describes a line of `chip`.
    pub fn new(function: Function, chip: &str, wiring: &Wiring, descriptor: OwnedFd) -> Self {
        let active = wiring.active;
        Self { function, active, wiring: fingerprint(&(chip, wiring)), descriptor }
    }

    /// Checks whether the profile uses this line for the same function and wiring.
    fn is_of(&self, profile: &Profile) -> bool {
        let wiring = profile.lines.get(&self.function);
        wiring.is_some_and(|wiring| fingerprint(&(profile.chip.as_str(), wiring)) == self.wiring)
    }

    /// Frees the line. A strike's line is set to no current first, since a freed line may stay
    /// driven.
    fn release(self) {
        if self.function == Function::Strike {
            let level: PinState = self.active.on_the_wire(NO_CURRENT);
            let _ = GpioLine::adopted(self.descriptor).set_state(level);
        }
    }
}

/// Lines of the previous program, until they are claimed. Unclaimed lines are freed, even if this
/// program fails before it claims any.
#[derive(Debug, Default)]
pub struct Adopted(Vec<HeldLine>);

impl Adopted {
    /// Frees lines that the profile uses for another function or wires differently.
    pub fn keep_those_of(&mut self, profile: &Profile) {
        let (kept, others) = self.0.drain(..).partition(|line| line.is_of(profile));
        self.0 = kept;
        others.into_iter().for_each(HeldLine::release);
    }

    fn claim(&mut self, function: Function) -> Option<OwnedFd> {
        let place = self.0.iter().position(|line| line.function == function)?;
        Some(self.0.swap_remove(place).descriptor)
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        self.0.drain(..).for_each(HeldLine::release);
    }
}

/// Lines of a chip whose descriptors can be handed over, including adopted lines.
#[derive(Debug)]
pub struct HeldLines {
    gpio: Gpio,
    chip: String,
    adopted: Adopted,
    held: Vec<HeldLine>,
}

impl HeldLines {
    /// Opens the profile's chip. Uses a line of `adopted` if the profile wires it the same way.
    ///
    /// # Errors
    /// The chip's error.
    pub fn open(profile: &Profile, mut adopted: Adopted) -> Result<Self, GpioError> {
        adopted.keep_those_of(profile);
        let gpio = Gpio::open(profile)?;
        Ok(Self { gpio, chip: profile.chip.clone(), adopted, held: Vec::with_capacity(LINES) })
    }

    /// Returns the lines that can be handed over.
    pub fn held(&self) -> &[HeldLine] {
        &self.held
    }

    fn take(
        &mut self,
        function: Function,
        wiring: &Wiring,
        request: impl FnOnce(&mut Gpio) -> Result<GpioLine, GpioError>,
    ) -> Result<GpioLine, GpioError> {
        let line = match self.adopted.claim(function) {
            Some(descriptor) => GpioLine::adopted(descriptor),
            None => request(&mut self.gpio)?,
        };
        // The other version requests again any line that cannot be handed over.
        if let Ok(descriptor) = line.descriptor() {
            self.held.push(HeldLine::new(function, &self.chip, wiring, descriptor));
        }
        Ok(line)
    }
}

impl Lines for HeldLines {
    type Output = GpioLine;
    type Input = GpioLine;
    type Error = GpioError;

    fn output(
        &mut self,
        function: Function,
        wiring: &Wiring,
        level: PinState,
    ) -> Result<GpioLine, GpioError> {
        self.take(function, wiring, |gpio| gpio.output(function, wiring, level))
    }

    fn input(&mut self, function: Function, wiring: &Wiring) -> Result<GpioLine, GpioError> {
        self.take(function, wiring, |gpio| gpio.input(function, wiring))
    }
}

/// The content of a handover.
#[derive(Debug, Default)]
pub struct Handover {
    /// Lines by function.
    pub lines: Adopted,
    /// Events that no commander has taken.
    pub kept: Kept,
}

impl Handover {
    /// Returns the socket that becomes the standard input of the program that takes over.
    ///
    /// # Errors
    /// The socket cannot be created or has no room.
    pub fn into_input(lines: &[HeldLine], kept: &Kept) -> std::io::Result<OwnedFd> {
        if lines.len() > LINES {
            return Err(std::io::Error::other("more lines than a controller has"));
        }
        let (to, from) = UnixDatagram::pair()?;
        let mut bytes = Vec::with_capacity(MOST);
        bytes.extend(FORM);
        bytes.push(lines.len() as u8);
        for line in lines {
            bytes.extend([line.function as u8, u8::from(line.active == ActiveLevel::High)]);
            bytes.extend(line.wiring.to_le_bytes());
        }
        bytes.resize(HEAD - 8, 0);
        bytes.extend(kept.next().to_le_bytes());
        bytes.extend(kept.missed().to_le_bytes());
        for event in kept.after(0) {
            bytes.extend(Message::Event(*event).to_bytes());
        }
        let descriptors: Vec<BorrowedFd<'_>> =
            lines.iter().map(|line| line.descriptor.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(std::io::Error::other("more lines than a controller has"));
        }
        sendmsg(&to, &[IoSlice::new(&bytes)], &mut control, SendFlags::DONTWAIT)?;
        Ok(from.into())
    }

    /// Receives what the previous program handed over on `socket`, its standard input. A handover
    /// of another form is ignored and its lines are freed.
    ///
    /// # Errors
    /// The socket's error.
    pub fn receive(socket: impl AsFd) -> std::io::Result<Self> {
        let mut bytes = vec![0; MOST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(socket, &mut parts, &mut control, flags)?.bytes;
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let (Some(head), Some(events)) = (bytes.get(..HEAD), bytes.get(HEAD..received)) else {
            return Ok(Self::default());
        };
        let Some((form, head)) = head.split_first_chunk() else { return Ok(Self::default()) };
        if *form != FORM {
            return Ok(Self::default());
        }
        let (count, head) = (usize::from(head[0]), &head[1..]);
        let (lines, numbers) = head.split_at(LINES * LINE);
        let lines = lines.as_chunks::<LINE>().0.iter().take(count).zip(descriptors);
        let lines = lines.filter_map(|(line, descriptor)| {
            let [function, active, wiring @ ..] = *line;
            Some(HeldLine {
                function: Function::ALL.into_iter().find(|known| *known as u8 == function)?,
                active: if active == 1 { ActiveLevel::High } else { ActiveLevel::Low },
                wiring: u64::from_le_bytes(wiring),
                descriptor,
            })
        });
        let number =
            |at: usize| u32::from_le_bytes(core::array::from_fn(|byte| numbers[at + byte]));
        let lines = Adopted(lines.collect());
        let events: Vec<Numbered> = events
            .as_chunks::<{ Message::LENGTH }>()
            .0
            .iter()
            .filter_map(|frame| match Message::from_bytes(frame) {
                Ok(Message::Event(event)) => Some(event),
                _ => None,
            })
            .collect();
        Ok(Self { lines, kept: Kept::resume(events, number(0), number(4)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Event;
    use core::time::Duration;

    const OLD: &str = "board = \"x\"\nchip = \"c\"\ntested = \"no\"\n[lines]\n\
        strike = { line = 17, active = \"high\" }\n\
        request_to_exit = { line = 27, active = \"low\", bias = \"pull-up\" }\n";

    /// Returns what another version receives of the lines held under the profile [`OLD`].
    fn handed_over(kept: &Kept) -> Handover {
        let old = Profile::parse(OLD).unwrap();
        let held = [Function::Strike, Function::RequestToExit].map(|function| {
            let descriptor = tempfile::tempfile().unwrap().into();
            HeldLine::new(function, &old.chip, &old.lines[&function], descriptor)
        });
        Handover::receive(Handover::into_input(&held, kept).unwrap()).unwrap()
    }

    #[test]
    fn lines_of_the_old_profile_are_never_used_for_another_function() {
        let both = [Function::Strike, Function::RequestToExit];
        let table: [(&str, String, &[Function]); 6] = [
            ("the same", OLD.into(), &both),
            (
                "functions moved",
                OLD.replace("17", "1").replace("27", "17").replace("= 1,", "= 27,"),
                &[],
            ),
            ("strike moved", OLD.replace("17", "22"), &both[1..]),
            ("another level", OLD.replace("high", "low"), &both[1..]),
            ("another pull", OLD.replace("pull-up", "disabled"), &both[..1]),
            ("another chip", OLD.replace("\"c\"", "\"d\""), &[]),
        ];
        for (what, profile, expected) in table {
            let mut lines = handed_over(&Kept::default()).lines;
            lines.keep_those_of(&Profile::parse(&profile).unwrap());
            let claimed: Vec<Function> =
                both.into_iter().filter(|function| lines.claim(*function).is_some()).collect();
            assert_eq!(claimed, expected, "{what}");
        }
    }

    #[test]
    fn events_and_their_numbers_continue_after_a_handover() {
        let mut kept = Kept::default();
        for second in 0..3 {
            kept.push(Duration::from_secs(second), Event::ExitPressed);
        }
        kept.taken(2, Duration::ZERO);
        let after = handed_over(&kept).kept;
        assert_eq!(after.after(0).map(|event| event.number).collect::<Vec<_>>(), [3]);
        kept.taken(3, Duration::ZERO);
        let mut after = handed_over(&kept).kept;
        after.push(Duration::ZERO, Event::Locked);
        assert_eq!(after.after(0).map(|event| event.number).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn handover_of_another_form_is_ignored() {
        let (to, from) = UnixDatagram::pair().unwrap();
        to.send(&[1; HEAD]).unwrap();
        let handed = Handover::receive(from).unwrap();
        assert_eq!((handed.lines.0.len(), handed.kept.after(0).count()), (0, 0));
    }
}

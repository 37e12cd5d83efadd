//! How a controller hands its lines and what it has kept to another version of itself: by a socket
//! that is the standard input of the program that replaces it in the same process. The lines stay
//! held, and so at their levels, all the while.

use super::{Kept, Message, Numbered};
use crate::profile::Function;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// In the environment of the program that takes over.
pub const VARIABLE: &str = "DOORWARD_LOCKD_HANDOVER";

/// Most lines that a controller has: strike, button, fire input, contact.
const LINES: usize = 4;
/// Bytes before the events: number of lines, their functions, and the count of missed events.
const HEAD: usize = 1 + LINES + 4;
const MOST: usize = HEAD + Kept::MOST * Message::LENGTH;

/// What is handed over.
#[derive(Debug, Default)]
pub struct Handover {
    /// Lines by their function.
    pub lines: Vec<(Function, OwnedFd)>,
    /// What no commander has taken.
    pub kept: Kept,
}

impl Handover {
    /// The socket that is to be the standard input of the program that takes over.
    ///
    /// # Errors
    /// No socket, or no room in it.
    pub fn into_input(lines: &[(Function, OwnedFd)], kept: &Kept) -> std::io::Result<OwnedFd> {
        let (to, from) = UnixDatagram::pair()?;
        let mut bytes = Vec::with_capacity(MOST);
        bytes.push(lines.len() as u8);
        for place in 0..LINES {
            let function = lines.get(place).map(|(function, _)| *function as u8);
            bytes.push(function.unwrap_or(u8::MAX));
        }
        bytes.extend(kept.missed().to_le_bytes());
        for event in kept.after(0) {
            bytes.extend(Message::Event(*event).to_bytes());
        }
        let descriptors: Vec<BorrowedFd<'_>> = lines.iter().map(|(_, line)| line.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(std::io::Error::other("more lines than a controller has"));
        }
        sendmsg(&to, &[IoSlice::new(&bytes)], &mut control, SendFlags::DONTWAIT)?;
        Ok(from.into())
    }

    /// What the program before this one has handed over by the standard input. A handover that is
    /// not understood is none: its lines are let go of.
    ///
    /// # Errors
    /// The standard input is no such socket.
    pub fn from_input() -> std::io::Result<Self> {
        let mut bytes = vec![0; MOST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(std::io::stdin(), &mut parts, &mut control, flags)?.bytes;
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
        let functions = head[1..1 + LINES].iter().filter_map(|number| {
            Function::ALL.into_iter().find(|function| *function as u8 == *number)
        });
        let lines = functions.zip(descriptors).collect();
        let missed = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
        let events: Vec<Numbered> = events
            .as_chunks::<{ Message::LENGTH }>()
            .0
            .iter()
            .filter_map(|frame| match Message::from_bytes(frame) {
                Ok(Message::Event(event)) => Some(event),
                _ => None,
            })
            .collect();
        Ok(Self { lines, kept: Kept::resume(events, missed) })
    }
}

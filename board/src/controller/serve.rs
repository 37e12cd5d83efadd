//! The controller's loop: steps the state machine, follows the one commander and stores events.

use super::{Command, Controller, Event, Kept, Message, Settings, Welcome};
use crate::STEP;
use core::time::Duration;
use embedded_hal::digital::{InputPin, StatefulOutputPin};
use rustix::net::{SendFlags, send};
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

/// A commander that is silent for this long is hung or gone, and its release ends. Eight of its
/// heartbeats.
pub const SILENCE: Duration = Duration::from_secs(2);
/// Most events sent to a commander that it has not taken. With the answers to its heartbeats they
/// fit in the smallest socket buffer of Linux.
const UNTAKEN: usize = 64;
/// Most frames read in a step: a flood costs no more.
const FRAMES: usize = 16;

/// Why a controller stops serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Stop,
    /// Another version takes over, with the lines and the stored events.
    Upgrade,
}

/// A controller, its commander and the events stored for the next commander.
#[derive(Debug)]
pub struct Server<Line: StatefulOutputPin, Input> {
    controller: Controller<Line, Input>,
    commander: Option<Commander>,
    kept: Kept,
    welcome: Welcome,
}

#[derive(Debug)]
struct Commander {
    stream: UnixStream,
    buffer: [u8; Message::LENGTH * FRAMES],
    filled: usize,
    heard: Duration,
    /// Number of the last event that was sent.
    sent: u32,
    /// True if another commander was refused, which is reported once.
    has_rival: bool,
}

impl Commander {
    /// Returns the next frame, if it has arrived completely.
    fn frame(&mut self) -> Option<[u8; Message::LENGTH]> {
        if self.filled < Message::LENGTH {
            return None;
        }
        let frame = core::array::from_fn(|index| self.buffer[index]);
        self.buffer.copy_within(Message::LENGTH..self.filled, 0);
        self.filled -= Message::LENGTH;
        Some(frame)
    }

    /// Reads the bytes that have arrived; returns `false` if the commander is gone.
    fn read(&mut self) -> bool {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => false,
            Ok(read) => {
                self.filled += read;
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Sends new events, up to the limit of untaken events.
    fn tell(&mut self, kept: &Kept) {
        for event in kept.after(0).take(UNTAKEN) {
            if event.number > self.sent {
                // Without room, a later step sends them, or the next answer finds no room either.
                if !self.write(Message::Event(*event)) {
                    return;
                }
                self.sent = event.number;
            }
        }
    }

    /// Sends at once or not at all; returns `false` if the commander is gone, or has left no room
    /// because it does not read.
    fn write(&self, message: Message) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(&self.stream, &message.to_bytes(), flags) == Ok(Message::LENGTH)
    }
}

impl<Line: StatefulOutputPin, Input: InputPin> Server<Line, Input> {
    /// Creates a server that keeps `kept` for its first commander. `supervised`: a supervisor, not
    /// a daemon, restarts it.
    pub fn new(
        controller: Controller<Line, Input>,
        settings: &Settings,
        supervised: bool,
        kept: Kept,
    ) -> Self {
        let welcome = Welcome { fingerprint: settings.fingerprint(), supervised };
        Self { controller, commander: None, kept, welcome }
    }

    /// Serves until `end` returns a reason. `clock` returns `CLOCK_MONOTONIC`, `accept` a new
    /// commander, and `tell` writes to a log that never blocks.
    pub fn serve(
        &mut self,
        mut clock: impl FnMut() -> Duration,
        mut accept: impl FnMut() -> Option<UnixStream>,
        mut end: impl FnMut(&Controller<Line, Input>) -> Option<End>,
        mut tell: impl FnMut(&str, Option<Event>),
    ) -> End {
        loop {
            let now = clock();
            for event in self.controller.step(now) {
                tell("event", Some(event));
                self.kept.push(now, event);
            }
            if let Some(end) = end(&self.controller) {
                return end;
            }
            if let Some(stream) = accept() {
                self.welcome(stream, now, &mut tell);
            }
            match self.commander.as_mut().map(Commander::read) {
                None => {}
                Some(false) => self.lose(clock(), "the commander is gone", &mut tell),
                Some(true) => self.obey(clock(), &mut tell),
            }
            std::thread::sleep(STEP);
        }
    }

    /// Returns the events that no commander has taken.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    fn welcome(
        &mut self,
        stream: UnixStream,
        now: Duration,
        tell: &mut impl FnMut(&str, Option<Event>),
    ) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let buffer = [0; Message::LENGTH * FRAMES];
        let next = Commander { stream, buffer, filled: 0, heard: now, sent: 0, has_rival: false };
        if let Some(commander) = &mut self.commander {
            // A hung commander is dropped when it is silent for too long; until then no other is
            // accepted.
            next.write(Message::Busy);
            if !core::mem::replace(&mut commander.has_rival, true) {
                tell("a second commander is refused while the first lives", None);
            }
            return;
        }
        if next.write(Message::Welcome(self.welcome)) {
            tell("a commander is connected", None);
            self.commander = Some(next);
        }
    }

    fn lose(&mut self, now: Duration, why: &str, tell: &mut impl FnMut(&str, Option<Event>)) {
        self.commander = None;
        self.controller.commander_lost(now);
        tell(why, None);
    }

    /// Follows the orders that have arrived, and sends events.
    fn obey(&mut self, now: Duration, tell: &mut impl FnMut(&str, Option<Event>)) {
        let Self { controller, commander, kept, .. } = self;
        let Some(commander) = commander else { return };
        let mut lives = true;
        while let Some(frame) = commander.frame() {
            commander.heard = now;
            let answer = match Message::from_bytes(&frame) {
                Ok(Message::Heartbeat) => Some(Message::Status(controller.status())),
                Ok(Message::Command(number, command)) => {
                    let outcome = controller.command(now, &command);
                    if command != Command::Lock {
                        tell("a commander's order was followed or refused", None);
                    }
                    Some(Message::Outcome(number, outcome))
                }
                Ok(Message::Taken(number)) => {
                    kept.taken(number, now);
                    None
                }
                // Messages that only a controller sends, and invalid frames.
                Ok(_) | Err(_) => return self.lose(now, "the commander sent a bad frame", tell),
            };
            // An answer is never sent before the events that led to it.
            for event in controller.happened() {
                tell("event", Some(event));
                kept.push(now, event);
            }
            commander.tell(kept);
            lives = answer.is_none_or(|answer| commander.write(answer));
            if !lives {
                break;
            }
        }
        commander.tell(kept);
        if !lives {
            self.lose(now, "the commander does not read", tell);
        } else if now.saturating_sub(commander.heard) > SILENCE {
            self.lose(now, "the commander is silent", tell);
        }
    }
}

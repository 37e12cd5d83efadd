//! The daemon's side: the child as a pin.

use super::{Message, READY};
use crate::{Lock, Pulse};
use core::time::Duration;
use embedded_hal::digital::{self, ErrorKind, ErrorType, OutputPin, PinState};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// How long the child may take to lock and end once its pipe is closed.
const ENDING: Duration = Duration::from_secs(1);

/// Why there is no child that holds the line.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program did not start.
    #[error("the process that holds the strike's line does not start: {0}")]
    Start(#[source] std::io::Error),
    /// It ended, or said something else, before it held the line.
    #[error("the process that holds the strike's line could not take it: see its message above")]
    NotHeld,
}

/// The child is gone.
#[derive(Debug, thiserror::Error)]
#[error("the process that holds the strike's line is gone, start it anew: {0}")]
pub struct HeldPinError(#[source] std::io::Error);

impl digital::Error for HeldPinError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The strike's logical pin, held by a child process. Dropping it closes the pipe, upon which the
/// child locks and ends.
#[derive(Debug)]
pub struct HeldPin {
    pipe: Option<ChildStdin>,
    child: Child,
    lock: Lock,
    pulse: Pulse,
}

impl HeldPin {
    /// Starts `command`, which must run [`hold`](super::hold) on its standard input and output,
    /// and waits until it holds the line. The child is in a process group of its own, so that a
    /// terminal's Ctrl-C ends the daemon and not the child before it.
    ///
    /// # Errors
    /// It does not start, or cannot take the line.
    pub fn spawn(mut command: Command, lock: Lock, pulse: Pulse) -> Result<Self, SpawnError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(SpawnError::Start)?;
        let pipe = child.stdin.take();
        let ready = child.stdout.take();
        let held = Self { pipe, child, lock, pulse };
        let mut said = [0];
        match ready.map(|mut ready| ready.read_exact(&mut said)) {
            Some(Ok(())) if said == [READY] => Ok(held),
            _ => Err(SpawnError::NotHeld),
        }
    }

    /// Whether the child lives. When it does not, its line is as its board leaves it: start anew.
    pub fn is_held(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn send(&mut self, message: Message) -> Result<(), HeldPinError> {
        let gone = || HeldPinError(std::io::ErrorKind::BrokenPipe.into());
        let pipe = self.pipe.as_mut().ok_or_else(gone)?;
        pipe.write_all(&message.to_bytes()).map_err(HeldPinError)
    }
}

impl ErrorType for HeldPin {
    type Error = HeldPinError;
}

impl OutputPin for HeldPin {
    fn set_low(&mut self) -> Result<(), HeldPinError> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), HeldPinError> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, state: PinState) -> Result<(), HeldPinError> {
        self.send(if state == self.lock.safe_level() {
            Message::Lock
        } else {
            Message::Engage(self.pulse)
        })
    }
}

impl Drop for HeldPin {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        // Never killed: only by its own end is the line left at its safe level.
        while waited < ENDING && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(step);
            waited += step;
        }
    }
}

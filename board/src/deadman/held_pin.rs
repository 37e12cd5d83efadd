//! The daemon's side: the child as a pin.

use super::{Message, READY};
use crate::{Lock, Pulse};
use core::time::Duration;
use embedded_hal::digital::{self, ErrorKind, ErrorType, OutputPin, PinState};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Instant;

/// Between two starts: a line that something else holds is not asked for a hundred times a second.
const RESTART: Duration = Duration::from_secs(1);

/// How long the child may take until it holds the line: the start of a program on a machine that is
/// busy with its own start. The watchdog of the daemon is more patient.
const HELD_WITHIN: Duration = Duration::from_secs(10);

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
    /// It hung, and was ended.
    #[error(
        "the process that is to hold the strike's line has not taken it within {} s and was ended: see whether \
         `gpioinfo` answers, and restart the machine if it does not", .0.as_secs()
    )]
    Hung(Duration),
}

/// The child is gone, and there is no other yet.
#[derive(Debug, thiserror::Error)]
pub enum HeldPinError {
    /// Too soon after the last start; asking again later starts one.
    #[error("the process that holds the strike's line is gone; another is started within a second")]
    Gone,
    /// Another could not be started.
    #[error("the process that held the strike's line is gone: {0}")]
    Restart(#[from] SpawnError),
    /// Another was started, and did not listen either.
    #[error("the process that holds the strike's line does not listen; see its message above: {0}")]
    Deaf(#[source] std::io::Error),
}

impl digital::Error for HeldPinError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The strike's logical pin, held by a child process. Should that be gone, the next level written
/// starts another. Dropping the pin closes the pipe, upon which the child locks and ends.
#[derive(Debug)]
pub struct HeldPin {
    command: Command,
    holder: Holder,
    started: Instant,
    lock: Lock,
    pulse: Pulse,
}

/// A child that holds the line.
#[derive(Debug)]
struct Holder {
    pipe: Option<ChildStdin>,
    child: Child,
}

impl Holder {
    /// Starts a child and waits until it holds the line.
    fn start(command: &mut Command) -> Result<Self, SpawnError> {
        let mut child = command.spawn().map_err(SpawnError::Start)?;
        let pipe = child.stdin.take();
        let ready = child.stdout.take();
        let mut holder = Self { pipe, child };
        // A read knows no time limit; this thread ends with the child at the latest.
        let (tell, told) = sync_channel(1);
        let listener = std::thread::Builder::new().name("dead man's word".into());
        let listening = listener.spawn(move || {
            let mut said = [0];
            let read = ready.map(|mut ready| ready.read_exact(&mut said));
            let _ = tell.try_send(matches!(read, Some(Ok(()))) && said == [READY]);
        });
        listening.map_err(SpawnError::Start)?;
        match told.recv_timeout(HELD_WITHIN) {
            Ok(true) => Ok(holder),
            Ok(false) | Err(RecvTimeoutError::Disconnected) => Err(SpawnError::NotHeld),
            Err(RecvTimeoutError::Timeout) => {
                // Nobody told it to engage: if it has the line, that is at its safe level.
                let _ = holder.child.kill();
                Err(SpawnError::Hung(HELD_WITHIN))
            }
        }
    }

    fn send(&mut self, message: Message) -> std::io::Result<()> {
        let pipe = self.pipe.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        pipe.write_all(&message.to_bytes())
    }
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
        let holder = Holder::start(&mut command)?;
        Ok(Self { command, holder, started: Instant::now(), lock, pulse })
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.holder.child.id()
    }

    fn send(&mut self, message: Message) -> Result<(), HeldPinError> {
        if self.holder.send(message).is_ok() {
            return Ok(());
        }
        if self.started.elapsed() < RESTART {
            return Err(HeldPinError::Gone);
        }
        self.started = Instant::now();
        // The first is gone, or about to be: it no longer reads.
        self.holder = Holder::start(&mut self.command)?;
        self.holder.send(message).map_err(HeldPinError::Deaf)
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

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        // Not killed: only by its own end is the line of one that may be engaged left at its safe level.
        while waited < ENDING && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(step);
            waited += step;
        }
    }
}

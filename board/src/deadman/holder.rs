//! The child's side: holds the line, obeys the messages, and keeps the time itself.

use super::{Garbage, Message, READY};
use crate::strike::{Lock, Pulse, Refusal, Strike};
use core::time::Duration;
use embedded_hal::digital::OutputPin;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

/// Between two attempts at a line that does not move.
const RETRY: Duration = Duration::from_millis(20);
/// How often locking is tried before the child ends: 0.5 s, so that a pulse and a second suffice.
const LAST_ATTEMPTS: u32 = 25;
/// With nothing engaged there is nothing to wake up for.
const IDLE: Duration = Duration::from_secs(3600);

/// Why the child ended other than by the closing of the pipe.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// What arrived was no message.
    #[error(transparent)]
    Garbage(#[from] Garbage),
    /// The pipe failed.
    #[error("the pipe from the daemon failed, the line was locked: {0}")]
    Pipe(#[source] std::io::Error),
    /// The line could not be brought to its safe level.
    #[error("the strike's line cannot be locked; check its wiring and its permissions: {0}")]
    Line(String),
    /// The daemon could not be told that the line is held.
    #[error("the daemon did not take the word that the line is held: {0}")]
    Ready(#[source] std::io::Error),
}

/// Holds a logical pin for the daemon at the other end of `messages`, until that closes. Says
/// [`READY`] once the line is at its safe level. Returns with the line at its safe level.
///
/// # Errors
/// Garbage, a pipe that fails, a line that does not move; the line is locked before, if it can be.
pub fn hold<Pin: OutputPin>(
    messages: impl Read + Send + 'static,
    mut ready: impl Write,
    pin: Pin,
    lock: Lock,
) -> Result<(), HoldError> {
    let line = |error: Pin::Error| HoldError::Line(format!("{error:?}"));
    let mut strike = Strike::new(pin, lock, Pulse::default()).map_err(line)?;
    ready.write_all(&[READY]).and_then(|()| ready.flush()).map_err(HoldError::Ready)?;
    // The pipe is read by a thread of its own: a read waits as long as it likes, the timer does not.
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || read(messages, &sender));
    let start = Instant::now();
    let outcome = obey(&receiver, &mut strike, start);
    let mut locked = strike.relock(start.elapsed());
    for _ in 1..LAST_ATTEMPTS {
        if locked.is_ok() {
            break;
        }
        std::thread::sleep(RETRY);
        locked = strike.relock(start.elapsed());
    }
    outcome?;
    locked.map(|_| ()).map_err(line)
}

fn obey<Pin: OutputPin>(
    receiver: &Receiver<Result<Message, HoldError>>,
    strike: &mut Strike<Pin>,
    start: Instant,
) -> Result<(), HoldError> {
    loop {
        let mut wait = strike.due_in(start.elapsed()).unwrap_or(IDLE);
        if strike.step(start.elapsed()).is_err() {
            wait = RETRY;
        }
        match receiver.recv_timeout(wait) {
            Ok(Ok(Message::Engage(pulse))) => {
                // Interlocks are the daemon's to know.
                if let Err(Refusal::Pin(error)) = strike.engage_for(start.elapsed(), pulse, false) {
                    return Err(HoldError::Line(format!("{error:?}")));
                }
            }
            // Should it fail, it is due from then on.
            Ok(Ok(Message::Lock)) => drop(strike.relock(start.elapsed())),
            Ok(Err(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Passes on what arrives until the pipe closes or something else than a message comes.
fn read(mut pipe: impl Read, sender: &SyncSender<Result<Message, HoldError>>) {
    loop {
        let mut bytes = [0; Message::LENGTH];
        let message = match pipe.read_exact(&mut bytes) {
            Ok(()) => Message::from_bytes(bytes).map_err(HoldError::from),
            // Also a message cut off by the daemon's death.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return,
            Err(error) => Err(HoldError::Pipe(error)),
        };
        let over = message.is_err();
        if sender.send(message).is_err() || over {
            return;
        }
    }
}

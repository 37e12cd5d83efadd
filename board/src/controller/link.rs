//! The commander's side of the connection to the lock controller. It reconnects after every loss.
//! The daemon's door thread steps it; it never blocks.

use super::{Command, Message, Numbered, Outcome, Status, Welcome};
use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// A controller that does not answer heartbeats for this long is hung.
const SILENCE: Duration = Duration::from_secs(2);
/// Time between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(50);

const BUSY: &str = "another daemon is its commander: end that one first";

/// A message from the controller, or a change of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The controller is connected.
    Up(Welcome),
    /// The controller is not connected.
    Down(String),
    /// The controller's status.
    Status(Status),
    /// The outcome of the order with this number.
    Outcome(u32, Outcome),
    /// An event.
    Event(Numbered),
}

/// Connects to a controller's socket at once or not at all: a stopped controller with a full queue
/// never blocks the caller.
///
/// # Errors
/// The system's error; `WouldBlock` if the queue is full.
pub fn connect(path: &Path) -> std::io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// Opens connections.
type Connect = Box<dyn FnMut() -> std::io::Result<UnixStream> + Send>;

/// A link to the controller.
pub struct Link {
    connect: Connect,
    connection: Option<Connection>,
    next_attempt: Duration,
    /// True after a loss was reported; reported once per loss.
    is_down: bool,
    number: u32,
}

struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    heard: Duration,
    beat: Option<Duration>,
}

impl Link {
    /// Creates a link that connects with `connect`.
    pub fn new(connect: impl FnMut() -> std::io::Result<UnixStream> + Send + 'static) -> Self {
        Self {
            connect: Box::new(connect),
            connection: None,
            next_attempt: Duration::ZERO,
            is_down: false,
            number: 0,
        }
    }

    /// Connects, reads and sends heartbeats. Returns what arrived.
    pub fn step(&mut self, now: Duration) -> Vec<Report> {
        let mut reports = Vec::new();
        if self.connection.is_none() && now >= self.next_attempt {
            self.next_attempt = now.saturating_add(AGAIN);
            match (self.connect)().and_then(|stream| Connection::over(stream, now)) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => self.down(&mut reports, format!("it cannot be reached: {error}")),
            }
        }
        let Some(connection) = &mut self.connection else { return reports };
        let lost = connection.listen(now, &mut reports).err();
        let lost = lost.or_else(|| connection.beat(now).err());
        if let Some(why) = lost {
            self.down(&mut reports, why);
        } else if reports.iter().any(|report| matches!(report, Report::Up(_))) {
            self.is_down = false;
        }
        reports
    }

    /// Sends an order and returns its number, which its outcome carries. An order that cannot be
    /// sent has no outcome, and the next step reports that the link is down.
    pub fn send(&mut self, command: Command) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.write(Message::Command(self.number, command));
        self.number
    }

    /// Confirms the events up to this number.
    pub fn taken(&mut self, number: u32) {
        self.write(Message::Taken(number));
    }

    /// Returns the id of the process at the other end, if connected.
    pub fn peer(&self) -> Option<i32> {
        let stream = &self.connection.as_ref()?.stream;
        let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
        Some(peer.pid.as_raw_nonzero().get())
    }

    fn write(&mut self, message: Message) {
        let failed = self
            .connection
            .as_mut()
            .is_some_and(|connection| connection.stream.write_all(&message.to_bytes()).is_err());
        if failed {
            // Part of a frame may have been sent: the connection cannot be used any more.
            self.connection = None;
        }
    }

    fn down(&mut self, reports: &mut Vec<Report>, why: String) {
        self.connection = None;
        if !self.is_down {
            self.is_down = true;
            reports.push(Report::Down(why));
        }
    }
}

impl Connection {
    fn over(stream: UnixStream, now: Duration) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), heard: now, beat: None })
    }

    /// Reads what has arrived. Returns an error with the reason if the connection is over.
    fn listen(&mut self, now: Duration, reports: &mut Vec<Report>) -> Result<(), String> {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                // Other messages in the buffer will be sent again, but not the reason.
                Ok(0) if self.buffer.starts_with(&Message::Busy.to_bytes()) => {
                    return Err(BUSY.into());
                }
                Ok(0) => return Err("it has ended the connection".into()),
                Ok(read) => self.buffer.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let (frames, rest) = self.buffer.as_chunks::<{ Message::LENGTH }>();
        for frame in frames {
            self.heard = now;
            reports.push(match Message::from_bytes(frame).map_err(|error| error.to_string())? {
                Message::Welcome(welcome) => Report::Up(welcome),
                Message::Status(status) => Report::Status(status),
                Message::Outcome(number, outcome) => Report::Outcome(number, outcome),
                Message::Event(event) => Report::Event(event),
                Message::Busy => return Err(BUSY.into()),
                other => return Err(format!("it said {other:?}, which is a commander's to say")),
            });
        }
        let rest = rest.len();
        self.buffer.drain(..self.buffer.len() - rest);
        if now.saturating_sub(self.heard) > SILENCE {
            return Err(format!("it has not answered for {} s", SILENCE.as_secs()));
        }
        Ok(())
    }

    fn beat(&mut self, now: Duration) -> Result<(), String> {
        if self.beat.is_some_and(|beat| now.saturating_sub(beat) < HEARTBEAT) {
            return Ok(());
        }
        self.beat = Some(now);
        self.stream.write_all(&Message::Heartbeat.to_bytes()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_daemon_reports_that_another_is_connected() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&Message::Busy.to_bytes()).unwrap();
        drop(theirs);
        let mut source = Some(ours);
        let mut link = Link::new(move || source.take().ok_or(ErrorKind::NotFound.into()));
        assert_eq!(link.step(Duration::ZERO), [Report::Down(BUSY.into())]);
    }

    #[test]
    fn stopped_controller_with_a_full_queue_never_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lockd.sock");
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        let kept: Vec<_> = (0..4).map(|_| connect(&path)).collect();
        assert!(kept[0].is_ok());
        let refused = kept[3].as_ref().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock, "{refused}");
    }
}

//! A client of HTTP/2 that controls every frame, so that it can leave answers unread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection.
pub struct Http2 {
    tcp: TcpStream,
    next: u32,
    kept: Vec<u8>,
    has_ended: bool,
}

impl Http2 {
    /// Connects. Of each body the terminal may send this many bytes.
    pub fn open(address: SocketAddr, window: u32) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut client = Self { tcp, next: 1, kept: Vec::new(), has_ended: false };
        client.tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.set_window(window);
        client
    }

    /// Changes how many bytes of each body the terminal may send, also of those that it sends.
    pub fn set_window(&mut self, window: u32) {
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
        self.send(SETTINGS, 0, 0, &setting).unwrap();
    }

    /// Sends a request without a body; returns its stream, or an error if the connection ended.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<u32> {
        // Literals without indexing; the names of pseudo-headers are entries of the static table.
        let mut block = Vec::new();
        for (name, value) in [(2, method), (6, "http"), (4, path), (1, "localhost")] {
            block.push(name);
            text(&mut block, value);
        }
        for (name, value) in headers {
            block.push(0);
            text(&mut block, &name.to_ascii_lowercase());
            text(&mut block, value);
        }
        let stream = self.next;
        self.next += 2;
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block)?;
        Ok(stream)
    }

    /// Checks whether the answer on this stream is a 200. Other frames are skipped.
    pub fn is_ok(&mut self, stream: u32) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while let Some(frame) = self.frame(until) {
            if frame.stream == stream && frame.kind == HEADERS {
                // Entry 8 of the static table: `:status: 200`.
                return frame.payload.first() == Some(&0x88);
            }
        }
        false
    }

    /// Returns the body on this stream, up to its end. Other frames are skipped.
    pub fn body(&mut self, stream: u32) -> String {
        let (mut body, until) = (Vec::new(), Instant::now() + Duration::from_secs(20));
        while let Some(frame) = self.frame(until) {
            if frame.stream != stream {
                continue;
            }
            if frame.kind == DATA {
                body.extend(frame.payload);
            }
            if frame.kind == RST_STREAM || frame.kind == DATA && frame.flags & END_STREAM > 0 {
                break;
            }
        }
        String::from_utf8(body).unwrap()
    }

    /// Checks whether the terminal ends the connection within this time.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.frame(until).is_some() {}
        self.has_ended
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.tcp.write_all(&frame)
    }

    /// Returns the next frame; `None` at that time, and when the connection ended.
    fn frame(&mut self, until: Instant) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, w, x, y, z, rest @ ..] = &self.kept[..] {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let (kind, flags, payload) = (*kind, *flags, payload.to_vec());
                    let stream = u32::from_be_bytes([*w, *x, *y, *z]);
                    self.kept.drain(..9 + length);
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return None;
            }
            self.tcp.set_read_timeout(Some(rest)).unwrap();
            let mut buffer = [0; 16 * 1024];
            match self.tcp.read(&mut buffer) {
                Ok(count) if count > 0 => self.kept.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                _ => {
                    self.has_ended = true;
                    return None;
                }
            }
        }
    }
}

/// Writes a string of HPACK that is not compressed.
fn text(block: &mut Vec<u8>, text: &str) {
    match text.len() {
        short @ ..127 => block.push(short as u8),
        // An integer with a prefix of 7 bits.
        long @ 127..255 => block.extend([127, (long - 127) as u8]),
        _ => panic!("{text}"),
    }
    block.extend(text.bytes());
}

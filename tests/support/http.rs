//! A client of the HTTP interface, written from the contract alone: bytes on a socket, so that a test
//! controls every one of them.
use super::terminal::Terminal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    /// Returns status, `error_code` and `error_field`.
    pub fn verdict(&self) -> (u16, String, String) {
        let json = self.json();
        let text = |name: &str| json[name].as_str().unwrap_or("").to_owned();
        (self.status, text("error_code"), text("error_field"))
    }
}

/// Returns where the daemon listens, from its log.
pub fn address(terminal: &Terminal) -> SocketAddr {
    let started = Instant::now();
    loop {
        let log = terminal.log();
        let at = log.find("HTTP on http").map(|at| &log[at + "HTTP on ".len()..]);
        if let Some(url) = at.and_then(|rest| rest.lines().next()) {
            return url.trim().rsplit("//").next().unwrap().parse().unwrap();
        }
        assert!(started.elapsed() < PATIENCE, "no HTTP: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A connection.
pub struct Connection {
    stream: TcpStream,
    kept: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, kept: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Returns the next answer; `None` when the connection ended.
    pub fn reply(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(end) = self.kept.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.kept[..end].to_vec()).unwrap();
        self.kept.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|header| header.0 == "content-length");
        let length: usize = length.map_or(0, |header| header.1.parse().unwrap());
        while self.kept.len() < length {
            self.more()?;
        }
        let body = self.kept.drain(..length).collect();
        Some(Reply { status, headers, body })
    }

    /// Returns the text up to and with an empty line: an event of a stream.
    pub fn event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.kept.windows(2).position(|two| two == b"\n\n") {
                let text = self.kept.drain(..end + 2).collect();
                return Some(String::from_utf8(text).unwrap());
            }
            self.more()?;
        }
    }

    /// Checks whether the terminal ends the connection within this time.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.kept.extend_from_slice(&buffer[..count]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}; so far {}", String::from_utf8_lossy(&self.kept)),
        }
    }

    /// Sends a request and returns its answer.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        (body, content_type): (&[u8], &str),
    ) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !content_type.is_empty() {
            head += &format!("Content-Type: {content_type}\r\n");
        }
        if !body.is_empty() || method != "GET" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        // Fails when the terminal has answered and ended the connection; the answer is read.
        let _ = self.send(&[head.as_bytes(), body].concat());
        self.reply().unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }
}

/// The form of a body with these parts: name, file name and content.
pub fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (Vec<u8>, String) {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"\r\nContent-Type: image/jpeg"));
        let file = file.unwrap_or_default();
        body.extend(
            format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n")
                .bytes(),
        );
        body.extend_from_slice(content);
        body.extend(b"\r\n");
    }
    body.extend(b"--b0undary--\r\n");
    (body, "multipart/form-data; boundary=b0undary".to_owned())
}

//! An HTTP server on loopback that receives a webhook's events and answers as a test wants.
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Signs the events of the tests.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Returns the keys of a webhook.
pub fn webhook(url: &str) -> String {
    format!("[webhook]\nurl = {url:?}\nsecret = {SECRET:?}\n")
}

/// A request as it came.
#[derive(Clone)]
pub struct Received {
    pub at: Instant,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Receiver {
    received: Arc<Mutex<Vec<Received>>>,
    port: u16,
}

/// Answers 200 without a body.
pub fn ok(stream: &mut TcpStream) {
    answer(stream, "200 OK", "");
}

/// Answers with a status and more header lines, each ended by CRLF.
pub fn answer(stream: &mut TcpStream, status: &str, headers: &str) {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n");
    // Fails when the daemon is gone, as some tests want.
    let _ = stream.write_all(head.as_bytes());
}

impl Receiver {
    /// Serves on a free port until the test ends; `answer` gets the number of the request, from 0.
    pub fn start(answer: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0", answer)
    }

    /// Serves on this address.
    pub fn on(
        address: &str,
        answer: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&received), Arc::new(answer));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let number = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(request);
                        kept.len() - 1
                    };
                    answer(number, &mut stream);
                });
            }
        });
        Self { received, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/events", self.port)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until this many requests have come.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        let started = Instant::now();
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(started.elapsed() < PATIENCE, "{} of {count} requests came", received.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Reads a request with a Content-Length.
fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    assert!(line.starts_with("POST /events HTTP/1.1"), "{line}");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Received { at: Instant::now(), headers, body })
}

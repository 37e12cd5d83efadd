//! Observes and controls the virtual machine from outside, without the guest's help, through qemu's
//! monitor (QMP).
//!
//! The machine's GPIO chip is a PL061. A read of its data register through the address of a line
//! (the mask is in address bits 2–9) gives only that line's level, as seen from outside. The
//! machine's only button is wired to line 3.

use super::VmError;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The address of the machine's PL061.
const GPIO: u64 = 0x0903_0000;
/// Time for an answer of qemu, which waits for the emulation to pause.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Time between two readings of a line: far below the shortest pulse.
const LOOK: Duration = Duration::from_millis(25);

/// A connection to the monitor.
pub struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the monitor at the other end of a stream.
    ///
    /// # Errors
    /// It is not qemu's.
    pub fn over(stream: UnixStream) -> Result<Self, VmError> {
        stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(VmError::io("the monitor of qemu"))?;
        let mut monitor = Self { reader: BufReader::new(stream) };
        monitor.message()?;
        monitor.execute(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(monitor)
    }

    fn message(&mut self) -> Result<Value, VmError> {
        let mut line = String::new();
        self.reader.read_line(&mut line).map_err(VmError::io("the monitor of qemu is silent"))?;
        serde_json::from_str(&line).map_err(|_| VmError::Unexpected {
            what: "a message of qemu's monitor".into(),
            found: line,
        })
    }

    fn execute(&mut self, command: &Value) -> Result<Value, VmError> {
        let text = format!("{command}\n");
        self.reader
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(VmError::io("the monitor of qemu takes no command"))?;
        loop {
            // Events come in between.
            let mut answer = self.message()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if answer.get("error").is_some() {
                return Err(VmError::Unexpected {
                    what: format!("qemu's answer to {command}"),
                    found: answer.to_string(),
                });
            }
        }
    }

    /// Returns the level of a GPIO line: `true` is high.
    ///
    /// # Errors
    /// qemu is gone.
    pub fn level(&mut self, line: u8) -> Result<bool, VmError> {
        let address = GPIO + ((1 << line) << 2);
        let command = json!({
            "execute": "human-monitor-command",
            "arguments": { "command-line": format!("xp /1xb {address:#x}") }
        });
        let answer = self.execute(&command)?;
        let text = answer.as_str().unwrap_or_default();
        let byte = text.split_once(": 0x").map(|(_, byte)| byte.trim());
        match byte.and_then(|byte| u8::from_str_radix(byte, 16).ok()) {
            Some(byte) => Ok(byte != 0),
            None => Err(VmError::Unexpected {
                what: "the level of a line".into(),
                found: answer.to_string(),
            }),
        }
    }

    /// Presses the machine's button: line 3 is high for 0.1 s.
    ///
    /// # Errors
    /// qemu is gone.
    pub fn press_button(&mut self) -> Result<(), VmError> {
        self.execute(&json!({ "execute": "system_powerdown" })).map(drop)
    }
}

/// A change of a watched line.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// When it was seen, at most [`LOOK`] and one answer of qemu after it happened.
    pub at: Instant,
    /// True if the line went high.
    pub high: bool,
}

/// A line that is read continuously.
#[derive(Clone)]
pub struct Watched {
    edges: Arc<Mutex<Vec<Edge>>>,
}

impl Watched {
    /// Watches a line over its own monitor connection, until qemu ends. Its first edge is its level
    /// at the start.
    pub fn start(mut monitor: Monitor, line: u8) -> Self {
        let edges = Arc::new(Mutex::new(Vec::<Edge>::new()));
        let watched = Self { edges: edges.clone() };
        std::thread::spawn(move || {
            let mut last = None;
            while let Ok(high) = monitor.level(line) {
                if last != Some(high) {
                    last = Some(high);
                    if let Ok(mut edges) = edges.lock() {
                        edges.push(Edge { at: Instant::now(), high });
                    }
                }
                std::thread::sleep(LOOK);
            }
        });
        watched
    }

    /// Returns every edge so far.
    pub fn edges(&self) -> Vec<Edge> {
        self.edges.lock().map(|edges| edges.clone()).unwrap_or_default()
    }

    /// Returns how many times it went high.
    pub fn pulses(&self) -> usize {
        // The first edge is the level at the start.
        self.edges().iter().skip(1).filter(|edge| edge.high).count()
    }
}

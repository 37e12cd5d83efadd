//! Log lines to standard error, without blocking: a journal that hangs, or a pipe without a reader,
//! must not hold the strike.
//!
//! A caller puts its line into a queue; one thread writes. A full queue drops the line, and the
//! next written line is followed by the number of dropped ones. Panics take the same way: the
//! library's own hook writes to standard error directly.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Lines that wait to be written: a few seconds of a busy daemon's log.
const MOST: usize = 1024;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// A `log.level` that is not a level.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.level {level:?}: {what}; wanted is off, error, warn, info, debug or trace, also of a part \
     alone, as in info,doorward::mqtt=debug"
)]
pub struct LevelError {
    level: String,
    what: String,
}

/// Returns the filter for `log.level`, with the filters of `quiet` before it.
pub fn filter(level: &str, quiet: &[&str]) -> Result<Targets, LevelError> {
    // A single unknown word would be read as the name of a target, of which everything is logged.
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    let wrong =
        level.split(',').find(|part| !is_level(part.rsplit('=').next().unwrap_or("").trim()));
    let failed = |what: String| LevelError { level: level.to_owned(), what };
    if let Some(part) = wrong {
        return Err(failed(format!("{part:?} names no level")));
    }
    let quiet = quiet.join(",");
    format!("{quiet},{level}").parse().map_err(|error| failed(format!("{error}")))
}

/// The log of this process. Clones share it.
#[derive(Clone)]
pub struct Log {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    /// Replied to when everything before it is written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the thread that writes to standard error.
    pub fn start() -> io::Result<Self> {
        Self::to(io::stderr())
    }

    fn to(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, entries) = sync_channel(MOST);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        let thread = std::thread::Builder::new().name("log".into());
        thread.spawn(move || write(&entries, &counted, writer))?;
        Ok(Self { queue, dropped })
    }

    /// Adds a line, or counts it as dropped.
    pub fn say(&self, line: impl Display) {
        self.put(format!("{line}\n").into_bytes());
    }

    /// Makes traces that pass the filter lines of this log.
    pub fn take_traces(&self, filter: Targets) {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            // A journal or a file gets no colours.
            .with_ansi(io::stderr().is_terminal())
            .with_writer(self.clone())
            .finish()
            .with(filter)
            .init();
    }

    /// Makes panics of every thread lines of this log.
    pub fn take_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            log.say(format_args!("thread {:?} {panic}", thread.name().unwrap_or("without name")));
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                log.say(backtrace);
            }
        }));
    }

    /// Returns a guard that waits for the last lines when it is dropped, also by a panic.
    pub fn flushed_at_end(&self) -> FlushedAtEnd {
        FlushedAtEnd(self.clone())
    }

    /// Waits until all lines so far are written, half a second at most.
    fn flush(&self) {
        let until = Instant::now() + LAST_LINES;
        let (written, heard) = sync_channel(1);
        while self.queue.try_send(Entry::Flush(written.clone())).is_err() {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(LAST_LINES / 50);
        }
        let _ = heard.recv_timeout(until.saturating_duration_since(Instant::now()));
    }

    fn put(&self, line: Vec<u8>) {
        if self.queue.try_send(Entry::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// See [`Log::flushed_at_end`].
pub struct FlushedAtEnd(Log);

impl Drop for FlushedAtEnd {
    fn drop(&mut self) {
        self.0.flush();
    }
}

impl Write for &Log {
    /// Takes a whole line at once, as the library hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Log;

    fn make_writer(&'a self) -> &'a Log {
        self
    }
}

/// Writes the lines. A write error is ignored: standard error was closed on purpose.
fn write(entries: &Receiver<Entry>, dropped: &AtomicU64, mut writer: impl Write) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let _ = writer.write_all(&line);
            }
            Entry::Flush(written) => {
                let _ = writer.flush();
                let _ = written.try_send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                writer,
                "{lost} lines of the log were dropped: standard error did not take them in time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Blocks writes while the test holds the lock.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_hanging_writer_blocks_no_caller_and_dropped_lines_are_counted() {
        let slow = Slow::default();
        let log = Log::to(slow.clone()).unwrap();
        let hangs = slow.0.lock().unwrap();
        let started = Instant::now();
        for line in 0..MOST + 100 {
            log.say(line);
        }
        log.flush();
        assert!(started.elapsed() < LAST_LINES * 10, "{:?}", started.elapsed());
        drop(hangs);
        log.flush();
        let written = String::from_utf8(slow.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines[0], "0");
        let of_drops = |line: &&&str| line.contains("lines of the log were dropped");
        let told = lines.iter().find(of_drops).unwrap();
        let dropped: usize = told.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(lines.len() - 1 + dropped, MOST + 100, "{told}");
    }
}

//! Tests the lock controller with a commander over a real socket. The commander is silent, stopped,
//! gone, sends invalid frames or does not read. The button must open in every case, for both kinds
//! of lock, and the commander's release must end.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward_board::controller::{
    Cause, Command, Controller, End, Event, Kept, Keys, Link, Message, Outcome, Report, Server,
};
use doorward_board::linux::monotonic;
use doorward_board::simulated::Simulated;
use doorward_board::{Lock, Pulse, Strike};
use embedded_hal::digital::PinState;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Limit for the button on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);
/// Limit after the commander's last message: its silence of 2 s, plus time for a busy machine.
const SILENT: Duration = Duration::from_millis(3000);

/// A running controller on a simulated board.
struct Bench {
    board: Simulated,
    lock: Lock,
    commanders: Sender<UnixStream>,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Bench {
    fn new(lock: &str) -> Self {
        Self::keeping(lock, Kept::default())
    }

    /// Starts a controller that has kept events for its first commander.
    fn keeping(lock: &str, kept: Kept) -> Self {
        let keys =
            Keys { board: "pc".into(), lock: lock.into(), pulse_ms: 1000, ..Keys::default() };
        let settings = keys.settings().unwrap();
        let board = Simulated::default();
        let (commanders, arriving): (_, Receiver<UnixStream>) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (mut lines, stopped, lock) = (board.clone(), stop.clone(), settings.lock);
        let serving = std::thread::spawn(move || {
            let strike = settings.profile.strike(&mut lines).unwrap().unwrap();
            let inputs = settings.profile.inputs(&mut lines, settings.limits, |_, _| ()).unwrap();
            let controller = Controller::new(Strike::new(strike, settings.lock), inputs, &settings);
            let mut server = Server::new(controller, &settings, false, kept);
            let end = server.serve(
                || {
                    lines.run_to(monotonic());
                    monotonic()
                },
                || arriving.try_recv().ok(),
                |_| stopped.load(Ordering::Relaxed).then_some(End::Stop),
                |_, _| (),
            );
            assert_eq!(end, End::Stop);
        });
        let bench = Self { board, lock, commanders, stop, serving: Some(serving) };
        bench.wait(false, AT_ONCE);
        bench
    }

    fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.commanders.send(theirs).unwrap();
        ours
    }

    /// Connects with a small send buffer on the controller's side.
    fn connect_narrow(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // Linux doubles this to 160 KiB, the size on a board: room for 200 frames.
        rustix::net::sockopt::set_socket_send_buffer_size(&theirs, 80 * 1024).unwrap();
        self.commanders.send(theirs).unwrap();
        ours
    }

    fn is_released(&self) -> bool {
        self.board.level("strike") == Some(self.lock.level(true))
    }

    /// Waits until people can pass, or cannot; returns how long that took.
    fn wait(&self, released: bool, limit: Duration) -> Duration {
        let start = Instant::now();
        while self.is_released() != released || self.board.level("strike").is_none() {
            let waited = start.elapsed();
            assert!(
                waited <= limit,
                "released is not {released} after {waited:?} ({:?})",
                self.lock
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        start.elapsed()
    }

    /// Checks that the button opens within half a second, for its pulse.
    fn button_opens(&self) {
        self.board.set("request_to_exit", PinState::Low);
        self.wait(true, AT_ONCE);
        self.board.set("request_to_exit", PinState::High);
        let start = Instant::now();
        self.wait(false, Duration::from_secs(3));
        assert!(start.elapsed() >= Duration::from_millis(700), "the pulse was cut short");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.serving.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
            assert_eq!(self.board.level("strike"), Some(PinState::Low), "current after the end");
        }
    }
}

fn say(stream: &mut UnixStream, message: Message) {
    stream.write_all(&message.to_bytes()).unwrap();
}

fn release(pulse_ms: u64) -> Command {
    let pulse = Pulse::new(Duration::from_millis(pulse_ms)).unwrap();
    Command::Release { by: Cause::Face, pulse, not_after: monotonic() + Duration::from_millis(500) }
}

/// Reads until the answer to this order.
fn outcome(stream: &mut UnixStream, number: u32) -> Outcome {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    loop {
        let mut frame = [0; Message::LENGTH];
        stream.read_exact(&mut frame).unwrap();
        match Message::from_bytes(&frame).unwrap() {
            Message::Outcome(answered, outcome) if answered == number => return outcome,
            _ => {}
        }
    }
}

const LOCKS: [&str; 2] = ["fail_secure", "fail_safe"];

#[test]
fn silent_commander_loses_its_release_and_the_button_still_works() {
    for lock in LOCKS {
        let bench = Bench::new(lock);
        let mut commander = bench.connect();
        say(&mut commander, Message::Command(1, release(30_000)));
        assert_eq!(outcome(&mut commander, 1), Outcome::Released);
        assert!(bench.is_released());
        let took = bench.wait(false, SILENT);
        assert!(took >= Duration::from_millis(1500), "ended before the silence: {took:?}");
        bench.button_opens();
    }
}

#[test]
fn commander_that_goes_loses_its_release_at_once() {
    for lock in LOCKS {
        let bench = Bench::new(lock);
        let mut commander = bench.connect();
        say(&mut commander, Message::Command(1, release(30_000)));
        assert_eq!(outcome(&mut commander, 1), Outcome::Released);
        drop(commander);
        bench.wait(false, AT_ONCE);
        bench.button_opens();
    }
}

#[test]
fn invalid_frame_ends_the_connection_and_its_release() {
    let mut almost = Message::Command(2, release(1000)).to_bytes();
    almost[28] ^= 1;
    let controllers_own = Message::Busy.to_bytes();
    for bytes in
        [[0; 32], [0xff; 32], *b"GET / HTTP/1.1\r\nHost: localhost\r", almost, controllers_own]
    {
        let bench = Bench::new("fail_secure");
        let mut commander = bench.connect();
        say(&mut commander, Message::Command(1, release(30_000)));
        assert_eq!(outcome(&mut commander, 1), Outcome::Released);
        commander.write_all(&bytes).unwrap();
        bench.wait(false, AT_ONCE);
        bench.button_opens();
        // The next commander is accepted.
        let mut next = bench.connect();
        say(&mut next, Message::Command(1, release(500)));
        assert_eq!(outcome(&mut next, 1), Outcome::Released);
    }
}

#[test]
fn half_a_frame_never_blocks_the_button() {
    let bench = Bench::new("fail_safe");
    let mut commander = bench.connect();
    commander.write_all(&Message::Command(1, release(1000)).to_bytes()[..20]).unwrap();
    bench.button_opens();
}

#[test]
fn flooding_commander_never_blocks_the_button() {
    let bench = Bench::new("fail_secure");
    let mut commander = bench.connect();
    commander.set_nonblocking(true).unwrap();
    let flooding = Arc::new(AtomicBool::new(true));
    let goes_on = flooding.clone();
    let flood = std::thread::spawn(move || {
        while goes_on.load(Ordering::Relaxed) {
            let _ = commander.write(&Message::Heartbeat.to_bytes());
        }
    });
    for _ in 0..3 {
        bench.button_opens();
    }
    flooding.store(false, Ordering::Relaxed);
    flood.join().unwrap();
}

#[test]
fn second_commander_is_refused_until_the_first_is_gone() {
    let bench = Bench::new("fail_secure");
    let first = bench.connect();
    let mut second = bench.connect();
    std::thread::sleep(Duration::from_millis(100));
    let mut frame = [0; Message::LENGTH];
    second.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    second.read_exact(&mut frame).unwrap();
    assert_eq!(Message::from_bytes(&frame), Ok(Message::Busy));
    drop(first);
    std::thread::sleep(Duration::from_millis(100));
    let mut third = bench.connect();
    say(&mut third, Message::Command(1, release(500)));
    assert_eq!(outcome(&mut third, 1), Outcome::Released);
}

/// Presses without a daemon reach the next daemon with their time, until it has taken them.
#[test]
fn presses_without_a_daemon_are_kept_until_they_are_taken() {
    let bench = Bench::new("fail_secure");
    let pressed = monotonic();
    bench.button_opens();
    for takes in [false, true] {
        let ours = bench.connect();
        let mut source = Some(ours);
        let mut link = Link::new(move || source.take().ok_or(std::io::ErrorKind::NotFound.into()));
        let start = Instant::now();
        let mut events = Vec::new();
        while !events.iter().any(|(event, _)| *event == Event::Locked) {
            assert!(start.elapsed() < Duration::from_secs(5), "{events:?}");
            for report in link.step(monotonic()) {
                if let Report::Event(event) = report {
                    events.push((event.event, event.at));
                    if takes {
                        link.taken(event.number);
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let press = events.iter().find(|(event, _)| *event == Event::ExitPressed).unwrap();
        assert!(press.1 >= pressed && press.1 <= pressed + AT_ONCE, "{events:?}, {pressed:?}");
        drop(link);
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut fresh = bench.connect();
    say(&mut fresh, Message::Heartbeat);
    fresh.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut seen = Vec::new();
    let mut frame = [0; Message::LENGTH];
    while fresh.read_exact(&mut frame).is_ok() {
        seen.push(Message::from_bytes(&frame).unwrap());
    }
    assert!(!seen.iter().any(|message| matches!(message, Message::Event(_))), "{seen:?}");
}

/// Returns as many events as a controller keeps.
fn full() -> Kept {
    let mut kept = Kept::default();
    for _ in 0..Kept::MOST {
        kept.push(monotonic(), Event::ExitPressed);
    }
    kept
}

#[test]
fn commander_that_never_reads_kept_events_never_blocks_the_button() {
    let bench = Bench::keeping("fail_secure", full());
    for _ in 0..5 {
        bench.board.set("request_to_exit", PinState::Low);
        let commander = bench.connect_narrow();
        let took = bench.wait(true, AT_ONCE);
        assert!(took < Duration::from_millis(150), "{took:?}");
        bench.board.set("request_to_exit", PinState::High);
        bench.wait(false, Duration::from_secs(3));
        drop(commander);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn kept_events_reach_a_slow_commander_through_a_small_buffer() {
    let bench = Bench::keeping("fail_secure", full());
    let mut source = Some(bench.connect_narrow());
    let mut link = Link::new(move || source.take().ok_or(std::io::ErrorKind::NotFound.into()));
    let start = Instant::now();
    let mut numbers = Vec::new();
    while numbers.len() < Kept::MOST {
        assert!(start.elapsed() < Duration::from_secs(10), "only {}", numbers.len());
        // As slow as an overloaded machine.
        std::thread::sleep(Duration::from_millis(300));
        for report in link.step(monotonic()) {
            match report {
                Report::Event(event) => numbers.push(event.number),
                Report::Down(why) => panic!("after {} events: {why}", numbers.len()),
                _ => {}
            }
        }
        if let Some(last) = numbers.last() {
            link.taken(*last);
        }
    }
    assert_eq!(numbers, (1..=256).collect::<Vec<u32>>());
}

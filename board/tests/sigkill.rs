//! The daemon dies by SIGKILL, stops, hangs or talks nonsense while the strike is engaged: the line
//! is at its safe level within the pulse and a second. With real processes: this program starts
//! itself as the daemon, and that starts itself as the dead man, whose line is a file.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward_board::deadman::{HeldPin, Message, READY, SpawnError, hold};
use doorward_board::simulated::FileLine;
use doorward_board::{Lock, Pulse, Strike};
use embedded_hal::digital::{OutputPin, PinState};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PULSE: Duration = Duration::from_millis(1500);
/// What the invariant grants beyond the pulse.
const GRACE: Duration = Duration::from_secs(1);
/// For what happens at once, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(1);
const LOCKS: [Lock; 2] = [Lock::FailSecure, Lock::FailSafe];

/// A name and what is to hold for a lock.
type Case = (&'static str, fn(Lock));

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "dead-man", line, lock] => return dead_man(Path::new(line), parse(lock)),
        [_, "daemon", line, lock] => return daemon(Path::new(line), parse(lock)),
        [_, "hangs", line, _] => return hangs(Path::new(line)),
        _ => {}
    }
    let cases: [Case; 8] = [
        ("sigkill_of_the_daemon", sigkill_of_the_daemon),
        ("a_daemon_that_hangs", a_daemon_that_hangs),
        ("a_pulse_and_its_end", a_pulse_and_its_end),
        ("a_daemon_that_stops", a_daemon_that_stops),
        ("garbage", garbage),
        ("half_a_message", half_a_message),
        ("a_pulse_is_not_prolonged", a_pulse_is_not_prolonged),
        ("a_dead_man_that_is_killed", a_dead_man_that_is_killed),
    ];
    for (name, case) in cases {
        for lock in LOCKS {
            case(lock);
            println!("test {name} ({lock:?}) ... ok");
        }
    }
    a_line_that_cannot_be_taken();
    println!("test a_line_that_cannot_be_taken ... ok");
    a_dead_man_that_hangs();
    println!("test a_dead_man_that_hangs ... ok");
}

fn parse(lock: &str) -> Lock {
    if lock == "fail_safe" { Lock::FailSafe } else { Lock::FailSecure }
}

/// This program as another process.
fn role(role: &str, line: &Path, lock: Lock) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let lock = if lock == Lock::FailSafe { "fail_safe" } else { "fail_secure" };
    command.arg(role).arg(line).arg(lock);
    command
}

/// Role: holds a line that is a file.
fn dead_man(line: &Path, lock: Lock) {
    let pin = FileLine::new(line, lock.safe_level()).unwrap();
    if let Err(error) = hold(std::io::stdin(), std::io::stdout(), pin, lock) {
        eprintln!("dead man: {error}");
        std::process::exit(3);
    }
}

/// Role: engages the strike and never steps it again; what ends the pulse is not this process.
fn daemon(line: &Path, lock: Lock) {
    let pulse = Pulse::new(PULSE).unwrap();
    let pin = HeldPin::spawn(role("dead-man", line, lock), lock, pulse).unwrap();
    let mut strike = Strike::new(pin, lock, pulse).unwrap();
    strike.engage(Duration::ZERO, false).unwrap();
    println!("engaged");
    std::thread::sleep(Duration::from_secs(60));
}

/// Role: a dead man that never takes its line, and leaves its process id instead.
fn hangs(line: &Path) {
    fs::write(line, std::process::id().to_string()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

/// A folder with the line's file.
struct Wire {
    _folder: tempfile::TempDir,
    path: PathBuf,
    lock: Lock,
}

impl Wire {
    fn new(lock: Lock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("strike");
        Self { _folder: folder, path, lock }
    }

    fn is_safe(&self) -> bool {
        let level = fs::read(&self.path).unwrap();
        PinState::from(level == b"1") == self.lock.safe_level()
    }

    /// Waits until the line is safe or engaged; how long that took.
    fn wait(&self, safe: bool, limit: Duration) -> Duration {
        let start = Instant::now();
        while !self.path.exists() || self.is_safe() != safe {
            let waited = start.elapsed();
            assert!(waited <= limit, "safe is not {safe} after {waited:?} ({:?})", self.lock);
            std::thread::sleep(Duration::from_millis(2));
        }
        start.elapsed()
    }

    /// A dead man whose pipe is in the test's hands, ready.
    fn dead_man(&self) -> Child {
        let mut command = role("dead-man", &self.path, self.lock);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(said, [READY]);
        assert!(self.is_safe(), "ready before the line was safe");
        child
    }

    fn held(&self, pulse: Duration) -> HeldPin {
        let pulse = Pulse::new(pulse).unwrap();
        HeldPin::spawn(role("dead-man", &self.path, self.lock), self.lock, pulse).unwrap()
    }
}

fn say(child: &mut Child, bytes: &[u8]) {
    child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
}

fn engage(pulse: Duration) -> [u8; Message::LENGTH] {
    Message::Engage(Pulse::new(pulse).unwrap()).to_bytes()
}

/// The child's end, which must come at once.
fn end(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < AT_ONCE, "the dead man lives on");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A daemon that has engaged the strike of this wire.
fn engaged_daemon(wire: &Wire) -> Child {
    let mut daemon = role("daemon", &wire.path, wire.lock).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 8];
    daemon.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"engaged\n");
    wire.wait(false, AT_ONCE);
    daemon
}

fn sigkill_of_the_daemon(lock: Lock) {
    let wire = Wire::new(lock);
    let mut daemon = engaged_daemon(&wire);
    let start = Instant::now();
    daemon.kill().unwrap(); // SIGKILL
    wire.wait(true, PULSE + GRACE);
    let took = start.elapsed();
    daemon.wait().unwrap();
    println!("     line safe {took:?} after SIGKILL");
    std::thread::sleep(PULSE);
    assert!(wire.is_safe(), "engaged again after the daemon's death");
}

/// The daemon lives, holds the pipe open and does nothing: the dead man's own timer.
fn a_daemon_that_hangs(lock: Lock) {
    let wire = Wire::new(lock);
    let mut daemon = engaged_daemon(&wire);
    let took = wire.wait(true, PULSE + GRACE);
    assert!(daemon.try_wait().unwrap().is_none(), "the daemon should have hung");
    println!("     line safe {took:?} after it was seen engaged, pulse {PULSE:?}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

fn a_pulse_and_its_end(lock: Lock) {
    let wire = Wire::new(lock);
    let mut strike = Strike::new(wire.held(PULSE), lock, Pulse::new(PULSE).unwrap()).unwrap();
    let start = Instant::now();
    for _ in 0..2 {
        strike.engage(start.elapsed(), false).unwrap();
        wire.wait(false, AT_ONCE);
        strike.relock(start.elapsed()).unwrap();
        wire.wait(true, AT_ONCE);
    }
    assert!(start.elapsed() < PULSE, "locked by the timer, not as it was told");
}

fn a_daemon_that_stops(lock: Lock) {
    let wire = Wire::new(lock);
    let mut pin = wire.held(Pulse::MAX);
    pin.set_state(!lock.safe_level()).unwrap();
    wire.wait(false, AT_ONCE);
    drop(pin);
    assert!(wire.is_safe(), "the pin went before its line was safe");
}

fn garbage(lock: Lock) {
    let mut almost = engage(PULSE);
    almost[7] ^= 1;
    for bytes in [[0; 8], [0xff; 8], *b"GET / HT", almost] {
        let wire = Wire::new(lock);
        let mut child = wire.dead_man();
        say(&mut child, &engage(Pulse::MAX));
        wire.wait(false, AT_ONCE);
        say(&mut child, &bytes);
        wire.wait(true, AT_ONCE);
        assert_eq!(end(&mut child).code(), Some(3));
        assert!(wire.is_safe());
    }
}

/// The daemon died between two bytes, and before that kept the dead man waiting for the rest.
fn half_a_message(lock: Lock) {
    let wire = Wire::new(lock);
    let mut child = wire.dead_man();
    say(&mut child, &engage(PULSE));
    say(&mut child, &engage(PULSE)[..3]);
    wire.wait(false, AT_ONCE);
    wire.wait(true, PULSE + GRACE);
    drop(child.stdin.take());
    assert!(end(&mut child).success());
    assert!(wire.is_safe());
}

fn a_pulse_is_not_prolonged(lock: Lock) {
    let wire = Wire::new(lock);
    let mut child = wire.dead_man();
    let start = Instant::now();
    say(&mut child, &engage(PULSE));
    wire.wait(false, AT_ONCE);
    while wire.path.exists() && !wire.is_safe() {
        assert!(start.elapsed() <= PULSE + GRACE, "repeating prolongs the pulse");
        // Not up to the end: one that arrives after it is a pulse of its own.
        if start.elapsed() < PULSE / 2 {
            say(&mut child, &engage(Pulse::MAX));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() >= PULSE, "the pulse was cut short");
    drop(child.stdin.take());
    assert!(end(&mut child).success());
}

/// While nobody was granted: the next writing of the safe level starts another.
fn a_dead_man_that_is_killed(lock: Lock) {
    let wire = Wire::new(lock);
    let pin = wire.held(PULSE);
    let first = pin.id();
    let mut strike = Strike::new(pin, lock, Pulse::new(PULSE).unwrap()).unwrap();
    let killed = Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
    assert!(killed.success());
    // Its line is nobody's: as if the board let it go to the wrong level.
    fs::write(&wire.path, if lock.safe_level() == PinState::Low { "1" } else { "0" }).unwrap();
    let start = Instant::now();
    while !wire.is_safe() {
        assert!(start.elapsed() < Duration::from_secs(3), "no other dead man was started");
        drop(strike.step(start.elapsed()));
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("     line safe {:?} after SIGKILL of the dead man", start.elapsed());
    strike.engage(start.elapsed(), false).unwrap();
    wire.wait(false, AT_ONCE);
    drop(strike);
    assert!(wire.is_safe());
}

fn a_line_that_cannot_be_taken() {
    let nowhere = Path::new("/nowhere/strike");
    let mut command = role("dead-man", nowhere, Lock::FailSecure);
    command.stderr(Stdio::null());
    let spawned = HeldPin::spawn(command, Lock::FailSecure, Pulse::default());
    assert!(matches!(spawned, Err(SpawnError::NotHeld)));
}

/// The start says so within a time limit, and leaves no process behind that might take the line later.
fn a_dead_man_that_hangs() {
    let wire = Wire::new(Lock::FailSecure);
    let start = Instant::now();
    let command = role("hangs", &wire.path, Lock::FailSecure);
    let spawned = HeldPin::spawn(command, Lock::FailSecure, Pulse::default());
    assert!(matches!(spawned, Err(SpawnError::Hung(_))));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let id = fs::read_to_string(&wire.path).unwrap();
    assert!(!Path::new("/proc").join(id).exists(), "it lives on");
}

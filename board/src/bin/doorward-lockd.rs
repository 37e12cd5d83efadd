//! Runs the lock controller as a process: people get out through it while the daemon is dead, hung,
//! being replaced or not started. See [`doorward_board::controller`].
//!
//! It reads its profile once and locks its pages in memory. From then on it uses no disk, no
//! network and no log that could block it.

#![forbid(unsafe_code)]

use clap::Parser;
use doorward_board::controller::{
    Controller, End, Event, HANDOVER, Handover, HeldLine, HeldLines, Kept, Keys, Server,
    SettingsError, connect,
};
use doorward_board::linux::{Gpio, GpioError, monotonic};
use doorward_board::{Part, Strike};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Exit code if no door is configured: nothing is to start it again.
const NO_DOOR: u8 = 77;
/// Exit code for wrong settings (`EX_CONFIG`).
const CONFIGURATION: u8 = 78;

/// Owns the strike, request-to-exit, the fire input and the contact; follows the daemon's commands.
#[derive(Debug, Parser)]
#[command(version, name = "doorward-lockd")]
struct Arguments {
    /// The daemon's configuration; only its table [door] is read.
    #[allow(rustdoc::broken_intra_doc_links, reason = "the text of --help, where it is no link")]
    #[arg(long, default_value = "/etc/doorward/doorward.toml")]
    config: PathBuf,
    /// Board to use instead of the configuration, which is then not read.
    #[arg(long)]
    board: Option<String>,
    /// fail_secure or fail_safe; with --board.
    #[arg(long, requires = "board")]
    lock: Option<String>,
    /// Length of a pulse in milliseconds; with --board.
    #[arg(long, requires = "board")]
    pulse_ms: Option<u32>,
    /// Seconds after which an open door is an alarm; with --board.
    #[arg(long, requires = "board")]
    held_open_s: Option<u32>,
    /// The coil is rated for continuous current; with --board.
    #[arg(long, requires = "board")]
    strike_continuous: bool,
    /// The fire input is wired; with --board.
    #[arg(long, requires = "board")]
    fire: bool,
    /// The interlock is wired and read by the daemon; with --board.
    #[arg(long, requires = "board")]
    interlock: bool,
    /// Socket for the daemon.
    #[arg(long, default_value = "/run/doorward/lockd.sock")]
    socket: PathBuf,
    /// A supervisor such as systemd restarts this process: the daemon never replaces it.
    #[arg(long)]
    supervised: bool,
    /// Check the settings and exit.
    #[arg(long)]
    check: bool,
    /// Switch the strike's line to no current and exit: systemd runs this after the process was
    /// killed.
    #[arg(long, conflicts_with = "check")]
    off: bool,
}

/// True while people get out through this process: nothing may block it.
static SERVES: AtomicBool = AtomicBool::new(false);

/// Why the controller cannot run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Gpio(#[from] GpioError),
    #[error("the board {0} has no strike: add [lines.strike] to its profile")]
    NoStrike(String),
    #[error("another lock controller serves {}: end it first", .0.display())]
    Taken(PathBuf),
    #[error("cannot listen on {}: {reason}", .path.display())]
    Socket { path: PathBuf, reason: std::io::Error },
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::NoDoor | SettingsError::Simulated(_)) => NO_DOOR,
            Self::Settings(_) | Self::NoStrike(_) => CONFIGURATION,
            _ => 1,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(error.code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Before anything that may fail: a strike that was handed over must not keep its current.
    let taken_over = match std::env::var_os(HANDOVER) {
        Some(_) if !arguments.check && !arguments.off => Handover::receive(std::io::stdin())?,
        _ => Handover::default(),
    };
    let settings = keys(arguments)?.settings()?;
    if settings.profile.is_simulated() {
        return Err(SettingsError::Simulated(settings.profile.board).into());
    }
    if arguments.check {
        return Ok(());
    }
    if arguments.off {
        let mut gpio = Gpio::open(&settings.profile)?;
        let strike = settings.profile.strike(&mut gpio)?;
        return strike.map(drop).ok_or(Failure::NoStrike(settings.profile.board));
    }
    // Early: until this handler is installed, the signal ends the process, for example a second
    // request for another version while that version starts.
    let asked = flag(&[signal_hook::consts::SIGHUP])?;
    let stop = flag(&[signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
    match connect(&arguments.socket) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => {}
        // Another controller answers, or its queue is full.
        _ => return Err(Failure::Taken(arguments.socket.clone())),
    }
    // The lines come first, because the kernel gives them to one process only: a second controller
    // must not take the first one's socket.
    let mut lines = HeldLines::open(&settings.profile, taken_over.lines)?;
    let strike = settings.profile.strike(&mut lines)?;
    let strike = strike.ok_or_else(|| Failure::NoStrike(settings.profile.board.clone()))?;
    let strike = Strike::new(strike, settings.lock);
    let mut goes_without_contact = false;
    let inputs = settings.profile.inputs(&mut lines, settings.limits, |function, error| {
        goes_without_contact = true;
        say(&format!("the door has no {}: {error}", function.name()));
    })?;
    let listener = listen(&arguments.socket)?;
    let mut upgrade = Upgrade::new(asked)?;
    stay_in_memory();
    go_before_others();
    let mut controller = Controller::new(strike, inputs, &settings);
    if goes_without_contact {
        controller.goes_without(Part::Contact);
    }
    let mut server = Server::new(controller, &settings, arguments.supervised, taken_over.kept);
    say(&format!("{}, {}, ready", settings.profile.board, settings.lock.name()));
    notify_ready();
    SERVES.store(true, Ordering::Relaxed);
    loop {
        let end = server.serve(
            monotonic,
            || accept(&listener),
            |controller| match () {
                () if stop.load(Ordering::Relaxed) => Some(End::Stop),
                // No pulse is cut short.
                () if upgrade.is_due() && controller.is_idle() => Some(End::Upgrade),
                () => None,
            },
            tell,
        );
        match end {
            End::Stop => {
                let _ = std::fs::remove_file(&arguments.socket);
                return Ok(());
            }
            // Returns only on failure: this version continues.
            End::Upgrade => {
                let error = upgrade.replace(lines.held(), server.kept());
                say(&format!("the other version was not started: {error}"));
            }
        }
    }
}

fn keys(arguments: &Arguments) -> Result<Keys, SettingsError> {
    let Some(board) = &arguments.board else { return Keys::read(&arguments.config) };
    let default = Keys::default();
    Ok(Keys {
        board: board.clone(),
        lock: arguments.lock.clone().unwrap_or(default.lock),
        pulse_ms: arguments.pulse_ms.unwrap_or(default.pulse_ms),
        held_open_s: arguments.held_open_s.unwrap_or(default.held_open_s),
        strike_continuous: arguments.strike_continuous,
        fire: arguments.fire,
        interlock: arguments.interlock,
    })
}

/// Listens in place of the present socket: the process that holds the lines is the controller.
fn listen(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |reason| Failure::Socket { path: path.to_owned(), reason };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts a commander that is allowed to command: root, this user, or a process whose primary
/// group is the socket's group.
fn accept(listener: &UnixListener) -> Option<UnixStream> {
    let (stream, _) = listener.accept().ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let may = peer.uid.is_root() || peer.uid == user || peer.gid == group;
    if !may {
        say(&format!("user {} may not command the lock", peer.uid.as_raw()));
    }
    (may && stream.set_nonblocking(false).is_ok()).then_some(stream)
}

fn flag(signals: &[i32]) -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in signals {
        signal_hook::flag::register(*signal, flag.clone())?;
    }
    Ok(flag)
}

/// Locks all pages in memory, so that a disk that hangs is never read again.
fn stay_in_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = mlockall(flags) {
        say(&format!("pages may leave the memory (raise LimitMEMLOCK): {error}"));
    }
}

/// Raises its own priority: networks on every core must not delay the way out. A priority set by
/// the unit is kept.
fn go_before_others() {
    if let Err(error) = rustix::process::nice(-20) {
        say(&format!("others may go before the way out (CAP_SYS_NICE): {error}"));
    }
}

/// Notifies systemd, if it waits for that.
fn notify_ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|datagram| {
        datagram.set_nonblocking(true)?;
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&socket)?,
        };
        datagram.send_to_addr(b"READY=1", &address)
    });
    if let Err(error) = sent {
        say(&format!("systemd is not notified: {error}"));
    }
}

/// Replaces this program with another version after SIGHUP: it tries that version first.
struct Upgrade {
    asked: Arc<AtomicBool>,
    program: PathBuf,
    /// Checks whether the version found at that time would start. It runs on a thread, because a
    /// disk that hangs blocks the thread that starts a program.
    trial: Option<JoinHandle<std::io::Result<ExitStatus>>>,
    passed: bool,
}

impl Upgrade {
    fn new(asked: Arc<AtomicBool>) -> std::io::Result<Self> {
        // By its path: the file may be another one by then.
        Ok(Self { asked, program: std::env::current_exe()?, trial: None, passed: false })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(std::env::args_os().skip(1));
        command
    }

    /// Checks whether an upgrade was requested and would start. Never blocks.
    fn is_due(&mut self) -> bool {
        // Requested again during a trial: the file may have changed, so it is tried again
        // afterwards.
        if self.trial.is_none() && self.asked.swap(false, Ordering::Relaxed) {
            self.passed = false;
            let mut trial = self.command();
            trial.arg("--check").env_remove(HANDOVER).stdin(Stdio::null());
            match std::thread::Builder::new().stack_size(64 * 1024).spawn(move || trial.status()) {
                Ok(trial) => self.trial = Some(trial),
                Err(error) => say(&format!("the other version is not tried: {error}")),
            }
        }
        if let Some(trial) = self.trial.take_if(|trial| trial.is_finished()) {
            match trial.join() {
                Ok(Ok(status)) if status.success() => self.passed = true,
                Ok(Ok(_)) => {
                    say("the other version or its settings are invalid: this one continues")
                }
                Ok(Err(error)) => say(&format!("the other version does not start: {error}")),
                Err(_) => say("the trial of the other version failed: this one continues"),
            }
        }
        self.passed && self.trial.is_none() && !self.asked.load(Ordering::Relaxed)
    }

    /// Starts the other version in place of this one, and hands over the lines.
    fn replace(&mut self, lines: &[HeldLine], kept: &Kept) -> std::io::Error {
        self.passed = false;
        say("another version takes over");
        match Handover::into_input(lines, kept) {
            Ok(input) => self.command().env(HANDOVER, "1").stdin(input).exec(),
            Err(error) => error,
        }
    }
}

fn tell(text: &str, event: Option<Event>) {
    match event {
        None => say(text),
        Some(event) => {
            let mut line = String::with_capacity(64);
            let _ = write!(line, "{event:?}");
            say(&line);
        }
    }
}

/// Writes a line to standard error, if that does not block.
fn say(text: &str) {
    let mut error = std::io::stderr();
    if takes_a_line(&error) && !(SERVES.load(Ordering::Relaxed) && is_file(&error)) {
        let _ = error.write_all(format!("doorward-lockd: {text}\n").as_bytes());
    }
}

/// Checks for room and for a reader. If the reader is gone, writing may end this program with a
/// signal.
fn takes_a_line(error: &std::io::Stderr) -> bool {
    let mut ready = [PollFd::new(error, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ready, Some(&at_once)).is_ok() && ready[0].revents() == PollFlags::OUT
}

/// Checks for a regular file: Linux reports it as always writable, but writing waits for a disk
/// that hangs.
fn is_file(error: &std::io::Stderr) -> bool {
    rustix::fs::fstat(error).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
    })
}

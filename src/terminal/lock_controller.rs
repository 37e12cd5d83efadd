//! Reaches the lock controller: a process that another program keeps running, a process that the
//! daemon starts if no other program does, or a thread for a simulated board.

use super::worker::Worker;
use doorward_board::Strike;
use doorward_board::controller::{
    Controller, End, Kept, Keys, Link, Server, Settings, Welcome, connect,
};
use doorward_board::linux::monotonic;
use doorward_board::simulated::{Broken, Script, Simulated};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Name of the program, next to the daemon's own program.
const PROGRAM: &str = "doorward-lockd";
/// Least time between two starts of the controller, if it ends at once.
const AGAIN: Duration = Duration::from_millis(100);

/// Location of the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Another program keeps it running; this is its socket.
    Kept(PathBuf),
    /// The daemon starts it if it is missing, with this socket. It outlives the daemon.
    Started(PathBuf),
}

/// Returns a link to the controller of a real board.
pub fn process(place: &Place, keys: &Keys) -> Link {
    let mut starter = match place {
        Place::Kept(_) => None,
        Place::Started(socket) => Some(Starter::new(socket, keys)),
    };
    let (Place::Kept(socket) | Place::Started(socket)) = place.clone();
    Link::new(move || {
        let reached = connect(&socket);
        if let (Some(starter), Err(error)) = (&mut starter, &reached)
            && matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
        {
            starter.start();
        }
        reached
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", socket.display())))
    })
}

/// Checks whether the controller was started with these settings.
pub fn is_as_configured(settings: &Settings, welcome: Welcome) -> bool {
    let is = welcome.fingerprint == settings.fingerprint();
    if !is && welcome.supervised {
        error!(
            "the lock controller was started with another configuration than the daemon: \
             `systemctl reload doorward-lockd`, or restart it by what keeps it"
        );
    }
    is
}

/// Ends a controller that has another configuration and that no other program keeps running. The
/// next attempt to connect starts another controller. To be called only once: a controller of
/// another version may differ for ever, and people get out through it.
pub fn end(link: &Link) {
    info!("the lock controller has another configuration: another is started");
    let peer = link.peer().and_then(rustix::process::Pid::from_raw);
    let ended = peer.map(|peer| rustix::process::kill_process(peer, rustix::process::Signal::Term));
    if !matches!(ended, Some(Ok(()))) {
        error!(?ended, "it could not be ended: end {PROGRAM} by hand");
    }
}

/// Starts the controller's process.
struct Starter {
    command: Command,
    runs: Arc<AtomicBool>,
    started: Option<Instant>,
}

impl Starter {
    fn new(socket: &Path, keys: &Keys) -> Self {
        let beside = std::env::current_exe().map(|daemon| daemon.with_file_name(PROGRAM));
        let program = beside.ok().filter(|program| program.exists());
        let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from(PROGRAM)));
        command.args(["--board", &keys.board, "--lock", &keys.lock]);
        command.args(["--pulse-ms", &keys.pulse_ms.to_string()]);
        command.args(["--held-open-s", &keys.held_open_s.to_string()]);
        let flags = [
            (keys.strike_continuous, "--strike-continuous"),
            (keys.fire, "--fire"),
            (keys.interlock, "--interlock"),
        ];
        command.args(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag));
        command.arg("--socket").arg(socket);
        // Ctrl-C in a terminal ends the daemon but not the way out. systemd is notified only by the
        // daemon.
        command.process_group(0).env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self { command, runs: Arc::default(), started: None }
    }

    fn start(&mut self) {
        let is_soon = self.started.is_some_and(|started| started.elapsed() < AGAIN);
        if is_soon || self.runs.load(Ordering::Relaxed) {
            return;
        }
        self.started = Some(Instant::now());
        match self.command.spawn() {
            Ok(child) => {
                info!(pid = child.id(), "the lock controller is started");
                self.runs.store(true, Ordering::Relaxed);
                wait_for(child, self.runs.clone());
            }
            Err(error) => error!(
                "the lock controller does not start: {error}; install {PROGRAM} beside doorward, or \
                 name the socket of one that runs in door.controller"
            ),
        }
    }
}

/// Waits on a thread for the process to end, even if no link needs it any more. A process that
/// ended without this stays in the process table.
fn wait_for(mut child: Child, runs: Arc<AtomicBool>) {
    let waiter = std::thread::Builder::new().name("lockd's end".into()).stack_size(64 * 1024);
    let waits = waiter.spawn({
        let runs = runs.clone();
        move || {
            let ended = child.wait();
            runs.store(false, Ordering::Relaxed);
            warn!(?ended, "the lock controller has ended");
        }
    });
    if let Err(error) = waits {
        runs.store(false, Ordering::Relaxed);
        warn!("no thread to wait for the lock controller: {error}");
    }
}

/// The controller of a simulated board, on its own thread. Dropping it ends the thread.
pub struct SimulatedController {
    _worker: Worker,
    board: Simulated,
}

impl SimulatedController {
    /// Starts the controller. Its inputs follow the script.
    pub fn start(settings: &Settings, script: Script) -> io::Result<(Self, Link)> {
        let (commanders, arriving): (Sender<UnixStream>, _) = channel();
        let board = Simulated::new(script);
        let (mut lines, settings) = (board.clone(), settings.clone());
        let arriving = Arc::new(Mutex::new(arriving));
        let origin = monotonic();
        let worker = Worker::start("lock controller", move |running| {
            let arriving = arriving.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) =
                serve(&settings, &mut lines, &arriving, origin, || running.goes_on())
            {
                error!("no lock controller on the simulated board: {error}");
            }
        })?;
        let link = Link::new(move || {
            let (ours, theirs) = UnixStream::pair()?;
            commanders.send(theirs).map_err(io::Error::other)?;
            Ok(ours)
        });
        Ok((Self { _worker: worker, board }, link))
    }

    /// Returns the board. Its other pins belong to the daemon.
    pub fn board(&self) -> Simulated {
        self.board.clone()
    }
}

fn serve(
    settings: &Settings,
    lines: &mut Simulated,
    arriving: &Receiver<UnixStream>,
    origin: Duration,
    goes_on: impl Fn() -> bool,
) -> Result<(), Broken> {
    let Some(strike) = settings.profile.strike(lines)? else {
        error!(
            "the board {} has no strike: add [lines.strike] to its profile",
            settings.profile.board
        );
        return Ok(());
    };
    let inputs = settings.profile.inputs(lines, settings.limits, |function, error| {
        error!("the door has no {}: {error}", function.name());
    })?;
    let controller = Controller::new(Strike::new(strike, settings.lock), inputs, settings);
    let mut server = Server::new(controller, settings, false, Kept::default());
    server.serve(
        || {
            let now = monotonic();
            lines.run_to(now.saturating_sub(origin));
            now
        },
        || arriving.try_recv().ok(),
        |_| (!goes_on()).then_some(End::Stop),
        |_, _| (),
    );
    Ok(())
}

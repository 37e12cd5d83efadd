//! Measures the lock controller's loop: the server of `doorward-lockd` runs for a minute of
//! presses, orders and heartbeats, on pins that are bits in memory. Prints resident memory and
//! processor time every ten seconds:
//! `cargo run --release -p doorward-board --example lockd_memory`.

use doorward_board::controller::{
    Cause, Command, Controller, End, Kept, Keys, Link, Report, Server,
};
use doorward_board::linux::monotonic;
use doorward_board::profile::{Function, Lines, Wiring};
use doorward_board::{Pulse, Strike};
use embedded_hal::digital::{ErrorType, InputPin, OutputPin, PinState, StatefulOutputPin};
use std::convert::Infallible;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Levels on the wire, by the function's number. The button is released, the leaf closed.
static LEVELS: [AtomicBool; Function::ALL.len()] = [const { AtomicBool::new(false) }; 13];

struct Board;
struct Pin(Function);

impl ErrorType for Pin {
    type Error = Infallible;
}
impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set_state(PinState::Low)
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set_state(PinState::High)
    }
    fn set_state(&mut self, level: PinState) -> Result<(), Infallible> {
        LEVELS[self.0 as usize].store(level == PinState::High, Ordering::Relaxed);
        Ok(())
    }
}
impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(LEVELS[self.0 as usize].load(Ordering::Relaxed))
    }
    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_high()?)
    }
}
impl StatefulOutputPin for Pin {
    fn is_set_high(&mut self) -> Result<bool, Infallible> {
        self.is_high()
    }
    fn is_set_low(&mut self) -> Result<bool, Infallible> {
        self.is_low()
    }
}
impl Lines for Board {
    type Output = Pin;
    type Input = Pin;
    type Error = Infallible;
    fn output(&mut self, function: Function, _: &Wiring, _: PinState) -> Result<Pin, Infallible> {
        Ok(Pin(function))
    }
    fn input(&mut self, function: Function, _: &Wiring) -> Result<Pin, Infallible> {
        Ok(Pin(function))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("lockd-memory-{}.sock", std::process::id()));
    if let Some(socket) = std::env::args_os().nth(1) {
        return command(socket.as_ref());
    }
    let settings = Keys { board: "pc".into(), fire: false, ..Keys::default() }.settings()?;
    let Some(strike) = settings.profile.strike(&mut Board)? else { return Ok(()) };
    let inputs = settings.profile.inputs(&mut Board, settings.limits, |_, _| ())?;
    let controller = Controller::new(Strike::new(strike, settings.lock), inputs, &settings);
    let mut server = Server::new(controller, &settings, true, Kept::default());
    let listener = UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    let mut daemon = std::process::Command::new(std::env::current_exe()?).arg(&path).spawn()?;
    let start = monotonic();
    let mut shown = Duration::ZERO;
    let end = server.serve(
        || {
            let ran = monotonic().saturating_sub(start);
            // Two presses a second, and changes of the contact.
            let phase = ran.as_millis() % 500;
            LEVELS[Function::RequestToExit as usize].store(phase > 200, Ordering::Relaxed);
            LEVELS[Function::Contact as usize].store(phase > 250, Ordering::Relaxed);
            if ran >= shown {
                shown += Duration::from_secs(10);
                show(ran);
            }
            start + ran
        },
        || listener.accept().ok().map(|(stream, _)| stream),
        |_| (monotonic().saturating_sub(start) > MINUTE).then_some(End::Stop),
        |_, _| (),
    );
    println!("{end:?}, {} events not taken", server.kept().after(0).count());
    let _ = std::fs::remove_file(&path);
    daemon.wait()?;
    Ok(())
}

fn show(ran: Duration) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident =
        status.lines().filter(|line| line.starts_with("Rss") || line.starts_with("VmRSS"));
    let resident: Vec<String> = resident.map(|line| line.replace('\t', " ")).collect();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: Vec<&str> = stat.split(' ').skip(13).take(2).collect();
    println!("{:>2} s  {resident:?}  ticks {ticks:?}", ran.as_secs());
}

/// Plays the daemon: sends heartbeats and an order four times a second, and takes events.
fn command(socket: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let socket = socket.to_owned();
    let mut link = Link::new(move || doorward_board::controller::connect(&socket));
    let pulse = Pulse::new(Duration::from_millis(100))?;
    let start = monotonic();
    let mut ordered = start;
    while monotonic().saturating_sub(start) < MINUTE {
        let now = monotonic();
        for report in link.step(now) {
            if let Report::Event(event) = report {
                link.taken(event.number);
            }
        }
        if now.saturating_sub(ordered) > Duration::from_millis(250) {
            ordered = now;
            let not_after = now + Duration::from_millis(500);
            link.send(Command::Release { by: Cause::Face, pulse, not_after });
        }
        std::thread::sleep(doorward_board::STEP);
    }
    Ok(())
}

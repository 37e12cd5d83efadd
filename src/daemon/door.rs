//! The thread that owns the door: it steps the board, follows orders, and tells what happened.
//!
//! It is started first and stopped last, and needs nothing of the rest: request-to-exit works while
//! the models, the gallery, the camera and the broker are all dead. A board whose lines cannot be
//! had is asked for again and again.

use super::door_events::DoorEvents;
use super::worker::{Progress, Running, Worker};
use doorward_board::deadman::{HeldPin, SpawnError};
use doorward_board::door::{By, FRESH, Part, Why};
use doorward_board::linux::{Delay, Gpio, GpioError};
use doorward_board::profile::ProfileError;
use doorward_board::simulated::{Script, ScriptError, Simulated};
use doorward_board::wiegand::{Card, CardError, Format, Frame};
use doorward_board::{
    ContactEvent, ContactLimits, Door, Event, InterlockEvent, Lock, Order, Profile, Pulse,
    PulseError, STEP, Strike, TamperEvent,
};
use embedded_hal::digital::{InputPin, OutputPin};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Orders that wait for the next step.
const ORDERS: usize = 8;
/// Between two attempts at a board whose lines cannot be had.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an unlock waits for the door's word: until the order is too old to be followed, so that
/// nothing opens of which it was said that it does not.
const WORD: Duration = FRESH.saturating_add(Duration::from_millis(100));

/// Which board, and how the door behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The board.
    pub profile: Profile,
    /// Name or file of the profile, for the dead man.
    pub profile_name: String,
    /// What the lock does without power.
    pub lock: Lock,
    /// How long the strike stays engaged.
    pub pulse: Pulse,
    /// When an open door is an alarm.
    pub limits: ContactLimits,
    /// Bits of a card on the Wiegand lines.
    pub wiegand: Format,
    /// What happens to the inputs of a simulated board.
    pub script: Script,
}

/// Settings of which no door can be made.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The profile.
    #[error("door.board: {0}")]
    Profile(#[from] ProfileError),
    /// The profile's file.
    #[error("door.board: cannot read {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The lock.
    #[error("door.lock: `{0}` is neither fail_secure nor fail_safe")]
    Lock(String),
    /// The pulse.
    #[error("door.pulse_ms: {0}")]
    Pulse(#[from] PulseError),
    /// No line for what is wished for.
    #[error("door.interlock: the board {0} has no such line: add [lines.interlock] to its profile")]
    Interlock(String),
    /// The card's bits.
    #[error("door.wiegand_bits: {0} is neither 26 nor 34")]
    Wiegand(u8),
    /// The script.
    #[error("door.script: {0}")]
    Script(#[from] ScriptError),
}

/// How the door is: the content of `state/door`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// `LOCKED`, `UNLOCKED`, or `JAMMED` while the board's lines cannot be had.
    pub lock: &'static str,
    /// Whether the leaf is open; null without a contact.
    pub open: Option<bool>,
    /// Whether the other door of the interlock is open; null without one.
    pub interlock_open: Option<bool>,
    /// Whether the housing is open; null without a switch.
    pub tamper: Option<bool>,
    /// `forced_open`, `held_open`, or null.
    pub alarm: Option<&'static str>,
    /// Parts that fail.
    pub faults: BTreeSet<&'static str>,
    /// The board.
    pub board: String,
}

/// Why the strike was not engaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnlocked {
    /// It is engaged.
    #[error("the door is unlocked already")]
    Already,
    /// Another door is open.
    #[error("another door of the interlock is open, or its contact cannot be read; close it first")]
    Interlock,
    /// The order came late.
    #[error("the order was too old when its turn came")]
    Stale,
    /// The line.
    #[error("the strike's line does not work: see the log")]
    Line,
    /// No word from the door.
    #[error("the board does not answer: see the log")]
    Silent,
}

impl From<Why> for NotUnlocked {
    fn from(why: Why) -> Self {
        match why {
            Why::Engaged => Self::Already,
            Why::Interlock => Self::Interlock,
            Why::Stale => Self::Stale,
            Why::Line => Self::Line,
        }
    }
}

/// An order on its way, and who waits for what became of it.
struct Waiting {
    order: Order,
    word: Option<SyncSender<Result<(), NotUnlocked>>>,
}

/// What the other workers hold of the door. Clones are the same door.
#[derive(Clone)]
pub struct DoorHandle {
    origin: Instant,
    orders: SyncSender<Waiting>,
    cards: SyncSender<(Card, Instant)>,
    state: watch::Receiver<State>,
}

/// The door at work. Dropped, it locks and ends.
pub struct DoorWorker {
    handle: DoorHandle,
    worker: Worker,
}

impl DoorWorker {
    /// Starts the thread, which tells `door_events` what it does, to its last act.
    pub fn start(settings: Settings, door_events: DoorEvents) -> std::io::Result<Self> {
        let origin = Instant::now();
        let (orders, waiting) = sync_channel(ORDERS);
        let (cards, to_send) = sync_channel(ORDERS);
        let board = settings.profile.board.clone();
        let (state, seen) = watch::channel(State::unknown(board));
        let keeper = Keeper { origin, waiting, door_events, state, settings };
        let cards_of_gpio = Arc::new(Mutex::new(to_send));
        let worker = Worker::start("door", move |running| keeper.keep(running, &cards_of_gpio))?;
        let handle = DoorHandle { origin, orders, cards, state: seen };
        Ok(Self { handle, worker })
    }

    /// What the other workers need of it.
    pub fn handle(&self) -> DoorHandle {
        self.handle.clone()
    }

    /// What shows that it moves.
    pub fn progress(&self) -> Progress {
        self.worker.progress()
    }
}

impl DoorHandle {
    /// Lets somebody pass, at once or not at all. Waits for the door's word, a second at most.
    pub fn unlock(&self, by: By) -> Result<(), NotUnlocked> {
        let (word, heard) = sync_channel(1);
        let order = Order::Unlock { by, issued: self.origin.elapsed() };
        self.order(Waiting { order, word: Some(word) })?;
        heard.recv_timeout(WORD).unwrap_or(Err(NotUnlocked::Silent))
    }

    /// Shows that somebody was refused.
    pub fn refuse(&self) {
        // Red that is not shown since the board does not answer is the least of its troubles.
        let _ = self.order(Waiting { order: Order::Refuse, word: None });
    }

    fn order(&self, order: Waiting) -> Result<(), NotUnlocked> {
        self.orders.try_send(order).map_err(|_| NotUnlocked::Silent)
    }

    /// Sends a card over the Wiegand lines, if the board has them; at once or not at all.
    pub fn send_card(&self, card: &str) -> Result<(), CardError> {
        if let Err(TrySendError::Full(_)) = self.cards.try_send((card.parse()?, Instant::now())) {
            warn!("a card was not sent: those before it are still on their way");
        }
        Ok(())
    }

    /// How the door is, and every change of it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

/// What the door's thread owns.
struct Keeper {
    origin: Instant,
    waiting: Receiver<Waiting>,
    door_events: DoorEvents,
    state: watch::Sender<State>,
    settings: Settings,
}

/// Why there is no door yet.
#[derive(Debug, thiserror::Error)]
enum NoDoor {
    #[error(transparent)]
    Gpio(#[from] GpioError),
    #[error(transparent)]
    DeadMan(#[from] SpawnError),
    #[error("the board {0} has no strike: add [lines.strike] to its profile")]
    NoStrike(String),
    #[error("the strike's line does not take its safe level: {0}")]
    Line(String),
}

impl Keeper {
    fn keep(&self, running: &Running, cards: &Arc<Mutex<Receiver<(Card, Instant)>>>) {
        while running.goes_on() {
            let kept = match self.settings.profile.is_simulated() {
                true => self.simulated(running),
                false => self.gpio(running, cards),
            };
            let Err(error) = kept else { return };
            error!("no door: {error}; asking again in {} s", AGAIN.as_secs());
            self.state.send_modify(|state| state.lock = "JAMMED");
            let since = Instant::now();
            while running.goes_on() && since.elapsed() < AGAIN {
                self.turn_away();
                std::thread::sleep(STEP);
            }
        }
    }

    /// Orders that come while there is no door.
    fn turn_away(&self) {
        for waiting in self.waiting.try_iter() {
            if let Some(word) = waiting.word {
                let _ = word.try_send(Err(NotUnlocked::Line));
            }
        }
    }

    fn simulated(&self, running: &Running) -> Result<(), NoDoor> {
        let Settings { profile, lock, pulse, limits, script, .. } = &self.settings;
        let mut board = Simulated::new(script.clone());
        let broken = |error| NoDoor::Line(format!("{error}"));
        let pin = profile.strike(&mut board, *lock).map_err(broken)?;
        let pin = pin.ok_or_else(|| NoDoor::NoStrike(profile.board.clone()))?;
        let strike = Strike::new(pin, *lock, *pulse).map_err(broken)?;
        let parts = profile.parts(&mut board, *limits, |_, _| ()).map_err(broken)?;
        self.step(running, Door::new(strike, parts), BTreeSet::new(), |now| board.run_to(now));
        Ok(())
    }

    fn gpio(
        &self,
        running: &Running,
        cards: &Arc<Mutex<Receiver<(Card, Instant)>>>,
    ) -> Result<(), NoDoor> {
        let Settings { profile, profile_name, lock, pulse, limits, wiegand, .. } = &self.settings;
        // The running program, also after an update has replaced its file.
        let mut child = Command::new("/proc/self/exe");
        let lock_name = match lock {
            Lock::FailSecure => "fail_secure",
            Lock::FailSafe => "fail_safe",
        };
        child.args(["hold-strike", profile_name, lock_name]);
        let pin = HeldPin::spawn(child, *lock, *pulse)?;
        let broken = |error: doorward_board::deadman::HeldPinError| NoDoor::Line(error.to_string());
        let strike = Strike::new(pin, *lock, *pulse).map_err(broken)?;
        let mut gpio = Gpio::open(profile)?;
        let mut lost = BTreeSet::new();
        let parts = profile.parts(&mut gpio, *limits, |function, error| {
            error!("the door goes without its {}: {error}", function.name());
            lost.insert(function.name());
        })?;
        let lines = profile.wiegand(&mut gpio).unwrap_or_else(|error| {
            error!("the door goes without its Wiegand lines: {error}");
            lost.insert("wiegand");
            None
        });
        let (cards, format) = (cards.clone(), *wiegand);
        // A frame takes 70 ms, so long no door may wait.
        let sender = lines.map(|mut lines| {
            Worker::start("wiegand", move |running| {
                let cards = cards.lock().unwrap_or_else(PoisonError::into_inner);
                while running.goes_on() {
                    match cards.recv_timeout(Duration::from_millis(200)) {
                        // Nobody stands at the door of a card that waited for its lines.
                        Ok((_, granted)) if granted.elapsed() > FRESH => {}
                        Ok((card, _)) => {
                            let sent =
                                Frame::new(format, card).map(|frame| lines.send(&mut Delay, frame));
                            match sent {
                                Ok(Ok(())) => {}
                                Ok(Err(error)) => error!("the Wiegand lines: {error:?}"),
                                Err(error) => error!("a card cannot be sent: {error}"),
                            }
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })
        });
        if let Some(Err(error)) = &sender {
            error!("no thread for the Wiegand lines: {error}");
        }
        self.step(running, Door::new(strike, parts), lost, |_| ());
        Ok(())
    }

    /// Steps the door until it is over; `lost` are the parts that it goes without, `tick` runs before
    /// each step.
    fn step<Line: OutputPin, Output: OutputPin, Input: InputPin>(
        &self,
        running: &Running,
        mut door: Door<Line, Output, Input>,
        lost: BTreeSet<&'static str>,
        mut tick: impl FnMut(Duration),
    ) {
        if self.state.borrow().lock == "UNLOCKED" {
            // A panic in the middle of a pulse locked, and told nobody.
            self.tell(Event::Relocked);
        }
        self.state.send_modify(|state| {
            let board = std::mem::take(&mut state.board);
            *state = State { lock: "LOCKED", faults: lost, ..State::unknown(board) };
        });
        while running.goes_on() {
            let now = self.origin.elapsed();
            tick(now);
            let waiting: Vec<Waiting> = self.waiting.try_iter().take(ORDERS).collect();
            let orders: Vec<Order> = waiting.iter().map(|waiting| waiting.order).collect();
            let events = door.step(now, &orders);
            // Each unlock has one event, in the order in which they were given; exits have theirs.
            let mut words = waiting.into_iter().filter_map(|waiting| waiting.word);
            for event in events {
                let word = match &event {
                    Event::Unlocked { by: By::Face | By::Remote } => Some(Ok(())),
                    Event::NotUnlocked { why, .. } => Some(Err(NotUnlocked::from(*why))),
                    _ => None,
                };
                self.tell(event);
                if let Some(word) = word
                    && let Some(heard) = words.next()
                {
                    // Whoever gave up waiting does not hear it.
                    let _ = heard.try_send(word);
                }
            }
            std::thread::sleep(STEP);
        }
        for event in door.lock(self.origin.elapsed()) {
            self.tell(event);
        }
    }

    fn tell(&self, event: Event) {
        match &event {
            Event::Fault { .. } => error!(?event, "door"),
            Event::Contact(ContactEvent::ForcedOpen | ContactEvent::HeldOpen) => {
                warn!(?event, "door");
            }
            Event::Tamper(TamperEvent::Raised) => warn!(?event, "door"),
            _ => info!(?event, "door"),
        }
        self.state.send_modify(|state| state.follow(&event));
        // What the other door does is its own terminal's to record.
        if matches!(event, Event::Motion(_) | Event::Interlock(_)) {
            return;
        }
        self.door_events.add(event);
    }
}

impl State {
    /// Of a door of which nothing is known yet.
    fn unknown(board: String) -> Self {
        let (open, interlock_open, tamper, alarm) = (None, None, None, None);
        let faults = BTreeSet::new();
        Self { lock: "JAMMED", open, interlock_open, tamper, alarm, faults, board }
    }

    fn follow(&mut self, event: &Event) {
        match event {
            Event::Unlocked { .. } => self.lock = "UNLOCKED",
            Event::Relocked => self.lock = "LOCKED",
            Event::Contact(ContactEvent::Opened) => self.open = Some(true),
            Event::Contact(ContactEvent::ForcedOpen) => {
                (self.open, self.alarm) = (Some(true), Some("forced_open"));
            }
            Event::Contact(ContactEvent::HeldOpen) => self.alarm = Some("held_open"),
            Event::Contact(ContactEvent::Closed) => (self.open, self.alarm) = (Some(false), None),
            Event::Interlock(InterlockEvent::Opened) => self.interlock_open = Some(true),
            Event::Interlock(InterlockEvent::Closed) => self.interlock_open = Some(false),
            Event::Tamper(TamperEvent::Raised) => self.tamper = Some(true),
            Event::Tamper(TamperEvent::Cleared) => self.tamper = Some(false),
            Event::Fault { part, .. } => {
                self.faults.insert(part_name(*part));
            }
            Event::Recovered { part } => {
                self.faults.remove(part_name(*part));
            }
            Event::NotUnlocked { .. } | Event::ExitPressed | Event::Motion(_) => {}
        }
    }
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Strike => "strike",
        Part::Exit => "request_to_exit",
        Part::Contact => "contact",
        Part::Interlock => "interlock",
        Part::Tamper => "tamper",
        Part::Motion => "motion",
        Part::Lamps => "lamps",
        Part::Buzzer => "buzzer",
    }
}

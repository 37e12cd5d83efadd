//! The thread that has the door in the daemon: it follows orders by way of the lock controller, drives
//! lamps and buzzer, and tells what happened.
//!
//! It is started first and stopped last, and needs nothing of the rest. The way out does not need it:
//! that is the lock controller's. A board whose lines cannot be had is asked for again and again.

use super::cards::send_cards;
use super::door_events::DoorEvents;
use super::door_state::{LockState, State};
use super::lock_controller::{self, Place, SimulatedController};
use super::worker::{Progress, Running, Worker};
use doorward_board::controller::Settings as ControllerSettings;
use doorward_board::controller::{Cause, Command, FRESH, Keys, Link, Report, SettingsError};
use doorward_board::door::{OrderError, Parts};
use doorward_board::linux::{Gpio, GpioError, monotonic};
use doorward_board::profile::{Lines, Output};
use doorward_board::simulated::{Script, ScriptError};
use doorward_board::wiegand::{Card, CardError, Format};
use doorward_board::{ContactEvent, Door, Event, Order, STEP, TamperEvent};
use embedded_hal::digital::{InputPin, OutputPin};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Orders that wait for the next step.
const ORDERS: usize = 8;
/// Between two attempts at a board whose lines cannot be had.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an unlock waits for the door's word: until the order is too old to be followed and the
/// controller's answer is given up, so that nothing opens of which it was said that it does not.
const WORD: Duration = FRESH.saturating_add(Duration::from_millis(900));
/// How long the end waits for the controller to lock.
const LOCKED_WITHIN: Duration = Duration::from_millis(300);

/// Which board, and how the door behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the lock controller is started with.
    pub controller: ControllerSettings,
    /// The keys these came from, for a controller that the daemon starts.
    pub keys: Keys,
    /// Where it is.
    pub place: Place,
    /// Bits of a card on the Wiegand lines.
    pub wiegand: Format,
    /// What happens to the inputs of a simulated board.
    pub script: Script,
}

/// Settings of which no door can be made.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// What the lock controller needs.
    #[error(transparent)]
    Controller(#[from] SettingsError),
    /// The file of the script.
    #[error("door.script: cannot read {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The card's bits.
    #[error("door.wiegand_bits: {0} is neither 26 nor 34")]
    Wiegand(u8),
    /// The script.
    #[error("door.script: {0}")]
    Script(#[from] ScriptError),
}

/// Why the strike was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnlocked {
    /// Another door is open.
    #[error("another door of the interlock is open, or its contact cannot be read; close it first")]
    Interlock,
    /// The order came late.
    #[error("the order was too old when its turn came")]
    Stale,
    /// The coil.
    #[error("the strike had current for 30 s and rests: try again in 5 s")]
    Resting,
    /// The line.
    #[error("the strike's line does not work: see the log of the lock controller")]
    Line,
    /// The controller.
    #[error("the lock controller does not answer: see whether doorward-lockd runs, and its log")]
    Controller,
    /// No word from the door.
    #[error("the board does not answer: see the log")]
    Silent,
}

impl From<OrderError> for NotUnlocked {
    fn from(why: OrderError) -> Self {
        match why {
            OrderError::Interlock => Self::Interlock,
            OrderError::Stale => Self::Stale,
            OrderError::Resting => Self::Resting,
            OrderError::Line => Self::Line,
            OrderError::Controller => Self::Controller,
        }
    }
}

/// Tells the caller what became of an order.
type Word = SyncSender<Result<(), NotUnlocked>>;

/// An order on its way.
struct Waiting {
    order: Order,
    word: Option<(u32, Word)>,
}

/// What the other workers hold of the door. Clones are the same door.
#[derive(Clone)]
pub struct DoorHandle {
    next: Arc<AtomicU32>,
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
        let (orders, waiting) = sync_channel(ORDERS);
        let (cards, to_send) = sync_channel(ORDERS);
        let board = settings.controller.profile.board.clone();
        let (state, seen) = watch::channel(State::unknown(board));
        let thread = DoorThread { waiting, door_events, state, settings };
        let cards_of_gpio = Arc::new(Mutex::new(to_send));
        let worker = Worker::start("door", move |running| thread.run(running, &cards_of_gpio))?;
        let next = Arc::default();
        Ok(Self { handle: DoorHandle { next, orders, cards, state: seen }, worker })
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
    /// Releases the strike, at once or not at all: success is the lock controller's word that people
    /// can pass. Waits for that word, three seconds at most.
    pub fn unlock(&self, by: Cause) -> Result<(), NotUnlocked> {
        let (word, heard) = sync_channel(1);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let order = Order::Unlock { id, by, issued: monotonic() };
        self.order(Waiting { order, word: Some((id, word)) })?;
        heard.recv_timeout(WORD).unwrap_or(Err(NotUnlocked::Silent))
    }

    /// Shows that a person was refused.
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
struct DoorThread {
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
    #[error("no thread for the simulated lock controller: {0}")]
    Simulated(#[source] std::io::Error),
}

impl DoorThread {
    fn run(&self, running: &Running, cards: &Arc<Mutex<Receiver<(Card, Instant)>>>) {
        while running.goes_on() {
            let ended = match self.settings.controller.profile.is_simulated() {
                true => self.simulated(running),
                false => self.gpio(running, cards),
            };
            let Err(error) = ended else { return };
            error!("no door: {error}; asking again in {} s", AGAIN.as_secs());
            self.state.send_modify(|state| state.lock = LockState::Jammed);
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
            if let Some((_, word)) = waiting.word {
                let _ = word.try_send(Err(NotUnlocked::Line));
            }
        }
    }

    fn simulated(&self, running: &Running) -> Result<(), NoDoor> {
        let Settings { controller, script, .. } = &self.settings;
        let started = SimulatedController::start(controller, script.clone());
        let (simulated, link) = started.map_err(NoDoor::Simulated)?;
        let (parts, lost) = self.parts(&mut simulated.board());
        self.step(running, parts, lost, link, Vec::new());
        Ok(())
    }

    fn gpio(
        &self,
        running: &Running,
        cards: &Arc<Mutex<Receiver<(Card, Instant)>>>,
    ) -> Result<(), NoDoor> {
        let Settings { controller, keys, place, wiegand, .. } = &self.settings;
        // First of all: it is the way out, and the rest of the board may fail.
        let mut link = lock_controller::process(place, keys);
        let early = link.step(monotonic());
        let mut gpio = Gpio::open(&controller.profile)?;
        let (parts, mut lost) = self.parts(&mut gpio);
        let lines = controller.profile.wiegand(&mut gpio).unwrap_or_else(|error| {
            error!("the door goes without its Wiegand lines: {error}");
            lost.insert("wiegand");
            None
        });
        let sender = lines.map(|lines| send_cards(lines, cards.clone(), *wiegand));
        if let Some(Err(error)) = &sender {
            error!("no thread for the Wiegand lines: {error}");
        }
        self.step(running, parts, lost, link, early);
        Ok(())
    }

    /// The daemon's own parts, and those that it goes without.
    fn parts<L: Lines<Error: std::fmt::Display>>(
        &self,
        lines: &mut L,
    ) -> (Parts<Output<L>, doorward_board::profile::Input<L>>, BTreeSet<&'static str>) {
        let mut lost = BTreeSet::new();
        let parts = self.settings.controller.profile.parts(lines, |function, error| {
            error!("the door goes without its {}: {error}", function.name());
            lost.insert(function.name());
        });
        (parts, lost)
    }

    /// Steps the door until it is over; `lost` are the parts that it goes without, `early` is what the
    /// link has reported so far.
    fn step<Output: OutputPin, Input: InputPin>(
        &self,
        running: &Running,
        parts: Parts<Output, Input>,
        lost: BTreeSet<&'static str>,
        mut link: Link,
        mut early: Vec<Report>,
    ) {
        let mut door = Door::new(parts, self.settings.controller.pulse);
        let mut words: Vec<(u32, Word)> = Vec::new();
        let (mut is_as_configured, mut may_end_it) = (true, false);
        let mut ended_one = false;
        self.state.send_modify(|state| {
            let board = std::mem::take(&mut state.board);
            *state = State::unknown(board);
        });
        let mut ends: Option<Instant> = None;
        loop {
            match (running.goes_on(), ends) {
                (true, _) => {}
                (false, None) => {
                    link.send(Command::Lock);
                    ends = Some(Instant::now());
                }
                (false, Some(since)) => {
                    if door.released().is_none() || since.elapsed() > LOCKED_WITHIN {
                        break;
                    }
                }
            }
            let now = monotonic();
            let mut reports = std::mem::take(&mut early);
            reports.append(&mut link.step(now));
            for report in &reports {
                if let Report::Up(welcome) = report {
                    let controller = &self.settings.controller;
                    is_as_configured = lock_controller::is_as_configured(controller, *welcome);
                    may_end_it = !is_as_configured && !welcome.supervised && !ended_one;
                }
            }
            let waiting: Vec<Waiting> = self.waiting.try_iter().take(ORDERS).collect();
            let orders: Vec<Order> = waiting.iter().map(|waiting| waiting.order).collect();
            words.extend(waiting.into_iter().filter_map(|waiting| waiting.word));
            let step = door.step(now, reports, &orders, |command| link.send(command));
            for (event, at) in step.events {
                self.tell(event, at.map(|at| now.saturating_sub(at)));
            }
            if let Some(number) = step.taken {
                link.taken(number);
            }
            // Before the word goes out: the answer to an unlock tells the state.
            self.show(&door, &lost, is_as_configured);
            for reply in step.replies {
                if let Some(place) = words.iter().position(|(id, _)| *id == reply.id) {
                    // A caller that gave up waiting does not hear it.
                    let word = words.swap_remove(place).1;
                    let _ = word.try_send(reply.outcome.map_err(NotUnlocked::from));
                }
            }
            // Only while people cannot pass.
            let released = door.status().map(|status| status.released);
            if may_end_it && matches!(released, Some(None | Some(Cause::Unreadable))) {
                (may_end_it, ended_one) = (false, true);
                lock_controller::end(&link);
            }
            std::thread::sleep(STEP);
        }
        self.show(&door, &lost, is_as_configured);
    }

    /// Shows how the door is, where that changed.
    fn show<Output: OutputPin, Input: InputPin>(
        &self,
        door: &Door<Output, Input>,
        lost: &BTreeSet<&'static str>,
        is_as_configured: bool,
    ) {
        self.state.send_if_modified(|state| {
            let mut next = state.clone();
            next.controller(door.status(), door.released());
            next.faults = door.failing().map(|part| part.name()).collect();
            next.faults.extend(lost);
            if !is_as_configured {
                next.faults.insert("controller_settings");
            }
            let changed = next != *state;
            *state = next;
            changed
        });
    }

    /// Tells what happened, `ago` if that was before this step.
    fn tell(&self, event: Event, ago: Option<Duration>) {
        match &event {
            Event::Fault { .. } => error!(?event, "door"),
            Event::Contact(ContactEvent::ForcedOpen | ContactEvent::HeldOpen)
            | Event::Fire(true)
            | Event::Missed(_) => warn!(?event, "door"),
            Event::Tamper(TamperEvent::Raised) => warn!(?event, "door"),
            _ => info!(?event, "door"),
        }
        self.state.send_modify(|state| state.follow(&event));
        // What the other door does is its own terminal's to record.
        if matches!(event, Event::Motion(_) | Event::Interlock(_)) {
            return;
        }
        let now = SystemTime::now();
        self.door_events.add(event, ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now));
    }
}

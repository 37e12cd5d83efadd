//! Runs the daemon's door thread: it sends orders to the lock controller, drives lamps and buzzer,
//! and reports door events.
//!
//! It starts first and stops last, and needs no other part of the daemon. The way out does not
//! depend on it: the lock controller handles that. If the board's lines cannot be opened, it tries
//! again every 5 s.

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

/// Most orders that wait for the next step.
const ORDERS: usize = 8;
/// Time between two attempts to open the board's lines.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an unlock waits for its answer: until the order is too old to be followed and the
/// controller's answer would come too late. The door must never open after the caller was told that
/// it does not.
const UNLOCK_TIMEOUT: Duration = FRESH.saturating_add(Duration::from_millis(900));
/// How long the stopping thread waits for the controller to lock.
const LOCKED_WITHIN: Duration = Duration::from_millis(300);

/// The board, and how the door behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Settings of the lock controller.
    pub controller: ControllerSettings,
    /// The keys behind these settings, for a controller that the daemon starts.
    pub keys: Keys,
    /// Location of the controller.
    pub place: Place,
    /// Number of bits of a card on the Wiegand lines.
    pub wiegand: Format,
    /// Input changes of a simulated board.
    pub script: Script,
}

/// Settings that do not describe a door.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Wrong settings of the lock controller.
    #[error(transparent)]
    Controller(#[from] SettingsError),
    /// The script cannot be read.
    #[error("door.script: cannot read {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// Wrong number of bits.
    #[error("door.wiegand_bits: {0} is neither 26 nor 34")]
    Wiegand(u8),
    /// Wrong script.
    #[error("door.script: {0}")]
    Script(#[from] ScriptError),
}

/// Why the strike was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnlocked {
    /// Another door is open, or may be.
    #[error("another door of the interlock is open, or its contact cannot be read; close it first")]
    Interlock,
    /// The order came too late.
    #[error("the order was too old when its turn came")]
    Stale,
    /// The coil is in cooldown.
    #[error("the strike had current for 30 s and rests: try again in 5 s")]
    Resting,
    /// The strike's line does not work.
    #[error("the strike's line does not work: see the log of the lock controller")]
    Line,
    /// The controller does not answer.
    #[error("the lock controller does not answer: see whether doorward-lockd runs, and its log")]
    Controller,
    /// The door's thread does not answer.
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

/// Sends the caller the outcome of an order.
type Answer = SyncSender<Result<(), NotUnlocked>>;

/// An order that waits for the next step.
struct Waiting {
    order: Order,
    answer: Option<(u32, Answer)>,
}

/// What other workers use to reach the door. Clones reach the same door.
#[derive(Clone)]
pub struct DoorHandle {
    next: Arc<AtomicU32>,
    orders: SyncSender<Waiting>,
    cards: SyncSender<(Card, Instant)>,
    state: watch::Receiver<State>,
}

/// The running door. Dropping it locks the door and stops the thread.
pub struct DoorWorker {
    handle: DoorHandle,
    worker: Worker,
}

impl DoorWorker {
    /// Starts the thread. It reports to `door_events` until its last act.
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

    /// Returns the handle for other workers.
    pub fn handle(&self) -> DoorHandle {
        self.handle.clone()
    }

    /// Returns the counter that shows that the thread moves.
    pub fn progress(&self) -> Progress {
        self.worker.progress()
    }
}

impl DoorHandle {
    /// Releases the strike at once or not at all. `Ok` means that the lock controller has confirmed
    /// that people can pass. Waits three seconds at most for the confirmation.
    pub fn unlock(&self, by: Cause) -> Result<(), NotUnlocked> {
        let (answer, received) = sync_channel(1);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let order = Order::Unlock { id, by, issued: monotonic() };
        self.order(Waiting { order, answer: Some((id, answer)) })?;
        received.recv_timeout(UNLOCK_TIMEOUT).unwrap_or(Err(NotUnlocked::Silent))
    }

    /// Shows that a person was refused.
    pub fn refuse(&self) {
        // If the board does not answer, a missing red lamp does not matter.
        let _ = self.order(Waiting { order: Order::Refuse, answer: None });
    }

    fn order(&self, order: Waiting) -> Result<(), NotUnlocked> {
        self.orders.try_send(order).map_err(|_| NotUnlocked::Silent)
    }

    /// Sends a card over the Wiegand lines, if the board has them, at once or not at all.
    pub fn send_card(&self, card: &str) -> Result<(), CardError> {
        if let Err(TrySendError::Full(_)) = self.cards.try_send((card.parse()?, Instant::now())) {
            warn!("a card was not sent: those before it are still on their way");
        }
        Ok(())
    }

    /// Returns the state of the door and its changes.
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

/// Why the door could not be opened yet.
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
                self.refuse_all();
                std::thread::sleep(STEP);
            }
        }
    }

    /// Refuses the orders that come before the door exists.
    fn refuse_all(&self) {
        for waiting in self.waiting.try_iter() {
            if let Some((_, answer)) = waiting.answer {
                let _ = answer.try_send(Err(NotUnlocked::Line));
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
        // First of all, because it is the way out, and the rest of the board may fail.
        let mut link = lock_controller::process(place, keys);
        let early = link.step(monotonic());
        let mut gpio = Gpio::open(&controller.profile)?;
        let (parts, mut lost) = self.parts(&mut gpio);
        let lines = controller.profile.wiegand(&mut gpio).unwrap_or_else(|error| {
            error!("the door has no Wiegand lines: {error}");
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

    /// Opens the daemon's own parts. Returns them with the names of the parts that are missing.
    fn parts<L: Lines<Error: std::fmt::Display>>(
        &self,
        lines: &mut L,
    ) -> (Parts<Output<L>, doorward_board::profile::Input<L>>, BTreeSet<&'static str>) {
        let mut lost = BTreeSet::new();
        let parts = self.settings.controller.profile.parts(lines, |function, error| {
            error!("the door has no {}: {error}", function.name());
            lost.insert(function.name());
        });
        (parts, lost)
    }

    /// Steps the door until it stops. `lost` are the missing parts, `early` are the link's reports
    /// so far.
    fn step<Output: OutputPin, Input: InputPin>(
        &self,
        running: &Running,
        parts: Parts<Output, Input>,
        lost: BTreeSet<&'static str>,
        mut link: Link,
        mut early: Vec<Report>,
    ) {
        let mut door = Door::new(parts, self.settings.controller.pulse);
        let mut answers: Vec<(u32, Answer)> = Vec::new();
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
            answers.extend(waiting.into_iter().filter_map(|waiting| waiting.answer));
            let step = door.step(now, reports, &orders, |command| link.send(command));
            for (event, at) in step.events {
                self.tell(event, at.map(|at| now.saturating_sub(at)));
            }
            if let Some(number) = step.taken {
                link.taken(number);
            }
            // Before the answer is sent: a caller that has the answer must find the new state.
            self.show(&door, &lost, is_as_configured);
            for reply in step.replies {
                if let Some(place) = answers.iter().position(|(id, _)| *id == reply.id) {
                    // A caller that stopped waiting does not receive it.
                    let answer = answers.swap_remove(place).1;
                    let _ = answer.try_send(reply.outcome.map_err(NotUnlocked::from));
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

    /// Publishes the state of the door, if it changed.
    fn show<Output: OutputPin, Input: InputPin>(
        &self,
        door: &Door<Output, Input>,
        lost: &BTreeSet<&'static str>,
        is_as_configured: bool,
    ) {
        self.state.send_if_modified(|state| {
            let mut next = state.clone();
            next.controller(door.status(), door.released());
            next.tamper = door.tamper();
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

    /// Reports an event; `ago` is set if it happened before this step.
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
        // The other door's own terminal records its events.
        if matches!(event, Event::Motion(_) | Event::Interlock(_)) {
            return;
        }
        let now = SystemTime::now();
        self.door_events.add(event, ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now));
    }
}

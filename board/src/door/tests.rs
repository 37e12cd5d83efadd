//! The state machine as tables: at a time, what is done to the inputs and ordered, what comes of it.

use super::*;
use crate::profile::{Function, Lines, Profile, Wiring};
use crate::simulated::{Broken, Simulated, SimulatedPin};
use crate::{ContactLimits, Lock, Pulse};
use By::{Exit, Face, Remote};
use embedded_hal::digital::PinState;
use std::collections::BTreeMap;

/// What is done before a step.
enum Do {
    Nothing,
    /// A pin of the profile `pc`, on the wire.
    Pin(&'static str, PinState),
    Unlock(By),
    /// Decided so many ms ago.
    Old(By, u64),
    Refuse,
    Break(&'static str),
    Mend(&'static str),
}

const LOW: PinState = PinState::Low;
const HIGH: PinState = PinState::High;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Steps every 10 ms up to the last row's time; no step may bring other events than its row's.
/// Rows: time in ms (a multiple of 10), what is done, the events' debug texts.
fn check(rows: Vec<(u64, Do, &[&str])>) -> Simulated {
    check_on(&alone(), rows)
}

/// The profile `pc` of a door without an interlock.
fn alone() -> Profile {
    let mut profile = Profile::shipped("pc").unwrap();
    profile.lines.remove(&Function::Interlock);
    profile
}

/// The same for a door of this profile.
fn check_on(profile: &Profile, rows: Vec<(u64, Do, &[&str])>) -> Simulated {
    let mut board = Simulated::default();
    let pin = profile.strike(&mut board, Lock::FailSecure).unwrap().unwrap();
    let strike = Strike::new(pin, Lock::FailSecure, Pulse::new(ms(1000)).unwrap()).unwrap();
    let parts = profile.parts(&mut board, ContactLimits::default(), |_, _| ()).unwrap();
    let mut door = Door::new(strike, parts);
    let end = rows.last().unwrap().0;
    let mut rows: BTreeMap<u64, _> = rows.into_iter().map(|(at, a, b)| (at, (a, b))).collect();
    for at in (0..=end).step_by(10) {
        board.run_to(ms(at));
        let (action, expected) = rows.remove(&at).unwrap_or((Do::Nothing, &[]));
        let unlock = |by, issued| vec![Order::Unlock { by, issued }];
        let orders = match action {
            Do::Unlock(by) => unlock(by, ms(at)),
            Do::Old(by, age) => unlock(by, ms(at) - ms(age)),
            Do::Refuse => vec![Order::Refuse],
            Do::Pin(pin, level) => {
                board.set(pin, level);
                vec![]
            }
            Do::Break(pin) => {
                board.break_pin(pin);
                vec![]
            }
            Do::Mend(pin) => {
                board.mend_pin(pin);
                vec![]
            }
            Do::Nothing => vec![],
        };
        let events = door.step(ms(at), &orders);
        let events: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
        assert_eq!(events, expected, "at {at} ms");
        assert_eq!(door.is_engaged(), board.level("strike") == Some(HIGH), "at {at} ms");
    }
    assert!(rows.is_empty(), "rows between the steps: {:?}", rows.keys());
    board
}

/// Changes of a pin: time in ms and level.
fn changes(board: &Simulated, pin: &str) -> Vec<(u128, bool)> {
    let log = board.log().into_iter().filter(|change| change.pin == pin);
    log.map(|change| (change.at.as_millis(), change.level == HIGH)).collect()
}

/// Rows 50 ms after the start: the contact has settled.
fn closed() -> (u64, Do, &'static [&'static str]) {
    (50, Do::Nothing, &["Contact(Closed)"])
}

#[test]
fn a_granted_person_passes() {
    let board = check(vec![
        closed(),
        (100, Do::Unlock(Face), &["Unlocked { by: Face }"]),
        (600, Do::Pin("contact", HIGH), &[]),
        (650, Do::Nothing, &["Contact(Opened)"]),
        (1100, Do::Nothing, &["Relocked"]),
        (3000, Do::Pin("contact", LOW), &[]),
        (3050, Do::Nothing, &["Contact(Closed)"]),
        (4000, Do::Nothing, &[]),
    ]);
    assert_eq!(changes(&board, "strike"), [(0, false), (100, true), (1100, false)]);
    assert_eq!(changes(&board, "green"), [(0, false), (100, true), (1100, false)]);
    assert_eq!(changes(&board, "buzzer"), [(0, false), (100, true), (220, false)]);
    assert_eq!(changes(&board, "red"), [(0, false)]);
}

#[test]
fn a_refused_person_sees_red() {
    let board = check(vec![closed(), (100, Do::Refuse, &[]), (2000, Do::Nothing, &[])]);
    assert_eq!(changes(&board, "strike"), [(0, false)]);
    assert_eq!(changes(&board, "red"), [(0, false), (100, true), (1600, false)]);
    let starts = changes(&board, "buzzer").into_iter().filter(|(_, on)| *on);
    assert_eq!(starts.map(|(at, _)| at).collect::<Vec<_>>(), [100, 300, 500]);
}

#[test]
fn orders_that_are_not_followed_say_why() {
    let board = check(vec![
        closed(),
        (3000, Do::Old(Remote, 2010), &["NotUnlocked { by: Remote, why: Stale }"]),
        (5000, Do::Old(Remote, 2000), &["Unlocked { by: Remote }"]),
        (5500, Do::Unlock(Face), &["NotUnlocked { by: Face, why: Engaged }"]),
        (6000, Do::Nothing, &["Relocked"]),
        (7000, Do::Nothing, &[]),
    ]);
    assert_eq!(changes(&board, "strike"), [(0, false), (5000, true), (6000, false)]);
}

#[test]
fn an_order_of_the_future_is_stale() {
    let mut board = Simulated::default();
    let profile = alone();
    let pin = profile.strike(&mut board, Lock::FailSecure).unwrap().unwrap();
    let strike = Strike::new(pin, Lock::FailSecure, Pulse::default()).unwrap();
    let parts = profile.parts(&mut board, ContactLimits::default(), |_, _| ()).unwrap();
    let mut door = Door::new(strike, parts);
    let orders = [Order::Unlock { by: Remote, issued: ms(1) }];
    let events = door.step(ms(0), &orders);
    assert_eq!(events, [Event::NotUnlocked { by: Remote, why: Why::Stale }]);
}

#[test]
fn an_exit_asks_nobody_and_waits_for_the_end_of_a_pulse() {
    let board = check(vec![
        closed(),
        (100, Do::Pin("request_to_exit", LOW), &[]),
        (150, Do::Nothing, &["ExitPressed", "Unlocked { by: Exit }"]),
        (300, Do::Pin("request_to_exit", HIGH), &[]),
        (500, Do::Pin("request_to_exit", LOW), &[]),
        (550, Do::Nothing, &["ExitPressed"]),
        (1150, Do::Nothing, &["Relocked", "Unlocked { by: Exit }"]),
        (2150, Do::Nothing, &["Relocked"]),
        (5000, Do::Nothing, &[]), // still held down: one press, one pulse
    ]);
    let strike = [(0, false), (150, true), (1150, false), (1150, true), (2150, false)];
    assert_eq!(changes(&board, "strike"), strike);
}

#[test]
fn an_exit_that_waits_is_over_once_the_door_opened() {
    check(vec![
        closed(),
        (100, Do::Unlock(Face), &["Unlocked { by: Face }"]),
        (200, Do::Pin("request_to_exit", LOW), &[]),
        (250, Do::Nothing, &["ExitPressed"]),
        (400, Do::Pin("contact", HIGH), &[]),
        (450, Do::Nothing, &["Contact(Opened)"]),
        (1100, Do::Nothing, &["Relocked"]),
        (2000, Do::Nothing, &[]),
    ]);
}

#[test]
fn a_stop_ends_the_pulse_and_says_so_once() {
    let mut board = Simulated::default();
    let profile = alone();
    let pin = profile.strike(&mut board, Lock::FailSecure).unwrap().unwrap();
    let strike = Strike::new(pin, Lock::FailSecure, Pulse::default()).unwrap();
    let parts = profile.parts(&mut board, ContactLimits::default(), |_, _| ()).unwrap();
    let mut door = Door::new(strike, parts);
    assert!(door.lock(ms(0)).is_empty());
    door.step(ms(10), &[Order::Unlock { by: Remote, issued: ms(10) }]);
    assert_eq!(board.level("strike"), Some(HIGH));
    assert_eq!(door.lock(ms(20)), [Event::Relocked]);
    assert_eq!(board.level("strike"), Some(LOW));
    assert!(door.lock(ms(30)).is_empty());
}

/// Rows 50 ms after the start: both doors are known to be closed.
fn both_closed() -> (u64, Do, &'static [&'static str]) {
    (50, Do::Nothing, &["Contact(Closed)", "Interlock(Closed)"])
}

#[test]
fn while_the_other_door_is_open_nobody_gets_in_and_everybody_out() {
    let board = check_on(
        &Profile::shipped("pc").unwrap(),
        vec![
            // Not known to be closed yet.
            (0, Do::Unlock(Face), &["NotUnlocked { by: Face, why: Interlock }"]),
            both_closed(),
            (100, Do::Pin("interlock", HIGH), &[]),
            (150, Do::Nothing, &["Interlock(Opened)"]),
            (200, Do::Unlock(Face), &["NotUnlocked { by: Face, why: Interlock }"]),
            (300, Do::Unlock(Remote), &["NotUnlocked { by: Remote, why: Interlock }"]),
            (400, Do::Pin("request_to_exit", LOW), &[]),
            (450, Do::Nothing, &["ExitPressed", "Unlocked { by: Exit }"]),
            (1450, Do::Nothing, &["Relocked"]),
            (2000, Do::Pin("interlock", LOW), &[]),
            (2050, Do::Nothing, &["Interlock(Closed)"]),
            (2060, Do::Unlock(Remote), &["Unlocked { by: Remote }"]),
            (3060, Do::Nothing, &["Relocked"]),
        ],
    );
    let strike = [(0, false), (450, true), (1450, false), (2060, true), (3060, false)];
    assert_eq!(changes(&board, "strike"), strike);
}

#[test]
fn a_pulse_ends_when_the_other_door_opens_unless_it_is_the_way_out() {
    let board = check_on(
        &Profile::shipped("pc").unwrap(),
        vec![
            both_closed(),
            (100, Do::Unlock(Face), &["Unlocked { by: Face }"]),
            (200, Do::Pin("interlock", HIGH), &[]),
            (250, Do::Nothing, &["Interlock(Opened)", "Relocked"]),
            (300, Do::Pin("interlock", LOW), &[]),
            (350, Do::Nothing, &["Interlock(Closed)"]),
            (400, Do::Pin("request_to_exit", LOW), &[]),
            (450, Do::Nothing, &["ExitPressed", "Unlocked { by: Exit }"]),
            (500, Do::Pin("interlock", HIGH), &[]),
            (550, Do::Nothing, &["Interlock(Opened)"]),
            (1450, Do::Nothing, &["Relocked"]),
        ],
    );
    let strike = [(0, false), (100, true), (250, false), (450, true), (1450, false)];
    assert_eq!(changes(&board, "strike"), strike);
}

#[test]
fn an_interlock_that_cannot_be_read_lets_nobody_in() {
    check_on(
        &Profile::shipped("pc").unwrap(),
        vec![
            both_closed(),
            (
                100,
                Do::Break("interlock"),
                &[r#"Fault { part: Interlock, error: "Broken(\"interlock\")" }"#],
            ),
            (200, Do::Unlock(Face), &["NotUnlocked { by: Face, why: Interlock }"]),
            (300, Do::Mend("interlock"), &["Recovered { part: Interlock }"]),
            (400, Do::Unlock(Face), &["Unlocked { by: Face }"]),
            (1400, Do::Nothing, &["Relocked"]),
        ],
    );
}

/// As [`Simulated`], but the interlock's line is taken by something else.
struct WithoutInterlock(Simulated);

impl Lines for WithoutInterlock {
    type Output = SimulatedPin;
    type Input = SimulatedPin;
    type Error = Broken;

    fn output(
        &mut self,
        function: Function,
        wiring: &Wiring,
        level: PinState,
    ) -> Result<SimulatedPin, Broken> {
        self.0.output(function, wiring, level)
    }

    fn input(&mut self, function: Function, wiring: &Wiring) -> Result<SimulatedPin, Broken> {
        if function == Function::Interlock {
            self.0.break_pin("interlock");
            return self.0.pin("interlock").is_high().map(|_| self.0.pin("interlock"));
        }
        self.0.input(function, wiring)
    }
}

#[test]
fn an_interlock_whose_line_cannot_be_had_lets_nobody_in_and_everybody_out() {
    let mut board = WithoutInterlock(Simulated::default());
    let profile = Profile::shipped("pc").unwrap();
    let pin = profile.strike(&mut board, Lock::FailSecure).unwrap().unwrap();
    let strike = Strike::new(pin, Lock::FailSecure, Pulse::default()).unwrap();
    let mut lost = Vec::new();
    let parts = profile
        .parts(&mut board, ContactLimits::default(), |function, _| lost.push(function))
        .unwrap();
    assert_eq!(lost, [Function::Interlock]);
    let mut door = Door::new(strike, parts);
    board.0.set("request_to_exit", LOW);
    let orders = [Order::Unlock { by: Remote, issued: ms(0) }];
    let events = door.step(ms(0), &orders);
    assert_eq!(events, [Event::NotUnlocked { by: Remote, why: Why::Interlock }]);
    let events = door.step(ms(50), &[]);
    assert!(events.contains(&Event::Unlocked { by: Exit }), "{events:?}");
}

#[test]
fn a_forced_door_sounds_and_shows_until_it_is_closed() {
    let board = check(vec![
        closed(),
        (1000, Do::Pin("contact", HIGH), &[]),
        (1050, Do::Nothing, &["Contact(ForcedOpen)"]),
        (2000, Do::Pin("contact", LOW), &[]),
        (2050, Do::Nothing, &["Contact(Closed)"]),
        (3000, Do::Nothing, &[]),
    ]);
    assert_eq!(changes(&board, "red"), [(0, false), (1050, true), (2050, false)]);
    let buzzer =
        [(0, false), (1050, true), (1450, false), (1550, true), (1950, false), (2050, true)];
    assert_eq!(changes(&board, "buzzer")[..5], buzzer[..5]);
    assert_eq!(changes(&board, "buzzer").len(), 5, "silent once closed");
}

#[test]
fn a_door_held_open_is_an_alarm_once() {
    let board = check(vec![
        closed(),
        (100, Do::Unlock(Face), &["Unlocked { by: Face }"]),
        (200, Do::Pin("contact", HIGH), &[]),
        (250, Do::Nothing, &["Contact(Opened)"]),
        (1100, Do::Nothing, &["Relocked"]),
        (30_250, Do::Nothing, &["Contact(HeldOpen)"]),
        (40_000, Do::Pin("contact", LOW), &[]),
        (40_050, Do::Nothing, &["Contact(Closed)"]),
        (41_000, Do::Nothing, &[]),
    ]);
    assert_eq!(changes(&board, "red"), [(0, false), (30_250, true), (40_050, false)]);
}

#[test]
fn tampering_and_motion_are_told_and_white_lights_the_face() {
    let board = check(vec![
        closed(),
        (100, Do::Pin("motion", HIGH), &["Motion(Awake)"]),
        (200, Do::Pin("tamper", HIGH), &[]),
        (250, Do::Nothing, &["Tamper(Raised)"]),
        (500, Do::Pin("tamper", LOW), &[]),
        (550, Do::Nothing, &["Tamper(Cleared)"]),
        (600, Do::Pin("motion", LOW), &[]),
        (20_590, Do::Nothing, &["Motion(Asleep)"]),
    ]);
    assert_eq!(changes(&board, "white"), [(0, false), (100, true), (20_590, false)]);
    assert_eq!(changes(&board, "red"), [(0, false), (250, true), (550, false)]);
}

#[test]
fn a_fault_is_told_once_and_so_is_its_end() {
    check(vec![
        closed(),
        (100, Do::Break("contact"), &[r#"Fault { part: Contact, error: "Broken(\"contact\")" }"#]),
        (500, Do::Mend("contact"), &["Recovered { part: Contact }"]),
        (1000, Do::Nothing, &[]),
    ]);
}

#[test]
fn a_strike_that_does_not_lock_is_locked_as_soon_as_it_can_be() {
    let board = check_strike_fault();
    assert_eq!(changes(&board, "strike"), [(0, false), (100, true), (1500, false)]);
}

fn check_strike_fault() -> Simulated {
    check(vec![
        closed(),
        (100, Do::Unlock(Face), &["Unlocked { by: Face }"]),
        (900, Do::Break("strike"), &[]),
        (1100, Do::Nothing, &[r#"Fault { part: Strike, error: "Broken(\"strike\")" }"#]),
        (1500, Do::Mend("strike"), &["Recovered { part: Strike }", "Relocked"]),
        (2000, Do::Nothing, &[]),
    ])
}

#[test]
fn an_exit_is_tried_until_the_strike_moves() {
    check(vec![
        closed(),
        (100, Do::Break("strike"), &[]),
        (200, Do::Pin("request_to_exit", LOW), &[]),
        (
            250,
            Do::Nothing,
            &["ExitPressed", r#"Fault { part: Strike, error: "Pin(Broken(\"strike\"))" }"#],
        ),
        (400, Do::Mend("strike"), &["Recovered { part: Strike }", "Unlocked { by: Exit }"]),
        (1400, Do::Nothing, &["Relocked"]),
    ]);
}

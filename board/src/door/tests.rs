//! Tests the daemon's side of a door with tables: the time, the report, order or input change, and
//! the result.

use super::*;
use crate::controller::{Event as Told, Welcome};
use crate::profile::{Function, Lines, Profile, Wiring};
use crate::simulated::{Broken, Simulated, SimulatedPin};
use Cause::{Exit, Face, Remote};
use embedded_hal::digital::PinState;
use std::collections::BTreeMap;

const LOW: PinState = PinState::Low;
const HIGH: PinState = PinState::High;

/// What is done before a step.
enum Do {
    Nothing,
    Pin(&'static str, PinState),
    Unlock(Cause),
    /// Unlocks with an order of this many ms ago.
    Old(Cause, u64),
    Refuse,
    Break(&'static str),
    Mend(&'static str),
    Up,
    Down,
    /// Reports the outcome of the last command.
    Outcome(Outcome),
    Told(Told),
    /// Reports an event of this many ms ago.
    Past(Told, u64),
    /// Reports a status: the cause if people can pass, and whether the leaf is open.
    Status(Option<Cause>, bool),
    Many(Vec<Do>),
}

type Row = (u64, Do, &'static [&'static str]);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Returns the profile `pc` without an interlock.
fn alone() -> Profile {
    let mut profile = Profile::shipped("pc").unwrap();
    profile.lines.remove(&Function::Interlock);
    profile
}

fn check(rows: Vec<Row>) -> Simulated {
    check_on(&alone(), rows)
}

/// Steps every 10 ms up to the last row's time. Rows: time in ms, action, and result as debug texts
/// of events, commands (`send …`) and replies (`reply …`). A step must bring only its row's result.
fn check_on(profile: &Profile, rows: Vec<Row>) -> Simulated {
    let mut board = Simulated::default();
    let parts = profile.parts(&mut board, |_, _| ());
    let mut door = Door::new(parts, Pulse::new(ms(1000)).unwrap());
    let end = rows.last().unwrap().0;
    let mut rows: BTreeMap<u64, _> = rows.into_iter().map(|(at, a, b)| (at, (a, b))).collect();
    let (mut commands, mut told) = (0, 0);
    for at in (0..=end).step_by(10) {
        board.run_to(ms(at));
        let (action, expected) = rows.remove(&at).unwrap_or((Do::Nothing, &[]));
        let (mut orders, mut reports) = (Vec::new(), Vec::new());
        let actions = if let Do::Many(actions) = action { actions } else { vec![action] };
        for action in actions {
            match action {
                Do::Nothing | Do::Many(_) => {}
                Do::Unlock(by) => orders.push(Order::Unlock { id: 7, by, issued: ms(at) }),
                Do::Old(by, age) => {
                    orders.push(Order::Unlock { id: 7, by, issued: ms(at) - ms(age) });
                }
                Do::Refuse => orders.push(Order::Refuse),
                Do::Pin(pin, level) => board.set(pin, level),
                Do::Break(pin) => board.break_pin(pin),
                Do::Mend(pin) => board.mend_pin(pin),
                Do::Up => reports.push(Report::Up(Welcome { fingerprint: 0, supervised: true })),
                Do::Down => reports.push(Report::Down("gone".into())),
                Do::Outcome(outcome) => reports.push(Report::Outcome(commands, outcome)),
                Do::Told(event) => {
                    told += 1;
                    reports.push(Report::Event(Numbered { number: told, at: ms(at), event }));
                }
                Do::Past(event, ago) => {
                    told += 1;
                    let at = ms(at) - ms(ago);
                    reports.push(Report::Event(Numbered { number: told, at, event }));
                }
                Do::Status(released, open) => {
                    let open = Some(open);
                    reports.push(Report::Status(controller::Status {
                        released,
                        open,
                        ..Default::default()
                    }));
                }
            }
        }
        let mut sent = Vec::new();
        let step = door.step(ms(at), reports, &orders, |command| {
            commands += 1;
            sent.push(match command {
                Command::Release { by, .. } => format!("send {by:?}"),
                other => format!("send {other:?}"),
            });
            commands
        });
        let mut seen: Vec<String> =
            step.events.iter().map(|(event, _)| format!("{event:?}")).collect();
        seen.append(&mut sent);
        seen.extend(step.replies.iter().map(|reply| format!("reply {:?}", reply.outcome)));
        assert_eq!(seen, expected, "at {at} ms");
    }
    assert!(rows.is_empty(), "rows between the steps: {:?}", rows.keys());
    board
}

/// Returns the changes of a pin: time in ms and level.
fn changes(board: &Simulated, pin: &str) -> Vec<(u128, bool)> {
    let log = board.log().into_iter().filter(|change| change.pin == pin);
    log.map(|change| (change.at.as_millis(), change.level == HIGH)).collect()
}

const UP: Row = (0, Do::Up, &[]);

#[test]
fn green_and_beep_follow_the_level_that_was_read_back() {
    let board = check(vec![
        UP,
        (100, Do::Unlock(Face), &["send Face"]),
        (
            300,
            Do::Many(vec![Do::Outcome(Outcome::Released), Do::Told(Told::Released(Face))]),
            &["Unlocked { by: Face }", "reply Ok(())"],
        ),
        (1300, Do::Told(Told::Locked), &["Relocked"]),
        (2000, Do::Nothing, &[]),
    ]);
    assert_eq!(changes(&board, "green"), [(0, false), (300, true), (1300, false)]);
    assert_eq!(changes(&board, "buzzer"), [(0, false), (300, true), (420, false)]);
    assert_eq!(changes(&board, "red"), [(0, false)]);
}

#[test]
fn refused_person_sees_red() {
    let board = check(vec![UP, (100, Do::Refuse, &[]), (2000, Do::Nothing, &[])]);
    assert_eq!(changes(&board, "red"), [(0, false), (100, true), (1600, false)]);
    let starts = changes(&board, "buzzer").into_iter().filter(|(_, on)| *on);
    assert_eq!(starts.map(|(at, _)| at).collect::<Vec<_>>(), [100, 300, 500]);
}

#[test]
fn refused_orders_say_why() {
    let board = check(vec![
        (
            0,
            Do::Unlock(Face),
            &["NotUnlocked { by: Face, why: Controller }", "reply Err(Controller)"],
        ),
        (100, Do::Up, &[]),
        (
            3000,
            Do::Old(Remote, 2010),
            &["NotUnlocked { by: Remote, why: Stale }", "reply Err(Stale)"],
        ),
        (4000, Do::Old(Remote, 2000), &["send Remote"]),
        (
            4010,
            Do::Outcome(Outcome::Line),
            &["NotUnlocked { by: Remote, why: Line }", "reply Err(Line)"],
        ),
        (5000, Do::Unlock(Face), &["send Face"]),
        (
            5010,
            Do::Outcome(Outcome::Resting),
            &["NotUnlocked { by: Face, why: Resting }", "reply Err(Resting)"],
        ),
    ]);
    assert!(changes(&board, "green").iter().all(|(_, on)| !on));
}

#[test]
fn silent_controller_never_shows_green_and_is_not_waited_for() {
    let board = check(vec![
        UP,
        (100, Do::Unlock(Face), &["send Face"]),
        (910, Do::Nothing, &["NotUnlocked { by: Face, why: Controller }", "reply Err(Controller)"]),
        (2000, Do::Unlock(Remote), &["send Remote"]),
        (
            2100,
            Do::Down,
            &[
                "NotUnlocked { by: Remote, why: Controller }",
                r#"Fault { part: Controller, error: "gone" }"#,
                "reply Err(Controller)",
            ],
        ),
        (3000, Do::Up, &["Recovered { part: Controller }"]),
        (4000, Do::Nothing, &[]),
    ]);
    assert!(changes(&board, "green").iter().all(|(_, on)| !on));
}

#[test]
fn exit_shows_green_and_beeps() {
    let board = check(vec![
        UP,
        (
            100,
            Do::Many(vec![Do::Told(Told::ExitPressed), Do::Told(Told::Released(Exit))]),
            &["ExitPressed", "Unlocked { by: Exit }"],
        ),
        (1100, Do::Told(Told::Locked), &["Relocked"]),
    ]);
    assert_eq!(changes(&board, "green"), [(0, false), (100, true), (1100, false)]);
    assert_eq!(changes(&board, "buzzer"), [(0, false), (100, true), (220, false)]);
}

#[test]
fn events_keep_their_time_and_are_confirmed() {
    let mut board = Simulated::default();
    let parts = alone().parts(&mut board, |_, _| ());
    let mut door = Door::new(parts, Pulse::default());
    let event = Numbered { number: 41, at: ms(1234), event: Told::ExitPressed };
    let step = door.step(ms(90_000), vec![Report::Event(event)], &[], |_| 0);
    assert_eq!(step.events, [(Event::ExitPressed, Some(ms(1234)))]);
    assert_eq!(step.taken, Some(41));
}

/// Returns the row, 50 ms after the start, at which the other door is known to be closed.
fn interlock_closed() -> Row {
    (50, Do::Nothing, &["Interlock(Closed)"])
}

#[test]
fn open_interlock_blocks_grants_and_ends_the_present_one() {
    check_on(
        &Profile::shipped("pc").unwrap(),
        vec![
            // The other door is not known to be closed yet.
            (
                0,
                Do::Many(vec![Do::Up, Do::Unlock(Face)]),
                &["NotUnlocked { by: Face, why: Interlock }", "reply Err(Interlock)"],
            ),
            interlock_closed(),
            (100, Do::Unlock(Face), &["send Face"]),
            (
                110,
                Do::Many(vec![Do::Outcome(Outcome::Released), Do::Told(Told::Released(Face))]),
                &["Unlocked { by: Face }", "reply Ok(())"],
            ),
            (200, Do::Pin("interlock", HIGH), &[]),
            (250, Do::Nothing, &["Interlock(Opened)", "send Lock"]),
            (260, Do::Told(Told::Locked), &["Relocked"]),
            (
                300,
                Do::Unlock(Remote),
                &["NotUnlocked { by: Remote, why: Interlock }", "reply Err(Interlock)"],
            ),
            // The way out never depends on the interlock.
            (400, Do::Told(Told::Released(Exit)), &["Unlocked { by: Exit }"]),
            (1400, Do::Told(Told::Locked), &["Relocked"]),
            (
                1500,
                Do::Break("interlock"),
                &[r#"Fault { part: Interlock, error: "Broken(\"interlock\")" }"#],
            ),
            (
                1600,
                Do::Unlock(Face),
                &["NotUnlocked { by: Face, why: Interlock }", "reply Err(Interlock)"],
            ),
            (1700, Do::Mend("interlock"), &["Recovered { part: Interlock }"]),
            (1710, Do::Pin("interlock", LOW), &[]),
            (1760, Do::Nothing, &["Interlock(Closed)"]),
            (1800, Do::Unlock(Face), &["send Face"]),
        ],
    );
}

/// Like [`Simulated`], but another program holds the interlock's line.
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
fn interlock_without_a_line_blocks_grants() {
    let mut board = WithoutInterlock(Simulated::default());
    let mut lost = Vec::new();
    let profile = Profile::shipped("pc").unwrap();
    let parts = profile.parts(&mut board, |function, _| lost.push(function));
    assert_eq!(lost, [Function::Interlock]);
    let mut door = Door::new(parts, Pulse::default());
    let orders = [Order::Unlock { id: 1, by: Remote, issued: ms(0) }];
    let up = vec![Report::Up(Welcome { fingerprint: 0, supervised: true })];
    let step = door.step(ms(0), up, &orders, |command| panic!("{command:?}"));
    assert_eq!(step.replies, [Reply { id: 1, outcome: Err(OrderError::Interlock) }]);
}

#[test]
fn forced_door_alarms_until_it_is_closed() {
    let board = check(vec![
        UP,
        (1050, Do::Told(Told::Contact(ContactEvent::ForcedOpen)), &["Contact(ForcedOpen)"]),
        (2050, Do::Told(Told::Contact(ContactEvent::Closed)), &["Contact(Closed)"]),
        (3000, Do::Nothing, &[]),
    ]);
    assert_eq!(changes(&board, "red"), [(0, false), (1050, true), (2050, false)]);
    let buzzer = [(0, false), (1050, true), (1450, false), (1550, true), (1950, false)];
    assert_eq!(changes(&board, "buzzer"), buzzer);
}

#[test]
fn tampering_and_motion_are_reported_and_motion_turns_white_on() {
    let board = check(vec![
        UP,
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
fn fault_and_its_end_are_reported_once() {
    check(vec![
        UP,
        (100, Do::Break("tamper"), &[r#"Fault { part: Tamper, error: "Broken(\"tamper\")" }"#]),
        (500, Do::Mend("tamper"), &["Recovered { part: Tamper }"]),
        (1000, Do::Nothing, &[]),
    ]);
}

/// Events from the night come before the present ones, and not all at once.
#[test]
fn past_releases_never_light_green() {
    let board = check(vec![
        (5000, Do::Many(vec![Do::Up, Do::Status(None, false)]), &[]),
        (5010, Do::Past(Told::Released(Exit), 4000), &["Unlocked { by: Exit }"]),
        (5100, Do::Past(Told::Locked, 3000), &["Relocked"]),
        (5200, Do::Status(Some(Exit), false), &[]),
        (5210, Do::Past(Told::Locked, 3000), &["Relocked"]),
        (5300, Do::Nothing, &[]),
    ]);
    // Off again when the daemon ends.
    assert_eq!(changes(&board, "green"), [(0, false), (5200, true), (5300, false)]);
}

#[test]
fn status_follows_events_and_is_unknown_without_a_connection() {
    let mut board = Simulated::default();
    let parts = alone().parts(&mut board, |_, _| ());
    let mut door = Door::new(parts, Pulse::new(ms(1000)).unwrap());
    let welcome = || Report::Up(Welcome { fingerprint: 0, supervised: true });
    let status = Report::Status(controller::Status { open: Some(false), ..Default::default() });
    let told = |number, event| Report::Event(Numbered { number, at: ms(100), event });
    let opened = told(1, Told::Contact(ContactEvent::Opened));
    door.step(ms(100), vec![welcome(), status, opened, told(2, Told::Fire(true))], &[], |_| 0);
    let status = door.status().unwrap();
    assert_eq!((status.open, status.fire), (Some(true), Some(true)));
    door.step(ms(110), vec![told(3, Told::Released(Exit))], &[], |_| 0);
    assert_eq!(door.status().unwrap().released, Some(Exit));
    // A new connection has no status before the controller sends it.
    door.step(ms(120), vec![welcome()], &[], |_| 0);
    assert_eq!(door.status(), None);
}

#[test]
fn interlock_opening_between_order_and_outcome_refuses_and_locks() {
    let board = check_on(
        &Profile::shipped("pc").unwrap(),
        vec![
            (0, Do::Many(vec![Do::Up, Do::Pin("interlock", LOW)]), &[]),
            (50, Do::Nothing, &["Interlock(Closed)"]),
            (100, Do::Unlock(Face), &["send Face"]),
            (110, Do::Pin("interlock", HIGH), &[]),
            (
                160,
                Do::Many(vec![Do::Told(Told::Released(Face)), Do::Outcome(Outcome::Released)]),
                &[
                    "Interlock(Opened)",
                    "Unlocked { by: Face }",
                    "NotUnlocked { by: Face, why: Interlock }",
                    "send Lock",
                    "reply Err(Interlock)",
                ],
            ),
            (170, Do::Told(Told::Locked), &["Relocked"]),
            (300, Do::Nothing, &[]),
        ],
    );
    assert!(changes(&board, "red").contains(&(160, true)));
}

//! Tests the controller with tables: the time, the change of an input or the order, and the events.

use super::*;
use crate::simulated::Simulated;
use Cause::{Face, Remote};
use embedded_hal::digital::PinState;
use std::collections::BTreeMap;

const LOW: PinState = PinState::Low;
const HIGH: PinState = PinState::High;

/// What is done before a step.
enum Do {
    Nothing,
    /// Sets a pin of the profile `pc`, on the wire.
    Pin(&'static str, PinState),
    /// Orders a pulse and expects the outcome.
    Release(Cause, Outcome),
    /// Sends an order whose deadline was this many ms ago.
    Late(u64),
    Hold(Outcome),
    Lock(Outcome),
    /// Loses the commander.
    Lose,
    Break(&'static str),
    Mend(&'static str),
}

type Row = (u64, Do, &'static [&'static str]);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn keys(lock: &str) -> Keys {
    Keys { board: "pc".into(), lock: lock.into(), pulse_ms: 1000, fire: true, ..Keys::default() }
}

/// Steps every 10 ms up to the last row's time. A step must bring only its row's events, and the
/// line must always match the controller's state.
fn check(keys: &Keys, rows: Vec<Row>) -> Simulated {
    let settings = keys.settings().unwrap();
    let mut board = Simulated::default();
    let strike = settings.profile.strike(&mut board).unwrap().unwrap();
    let inputs = settings.profile.inputs(&mut board, settings.limits, |_, _| ()).unwrap();
    let strike = Strike::new(strike, settings.lock);
    let mut controller = Controller::new(strike, inputs, &settings);
    let end = rows.last().unwrap().0;
    let mut rows: BTreeMap<u64, _> = rows.into_iter().map(|(at, a, b)| (at, (a, b))).collect();
    for at in (0..=end).step_by(10) {
        board.run_to(ms(at));
        let now = ms(at);
        let (action, expected) = rows.remove(&at).unwrap_or((Do::Nothing, &[]));
        let command = match action {
            Do::Release(by, outcome) => {
                let not_after = now + ms(500);
                Some((Command::Release { by, pulse: settings.pulse, not_after }, outcome))
            }
            Do::Late(age) => {
                let not_after = now - ms(age);
                let pulse = settings.pulse;
                Some((Command::Release { by: Remote, pulse, not_after }, Outcome::Stale))
            }
            Do::Hold(outcome) => {
                let lease = Pulse::new(ms(5000)).unwrap();
                Some((Command::Hold { lease, not_after: now + ms(500) }, outcome))
            }
            Do::Lock(outcome) => Some((Command::Lock, outcome)),
            Do::Pin(pin, level) => {
                board.set(pin, level);
                None
            }
            Do::Break(pin) => {
                board.break_pin(pin);
                None
            }
            Do::Mend(pin) => {
                board.mend_pin(pin);
                None
            }
            Do::Lose => {
                controller.commander_lost(now);
                None
            }
            Do::Nothing => None,
        };
        if let Some((command, outcome)) = command {
            assert_eq!(controller.command(now, &command), outcome, "at {at} ms");
        }
        let events: Vec<String> = controller.step(now).map(|event| format!("{event:?}")).collect();
        assert_eq!(events, expected, "at {at} ms");
        let level = settings.lock.level(controller.is_released());
        if !controller.failing[Part::Strike as usize] {
            assert_eq!(board.level("strike"), Some(level), "at {at} ms");
        }
    }
    assert!(rows.is_empty(), "rows between the steps: {:?}", rows.keys());
    board
}

fn changes(board: &Simulated) -> Vec<(u128, bool)> {
    let log = board.log().into_iter().filter(|change| change.pin == "strike");
    log.map(|change| (change.at.as_millis(), change.level == HIGH)).collect()
}

const LOCKS: [&str; 2] = ["fail_secure", "fail_safe"];
/// The contact has settled 50 ms after the start.
const CLOSED: Row = (50, Do::Nothing, &["Contact(Closed)"]);

#[test]
fn button_opens_without_a_commander_for_both_locks() {
    for lock in LOCKS {
        let board = check(
            &keys(lock),
            vec![
                CLOSED,
                (100, Do::Pin("request_to_exit", LOW), &[]),
                (150, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
                (1150, Do::Nothing, &["Locked"]),
                (5000, Do::Nothing, &[]), // still held down: one press, one pulse
            ],
        );
        let expected: &[_] = match lock {
            "fail_secure" => &[(0, false), (150, true), (1150, false)],
            // Requested without current; it gets current once the button was read, and none after
            // the controller is dropped.
            _ => &[(0, false), (0, true), (150, false), (1150, true), (5000, false)],
        };
        assert_eq!(changes(&board), expected, "{lock}");
    }
}

#[test]
fn fire_releases_until_it_ends_and_a_coil_has_its_cooldown() {
    let rows = |last: Vec<Row>| {
        let mut rows = vec![
            CLOSED,
            (100, Do::Pin("fire", HIGH), &[] as &[&str]),
            (150, Do::Nothing, &["Fire(true)", "Released(Fire)"]),
        ];
        rows.extend(last);
        rows
    };
    check(
        &keys("fail_safe"),
        rows(vec![
            (60_000, Do::Pin("fire", LOW), &[]),
            (60_050, Do::Nothing, &["Fire(false)", "Locked"]),
        ]),
    );
    check(
        &keys("fail_secure"),
        rows(vec![
            (30_150, Do::Nothing, &["Locked"]),
            (30_550, Do::Nothing, &["Released(Fire)"]),
            (60_000, Do::Pin("fire", LOW), &[]),
            (60_050, Do::Nothing, &["Fire(false)", "Locked"]),
        ]),
    );
    check(
        &Keys { strike_continuous: true, ..keys("fail_secure") },
        rows(vec![
            (60_000, Do::Pin("fire", LOW), &[]),
            (60_050, Do::Nothing, &["Fire(false)", "Locked"]),
        ]),
    );
}

#[test]
fn silence_ends_a_grant_and_never_the_way_out() {
    for lock in LOCKS {
        check(
            &keys(lock),
            vec![
                CLOSED,
                (100, Do::Release(Face, Outcome::Released), &["Released(Face)"]),
                (200, Do::Lose, &["Locked"]),
                (300, Do::Pin("request_to_exit", LOW), &[]),
                (350, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
                (400, Do::Release(Face, Outcome::Released), &[]),
                (500, Do::Lose, &[]),
                (600, Do::Lock(Outcome::Released), &[]),
                (1350, Do::Nothing, &["Locked"]),
                (2000, Do::Nothing, &[]),
            ],
        );
    }
}

#[test]
fn orders_extend_a_release_up_to_30_s_from_its_beginning() {
    let pulse = Keys { pulse_ms: 20_000, ..keys("fail_safe") };
    check(
        &pulse,
        vec![
            CLOSED,
            (1000, Do::Release(Face, Outcome::Released), &["Released(Face)"]),
            (15_000, Do::Release(Remote, Outcome::Released), &["Released(Remote)"]),
            (31_000, Do::Nothing, &["Locked"]),
            (32_000, Do::Release(Remote, Outcome::Released), &["Released(Remote)"]),
            (52_000, Do::Nothing, &["Locked"]),
        ],
    );
}

#[test]
fn lock_ends_a_grant_at_once() {
    for lock in LOCKS {
        check(
            &keys(lock),
            vec![
                CLOSED,
                (100, Do::Release(Face, Outcome::Released), &["Released(Face)"]),
                (200, Do::Lock(Outcome::Locked), &["Locked"]),
                (2000, Do::Nothing, &[]),
            ],
        );
    }
}

#[test]
fn late_and_future_orders_are_refused() {
    check(&keys("fail_secure"), vec![CLOSED, (3000, Do::Late(10), &[]), (4000, Do::Nothing, &[])]);
    let settings = keys("fail_secure").settings().unwrap();
    let mut board = Simulated::default();
    let strike = settings.profile.strike(&mut board).unwrap().unwrap();
    let inputs = settings.profile.inputs(&mut board, settings.limits, |_, _| ()).unwrap();
    let strike = Strike::new(strike, settings.lock);
    let mut controller = Controller::new(strike, inputs, &settings);
    let not_after = FRESH + ms(1);
    let order = Command::Release { by: Face, pulse: settings.pulse, not_after };
    assert_eq!(controller.command(ms(0), &order), Outcome::Stale);
    assert_eq!(controller.command(ms(1), &order), Outcome::Released);
}

#[test]
fn leases_are_renewed_and_need_continuous_duty() {
    check(
        &keys("fail_secure"),
        vec![CLOSED, (100, Do::Hold(Outcome::NotContinuous), &[]), (200, Do::Nothing, &[])],
    );
    let continuous = Keys { strike_continuous: true, ..keys("fail_secure") };
    for keys in [continuous, keys("fail_safe")] {
        let mut rows =
            vec![CLOSED, (1000, Do::Hold(Outcome::Released), &["Released(Hours)"] as &[&str])];
        rows.extend((5..60).step_by(4).map(|s| (s * 1000, Do::Hold(Outcome::Released), &[] as _)));
        rows.push((62_000, Do::Nothing, &["Locked"]));
        check(&keys, rows);
    }
}

#[test]
fn unreadable_button_is_a_fault_and_opens_a_fail_safe_lock() {
    let expected = |lock: &str| -> Vec<Row> {
        let fail_safe = lock == "fail_safe";
        vec![
            CLOSED,
            (100, Do::Break("request_to_exit"), &[]),
            (
                300,
                Do::Nothing,
                if fail_safe { &["Fault(Exit)", "Released(Unreadable)"] } else { &["Fault(Exit)"] },
            ),
            (1000, Do::Mend("request_to_exit"), &[]),
            (
                2000,
                Do::Nothing,
                if fail_safe { &["Recovered(Exit)", "Locked"] } else { &["Recovered(Exit)"] },
            ),
            (3000, Do::Nothing, &[]),
        ]
    };
    for lock in LOCKS {
        check(&keys(lock), expected(lock));
    }
}

#[test]
fn unreadable_button_at_the_start_never_gets_a_fail_safe_lock_current() {
    let settings = keys("fail_safe").settings().unwrap();
    let mut board = Simulated::default();
    let strike = settings.profile.strike(&mut board).unwrap().unwrap();
    let inputs = settings.profile.inputs(&mut board, settings.limits, |_, _| ()).unwrap();
    board.break_pin("request_to_exit");
    let mut controller = Controller::new(Strike::new(strike, settings.lock), inputs, &settings);
    for at in (0..5000).step_by(10) {
        drop(controller.step(ms(at)));
    }
    assert_eq!(changes(&board), [(0, false)]);
    assert!(controller.is_released());
}

#[test]
fn one_failed_read_opens_nothing() {
    check(
        &keys("fail_safe"),
        vec![
            CLOSED,
            (100, Do::Break("request_to_exit"), &[]),
            (250, Do::Mend("request_to_exit"), &[]),
            (3000, Do::Nothing, &[]),
        ],
    );
}

#[test]
fn exit_is_tried_until_the_strike_moves() {
    check(
        &keys("fail_secure"),
        vec![
            CLOSED,
            (100, Do::Break("strike"), &[]),
            (200, Do::Pin("request_to_exit", LOW), &[]),
            (250, Do::Nothing, &["ExitPressed", "Fault(Strike)"]),
            (4000, Do::Mend("strike"), &["Recovered(Strike)", "Released(Exit)"]),
            (5000, Do::Nothing, &["Locked"]),
        ],
    );
}

#[test]
fn order_to_a_broken_line_is_refused_and_forgotten() {
    check(
        &keys("fail_secure"),
        vec![
            CLOSED,
            (100, Do::Break("strike"), &[]),
            (200, Do::Release(Face, Outcome::Line), &["Fault(Strike)"]),
            (300, Do::Mend("strike"), &["Recovered(Strike)"]),
            (2000, Do::Nothing, &[]),
        ],
    );
}

#[test]
fn strike_that_does_not_lock_is_tried_until_it_does() {
    let board = check(
        &keys("fail_secure"),
        vec![
            CLOSED,
            (100, Do::Release(Face, Outcome::Released), &["Released(Face)"]),
            (900, Do::Break("strike"), &[]),
            (1100, Do::Nothing, &["Fault(Strike)"]),
            (1500, Do::Mend("strike"), &["Recovered(Strike)", "Locked"]),
            (2000, Do::Nothing, &[]),
        ],
    );
    assert_eq!(changes(&board), [(0, false), (100, true), (1500, false)]);
}

#[test]
fn coil_refuses_orders_in_cooldown_and_delays_presses_by_400_ms() {
    check(
        &Keys { pulse_ms: 30_000, ..keys("fail_secure") },
        vec![
            CLOSED,
            (1000, Do::Release(Face, Outcome::Released), &["Released(Face)"]),
            (31_000, Do::Nothing, &["Locked"]),
            (31_010, Do::Release(Remote, Outcome::Released), &["Released(Remote)"]),
            (40_000, Do::Pin("request_to_exit", LOW), &[]),
            (40_050, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
            (61_010, Do::Nothing, &["Locked"]),
            (61_410, Do::Nothing, &["Released(Exit)"]),
            (62_000, Do::Release(Face, Outcome::Resting), &[]),
            (91_400, Do::Nothing, &["Locked"]),
            // The cooldown is over for orders as well.
            (91_500, Do::Release(Face, Outcome::Released), &["Released(Face)"]),
        ],
    );
}

#[test]
fn press_while_orders_are_refused_opens_at_once() {
    let order = |at| (at, Do::Release(Remote, Outcome::Released), &[] as &[&str]);
    let mut rows =
        vec![CLOSED, (1000, Do::Release(Remote, Outcome::Released), &["Released(Remote)"])];
    rows.extend((2..14).map(|number| order(2000 * number)));
    rows.extend([
        (28_000, Do::Pin("request_to_exit", LOW), &[] as &[&str]),
        (28_050, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
        (28_500, Do::Pin("request_to_exit", HIGH), &[]),
        (29_000, Do::Pin("request_to_exit", LOW), &[]),
        (29_050, Do::Nothing, &["ExitPressed"]),
        (31_000, Do::Nothing, &["Locked"]),
        // A press cut off by the coil's limit gets a full pulse afterwards.
        (31_400, Do::Nothing, &["Released(Exit)"]),
        (34_390, Do::Nothing, &["Locked"]),
        (35_000, Do::Release(Remote, Outcome::Resting), &[]),
        (35_100, Do::Pin("request_to_exit", HIGH), &[]),
        (35_200, Do::Pin("request_to_exit", LOW), &[]),
        (35_250, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
    ]);
    check(&Keys { pulse_ms: 3000, ..keys("fail_secure") }, rows);
}

#[test]
fn dropped_controller_leaves_no_current() {
    for lock in LOCKS {
        let settings = keys(lock).settings().unwrap();
        let mut board = Simulated::default();
        let strike = settings.profile.strike(&mut board).unwrap().unwrap();
        let inputs = settings.profile.inputs(&mut board, settings.limits, |_, _| ()).unwrap();
        let mut controller = Controller::new(Strike::new(strike, settings.lock), inputs, &settings);
        drop(controller.step(ms(0)));
        let order = Command::Release { by: Face, pulse: settings.pulse, not_after: ms(100) };
        assert_eq!(controller.command(ms(10), &order), Outcome::Released);
        drop(controller);
        assert_eq!(board.level("strike"), Some(LOW), "{lock}");
    }
}

#[test]
fn contact_event_follows_the_release_that_caused_it() {
    check(
        &keys("fail_secure"),
        vec![
            CLOSED,
            (100, Do::Pin("request_to_exit", LOW), &[]),
            (150, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
            (300, Do::Pin("contact", HIGH), &[]),
            (350, Do::Nothing, &["Contact(Opened)"]),
            (1150, Do::Nothing, &["Locked"]),
            (2000, Do::Pin("contact", LOW), &[]),
            (2050, Do::Nothing, &["Contact(Closed)"]),
            (5000, Do::Pin("contact", HIGH), &[]),
            (5050, Do::Nothing, &["Contact(ForcedOpen)"]),
        ],
    );
}

/// A loose wire: every other read fails, no press can settle, and every failure ends with a good
/// read.
#[test]
fn input_that_never_settles_counts_as_unreadable() {
    let mut rows = vec![CLOSED];
    for at in (100..2000).step_by(20) {
        rows.push((at, Do::Break("request_to_exit"), &[]));
        rows.push((at + 10, Do::Mend("request_to_exit"), &[]));
    }
    let lost = rows.iter_mut().find(|(at, ..)| *at == 390).unwrap();
    lost.2 = &["Fault(Exit)", "Released(Unreadable)"];
    rows.push((2990, Do::Nothing, &["Recovered(Exit)", "Locked"]));
    check(&keys("fail_safe"), rows);
}

/// The line may have followed without reporting it: the press ends after 30 s.
#[test]
fn press_on_a_failing_line_ends_after_30_s() {
    check(
        &keys("fail_secure"),
        vec![
            CLOSED,
            (100, Do::Break("strike"), &[]),
            (200, Do::Pin("request_to_exit", LOW), &[]),
            (250, Do::Nothing, &["ExitPressed", "Fault(Strike)"]),
            (40_000, Do::Mend("strike"), &["Recovered(Strike)"]),
            (45_000, Do::Nothing, &[]),
        ],
    );
}

#[test]
fn grant_that_outlasts_the_button_is_reported_when_it_becomes_the_cause() {
    check(
        &keys("fail_secure"),
        vec![
            CLOSED,
            (100, Do::Pin("request_to_exit", LOW), &[]),
            (150, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
            (600, Do::Release(Face, Outcome::Released), &[]),
            (1150, Do::Nothing, &["Released(Face)"]),
            (1600, Do::Nothing, &["Locked"]),
            (2000, Do::Nothing, &[]),
        ],
    );
    // A grant reported before the button was pressed is not reported again.
    check(
        &Keys { pulse_ms: 2000, ..keys("fail_secure") },
        vec![
            CLOSED,
            (100, Do::Pin("request_to_exit", LOW), &[]),
            (110, Do::Release(Face, Outcome::Released), &["Released(Face)"]),
            (150, Do::Nothing, &["ExitPressed", "Released(Exit)"]),
            (1000, Do::Release(Face, Outcome::Released), &[]),
            (2150, Do::Nothing, &[]),
            (3000, Do::Nothing, &["Locked"]),
        ],
    );
}

#[test]
fn another_version_waits_for_the_way_out() {
    let settings = Keys { pulse_ms: 30_000, ..keys("fail_secure") }.settings().unwrap();
    let mut board = Simulated::default();
    let strike = settings.profile.strike(&mut board).unwrap().unwrap();
    let inputs = settings.profile.inputs(&mut board, settings.limits, |_, _| ()).unwrap();
    let strike = Strike::new(strike, settings.lock);
    let mut controller = Controller::new(strike, inputs, &settings);
    let mut step = |at: u64| {
        drop(controller.step(ms(at)));
        controller.is_idle()
    };
    assert!(!(0..50).step_by(10).any(&mut step), "a button that is down at the start");
    assert!((50..100).step_by(10).all(&mut step));
    board.set("request_to_exit", LOW);
    // The time before the press counts, the press, and its pulse.
    assert!(!(110..30_000).step_by(10).any(&mut step));
    board.set("request_to_exit", HIGH);
    assert!(!(30_000..30_160).step_by(10).any(&mut step));
    assert!((30_160..31_000).step_by(10).all(&mut step));
}

#[test]
fn contact_without_a_line_is_a_fault() {
    let settings = keys("fail_secure").settings().unwrap();
    let mut board = Simulated::default();
    let strike = settings.profile.strike(&mut board).unwrap().unwrap();
    let inputs = settings.profile.inputs(&mut board, settings.limits, |_, _| ()).unwrap();
    let inputs = Inputs { contact: None, ..inputs };
    let mut controller = Controller::new(Strike::new(strike, settings.lock), inputs, &settings);
    controller.goes_without(Part::Contact);
    let events: Vec<Event> = controller.step(ms(0)).collect();
    assert_eq!(events, [Event::Fault(Part::Contact)]);
    assert!(controller.status().failing[Part::Contact as usize]);
}

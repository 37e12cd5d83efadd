//! The lock is at its safe level at start, at stop, at a panic and whenever its owner goes, for
//! both kinds of lock and for both levels on the wire. SIGKILL has a file of its own.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward_board::door::By;
use doorward_board::profile::{Function, Profile};
use doorward_board::simulated::Simulated;
use doorward_board::{ActiveLevel, ContactLimits, Door, Event, Lock, Order, Pulse, Strike};
use embedded_hal::digital::PinState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Every lock and wiring: the lock, the active level, and the safe level on the wire.
const KINDS: [(Lock, ActiveLevel, PinState); 4] = [
    (Lock::FailSecure, ActiveLevel::High, PinState::Low),
    (Lock::FailSecure, ActiveLevel::Low, PinState::High),
    (Lock::FailSafe, ActiveLevel::High, PinState::High),
    (Lock::FailSafe, ActiveLevel::Low, PinState::Low),
];

/// A door on a simulated board, its strike wired as said.
fn door(
    board: &Simulated,
    lock: Lock,
    active: ActiveLevel,
) -> Door<
    impl embedded_hal::digital::OutputPin + use<>,
    impl embedded_hal::digital::OutputPin + use<>,
    impl embedded_hal::digital::InputPin + use<>,
> {
    let mut profile = Profile::shipped("pc").unwrap();
    profile.lines.remove(&Function::Interlock);
    profile.lines.get_mut(&Function::Strike).unwrap().active = active;
    let mut lines = board.clone();
    let pin = profile.strike(&mut lines, lock).unwrap().unwrap();
    let strike = Strike::new(pin, lock, Pulse::default()).unwrap();
    Door::new(strike, profile.parts(&mut lines, ContactLimits::default(), |_, _| ()).unwrap())
}

fn unlock() -> [Order; 1] {
    [Order::Unlock { by: By::Face, issued: ms(0) }]
}

#[test]
fn the_first_level_ever_on_the_line_is_the_safe_one() {
    for (lock, active, safe) in KINDS {
        let board = Simulated::default();
        let _door = door(&board, lock, active);
        let first = board.log().into_iter().find(|change| change.pin == "strike").unwrap();
        assert_eq!(first.level, safe, "{lock:?} {active:?}");
        assert_eq!(board.level("strike"), Some(safe), "{lock:?} {active:?}");
    }
}

#[test]
fn it_is_safe_again_after_the_pulse() {
    for (lock, active, safe) in KINDS {
        let board = Simulated::default();
        let mut door = door(&board, lock, active);
        door.step(ms(0), &unlock());
        assert_eq!(board.level("strike"), Some(!safe), "{lock:?} {active:?}");
        door.step(ms(2999), &[]);
        assert_eq!(board.level("strike"), Some(!safe), "{lock:?} {active:?}");
        let events = door.step(ms(3000), &[]);
        assert!(events.contains(&Event::Relocked), "{events:?}");
        assert_eq!(board.level("strike"), Some(safe), "{lock:?} {active:?}");
    }
}

#[test]
fn it_is_safe_when_the_daemon_stops_in_the_middle_of_a_pulse() {
    for (lock, active, safe) in KINDS {
        let board = Simulated::default();
        let mut door = door(&board, lock, active);
        door.step(ms(0), &unlock());
        assert_eq!(board.level("strike"), Some(!safe), "{lock:?} {active:?}");
        drop(door);
        assert_eq!(board.level("strike"), Some(safe), "{lock:?} {active:?}");
    }
}

#[test]
fn it_is_safe_when_the_owner_panics_in_the_middle_of_a_pulse() {
    for (lock, active, safe) in KINDS {
        let board = Simulated::default();
        let mut door = door(&board, lock, active);
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            door.step(ms(0), &unlock());
            assert!(!door.is_engaged(), "the panic of this test");
        }));
        assert!(panicked.is_err());
        assert_eq!(board.level("strike"), Some(safe), "{lock:?} {active:?}");
    }
}

#[test]
fn a_door_that_is_stepped_late_relocks_at_the_first_step() {
    let board = Simulated::default();
    let mut door = door(&board, Lock::FailSecure, ActiveLevel::High);
    door.step(ms(0), &unlock());
    // An order that came in meanwhile finds the door locked, and too old is too old.
    let orders = [Order::Unlock { by: By::Remote, issued: ms(100) }];
    let events = door.step(ms(60_000), &orders);
    assert_eq!(events[0], Event::Relocked);
    assert!(!door.is_engaged());
}

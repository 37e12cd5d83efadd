//! Request-to-exit with everything else dead: every other pin of the board fails, no order ever
//! comes, the interlock, whose pin fails as well, says no. Nobody is locked in.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward_board::profile::{Function, Profile};
use doorward_board::simulated::{Script, Simulated};
use doorward_board::{ContactLimits, Door, Lock, Pulse, STEP, Strike};
use embedded_hal::digital::PinState;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_press_opens_for_one_pulse_although_every_other_pin_is_broken() {
    for (lock, safe) in [(Lock::FailSecure, PinState::Low), (Lock::FailSafe, PinState::High)] {
        let script: Script = "2s request_to_exit low\n2300ms request_to_exit high".parse().unwrap();
        let mut board = Simulated::new(script);
        let profile = Profile::shipped("pc").unwrap();
        let pin = profile.strike(&mut board, lock).unwrap().unwrap();
        let strike = Strike::new(pin, lock, Pulse::new(ms(1500)).unwrap()).unwrap();
        let parts = profile.parts(&mut board, ContactLimits::default(), |_, _| ()).unwrap();
        let mut door = Door::new(strike, parts);
        for function in Function::ALL {
            if !matches!(function, Function::Strike | Function::RequestToExit) {
                board.break_pin(function.name());
            }
        }
        let mut now = Duration::ZERO;
        while now <= ms(6000) {
            board.run_to(now);
            door.step(now, &[]);
            now += STEP;
        }
        let strike: Vec<_> = board
            .log()
            .into_iter()
            .filter(|change| change.pin == "strike")
            .map(|change| (change.at.as_millis(), change.level))
            .collect();
        // Pressed at 2 s, settled at 2.05 s, locked 1.5 s later.
        assert_eq!(strike, [(0, safe), (2050, !safe), (3550, safe)], "{lock:?}");
    }
}

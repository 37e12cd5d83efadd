//! Runs the door: the door's thread, the worker that judges frames, and the recording of both.
//!
//! | file | content |
//! |---|---|
//! | `door.rs` | the door's thread: sends orders to the lock controller, drives lamps and buzzer |
//! | `cards.rs` | sends the cards of granted subjects over the Wiegand lines |
//! | `lock_controller.rs` | reaches the lock controller, or starts it |
//! | `door_state.rs` | the content of `state/door` |
//! | `door_events.rs` | takes door events to the record |
//! | `judge_worker.rs` | passes frames to the judge, and decisions to the door and to the record |
//! | `clock.rs` | the time, and whether it is synchronised |
//! | `worker.rs` | a thread that restarts after a panic and shows that it moves |
//!
//! It must never wait for a disk or a network. It knows no request, no broker and no configuration
//! file: the daemon assembles it and passes what it needs.

mod cards;
mod clock;
mod door;
mod door_events;
mod door_state;
mod judge_worker;
mod lock_controller;
mod worker;

pub use clock::Clock;
pub(crate) use clock::is_synchronised;
pub use door::{DoorError, DoorHandle, DoorWorker, NotUnlocked, Settings as DoorSettings};
pub use door_events::DoorEvents;
pub use door_state::State as DoorState;
pub use judge_worker::{Decisions, Parts, record_camera, start_judge};
pub use lock_controller::Place;
pub use worker::{Progress, Running, Worker};

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn terminal_imports_no_module_that_assembles_or_serves_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/terminal");
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let grouped = ["use crate", "::{"].concat();
            assert!(!text.contains(&grouped), "{path:?}: one line for each module");
            for module in ["config", "daemon", "mqtt", "service"].map(|it| format!("crate::{it}")) {
                assert!(!text.contains(&module), "{path:?} imports {module}");
            }
        }
    }
}

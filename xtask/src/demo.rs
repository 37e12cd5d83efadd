//! `cargo xtask demo`: the main job on real portraits. Builds doorward, starts the daemon with its
//! embedded broker, sends requests over MQTT and prints every answer; then people walk up to its
//! (simulated) door. Fails if an answer or a decision is not as expected.

use crate::cargo::{self, CargoError};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;
use terminal::Terminal;

mod approach;
mod terminal;

/// Why the demonstration failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The build failed.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// A file, a port or a process failed.
    #[error("{what}: {reason}")]
    System {
        /// The operation.
        what: String,
        /// The system's error.
        reason: std::io::Error,
    },
    /// The daemon did not start in time.
    #[error("the daemon was not ready in time; its log is {}", .0.display())]
    NotReady(PathBuf),
    /// An answer was not as expected.
    #[error("{step}: expected {expected}, got {answer}")]
    Unexpected {
        /// The step.
        step: String,
        /// The expected answer.
        expected: String,
        /// The received answer.
        answer: String,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DemoError {
    let what = what.into();
    move |reason| DemoError::System { what, reason }
}

/// Builds and runs the demonstration.
pub fn run() -> Result<(), DemoError> {
    let started = Instant::now();
    cargo::run(cargo::BUILD)?;
    println!("built in {:.0} s\n", started.elapsed().as_secs_f32());

    let terminal = Terminal::start()?;
    println!("$ doorward run     # embedded broker on 127.0.0.1:{}, ready\n", terminal.port);

    terminal.ask(
        "enroll a resident",
        "enroll",
        json!({ "subject_id": "barack" }),
        Some("obama.jpg"),
        |answer| answer["status_code"] == "FACE-101" && answer["subject_id"] == "barack",
    )?;
    terminal.ask(
        "verify: is another photograph the same person?",
        "verify",
        json!({ "subject_id": "barack", "threshold": "moderate" }),
        Some("obama2.jpg"),
        |answer| answer["similarity_status"] == true,
    )?;
    terminal.ask(
        "search: who is in a third photograph, if it passes every check?",
        "search",
        json!({
            "validate_liveness": true, "validate_attribute": true, "validate_quality": true,
            "validate_nface": true
        }),
        Some("obama3.jpg"),
        |answer| answer["matches"][0]["subject_id"] == "barack",
    )?;
    terminal.ask(
        "liveness: a portrait",
        "liveness",
        json!({ "validate_quality": true }),
        Some("obama2.jpg"),
        |answer| answer["liveness"]["status"] == true,
    )?;
    terminal.ask(
        "liveness: the same portrait on the screen of a telephone",
        "liveness",
        json!({ "validate_quality": true }),
        Some("replayed.jpg"),
        |answer| answer["message"] == "Request Success" && answer["liveness"]["status"] == false,
    )?;
    terminal.ask(
        "verify: the telephone is refused, even with an enrolled face",
        "verify",
        json!({ "subject_id": "barack", "is_liveness": true, "validate_liveness": true }),
        Some("replayed.jpg"),
        |answer| answer["error_code"] == "FAIL_ON_1" && answer.get("similarity").is_none(),
    )?;
    terminal.ask(
        "search: an unknown person has no match",
        "search",
        json!({}),
        Some("biden.jpg"),
        |answer| answer["status_code"] == "FACE-201" && answer["matches"] == json!([]),
    )?;
    terminal.ask(
        "enroll the unknown person",
        "enroll",
        json!({ "subject_id": "joe" }),
        Some("biden.jpg"),
        |answer| answer["subject_id"] == "joe",
    )?;
    terminal.ask(
        "verify: someone else's claim fails",
        "verify",
        json!({ "subject_id": "joe" }),
        Some("obama.jpg"),
        |answer| answer["error_code"] == "FAIL_ON_16" && answer["similarity_status"] == false,
    )?;
    terminal.ask("who is enrolled", "subject/list", json!({}), None, |answer| {
        answer["subjects"].as_array().is_some_and(|subjects| subjects.len() == 2)
    })?;
    terminal
        .ask("counts and timings", "stats", json!({}), None, |answer| answer["status"] == 200)?;
    approach::show(&terminal)?;
    terminal.stop()?;
    println!("demonstration done in {:.0} s, build included", started.elapsed().as_secs_f32());
    Ok(())
}

//! Tests what the daemon believes of its clock. A clock that was set must end the belief and be on
//! record; a restart while the time server is away must not end it, or no schedule would grant.

use crate::support::terminal::Terminal;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Returns what a daemon left that believed the clock on this boot, `ahead_s` before it was set
/// back.
fn belief(ahead_s: i64) -> Value {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let us = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    };
    let offset_us = us(ClockId::Realtime) - us(ClockId::Boottime) + ahead_s * 1_000_000;
    json!({ "boot_id": boot_id.trim(), "offset_us": offset_us, "set_us": null })
}

fn started_with(belief: &Value) -> Terminal {
    let mut terminal = Terminal::prepare("");
    fs::create_dir_all(terminal.data_dir()).unwrap();
    fs::write(terminal.data_dir().join("clock.json"), belief.to_string()).unwrap();
    terminal.run();
    terminal
}

fn jumps(terminal: &Terminal) -> Vec<Value> {
    let output = terminal.cli(&["audit", "list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(|line: &Value| line["outcome"] == "clock_jumped").collect()
}

#[test]
fn restart_and_reload_keep_the_belief_in_the_clock() {
    let mut terminal = started_with(&belief(0));
    let said = "the clock was synchronised and has not been set since";
    assert!(terminal.log().contains(said), "{}", terminal.log());
    terminal.signal("HUP");
    let started = Instant::now();
    while terminal.log().matches("ready_ms").count() < 2 {
        assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(2));
    assert!(!terminal.log().contains("not been synchronised"), "{}", terminal.log());
    assert_eq!(jumps(&terminal), [""; 0]);
    assert!(terminal.stop());
    terminal.run();
    assert!(terminal.log().contains(said), "{}", terminal.log());
    assert!(terminal.stop());
}

#[test]
fn clock_that_was_set_is_an_event_and_not_believed() {
    let mut terminal = started_with(&belief(-400 * 86_400));
    let started = Instant::now();
    while jumps(&terminal).is_empty() {
        assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let jump = &jumps(&terminal)[0];
    assert_eq!(jump["action"], "door");
    assert!((jump["seconds"].as_f64().unwrap() - 400.0 * 86_400.0).abs() < 5.0, "{jump}");
    assert!(!terminal.log().contains("has not been set since"), "{}", terminal.log());
    assert!(terminal.stop());
}

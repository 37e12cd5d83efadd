//! Tests the real daemon on a failing disk: a deleted subject is not recognised although nothing
//! can be written, health reports the fault, and it is repaired without a restart. People are
//! recognised when files of the data folder are damaged or read-only.

use crate::support::terminal::{Terminal, portrait};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Larger than any file; the limit is lowered while the daemon runs, and raised again.
const ROOMY: u64 = 1 << 40;
const PATIENCE: Duration = Duration::from_secs(30);

fn enrol(terminal: &Terminal, id: &str, face: &str) -> Value {
    terminal.call_with("enroll", &json!({ "subject_id": id }), &portrait(face))
}

fn found(terminal: &Terminal, face: &str) -> Vec<Value> {
    let answer = terminal.call_with("search", &json!({}), &portrait(face));
    assert_eq!(answer["status"], 200, "{answer}");
    let matches = answer["matches"].as_array().unwrap();
    matches.iter().map(|found| found["subject_id"].clone()).collect()
}

/// Limits the size of the daemon's files from here on.
fn files_up_to(terminal: &Terminal, bytes: u64) {
    let (pid, limit) = (format!("--pid={}", terminal.pid()), format!("--fsize={bytes}:"));
    assert!(Command::new("prlimit").args([pid, limit]).status().unwrap().success());
}

#[test]
fn deletion_during_a_disk_fault_denies_at_once_and_is_written_later() {
    let mut terminal = Terminal::prepare(
        "permissions = [\"enroll\", \"verify\", \"search\", \"subject\", \"admin\"]",
    );
    terminal.run_with_files_up_to(ROOMY);
    assert_eq!(enrol(&terminal, "obama", "obama")["status"], 200);
    assert_eq!(enrol(&terminal, "biden", "biden")["status"], 200);
    assert_eq!(found(&terminal, "obama2"), ["obama"]);
    assert_eq!(terminal.call("health", &json!({}))["health"], "up");

    files_up_to(&terminal, 512);
    let deleted = terminal.call("subject/delete", &json!({ "subject_id": "obama" }));
    assert_eq!(deleted["status"], 500, "{deleted}");
    assert!(deleted["data"]["message"].as_str().unwrap().contains("counts"), "{deleted}");
    assert_eq!(found(&terminal, "obama2"), [] as [Value; 0]);
    assert_eq!(found(&terminal, "biden"), ["biden"]);
    let health = terminal.call("health", &json!({}));
    assert_eq!(health["health"], "degraded", "{health}");
    assert_eq!(
        (&health["gallery"]["file"], &health["gallery"]["not_on_disk"]),
        (&json!("failed"), &json!(1))
    );
    assert_eq!(enrol(&terminal, "new", "obama")["status"], 500);

    files_up_to(&terminal, ROOMY);
    let started = Instant::now();
    while terminal.call("health", &json!({}))["health"] != "up" {
        assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
        sleep(Duration::from_millis(300));
    }
    assert_eq!(found(&terminal, "obama2"), [] as [Value; 0]);
    assert_eq!(enrol(&terminal, "new", "obama")["status"], 200);
    terminal.kill();
    terminal.run();
    assert_eq!(found(&terminal, "obama2"), ["new"]);
}

#[test]
fn key_revoked_during_a_disk_fault_stays_revoked() {
    let mut terminal = Terminal::prepare("[service]\nauth = \"app-key\"");
    terminal.run_with_files_up_to(ROOMY);
    let made = terminal.json(&["app", "create", "kiosk"]);
    let credentials = json!({ "app_id": made["app_id"], "api_key": made["api_key"] });
    let other = terminal.json(&["app", "create", "office"]);
    let others = json!({ "app_id": other["app_id"], "api_key": other["api_key"] });
    assert_eq!(terminal.call("health", &credentials)["status"], 200);

    files_up_to(&terminal, 512);
    let revoked = terminal.json(&["app", "revoke", "kiosk"]);
    assert_eq!(revoked["status"], 500, "{revoked}");
    assert_eq!(terminal.call("health", &credentials)["status"], 401);
    let health = terminal.call("health", &others);
    assert_eq!((&health["status"], &health["health"]), (&json!(200), &json!("degraded")));
    assert_eq!(health["applications"]["not_on_disk"], 1, "{health}");

    files_up_to(&terminal, ROOMY);
    let started = Instant::now();
    while terminal.call("health", &others)["health"] != "up" {
        assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
        sleep(Duration::from_millis(300));
    }
    terminal.kill();
    terminal.run();
    assert_eq!(terminal.call("health", &credentials)["status"], 401);
    assert_eq!(terminal.call("health", &others)["status"], 200);
}

#[test]
fn people_are_recognised_while_events_and_applications_are_damaged() {
    let mut terminal = Terminal::start("");
    assert_eq!(enrol(&terminal, "obama", "obama")["status"], 200);
    assert!(terminal.stop());
    for file in ["events.redb", "applications.redb"] {
        let path = terminal.data_dir().join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, vec![7; whole.len()]).unwrap();
        terminal.run();
        assert_eq!(found(&terminal, "obama2"), ["obama"], "{file}");
        let log = terminal.log();
        assert!(log.contains(file), "{log}");
        if file == "applications.redb" {
            let health = terminal.call("health", &json!({}));
            assert_eq!(
                (&health["health"], &health["applications"]["file"]),
                (&json!("degraded"), &json!("failed"))
            );
            assert_eq!(terminal.json(&["app", "list"])["status"], 500);
        }
        // A file that is put back while the daemon runs is used without a restart.
        fs::write(&path, whole).unwrap();
        let started = Instant::now();
        while !terminal.log().contains(match file {
            "events.redb" => "events are recorded again",
            _ => "the file of the applications was opened again",
        }) {
            assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
            sleep(Duration::from_millis(300));
        }
        assert!(terminal.stop());
    }
}

#[test]
fn people_are_recognised_on_a_read_only_card() {
    let mut terminal = Terminal::start("");
    assert_eq!(enrol(&terminal, "obama", "obama")["status"], 200);
    terminal.kill();
    let mut read_only = Command::new("unshare");
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 77; exec "$@""#;
    read_only.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(terminal.data_dir());
    terminal.run_by(read_only);
    assert_eq!(found(&terminal, "obama2"), ["obama"], "{}", terminal.log());
    let refused = enrol(&terminal, "new", "biden");
    assert_eq!(refused["status"], 500, "{refused}");
    let health = terminal.call("health", &json!({}));
    assert_eq!(health["gallery"]["file"], "read_only", "{health}");
    terminal.kill();
    terminal.run();
    assert_eq!(enrol(&terminal, "new", "biden")["status"], 200);
}

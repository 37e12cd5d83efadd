//! Tests that a changed audit log is detected.
//!
//! The file is changed as an intruder would: bytes on the disk, and records through redb itself.
//! Then the command line verifies it, with the daemon running and without.

use crate::support::terminal::{Terminal, portrait};
use redb::{Database, ReadableDatabase, TableDefinition};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::time::{Duration, Instant};

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(60);

const AUDIT: TableDefinition<u64, &[u8]> = TableDefinition::new("audit");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const HASHES: TableDefinition<&str, &[u8]> = TableDefinition::new("hashes");

/// Returns the lines of `doorward audit list`: one JSON object per line.
fn list(terminal: &Terminal, more: &[&str]) -> Vec<Value> {
    let output = terminal.cli(&[&["audit", "list"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verify(terminal: &Terminal, more: &[&str]) -> (i32, Value) {
    let output = terminal.cli(&[&["audit", "verify"], more].concat());
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap(), answer)
}

/// Waits until `count` lines about the door have this outcome.
fn until_listed(terminal: &Terminal, outcome: &str, count: usize) {
    let started = Instant::now();
    loop {
        let lines = list(terminal, &[]);
        let is = |line: &&Value| line["action"] == "door" && line["outcome"] == outcome;
        if lines.iter().filter(is).count() >= count {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{lines:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Prepares a terminal without a daemon and creates applications: line 1 is about `app-1`.
fn with_lines(count: usize) -> Terminal {
    let terminal = Terminal::prepare("");
    for number in 1..=count {
        let made = terminal.json(&["app", "create", &format!("app-{number}")]);
        assert_eq!(made["status"], 200, "{made}");
    }
    terminal
}

fn database(terminal: &Terminal) -> Database {
    Database::open(terminal.data_dir().join("events.redb")).unwrap()
}

fn line(database: &Database, number: u64) -> Vec<u8> {
    let audit = database.begin_read().unwrap().open_table(AUDIT).unwrap();
    audit.get(number).unwrap().unwrap().value().to_vec()
}

#[test]
fn every_action_is_recorded_without_secrets() {
    let mut terminal = Terminal::prepare("");
    let image = portrait("obama").display().to_string();
    // Without a daemon.
    assert_eq!(terminal.json(&["enroll", &image, "--subject-id", "o"])["status"], 200);
    let before = list(&terminal, &[]);
    assert_eq!(before.len(), 1);
    terminal.run();
    let made = terminal.json(&["app", "create", "kiosk"]);
    assert_eq!(terminal.json(&["gallery", "update", "o", "--groups", "staff"])["status"], 200);
    let deleted = terminal.call("subject/delete", &json!({"subject_id": "o"}));
    assert_eq!(deleted["status"], 200, "{deleted}");
    let running = verify(&terminal, &[]);
    let health = terminal.call("health", &json!({}));
    assert!(terminal.stop());

    let lines = list(&terminal, &[]);
    let recorded: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["by"].as_str().unwrap()))
        .collect();
    let expected = [
        ("enroll", "local"),
        ("start", "daemon"),
        ("application/create", "local"),
        ("subject/update", "local"),
        ("subject/delete", "anybody"),
        ("stop", "daemon"),
    ];
    assert_eq!(recorded, expected);
    assert_eq!((&lines[0]["outcome"], &lines[0]["subject_id"]), (&json!("enrolled"), &json!("o")));
    assert_eq!((&lines[0]["seq"], &lines[3]["groups"]), (&json!(1), &json!(["staff"])));
    assert_eq!(lines[5]["reason"], "SIGTERM");

    // The daemon gives the same result as the command line alone, and publishes the same head.
    let (code, answer) = running;
    assert_eq!((code, &answer["lines"], &answer["head"]), (0, &json!(5), &lines[4]["hash"]));
    assert_eq!(health["audit"]["head"], lines[4]["hash"]);
    let (code, answer) = verify(&terminal, &[]);
    assert_eq!((code, &answer["lines"], &answer["head"]), (0, &json!(6), &lines[5]["hash"]));

    let bytes = fs::read(terminal.data_dir().join("events.redb")).unwrap();
    let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    assert!(holds(b"kiosk"), "the search finds nothing");
    assert!(!holds(made["api_key"].as_str().unwrap().as_bytes()));
    assert!(!holds(b"\xFF\xD8\xFF"), "a picture");
}

#[test]
fn every_strike_movement_has_a_line_with_requester_and_reason() {
    let door =
        "permissions = [\"unlock\"]\n[door]\nboard = \"pc\"\npulse_ms = 300\nremote_unlock = true";
    let mut terminal = Terminal::start(door);
    let ask = |reason: &str| terminal.call("unlock", &json!({ "reason": reason }));
    for length in [501, 16_300, 100_000] {
        let refused = ask(&"x".repeat(length));
        assert_eq!((&refused["status"], &refused["error_field"]), (&json!(400), &json!("reason")));
        assert_eq!(refused["error_code"], "INVALID_PAYLOAD", "{refused}");
        assert!(refused["data"]["message"].as_str().unwrap().contains("500"), "{refused}");
    }
    // The longest allowed reason, in the characters that take the most bytes in JSON.
    let reasons = ["\u{1}".repeat(500), "\u{10FFFF}".repeat(500), "a parcel".to_owned()];
    let mut locked = 0;
    for reason in &reasons {
        let unlocked = ask(reason);
        assert_eq!(unlocked["status"], 200, "{unlocked}");
        locked += 1;
        until_listed(&terminal, "locked", locked);
    }
    assert!(terminal.stop());
    let lines = list(&terminal, &[]);
    let recorded = |outcome: &str| -> Vec<Value> {
        let is = |line: &&Value| line["action"] == "unlock" && line["outcome"] == outcome;
        lines.iter().filter(is).map(|line| line["reason"].clone()).collect()
    };
    assert_eq!(recorded("requested"), reasons.as_slice(), "{lines:#?}");
    assert_eq!(recorded("unlocked"), reasons.as_slice(), "{lines:#?}");
    let moved = |line: &&Value| line["action"] == "door" && line["outcome"] == "unlocked";
    assert_eq!(lines.iter().filter(moved).count(), reasons.len(), "{lines:#?}");
    // Requested, moved and answered, in this order.
    let place = |action: &str, outcome: &str| {
        let is = |line: &Value| line["action"] == action && line["outcome"] == outcome;
        lines.iter().position(is).unwrap()
    };
    assert!(place("unlock", "requested") < place("door", "unlocked"), "{lines:#?}");
    let first = lines.iter().find(|line| line["outcome"] == "requested").unwrap();
    let last =
        lines.iter().find(|line| line["action"] == "unlock" && line["outcome"] == "unlocked");
    assert_eq!(first["id"], last.unwrap()["id"], "{lines:#?}");
    assert_eq!(first["by"], "anybody");
}

#[test]
fn flood_of_name_changes_is_folded_with_its_count() {
    let mut terminal = Terminal::prepare("");
    let image = portrait("obama").display().to_string();
    assert_eq!(terminal.json(&["enroll", &image, "--subject-id", "o"])["status"], 200);
    terminal.run();
    for number in 0..60 {
        let name = format!("name=flood {number}");
        let update = terminal.json(&["gallery", "update", "o", "--field", &name]);
        assert_eq!(update["status"], 200, "{update}");
    }
    // Another change in the flood has a line of its own.
    assert_eq!(terminal.json(&["gallery", "update", "o", "--groups", "staff"])["status"], 200);
    assert!(terminal.stop());
    let lines = list(&terminal, &[]);
    let updates: Vec<&Value> =
        lines.iter().filter(|line| line["action"] == "subject/update").collect();
    let names: Vec<&&Value> = updates.iter().filter(|line| line["name"] == "changed").collect();
    let stands_for = |line: &Value| 1 + line["repeated"].as_u64().unwrap_or(0);
    assert_eq!(names.iter().map(|line| stands_for(line)).sum::<u64>(), 60, "{updates:#?}");
    assert!(names.len() <= 8, "{updates:#?}");
    assert_eq!(updates.len(), names.len() + 1);
    assert_eq!(verify(&terminal, &[]).0, 0);
}

#[test]
fn list_since_returns_later_lines() {
    let terminal = with_lines(2);
    assert_eq!(terminal.json(&["app", "revoke", "app-1"])["status"], 200);
    let all = list(&terminal, &[]);
    let time = all[2]["time"].as_f64().unwrap();
    let lines = list(&terminal, &["--since", &time.to_string()]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["action"], "application/revoke");
    // An age counts back from the time of the query, which is after all lines.
    assert_eq!(list(&terminal, &["--since", "0s"]).len(), 0);
    for age in ["3600s", "60m", "1h", "7d"] {
        assert_eq!(list(&terminal, &["--since", age]).len(), 3, "{age}");
    }
    for wrong in ["yesterday", "-1", "nan", "d", ""] {
        assert_eq!(terminal.cli(&["audit", "list", "--since", wrong]).status.code(), Some(2));
    }
}

#[test]
fn flipped_byte_is_found_with_its_line() {
    let mut terminal = with_lines(4);
    let path = terminal.data_dir().join("events.redb");
    let mut bytes = fs::read(&path).unwrap();
    let mut flipped = 0;
    // Also flips the older copies of the line that redb has left in the file.
    for at in 0..bytes.len() - 7 {
        if bytes[at..].starts_with(b"\"app-3\"") {
            bytes[at + 5] ^= 1;
            flipped += 1;
        }
    }
    assert!(flipped > 0);
    fs::write(&path, bytes).unwrap();

    let (code, answer) = verify(&terminal, &[]);
    assert_eq!(code, 1, "{answer}");
    assert_eq!((&answer["error_code"], &answer["line"]), (&json!("AUDIT_BROKEN"), &json!(3)));
    assert_eq!(list(&terminal, &[])[2]["name"], "app-2");
    // A daemon logs it and goes on: the door works with a broken audit log.
    terminal.run();
    assert!(terminal.log().contains("the audit log is not as it was written"));
    assert_eq!(verify(&terminal, &[]).1["line"], 3);
    assert!(terminal.stop());
}

#[test]
fn line_rewritten_with_its_hash_breaks_the_next_line() {
    let terminal = with_lines(4);
    let database = database(&terminal);
    let (before, old) = (line(&database, 1), line(&database, 2));
    let text = String::from_utf8(old[32..].to_vec()).unwrap().replace("app-2", "app-9");
    let hash = Sha256::digest([&before[..32], text.as_bytes()].concat());
    let write = database.begin_write().unwrap();
    let rewritten = [hash.as_slice(), text.as_bytes()].concat();
    write.open_table(AUDIT).unwrap().insert(2, rewritten.as_slice()).unwrap();
    write.commit().unwrap();
    drop(database);
    let (code, answer) = verify(&terminal, &[]);
    assert_eq!((code, &answer["line"]), (1, &json!(3)));
}

#[test]
fn removed_line_is_found_with_its_number() {
    let terminal = with_lines(4);
    let database = database(&terminal);
    let write = database.begin_write().unwrap();
    write.open_table(AUDIT).unwrap().remove(2).unwrap();
    write.commit().unwrap();
    drop(database);
    let (code, answer) = verify(&terminal, &[]);
    assert_eq!((code, &answer["line"]), (1, &json!(2)), "{answer}");
}

#[test]
fn noted_hash_reveals_a_rewritten_chain() {
    let terminal = with_lines(4);
    let lines = list(&terminal, &[]);
    let noted =
        |at: usize| format!("{}:{}", lines[at]["line"], lines[at]["hash"].as_str().unwrap());
    let (second, last) = (noted(1), noted(3));
    assert_eq!(verify(&terminal, &["--noted", &last]).0, 0);

    // The rewritten file is consistent in itself, but the last two lines are missing.
    let database = database(&terminal);
    let head = line(&database, 2);
    let write = database.begin_write().unwrap();
    write.open_table(AUDIT).unwrap().remove(4).unwrap();
    write.open_table(AUDIT).unwrap().remove(3).unwrap();
    write.open_table(META).unwrap().insert("last_line", 2).unwrap();
    write.open_table(HASHES).unwrap().insert("head", &head[..32]).unwrap();
    write.commit().unwrap();
    drop(database);
    let (code, answer) = verify(&terminal, &[]);
    assert_eq!((code, &answer["lines"]), (0, &json!(2)), "the chain alone cannot show it");
    assert_eq!(verify(&terminal, &["--noted", &second]).0, 0);
    let (code, answer) = verify(&terminal, &["--noted", &last]);
    assert_eq!((code, &answer["line"]), (1, &json!(4)), "{answer}");
    assert_eq!(terminal.cli(&["audit", "verify", "--noted", "4:abc"]).status.code(), Some(2));
}

#[test]
fn full_disk_loses_only_audit_lines() {
    let mut terminal = Terminal::prepare("");
    assert_eq!(terminal.json(&["app", "create", "app-0"])["status"], 200);
    let image = portrait("obama").display().to_string();
    assert_eq!(terminal.json(&["enroll", &image, "--subject-id", "o"])["status"], 200);
    let size = |name: &str| fs::metadata(terminal.data_dir().join(name)).unwrap().len();
    // The gallery rewrites its own pages; only the log grows.
    let room = 2 * size("events.redb").max(size("gallery.redb"));
    terminal.run_with_files_up_to(room);
    let not_recorded = |terminal: &Terminal| {
        let health = terminal.call("health", &json!({}));
        health["outbox"]["not_recorded"].as_u64().unwrap()
    };
    let mut updates = 0;
    while not_recorded(&terminal) == 0 {
        for _ in 0..20 {
            // Each is another change: repeats of one are folded.
            let group = |at| format!("{}-{updates}-{at}", "g".repeat(100));
            let groups = (0..60).map(group).collect::<Vec<_>>().join(",");
            let update = terminal.json(&["gallery", "update", "o", "--groups", &groups]);
            assert_eq!(update["status"], 200, "{update}");
            updates += 1;
        }
        assert!(updates < 2000, "the file never grew");
    }
    assert!(terminal.log().contains("done, but not recorded"), "{}", terminal.log());
    assert_eq!(terminal.call("subject/get", &json!({"subject_id": "o"}))["status"], 200);
    terminal.stop();

    // With space again every line that was reported as recorded is there, and the chain is valid.
    terminal.run();
    assert_eq!(terminal.json(&["app", "revoke", "app-0"])["status"], 200);
    let (code, answer) = verify(&terminal, &[]);
    assert_eq!(code, 0, "{answer}");
    let lines = list(&terminal, &[]);
    assert_eq!(lines.last().unwrap()["action"], "application/revoke");
    let kept = lines.iter().filter(|line| line["action"] == "subject/update").count();
    eprintln!("{updates} updates, {kept} on record");
    assert!(kept > 0 && kept < updates);
    assert!(terminal.stop());
}

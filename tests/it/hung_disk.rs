//! Tests a disk that hangs: a memory card stops answering, and every access to it blocks.
//!
//! Failures: the judge or the door waits for the audit log, the watchdog ends a working daemon, a
//! strike moves without a record of who requested it or moves later unexpectedly, queries are not
//! answered, the daemon cannot be stopped. The disk is a frozen file system ([`disk`]). The tests
//! need root and a loop device; without them they are skipped with a message.

use crate::support::disk::Disk;
use crate::support::terminal::{Terminal, portrait};
use doorward::outbox::{Entry, Event, Kind, MOST_UNWRITTEN, Outbox};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prepares a terminal with its data folder on `disk`; `more` is added to its configuration.
fn on(disk: &Disk, more: &str) -> Terminal {
    let terminal = Terminal::prepare(more);
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink(data, terminal.data_dir()).unwrap();
    terminal
}

/// Like [`on`], with a camera that shows obama, who is enrolled and granted.
fn with_a_resident(disk: &Disk, door: &str) -> Terminal {
    let terminal = on(
        disk,
        &format!(
            "permissions = [\"enroll\", \"verify\", \"search\", \"unlock\"]\n\
             [camera]\nsource = \"replay:FRAMES\"\nfps = 10\n\
             [access]\ngroups = [\"family: always\"]\nrepeat_ms = 1000\nretry_ms = 500\n\
             [door]\nboard = \"pc\"\npulse_ms = 300\nremote_unlock = true\n{door}\n\
             [liveness]\npolicy = \"off-for-this-test\""
        ),
    );
    let frames = terminal.file("frames");
    fs::create_dir(&frames).unwrap();
    fs::copy(portrait("obama"), frames.join("1.jpg")).unwrap();
    let config = terminal.file("doorward.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("FRAMES", frames.to_str().unwrap());
    fs::write(&config, text.replace("SCRIPT", terminal.file("script").to_str().unwrap())).unwrap();
    let reference = portrait("obama2");
    let arguments = ["enroll", reference.to_str().unwrap(), "--subject-id", "obama"];
    assert_eq!(terminal.json(&arguments)["status"], 200);
    let updated = terminal.json(&["gallery", "update", "obama", "--groups", "family"]);
    assert_eq!(updated["status"], 200, "{updated}");
    terminal
}

/// Returns every line of the audit log.
fn record(terminal: &Terminal) -> Vec<Value> {
    let lines = String::from_utf8(terminal.cli(&["audit", "list"]).stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of(record: &[Value], action: &str, outcome: &str) -> usize {
    let is = |line: &&Value| line["action"] == action && line["outcome"] == outcome;
    record.iter().filter(is).count()
}

fn until(terminal: &Terminal, what: &str, is: impl Fn() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < PATIENCE, "no {what}:\n{}", terminal.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Counts the grants in the log, which does not depend on the disk.
fn granted(terminal: &Terminal) -> usize {
    let is = |line: &&str| line.contains("decision") && line.contains("outcome=\"granted\"");
    terminal.log().lines().filter(is).count()
}

/// Requests health over the control socket.
fn health_by_socket(terminal: &Terminal) -> Value {
    let mut socket = UnixStream::connect(terminal.data_dir().join("control.sock")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.write_all(b"{\"operation\": \"health\", \"body\": {}}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// Checks that the daemon stops in time. A thread blocked in a write keeps the process in the
/// kernel's table until the disk answers; all other threads end, so the first thread is a zombie.
fn assert_ends_in_time(terminal: &Terminal) {
    let started = Instant::now();
    terminal.signal("TERM");
    let stat = format!("/proc/{}/stat", terminal.pid());
    let ended = || {
        let stat = fs::read_to_string(&stat).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    };
    while !ended() {
        assert!(started.elapsed() < Duration::from_millis(5500), "{}", terminal.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn judge_door_and_watchdog_never_wait_for_the_disk() {
    let Some(disk) = Disk::mount("judge_door_and_watchdog_never_wait_for_the_disk") else { return };
    let mut terminal = with_a_resident(&disk, "script = \"SCRIPT\"");
    let presses =
        (6..40).map(|at| format!("{at}s request_to_exit low\n{at}200ms request_to_exit high\n"));
    fs::write(terminal.file("script"), presses.collect::<String>()).unwrap();
    // The socket that systemd would listen on.
    let systemd = UnixDatagram::bind(terminal.file("notify")).unwrap();
    systemd.set_nonblocking(true).unwrap();
    let fed = || {
        let (mut buffer, mut times) = ([0; 256], 0);
        while let Ok(bytes) = systemd.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..bytes]);
            times += text.lines().filter(|line| *line == "WATCHDOG=1").count();
        }
        times
    };
    let notify = terminal.file("notify");
    terminal.run_with(&[("NOTIFY_SOCKET", notify.to_str().unwrap()), ("WATCHDOG_USEC", "3000000")]);
    until(&terminal, "grant", || granted(&terminal) > 0);

    let hanging = disk.hang();
    let exits = |terminal: &Terminal| terminal.log().matches("ExitPressed").count();
    let (decided, pressed) = (granted(&terminal), exits(&terminal));
    fed();
    std::thread::sleep(Duration::from_secs(12));
    let fed = fed();
    assert!(fed >= 8, "fed {fed} times in 12 s");
    assert!(exits(&terminal) >= pressed + 5, "{}", terminal.log());
    let before = granted(&terminal);
    assert!(before >= decided + 2, "{decided} and {before} grants\n{}", terminal.log());
    let health = terminal.call("health", &json!({}));
    let fault = health["outbox"]["fault"].as_str().unwrap_or_default();
    assert!(fault.contains("does not answer"), "{health}");
    assert!(health["outbox"]["unwritten"].as_u64().unwrap() > 5, "{health}");
    assert!(terminal.log().contains("does not answer"), "{}", terminal.log());
    drop(hanging);

    // Once the disk answers, everything is recorded with the time when it happened.
    until(&terminal, "well disk", || {
        let health = terminal.call("health", &json!({}));
        health["outbox"]["fault"].is_null() && health["outbox"]["unwritten"] == 0
    });
    assert!(terminal.stop());
    let lines = record(&terminal);
    assert_eq!(of(&lines, "access", "granted"), granted(&terminal), "{lines:#?}");
    assert_eq!(of(&lines, "door", "exit_pressed"), exits(&terminal), "{lines:#?}");
    let times: Vec<f64> = lines.iter().map(|line| line["time"].as_f64().unwrap()).collect();
    let jump = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(jump < 6.0, "{jump} s between two lines: {lines:#?}");
    assert_eq!(terminal.cli(&["audit", "verify"]).status.code(), Some(0));
}

#[test]
fn lost_records_are_counted_by_kind_and_floods_displace_no_other_kind() {
    let test = "lost_records_are_counted_by_kind_and_floods_displace_no_other_kind";
    let Some(disk) = Disk::mount(test) else { return };
    let path = disk.path().join("events.redb");
    let outbox = Outbox::open(&path, Default::default()).unwrap();
    let slot = outbox.slot();
    let hanging = disk.hang();
    // The recorder hangs with this one; all others wait behind it.
    drop(outbox.note(Entry::new("first", "client:desk")));
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    let (flood, others) = (MOST_UNWRITTEN + 44, 5);
    for _ in 0..flood {
        slot.post(Event::new(Kind::Access, "granted", "never folded")).unwrap();
    }
    for _ in 0..others {
        slot.post(Event::new(Kind::Door, "unlocked", "exit")).unwrap();
    }
    for _ in 0..flood {
        drop(outbox.note(Entry::new("unlock", "client:flood")));
    }
    drop(outbox.note(Entry::new("subject/delete", "client:desk")));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let stats = outbox.stats();
    assert_eq!(stats.unwritten, 2 * MOST_UNWRITTEN + others + 2);
    assert_eq!(stats.not_recorded, [("access", 44), ("unlock", 44)].into());
    drop(hanging);

    outbox.audit(Entry::new("test", "local")).unwrap();
    let lines = outbox.lines(0, 0.0, 1000).unwrap().0;
    let count = |action: &str| lines.iter().filter(|line| line["action"] == action).count();
    assert_eq!((count("access"), count("door")), (MOST_UNWRITTEN, others));
    assert_eq!((count("unlock"), count("subject/delete")), (MOST_UNWRITTEN, 1));
    let said: Vec<&Value> = lines.iter().filter(|line| line["action"] == "not_recorded").collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["events"], json!({ "access": 44, "unlock": 44 }));
    assert!(said[0]["since"].as_f64() <= said[0]["until"].as_f64());
    assert_eq!((outbox.stats().unwritten, outbox.stats().fault), (0, None));
}

#[test]
fn unrecorded_unlock_never_moves_the_strike() {
    let test = "unrecorded_unlock_never_moves_the_strike";
    let Some(disk) = Disk::mount(test) else { return };
    let mut terminal = on(
        &disk,
        "permissions = [\"unlock\"]\n[door]\nboard = \"pc\"\npulse_ms = 300\nremote_unlock = true",
    );
    terminal.run();
    assert_eq!(terminal.json(&["unlock", "before"])["status"], 200);
    until(&terminal, "lock", || terminal.log().contains("Relocked"));

    let hanging = disk.hang();
    for attempt in 0..3 {
        let started = Instant::now();
        let refused = match attempt {
            1 => terminal.call("unlock", &json!({ "reason": "from afar" })),
            _ => terminal.json(&["unlock", "by command line"]),
        };
        assert_eq!(refused["status"], 503, "{refused}\n{}", terminal.log());
        assert_eq!(refused["error_code"], "DOOR_UNAVAILABLE", "{refused}");
        assert!(refused["data"]["message"].as_str().unwrap().contains("record"), "{refused}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    drop(hanging);
    until(&terminal, "well disk", || {
        terminal.call("health", &json!({}))["outbox"]["unwritten"] == 0
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(terminal.log().matches("Unlocked { by: Remote }").count(), 1, "{}", terminal.log());
    let lines = record(&terminal);
    assert_eq!(of(&lines, "unlock", "requested"), 4, "{lines:#?}");
    assert_eq!(of(&lines, "unlock", "unlocked"), 1, "{lines:#?}");
    assert_eq!(of(&lines, "door", "unlocked"), 1, "{lines:#?}");
    let refused = lines.iter().filter(|line| {
        line["action"] == "unlock" && line["outcome"].as_str().unwrap().starts_with("refused")
    });
    assert_eq!(refused.count(), 3, "{lines:#?}");
    assert_eq!(terminal.json(&["unlock", "after"])["status"], 200);
    assert!(terminal.stop());
}

#[test]
fn queries_are_answered_while_enrolments_wait_for_the_disk() {
    let test = "queries_are_answered_while_enrolments_wait_for_the_disk";
    let Some(disk) = Disk::mount(test) else { return };
    let mut terminal = with_a_resident(&disk, "");
    terminal.run();
    let hanging = disk.hang();
    let image = portrait("biden");
    let enrol = |id: &str| {
        let mut command = terminal.command();
        command.args(["enroll", image.to_str().unwrap(), "--subject-id", id]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut waiting = vec![enrol("first"), enrol("second"), enrol("third")];
    std::thread::sleep(Duration::from_secs(2));
    let before = granted(&terminal);
    until(&terminal, "grant while an enrolment hangs", || granted(&terminal) > before);
    let listed = terminal.json(&["gallery", "list"]);
    assert_eq!(listed["subjects"][0]["subject_id"], "obama", "{listed}");
    // More than the control socket handles at the same time.
    for _ in 0..9 {
        let mut command = terminal.command();
        command.args(["gallery", "update", "obama", "--groups", "family"]);
        waiting.push(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    }
    std::thread::sleep(Duration::from_secs(2));
    let started = Instant::now();
    assert_eq!(health_by_socket(&terminal)["status"], 200);
    let refused = terminal.json(&["unlock", "while changes hang"]);
    assert_eq!(refused["error_code"], "DOOR_UNAVAILABLE", "{refused}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for _ in 0..3 {
        let started = Instant::now();
        let verified =
            terminal.call_with("verify", &json!({ "subject_id": "obama" }), &portrait("obama"));
        assert_eq!(verified["status"], 200, "{verified}");
        let found = terminal.call_with("search", &json!({}), &portrait("obama"));
        assert_eq!(found["matches"][0]["subject_id"], "obama", "{found}");
        assert_eq!(terminal.call("health", &json!({}))["status"], 200);
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
    drop(hanging);
    for child in waiting.drain(..) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(terminal.stop());
}

#[test]
fn stop_takes_five_seconds_on_a_hung_disk() {
    let Some(disk) = Disk::mount("stop_takes_five_seconds_on_a_hung_disk") else {
        return;
    };
    let mut terminal = with_a_resident(&disk, "");
    terminal.run();
    until(&terminal, "grant", || granted(&terminal) > 0);
    let hanging = disk.hang();
    let mut command = terminal.command();
    let image = portrait("biden");
    command.args(["enroll", image.to_str().unwrap(), "--subject-id", "late"]);
    let mut asker = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_ends_in_time(&terminal);
    drop(hanging);
    asker.wait().unwrap();
}

#[test]
fn start_that_hangs_on_the_disk_ends_on_a_signal() {
    let Some(disk) = Disk::mount("start_that_hangs_on_the_disk_ends_on_a_signal") else {
        return;
    };
    let mut terminal = with_a_resident(&disk, "");
    let hanging = disk.hang();
    terminal.run_logging_to(fs::File::create(terminal.file("log")).unwrap());
    std::thread::sleep(Duration::from_secs(3));
    assert!(!terminal.log().contains("ready"), "{}", terminal.log());
    assert_ends_in_time(&terminal);
    drop(hanging);
}

//! Tests the whole terminal: frames from a replay, the judge, a simulated door, events over a real
//! broker. Failures: a person is admitted without permission, a resident is not admitted, the exit
//! depends on another part, an event does not match what happened.

use crate::support::asker::Asker;
use crate::support::terminal::{Terminal, portrait};
use doorward::mqtt::Login;
use rumqttc::v5::MqttOptions;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

/// A loaded machine judges slowly.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the keys of a terminal whose camera shows a folder of one portrait, and adds `more`.
fn keys(more: &str) -> String {
    format!(
        "[camera]\nsource = \"replay:FRAMES\"\nfps = 10\n\
         [access]\ngroups = [\"family: always\"]\nrepeat_ms = 1000\nretry_ms = 500\n\
         [door]\nboard = \"pc\"\npulse_ms = 300\n{more}\n"
    )
}

/// Prepares a terminal, not yet running, whose camera shows `face`; obama is enrolled in `groups`.
fn prepared(face: &str, groups: &str, more: &str) -> Terminal {
    prepared_on("", face, groups, more)
}

/// Like [`prepared`], with these keys of the section `mqtt`.
pub(super) fn prepared_on(broker: &str, face: &str, groups: &str, more: &str) -> Terminal {
    let terminal = Terminal::prepare(&(broker.to_owned() + &keys(more)));
    let frames = terminal.file("frames");
    fs::create_dir(&frames).unwrap();
    fs::copy(portrait(face), frames.join("1.jpg")).unwrap();
    let config = terminal.file("doorward.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("FRAMES", frames.to_str().unwrap())).unwrap();
    let reference = portrait("obama2");
    let arguments = ["enroll", reference.to_str().unwrap(), "--subject-id", "obama"];
    assert_eq!(terminal.json(&arguments)["status"], 200);
    let updated = terminal.json(&["gallery", "update", "obama", "--groups", groups]);
    assert_eq!(updated["status"], 200, "{updated}");
    terminal
}

/// Writes the input script of the simulated board; `SCRIPT` in the configuration becomes its path.
fn script(terminal: &Terminal, script: &str) {
    let file = terminal.file("script");
    fs::write(&file, script).unwrap();
    let config = terminal.file("doorward.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("SCRIPT", file.to_str().unwrap())).unwrap();
}

/// Returns every line of the audit log.
pub(super) fn record(terminal: &Terminal) -> Vec<Value> {
    let lines = String::from_utf8(terminal.cli(&["audit", "list"]).stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits for a line of the audit log for which `wanted` is true.
pub(super) fn recorded(terminal: &Terminal, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let lines = record(terminal);
        if let Some(line) = lines.iter().find(|line| wanted(line)) {
            return line.clone();
        }
        assert!(started.elapsed() < PATIENCE, "not recorded:\n{lines:#?}\n{}", terminal.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(super) fn outcome(kind: &str, outcome: &str) -> impl Fn(&Value) -> bool {
    let (kind, outcome) = (kind.to_owned(), outcome.to_owned());
    move |line| line["action"] == kind && line["outcome"] == outcome
}

/// Runs the replay until enough decisions have been made, each with this outcome, and stops it.
/// Checks that the strike has not moved from the first frame to the last.
fn stays_locked(terminal: &mut Terminal, kind: &str, name: &str) {
    const DECISIONS: usize = 4;
    let decisions = |record: &[Value]| -> Vec<Value> {
        let of = |line: &&Value| line["action"] == "access" || line["action"] == "spoof";
        record.iter().filter(of).cloned().collect()
    };
    let started = Instant::now();
    while decisions(&record(terminal)).len() < DECISIONS {
        assert!(started.elapsed() < PATIENCE, "few decisions:\n{}", terminal.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(terminal.stop());
    let record = record(terminal);
    assert!(decisions(&record).iter().all(outcome(kind, name)), "{record:#?}");
    let moved = |line: &Value| line["action"] == "door" && line["outcome"] != "closed";
    assert!(!record.iter().any(moved), "{record:#?}");
    assert!(!terminal.log().contains("Unlocked"), "{}", terminal.log());
}

/// A client that listens to events. It keeps the messages that arrive while it waits for another.
struct Listener {
    asker: Asker,
    kept: Vec<(String, Value)>,
}

impl Listener {
    /// Returns the first message whose topic ends with `topic` and for which `wanted` is true.
    async fn heard(&mut self, topic: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        let is = |(name, value): &(String, Value)| name.ends_with(topic) && wanted(value);
        loop {
            if let Some(place) = self.kept.iter().position(is) {
                return self.kept.remove(place).1;
            }
            assert!(started.elapsed() < PATIENCE, "not heard: {topic}, but {:#?}", self.kept);
            let message = self.asker.next().await;
            let name = String::from_utf8(message.topic.to_vec()).unwrap();
            self.kept.push((name, serde_json::from_slice(&message.payload).unwrap()));
        }
    }
}

async fn listener(terminal: &Terminal) -> Listener {
    let login = Login::read(&terminal.data_dir()).unwrap();
    let mut options = MqttOptions::new("house", "127.0.0.1", terminal.port());
    options.set_credentials(login.username, login.password.reveal());
    let topics = ["doorward/front/event/#", "doorward/front/state/#"];
    Listener { asker: Asker::connect_with(options, &topics).await, kept: Vec::new() }
}

pub(super) const LIVENESS_OFF: &str = "[liveness]\npolicy = \"off-for-this-test\"";

#[tokio::test]
async fn resident_is_granted_and_clients_receive_the_events() {
    let mut terminal = prepared("obama", "family", LIVENESS_OFF);
    terminal.run();
    let mut listener = listener(&terminal).await;
    let granted = listener.heard("event/access", |event| event["outcome"] == "granted").await;
    assert_eq!(granted["subject_id"], "obama");
    assert!(granted["similarity"].as_f64().unwrap() >= 82.0, "{granted}");
    assert_eq!(granted["door"], "unlocked", "{granted}");
    assert!(granted["reason"].as_str().unwrap().contains("LIVENESS IS OFF"), "{granted}");
    assert!(granted["timings_ms"]["embed"].as_f64().unwrap() > 0.0, "{granted}");
    listener.heard("event/door", |event| event["outcome"] == "unlocked").await;
    listener.heard("state/door", |state| state["lock"] == "UNLOCKED").await;
    listener.heard("event/door", |event| event["outcome"] == "locked").await;
    // Events are small: they contain no picture and no template.
    assert!(granted.to_string().len() < 2000, "{granted}");
}

#[test]
fn frozen_portrait_is_a_spoof_with_liveness_on() {
    let mut terminal = prepared("obama", "family", "");
    terminal.run();
    let refused = recorded(&terminal, outcome("spoof", "spoof"));
    assert!(refused["reason"].as_str().unwrap().contains("does not move"), "{refused}");
    assert_eq!(refused.get("subject_id"), None);
    stays_locked(&mut terminal, "spoof", "spoof");
}

/// A camera in its night mode: a living resident would be called a spoof, and locked out.
#[test]
fn gray_frames_are_no_colour_and_cause_no_lock_out() {
    let mut terminal = prepared("obama", "family", "");
    let config = terminal.file("doorward.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[access]", "[access]\nlockout_after = 2")).unwrap();
    let gray = image::open(portrait("obama")).unwrap().to_luma8();
    gray.save(terminal.file("frames").join("1.jpg")).unwrap();
    terminal.run();
    let refused = recorded(&terminal, outcome("access", "no_colour"));
    assert!(refused["reason"].as_str().unwrap().contains("night mode"), "{refused}");
    assert_eq!(refused.get("subject_id"), None);
    stays_locked(&mut terminal, "access", "no_colour");
}

#[test]
fn stranger_is_unknown_and_the_door_stays_locked() {
    let mut terminal = prepared("biden", "family", LIVENESS_OFF);
    terminal.run();
    let refused = recorded(&terminal, outcome("access", "unknown"));
    assert_eq!(refused.get("subject_id"), None);
    stays_locked(&mut terminal, "access", "unknown");
}

#[test]
fn enrolled_subject_without_access_is_denied() {
    let mut terminal = prepared("obama", "cleaners", LIVENESS_OFF);
    terminal.run();
    let denied = recorded(&terminal, outcome("access", "denied"));
    assert_eq!(denied["subject_id"], "obama");
    assert!(denied["reason"].as_str().unwrap().contains("cleaners"), "{denied}");
    stays_locked(&mut terminal, "access", "denied");
}

/// Enrols a portrait under a second id, without groups.
fn enrol_as(terminal: &Terminal, id: &str, face: &str) {
    let file = portrait(face);
    let arguments = ["enroll", file.to_str().unwrap(), "--subject-id", id];
    assert_eq!(terminal.json(&arguments)["status"], 200);
}

#[test]
fn second_id_for_the_same_face_does_not_deny_the_resident() {
    let mut terminal = prepared("obama", "family", LIVENESS_OFF);
    // The picture that was enrolled, and the same picture as the camera shows.
    enrol_as(&terminal, "guest-17", "obama2");
    enrol_as(&terminal, "guest-18", "obama");
    terminal.run();
    let decided = recorded(&terminal, |line| line["action"] == "access");
    assert_eq!((&decided["outcome"], &decided["subject_id"]), (&json!("granted"), &json!("obama")));
    assert_eq!(decided["also_enrolled_as"], json!(["guest-18", "guest-17"]), "{decided}");
    assert!(terminal.stop());
    let warnings = terminal.log().matches("one person is enrolled under two ids").count();
    assert_eq!(warnings, 2, "{}", terminal.log());
    let enrolled = |line: &Value| line["action"] == "enroll" && line["duplicate_of"] == "obama";
    assert!(record(&terminal).iter().any(enrolled));
}

#[test]
fn disabled_id_of_the_same_person_denies() {
    let mut terminal = prepared("obama", "family", LIVENESS_OFF);
    enrol_as(&terminal, "dismissed", "obama3");
    let disabled = terminal.json(&["gallery", "update", "dismissed", "--field", "enabled=false"]);
    assert_eq!(disabled["status"], 200, "{disabled}");
    terminal.run();
    let denied = recorded(&terminal, outcome("access", "denied"));
    assert!(denied["reason"].as_str().unwrap().contains("dismissed"), "{denied}");
    stays_locked(&mut terminal, "access", "denied");
}

#[test]
fn planted_face_is_reported_before_it_opens_the_door() {
    let mut terminal = prepared("biden", "cleaners", LIVENESS_OFF);
    let cleared = terminal.json(&["gallery", "update", "obama", "--groups", ""]);
    assert_eq!(cleared["status"], 200, "{cleared}");
    let planted = portrait("biden");
    let file = planted.to_str().unwrap();
    let added = terminal.json(&["enroll", file, "--subject-id", "obama", "--add"]);
    assert_eq!(added["status"], 200, "{added}");
    let advice = added["meta"]["advice"].as_array().unwrap();
    assert!(advice.contains(&json!("faces_disagree")), "{added}");
    let refused = terminal.json(&["gallery", "update", "obama", "--groups", "family"]);
    assert_eq!(
        (&refused["status"], &refused["error_code"]),
        (&json!(409), &json!("FACES_DISAGREE"))
    );
    terminal.run();
    stays_locked(&mut terminal, "access", "denied");
}

#[test]
fn duplicates_are_refused_if_configured() {
    let more = format!("{LIVENESS_OFF}\n[gallery]\nrefuse_duplicates = true");
    let mut terminal = prepared("biden", "family", &more);
    let config = terminal.file("doorward.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[mqtt]", "[mqtt]\npermissions = [\"enroll\"]")).unwrap();
    terminal.run();
    for (id, face, status) in
        [("guest-17", "obama3", 409), ("guest-17", "biden", 200), ("guest-17", "biden", 200)]
    {
        let answer = terminal.call_with("enroll", &json!({"subject_id": id}), &portrait(face));
        assert_eq!(answer["status"], status, "{answer}");
        if status == 409 {
            assert_eq!(answer["error_code"], "FACE_ALREADY_ENROLLED");
            assert!(!answer.to_string().contains("obama"), "an id without search permission");
        }
    }
    assert!(terminal.stop());
}

#[test]
fn reload_applies_a_valid_configuration_and_keeps_the_old_one_otherwise() {
    let mut terminal = prepared("obama", "cleaners", LIVENESS_OFF);
    terminal.run();
    recorded(&terminal, outcome("access", "denied"));
    let config = terminal.file("doorward.toml");
    let text = fs::read_to_string(&config).unwrap();

    fs::write(&config, text.replace("family: always", "family: sometimes")).unwrap();
    terminal.signal("HUP");
    wait_for(&terminal, "the configuration stays as it is: access.groups");
    assert_eq!(terminal.call("health", &json!({}))["status"], 200);

    fs::write(&config, text.replace("family: always", "cleaners: always")).unwrap();
    terminal.signal("HUP");
    let granted = recorded(&terminal, outcome("access", "granted"));
    assert_eq!(granted["subject_id"], "obama");
    assert!(terminal.stop());
}

#[test]
fn reload_does_not_end_a_lock_out() {
    let mut terminal = prepared("biden", "family", LIVENESS_OFF);
    let config = terminal.file("doorward.toml");
    let text = fs::read_to_string(&config).unwrap();
    let strict = "[access]\nlockout_after = 1\nlockout_s = 600\nlockout_longest_s = 600";
    fs::write(&config, text.replace("[access]", strict)).unwrap();
    terminal.run();
    let of = |name: &str| record(&terminal).into_iter().filter(outcome("access", name)).count();
    recorded(&terminal, outcome("access", "locked_out"));
    terminal.signal("HUP");
    // The next judge reports the lock-out again and judges no one.
    let started = Instant::now();
    while of("locked_out") < 2 {
        assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(of("unknown"), 1, "{}", terminal.log());
    assert!(terminal.stop());
}

#[test]
fn exit_works_without_gallery_camera_and_broker() {
    let mut terminal = Terminal::prepare(
        "[camera]\nsource = \"replay:/nowhere\"\n\
         [door]\nboard = \"pc\"\npulse_ms = 300\nscript = \"SCRIPT\"",
    );
    script(&terminal, "3s request_to_exit low\n3200ms request_to_exit high\n");
    fs::create_dir(terminal.data_dir()).unwrap();
    fs::write(terminal.data_dir().join("gallery.redb"), b"this is no gallery").unwrap();

    terminal.run_logging_to(fs::File::create(terminal.file("log")).unwrap());
    wait_for(&terminal, "until this works only the way out does");
    wait_for(&terminal, "ExitPressed");
    wait_for(&terminal, "Unlocked { by: Exit }");
    wait_for(&terminal, "Relocked");
    assert!(terminal.stop());
    // The events are recorded although the gallery does not work.
    fs::remove_file(terminal.data_dir().join("gallery.redb")).unwrap();
    let record = record(&terminal);
    assert!(record.iter().any(outcome("door", "exit_pressed")), "{record:#?}");
    assert!(record.iter().any(outcome("door", "locked")), "{record:#?}");
}

#[test]
fn unread_log_does_not_block_the_door() {
    let mut terminal = Terminal::prepare(
        "[door]\nboard = \"pc\"\npulse_ms = 300\nremote_unlock = true\nscript = \"SCRIPT\"\n\
         [log]\nlevel = \"trace\"",
    );
    script(&terminal, "3s request_to_exit low\n3200ms request_to_exit high\n");
    // The pipe is full before the daemon writes its first line.
    let (unread, full) = std::io::pipe().unwrap();
    let mut stuffing = full.try_clone().unwrap();
    std::thread::spawn(move || stuffing.write_all(&[b'.'; 1 << 20]));
    std::thread::sleep(Duration::from_millis(200));
    terminal.run_logging_to(full);
    let started = Instant::now();
    while !terminal.data_dir().join("control.sock").exists() {
        assert!(started.elapsed() < PATIENCE, "the daemon does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let unlocked = recorded(&terminal, outcome("door", "unlocked"));
    assert_eq!(unlocked["reason"], "exit");
    let locked = recorded(&terminal, outcome("door", "locked"));
    let pulse = locked["time"].as_f64().unwrap() - unlocked["time"].as_f64().unwrap();
    assert!(pulse < 2.0, "locked after {pulse} s");
    assert_eq!(terminal.json(&["unlock", "a parcel"])["status"], 200);
    assert!(terminal.stop());
    drop(unread);
}

#[test]
fn failed_start_is_retried_until_it_works() {
    let mut terminal = Terminal::prepare("[door]\nboard = \"pc\"");
    let taken = std::net::TcpListener::bind(("127.0.0.1", terminal.port())).unwrap();
    let log = terminal.file("log");
    let watching = std::thread::spawn(move || {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if fs::read_to_string(&log).unwrap_or_default().contains("only the way out does") {
                return drop(taken);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the taken port is not reported");
    });
    // Returns when the daemon is ready.
    terminal.run();
    watching.join().unwrap();
    assert_eq!(terminal.call("health", &json!({}))["status"], 200);
}

#[test]
fn interlock_blocks_faces_and_commands_while_the_other_door_is_open() {
    let more = "remote_unlock = true\ninterlock = true\nscript = \"SCRIPT\"";
    let mut terminal = prepared("obama", "family", &format!("{more}\n{LIVENESS_OFF}"));
    script(&terminal, "0s interlock high\n3s request_to_exit low\n");
    terminal.run();
    let granted = recorded(&terminal, outcome("access", "granted"));
    assert!(granted["door"].as_str().unwrap().contains("interlock"), "{granted}");
    let refused = terminal.json(&["unlock", "a parcel"]);
    assert!(refused["data"]["message"].as_str().unwrap().contains("interlock"), "{refused}");
    recorded(&terminal, |line| line["outcome"] == "unlocked" && line["reason"] == "exit");
    recorded(&terminal, |line| line["outcome"] == "not_unlocked" && door_says(line, "command"));
    let by_exit = |line: &Value| line["outcome"] != "unlocked" || line["reason"] == "exit";
    let lines = record(&terminal);
    assert!(lines.iter().filter(|line| line["action"] == "door").all(by_exit), "{lines:#?}");

    script(&terminal, "0s interlock low\n");
    terminal.signal("HUP");
    recorded(&terminal, |line| line["outcome"] == "unlocked" && line["reason"] == "face");
    assert!(terminal.stop());
}

fn door_says(line: &Value, by: &str) -> bool {
    line["reason"]
        .as_str()
        .is_some_and(|reason| reason.starts_with(by) && reason.contains("interlock"))
}

#[test]
fn stop_during_a_pulse_locks_and_is_recorded_without_a_broker() {
    let unused = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let mut terminal = Terminal::start(&format!(
        "host = \"127.0.0.1\"\nport = {port}\n\
         [door]\nboard = \"pc\"\npulse_ms = 30000\nremote_unlock = true"
    ));
    assert_eq!(terminal.json(&["unlock", "a parcel"])["status"], 200);
    let stopping = Instant::now();
    assert!(terminal.stop());
    assert!(stopping.elapsed() < Duration::from_secs(6), "{:?}", stopping.elapsed());
    let record = record(&terminal);
    let place = |wanted: &dyn Fn(&Value) -> bool| record.iter().position(wanted);
    let unlocked = place(&outcome("door", "unlocked")).unwrap();
    let locked = place(&outcome("door", "locked"));
    let stopped = place(&|line| line["action"] == "stop");
    assert!(Some(unlocked) < locked && locked < stopped, "{record:#?}");
}

/// The second unlock succeeds, is recorded, and starts a full pulse from its own time.
#[test]
fn unlock_during_a_pulse_starts_a_full_pulse() {
    let terminal = Terminal::start("[door]\nboard = \"pc\"\npulse_ms = 3000\nremote_unlock = true");
    assert_eq!(terminal.json(&["unlock", "a parcel"])["status"], 200);
    std::thread::sleep(Duration::from_millis(1500));
    let again = terminal.json(&["unlock", "another"]);
    assert_eq!(
        (&again["status"], &again["door"]["lock"]),
        (&200.into(), &"UNLOCKED".into()),
        "{again}"
    );
    let locked = recorded(&terminal, outcome("door", "locked"));
    let lines = record(&terminal);
    let times: Vec<f64> = lines
        .iter()
        .filter(|line| outcome("door", "unlocked")(line))
        .map(|line| line["time"].as_f64().unwrap())
        .collect();
    let open = locked["time"].as_f64().unwrap() - times[0];
    assert!(open > 4.2 && open < 7.0, "open for {open} s: {lines:#?}");
    let asked =
        lines.iter().filter(|line| line["action"] == "unlock" && line["outcome"] == "unlocked");
    assert_eq!(asked.count(), 2, "{lines:#?}");
    // The command line is a command, by name as well.
    let moved = lines.iter().find(|line| outcome("door", "unlocked")(line)).unwrap();
    assert_eq!(moved["reason"], "command", "{lines:#?}");
    assert!(lines.iter().all(|line| line["action"] != "unlock" || line["by"] == "local"));
}

#[test]
fn remote_unlock_works_only_if_configured() {
    let permitted = "permissions = [\"unlock\"]\n";
    let body = json!({"reason": "a parcel"});

    let off = Terminal::start(&format!("{permitted}[door]\nboard = \"pc\"\npulse_ms = 300"));
    let refused = off.call("unlock", &body);
    assert_eq!(refused["error_code"], "PERMISSION_DENIED", "{refused}");
    assert!(refused["data"]["message"].as_str().unwrap().contains("remote_unlock"), "{refused}");
    drop(off);

    let door = "[door]\nboard = \"pc\"\npulse_ms = 300\nremote_unlock = true";
    let not_permitted = Terminal::start(door);
    assert_eq!(not_permitted.call("unlock", &body)["error_code"], "PERMISSION_DENIED");
    drop(not_permitted);

    let on = Terminal::start(&format!("{permitted}{door}"));
    let wrong = on.call("unlock", &json!({"reason": ""}));
    assert_eq!(wrong["error_code"], "INVALID_PAYLOAD", "{wrong}");
    let unlocked = on.call("unlock", &body);
    assert_eq!(unlocked["status"], 200, "{unlocked}");
    assert_eq!(unlocked["door"]["lock"], "UNLOCKED", "{unlocked}");
    let line = recorded(&on, outcome("unlock", "unlocked"));
    assert_eq!(line["reason"], body["reason"]);
    recorded(&on, outcome("door", "locked"));

    let local = on.json(&["unlock", "the owner"]);
    assert_eq!(local["status"], 200, "{local}");
}

fn wait_for(terminal: &Terminal, text: &str) {
    let started = Instant::now();
    while !terminal.log().contains(text) {
        assert!(started.elapsed() < PATIENCE, "no {text:?} in:\n{}", terminal.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

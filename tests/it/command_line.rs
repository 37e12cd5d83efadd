//! Tests the command line with the real binary: the same answers with a daemon and without one,
//! exit codes as `--help` documents them, only JSON on standard output, import, configuration.

use crate::support::terminal::{Terminal, portrait};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};

fn code(output: &Output) -> i32 {
    output.status.code().expect("no exit code: ended by a signal")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Parses standard output, which must be exactly one JSON value.
fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn photo(name: &str) -> String {
    portrait(name).display().to_string()
}

/// Removes the fields that differ in each answer.
fn comparable(mut answer: Value) -> Value {
    fn strip(object: &mut Value, names: &[&str]) {
        if let Some(object) = object.as_object_mut() {
            object.retain(|name, _| !names.contains(&name.as_str()));
        }
    }
    strip(&mut answer, &["session_id", "timestamp"]);
    strip(&mut answer["meta"], &["timings_ms"]);
    if let Some(subjects) = answer["subjects"].as_array_mut() {
        subjects.iter_mut().for_each(|subject| strip(subject, &["created", "updated"]));
    }
    answer
}

#[test]
fn answers_are_equal_with_and_without_a_daemon() {
    let (daemon, lone) = (Terminal::start(""), Terminal::prepare(""));
    let [obama, obama2, biden] = ["obama", "obama2", "biden"].map(photo);
    let wall = daemon.file("wall.png").display().to_string();
    image::GrayImage::from_pixel(320, 240, image::Luma([128])).save(&wall).unwrap();
    // Exit code, arguments, and the operation's name in the daemon's log.
    let commands: [(i32, &[&str], &str); 14] = [
        (0, &["enroll", &obama, "--subject-id", "obama"], "enroll"),
        (0, &["enroll", &obama2, "--subject-id", "obama", "--add"], "enroll"),
        (0, &["verify", &obama2, "--subject-id", "obama", "--threshold", "high"], "verify"),
        (1, &["verify", &biden, "--subject-id", "obama"], "verify"),
        (3, &["verify", &biden, "--subject-id", "unknown"], "verify"),
        (0, &["search", &obama2, "--limit", "3", "--return-image"], "search"),
        (1, &["search", &biden], "search"),
        (3, &["search", &biden, "--threshold", "101"], "search"),
        (3, &["search", &wall], "search"),
        (0, &["compare", &obama, &obama2, "--threshold", "basic"], "compare"),
        (1, &["compare", &obama, &biden, "--field", "is_quality=false"], "compare"),
        (0, &["gallery", "list"], "subject/list"),
        (0, &["gallery", "delete", "obama"], "subject/delete"),
        (3, &["gallery", "delete", "obama"], "subject/delete"),
    ];
    for (expected, arguments, operation) in commands {
        let named = format!("operation=\"{operation}\"");
        let before = daemon.log().matches(&named).count();
        let (asked, own) = (daemon.cli(arguments), lone.cli(arguments));
        assert_eq!(code(&asked), expected, "{arguments:?}: {}", stderr(&asked));
        assert_eq!(code(&own), expected, "{arguments:?}: {}", stderr(&own));
        assert_eq!(comparable(json_of(&asked)), comparable(json_of(&own)), "{arguments:?}");
        assert_eq!((stderr(&asked), stderr(&own)), (String::new(), String::new()));
        // The daemon did the first; the second ran without it.
        assert_eq!(daemon.log().matches(&named).count(), before + 1, "{arguments:?}");
    }
    assert!(!lone.data_dir().join("control.sock").exists());
}

#[test]
fn concurrent_commands_without_a_daemon_wait_for_each_other() {
    let lone = Terminal::prepare("");
    let image = photo("obama");
    let commands: Vec<_> = ["a", "b", "c"]
        .map(|id| {
            let mut command = lone.command();
            command.args(["enroll", &image, "--subject-id", id]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    for output in &commands {
        assert_eq!(code(output), 0, "{}", stderr(output));
    }
    let list = lone.json(&["gallery", "list", "--limit", "2"]);
    assert_eq!(list["subjects"].as_array().unwrap().len(), 2);
    let rest = lone.json(&["gallery", "list", "--cursor", list["cursor"].as_str().unwrap()]);
    assert_eq!(rest["subjects"][0]["subject_id"], "c");
}

#[test]
fn call_uses_the_embedded_broker() {
    let mut terminal = Terminal::prepare("");
    let output = terminal.cli(&["call", "health"]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("start the daemon first"), "{}", stderr(&output));

    terminal.run();
    let image = photo("obama");
    let output = terminal.cli(&["call", "enroll", r#"{"subject_id": "ada"}"#, "--image", &image]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(json_of(&output)["subject_id"], "ada");
    let biden = photo("biden");
    let output = terminal.cli(&["call", "verify", r#"{"subject_id": "ada"}"#, "--image", &biden]);
    assert_eq!((code(&output), &json_of(&output)["error_code"]), (1, &json!("FAIL_ON_16")));
    for (arguments, expected, said) in [
        (&["call", "dance"][..], 3, "INVALID_PAYLOAD"),
        (&["call", "search", r#"{"limit": 1}"#], 3, "MISSING_PAYLOAD_IMAGE"),
        (&["call", "search", "[]"], 2, "the body is no JSON object"),
        (&["call", "search", "--image", "nowhere.jpg"], 2, "nowhere.jpg"),
        // Recognition takes longer than this timeout; health does not.
        (&["call", "search", "--image", &image, "--timeout", "0"], 4, "no answer within"),
    ] {
        let output = terminal.cli(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}");
        let all = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert!(all.contains(said), "{arguments:?}: {all}");
    }
    assert!(terminal.stop());
    let output = terminal.cli(&["call", "health"]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("cannot reach 127.0.0.1"), "{}", stderr(&output));
}

#[test]
fn folder_of_photographs_is_imported() {
    let mut terminal = Terminal::prepare("");
    let dir = terminal.file("people");
    let file = |name: &str| dir.join(name);
    fs::create_dir_all(file("obama")).unwrap();
    fs::create_dir_all(file("empty")).unwrap();
    fs::create_dir_all(file("@eaDir")).unwrap();
    fs::write(file(".DS_Store"), "").unwrap();
    for (from, to) in [("obama", "obama/1.jpg"), ("obama2", "obama/3.JPEG"), ("biden", "biden.jpg")]
    {
        fs::copy(portrait(from), file(to)).unwrap();
    }
    fs::write(file("obama/2.jpg"), "no picture").unwrap();
    fs::write(file("obama/notes.txt"), "left alone").unwrap();
    fs::copy(portrait("biden"), file("no id.jpg")).unwrap();
    image::GrayImage::from_pixel(320, 240, image::Luma([128])).save(file("wall.png")).unwrap();

    for daemon in [false, true] {
        if daemon {
            terminal.run();
        }
        let output = terminal.cli(&["gallery", "import", dir.to_str().unwrap()]);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        let report = json_of(&output);
        assert_eq!((&report["subjects"], &report["enrolled"]), (&json!(3), &json!(4)), "{report}");
        let failed: Vec<(String, &str)> = report["failed"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let (file, reason) = (one["file"].as_str().unwrap(), &one["reason"]);
                let name = file.strip_prefix(dir.to_str().unwrap()).unwrap();
                (name.to_owned(), reason.as_str().unwrap().split(':').next().unwrap())
            })
            .collect();
        let expected =
            [("/obama/2.jpg", "INVALID_PAYLOAD_IMAGE_FORMAT"), ("/wall.png", "FACE_NOT_DETECTED")];
        assert_eq!(failed, expected.map(|(file, code)| (file.to_owned(), code)));
        let ignored =
            |at: usize| (&report["ignored"][at]["file"], &report["ignored"][at]["reason"]);
        let hidden = json!("hidden, or left by a system or file server");
        assert_eq!(ignored(0), (&json!(file(".DS_Store")), &hidden), "{report}");
        assert_eq!(ignored(1), (&json!(file("@eaDir")), &hidden), "{report}");
        assert_eq!(ignored(2).0, &json!(file("empty")));
        assert_eq!(ignored(3).0, &json!(file("obama/notes.txt")));
        assert_eq!(report["ignored_entries"], 4);
        let duplicate = &report["duplicates"][0];
        let ids = [&duplicate["subject_id"], &duplicate["duplicate_of"]];
        // By the second import, the later one is enrolled already.
        assert_eq!(
            json!(ids),
            if daemon { json!(["biden", "no-id"]) } else { json!(["no-id", "biden"]) }
        );
        // The second import replaces the templates of the first.
        let list = terminal.json(&["gallery", "list"]);
        let templates =
            |at: usize| (&list["subjects"][at]["subject_id"], &list["subjects"][at]["templates"]);
        assert_eq!(templates(0), (&json!("biden"), &json!(1)));
        assert_eq!(templates(1), (&json!("no-id"), &json!(1)));
        assert_eq!(list["subjects"][1]["name"], "no id");
        assert_eq!(templates(2), (&json!("obama"), &json!(2)));
    }

    let good = terminal.file("good");
    fs::create_dir(&good).unwrap();
    for (arguments, expected, said) in
        [(good.as_path(), 4, "holds no JPEG"), (&file("nowhere"), 2, "nowhere")]
    {
        let output = terminal.cli(&["gallery", "import", arguments.to_str().unwrap()]);
        assert_eq!((code(&output), output.stdout.len()), (expected, 0), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    fs::copy(portrait("biden"), good.join("joe.jpg")).unwrap();
    let output = terminal.cli(&["gallery", "import", good.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = json_of(&output);
    assert_eq!((&report["subjects"], &report["failed"]), (&json!(1), &json!([])), "{report}");
}

#[test]
fn imported_people_get_the_names_and_groups_of_a_list() {
    let terminal = Terminal::start("");
    let dir = terminal.file("people");
    fs::create_dir_all(dir.join("Jörg Müller")).unwrap();
    fs::copy(portrait("obama"), dir.join("Jörg Müller/1.jpg")).unwrap();
    fs::copy(portrait("biden"), dir.join("joe.jpg")).unwrap();
    let list = terminal.file("people.csv");
    fs::write(&list, "id,name,groups\n17,Jörg Müller,staff;night\n18,Gone,staff\n").unwrap();
    let dir = dir.to_str().unwrap();
    let import =
        ["gallery", "import", dir, "--names", list.to_str().unwrap(), "--groups", "family"];
    let output = terminal.cli(&import);
    // One line of the list has no photographs.
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let report = json_of(&output);
    assert_eq!(report["without_photographs"], json!(["18"]), "{report}");
    assert_eq!((&report["subjects"], &report["failed"]), (&json!(2), &json!([])), "{report}");
    let subjects = terminal.json(&["gallery", "list"])["subjects"].clone();
    assert_eq!(
        (&subjects[0]["subject_id"], &subjects[0]["name"]),
        (&json!("17"), &json!("Jörg Müller"))
    );
    assert_eq!(subjects[0]["groups"], json!(["staff", "night"]));
    assert_eq!(
        (&subjects[1]["subject_id"], &subjects[1]["groups"]),
        (&json!("joe"), &json!(["family"]))
    );

    // Several subjects are changed at once; a report names those that were not.
    let output = terminal.cli(&["gallery", "update", "17", "joe", "gone", "--groups", "staff"]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let report = json_of(&output);
    assert_eq!(report["updated"], 2, "{report}");
    assert_eq!(report["failed"][0]["subject_id"], "gone", "{report}");

    // The audit log is filtered by subject, kind and date.
    let lines = |more: &[&str]| {
        let output = terminal.cli(&[&["audit", "list"], more].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let of_joe = lines(&["--subject", "joe", "--kind", "subject/update"]);
    assert_eq!(of_joe.len(), 2, "{of_joe:?}");
    assert!(of_joe.iter().all(|line| line["subject_id"] == "joe"));
    assert_eq!(lines(&["--subject", "joe", "--kind", "subject"]).len(), 2);
    assert!(lines(&["--since", "1h"]).len() > 4);
    assert!(lines(&["--until", "2020-01-01"]).is_empty());
}

/// Runs a command on a terminal of its own and returns what it shows.
fn on_a_terminal(terminal: &Terminal, arguments: &[&str]) -> (i32, String) {
    let command = terminal.command();
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .chain(arguments.iter().map(|word| (*word).to_owned()))
        .map(|word| format!("'{word}'"))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            script.env(name, value);
        }
    }
    let output = script.output().unwrap();
    (code(&output), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn terminals_show_lines_for_people_and_json_on_request() {
    let terminal = Terminal::start("");
    for (name, id) in [("obama", "barack"), ("biden", "joe")] {
        assert_eq!(code(&terminal.cli(&["enroll", &photo(name), "--subject-id", id])), 0);
    }
    let (_, text) = on_a_terminal(&terminal, &["gallery", "list"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("ID") && lines[1].starts_with("barack"), "{text}");
    assert!(lines[1].contains("no group") && lines[3] == "2 of 2 subjects", "{text}");
    let (_, text) = on_a_terminal(&terminal, &["gallery", "list", "--limit", "1"]);
    assert!(text.contains("1 of 2 subjects") && text.contains("--cursor barack"), "{text}");
    let (status, text) = on_a_terminal(&terminal, &["search", &photo("obama2")]);
    assert!(
        status == 0 && text.trim().ends_with("  barack") && text.lines().count() == 1,
        "{text}"
    );
    let (status, text) =
        on_a_terminal(&terminal, &["search", &photo("obama2"), "--threshold", "100"]);
    assert!(status == 1 && text.contains("no subject is similar enough"), "{text}");
    let (_, text) = on_a_terminal(&terminal, &["audit", "list", "--kind", "enroll"]);
    assert!(text.lines().count() == 2 && text.contains("  local  "), "{text}");
    let (_, text) = on_a_terminal(&terminal, &["--json", "gallery", "list"]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["subjects"][1]["subject_id"], "joe");
}

#[test]
fn configuration_is_printed_checked_and_overridden() {
    let terminal = Terminal::prepare("");
    let write = |name: &str, text: &str| {
        let file = terminal.file(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let secret = write("password", "hunter2\n");
    let first = write(
        "first.toml",
        &format!(
            "[device]\nid = \"front\"\ndata_dir = {:?}\n[mqtt]\nhost = \"broker.example\"\n\
             username = \"door\"\npassword_file = {secret:?}\nresponse_prefixes = [\"house/r\"]\n",
            terminal.data_dir()
        ),
    );
    let run = |file: &str, what: &str, environment: &[(&str, &str)]| {
        let mut command = terminal.command();
        command.args(["config", what, "--config", file]).envs(environment.iter().copied());
        command.output().unwrap()
    };
    // Printing, checking and printing again gives the same text, without the password.
    let once = run(&first, "print", &[]);
    assert_eq!(code(&once), 0, "{}", stderr(&once));
    let text = String::from_utf8(once.stdout).unwrap();
    assert!(text.contains("username = \"door\"") && !text.contains("hunter2"), "{text}");
    let second = write("second.toml", &text);
    let check = run(&second, "check", &[]);
    assert_eq!((code(&check), check.stdout.len()), (0, 0), "{}", stderr(&check));
    assert_eq!(String::from_utf8(run(&second, "print", &[]).stdout).unwrap(), text);

    let set = [("DOORWARD__MQTT__HOST", "other.example"), ("DOORWARD__SERVICE__QUEUE", "3")];
    let overridden = String::from_utf8(run(&first, "print", &set).stdout).unwrap();
    assert!(overridden.contains("host = \"other.example\"") && overridden.contains("queue = 3"));

    let wrong = |text: &str| write("wrong.toml", text);
    for (text, environment, said) in [
        ("[mqtt]\nhots = \"a\"", &[][..], "hots"),
        ("[mqtt]\nport = \"a\"", &[], "line 2"),
        ("[mqtt", &[], "line 1"),
        ("", &[("DOORWARD__MQTT__HOTS", "a")], "there is no key mqtt.hots"),
        ("", &[("DOORWARD__MQTT__PORT", "x")], "DOORWARD__MQTT__PORT"),
        ("[service]\nqueue = 0", &[], "1 to 64"),
        ("[device]\nid = \"a/b\"", &[], "device.id"),
        ("[log]\nlevel = \"loud\"", &[], "names no level"),
        ("[log]\nlevel = \"info,mqtt=loud\"", &[], "names no level"),
        ("[log]\nlevel = \"loud,,=\"", &[], "log.level"),
        ("[image_url]\nallow = [\"http://x\"]", &[], "image_url.allow"),
        ("[mqtt]\npermissions = [\"dance\"]", &[], "mqtt.permissions"),
        ("[service]\nauth = \"none\"", &[], "service.auth"),
        ("[homeassistant]\nprefix = \"#\"", &[], "homeassistant.prefix"),
        ("[mqtt]\nclients = [\"desk\"]", &[], "mqtt.clients"),
        ("[mqtt]\nclients = [\"desk: dance\"]", &[], "`dance` is no permission"),
        // Client names identify no one where all clients share one login or have none.
        ("[mqtt]\nclients = [\"desk: search\"]", &[], "tells applications apart"),
        ("[mqtt]\nhost = \"a\"\nclients = [\"desk: search\"]", &[], "tells clients apart"),
        (
            "[mqtt]\nclients = [\"desk: search\"]\n[service]\nauth = \"app-key\"",
            &[],
            "each application has its own",
        ),
        ("[mqtt]\nhost = \"a\"\ntls = true\nca_file = \"/nowhere.pem\"", &[], "mqtt.ca_file"),
        ("[mqtt]\nhost = \"a\"\npassword_file = \"/nowhere\"", &[], "mqtt.password_file"),
    ] {
        let file = wrong(text);
        for what in ["check", "print"] {
            let output = run(&file, what, environment);
            // `check` also finds the errors that are not in the syntax alone.
            if what == "check" || code(&output) != 0 {
                assert_eq!((code(&output), output.stdout.len()), (2, 0), "{text}");
                assert!(stderr(&output).contains(said), "{text}: {}", stderr(&output));
            }
        }
    }
    let long = format!("[device]\ndata_dir = \"/{}\"", "x".repeat(100));
    assert_eq!(code(&run(&wrong(&long), "check", &[])), 2);
    assert_eq!(code(&run("/nowhere.toml", "check", &[])), 2);
    // A misspelt variable must not leave a key at its default.
    let mut command = terminal.command();
    let output = command.args(["config", "check"]).env("DOORWARD_MQTT_HOST", "a").output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("DOORWARD__MQTT__HOST"), "{}", stderr(&output));
    // Environment variables of other programs are ignored.
    let mut command = terminal.command();
    command.args(["config", "check"]).env("NOT_UTF8", OsStr::from_bytes(b"\xff"));
    assert_eq!(code(&command.output().unwrap()), 0);
}

#[test]
fn usage_errors_are_exit_code_2() {
    let terminal = Terminal::prepare("");
    let image = photo("obama");
    let large = terminal.file("large.jpg");
    fs::File::create(&large).unwrap().set_len(7 << 20).unwrap();
    for arguments in [
        &["dance"][..],
        &[],
        &["verify", &image],
        &["search", "nowhere.jpg"],
        &["search", terminal.file("").to_str().unwrap()],
        &["search", large.to_str().unwrap()],
        &["search", &image, "--field", "limit"],
        &["search", &image, "--limit", "many"],
        &["compare", &image],
    ] {
        let output = terminal.cli(arguments);
        assert_eq!((code(&output), output.stdout.len()), (2, 0), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    // The service, not the command line, refuses a field that the operation does not have.
    let output = terminal.cli(&["search", &image, "--field", "limt=1"]);
    assert_eq!(code(&output), 3);
    assert_eq!(json_of(&output)["error_field"], "limt");
    for help in [&["--help"][..], &["--version"], &["gallery", "import", "--help"]] {
        assert_eq!(code(&terminal.cli(help)), 0);
    }
    let manual = String::from_utf8(terminal.cli(&["--help"]).stdout).unwrap();
    assert!(manual.contains("Exit codes: 0 done and yes"), "{manual}");
}

#[test]
fn closed_standard_output_ends_the_command_quietly() {
    let terminal = Terminal::prepare("");
    for arguments in [&["config", "print"][..], &["gallery", "list"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = terminal.command();
        let output = command.args(arguments).stdout(writer).stderr(Stdio::piped());
        let output = output.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((code(&output), stderr(&output)), (0, String::new()), "{arguments:?}");
    }
}

#[test]
fn doctor_reports_cpu_and_models_and_refuses_an_unknown_level() {
    let doctor = |level: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
        command.arg("doctor").env("DOORWARD_CPU", level).output().unwrap()
    };
    let output = doctor("portable");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = json_of(&output);
    assert_eq!(report["cpu"]["level"], "portable");
    assert_eq!(report["models"]["sface.gguf"]["sha256"].as_str().unwrap().len(), 64);
    // Without a configuration: no camera and no daemon are not failures.
    let status = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(check["status"] == "ok", check["advice"].is_null(), "{check}");
        check["status"].as_str().unwrap().to_owned()
    };
    assert_eq!((status("camera"), status("board")), ("warning".into(), "ok".into()));
    let output = doctor("abacus");
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("DOORWARD_CPU=abacus"), "{}", stderr(&output));
}

#[test]
fn doctor_names_the_cause_and_the_remedy() {
    let mut terminal = Terminal::prepare("[camera]\nsource = \"/dev/video-missing\"\n");
    let check = |terminal: &Terminal, name: &str| {
        let output = terminal.cli(&["doctor"]);
        let report = json_of(&output);
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == name).unwrap().clone();
        (code(&output), found)
    };
    let (status, camera) = check(&terminal, "camera");
    assert_eq!((status, &camera["status"]), (1, &json!("failed")), "{camera}");
    assert!(camera["found"].as_str().unwrap().contains("/dev/video-missing"), "{camera}");
    assert!(camera["advice"].as_str().unwrap().contains("camera list"), "{camera}");
    let (_, daemon) = check(&terminal, "daemon");
    assert_eq!(daemon["status"], "warning", "{daemon}");
    terminal.run();
    for name in ["daemon", "broker", "data folder", "disk"] {
        let (_, found) = check(&terminal, name);
        assert_eq!(found["status"], "ok", "{found}");
    }
    let output = terminal.cli(&["config", "check"]);
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).contains("warning: camera: /dev/video-missing"), "{}", stderr(&output));
    let started = std::time::Instant::now();
    let output = terminal.cli(&["camera", "probe"]);
    assert_eq!((code(&output), output.stdout.len()), (4, 0));
    assert!(stderr(&output).contains("/dev/video-missing"), "{}", stderr(&output));
    assert!(started.elapsed().as_secs() < 8, "{:?}", started.elapsed());
}

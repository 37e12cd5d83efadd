//! Tests the real daemon on its data folder: one daemon per folder, recovery after a power cut,
//! access to the control socket, and hostile input on it.

use crate::support::slow_pictures;
use crate::support::terminal::{Terminal, portrait};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn enroll(terminal: &Terminal, id: &str) {
    let image = portrait("obama").display().to_string();
    assert_eq!(terminal.json(&["enroll", &image, "--subject-id", id])["status"], 200);
}

fn subjects(terminal: &Terminal) -> Vec<String> {
    let list = terminal.json(&["gallery", "list"]);
    let of = |subject: &Value| subject["subject_id"].as_str().unwrap().to_owned();
    list["subjects"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn one_daemon_per_folder() {
    let terminal = Terminal::start("");
    let output = terminal.cli(&["run"]);
    assert_eq!(output.status.code(), Some(4));
    let said = stderr(&output);
    assert!(said.contains("another doorward process has the gallery"), "{said}");
    // The second daemon did not remove the first one's socket.
    assert_eq!(subjects(&terminal), [""; 0]);

    // A second daemon in another folder with the same port.
    let other = Terminal::prepare(&format!("port = {}", terminal.port()));
    let output = other.cli(&["run"]);
    assert_eq!(output.status.code(), Some(4));
    let said = stderr(&output);
    assert!(said.contains("set mqtt.port to a free one"), "{said}");
}

#[test]
fn gallery_survives_stops_and_power_cuts() {
    let mut terminal = Terminal::start("");
    let socket = terminal.data_dir().join("control.sock");
    enroll(&terminal, "first");
    assert!(terminal.stop());
    assert!(!socket.exists());
    enroll(&terminal, "second");
    terminal.run();
    enroll(&terminal, "third");
    terminal.kill();
    // The socket of a crashed daemon does not block the next one.
    assert!(socket.exists());
    assert_eq!(subjects(&terminal), ["first", "second", "third"]);
    terminal.run();
    assert_eq!(subjects(&terminal), ["first", "second", "third"]);
    let found = terminal.call_with("search", &json!({ "limit": 10 }), &portrait("obama2"));
    assert_eq!(found["matches"].as_array().unwrap().len(), 3);
    assert!(terminal.stop());
}

#[test]
fn files_are_readable_only_by_their_user() {
    let terminal = Terminal::start("");
    enroll(&terminal, "ada");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&terminal.data_dir()), 0o700);
    let mut sockets = 0;
    for entry in fs::read_dir(terminal.data_dir()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
        sockets += usize::from(entry.file_type().unwrap().is_socket());
    }
    assert_eq!(sockets, 1);
}

fn connect(terminal: &Terminal) -> UnixStream {
    let stream = UnixStream::connect(terminal.data_dir().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Returns what the daemon sends before it closes the connection.
fn answer(mut stream: UnixStream) -> String {
    let mut text = Vec::new();
    // A reset also closes the connection.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn hostile_lines_end_only_their_own_connection() {
    let mut terminal = Terminal::start("");
    let deep = format!("{{\"operation\":\"health\",\"body\":{}", "[".repeat(100_000));
    for line in [
        b"\n".to_vec(),
        b"garbage\n".to_vec(),
        b"\xff\xfe\x00\n".to_vec(),
        b"[]\n".to_vec(),
        b"{\"operation\":\"health\"}\n".to_vec(),
        b"{\"operation\":\"health\",\"body\":{},\"more\":1}\n".to_vec(),
        b"{\"operation\":7,\"body\":{}}\n".to_vec(),
        format!("{deep}\n").into_bytes(),
    ] {
        let mut stream = connect(&terminal);
        stream.write_all(&line).unwrap();
        assert_eq!(
            answer(stream),
            "",
            "{:?}",
            String::from_utf8_lossy(&line[..line.len().min(60)])
        );
    }
    // 20 MiB without a line end: closed before all of it is read.
    let mut stream = connect(&terminal);
    let written = (0..20).try_for_each(|_| stream.write_all(&vec![b'x'; 1 << 20]));
    assert!(written.is_err() || answer(stream).is_empty());
    // Half a line, then a closed connection.
    let mut stream = connect(&terminal);
    stream.write_all(b"{\"operation\":\"hea").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(stream), "");
    // A request whose sender does not wait for the answer.
    let mut stream = connect(&terminal);
    stream.write_all(b"{\"operation\":\"health\",\"body\":{}}\n").unwrap();
    drop(stream);
    // An invalid operation and body get the usual error.
    let mut stream = connect(&terminal);
    stream.write_all(b"{\"operation\":\"dance\",\"body\":[]}\n").unwrap();
    assert!(answer(stream).contains("INVALID_PAYLOAD"));

    assert!(terminal.log().contains("hung up on a control connection"), "{}", terminal.log());
    assert_eq!(subjects(&terminal), [""; 0]);
    assert!(terminal.stop());
}

#[test]
fn idle_connections_block_no_others() {
    let terminal = Terminal::start("");
    let idle: Vec<UnixStream> = (0..40).map(|_| connect(&terminal)).collect();
    let started = Instant::now();
    assert_eq!(subjects(&terminal), [""; 0]);
    // Before the first idle connection is closed.
    assert!(started.elapsed() < Duration::from_secs(5), "waited {:?}", started.elapsed());

    // A connection with an unfinished line keeps its place only for a short time.
    for mut stream in &idle[..16] {
        stream.write_all(b"{").unwrap();
    }
    assert_eq!(subjects(&terminal), [""; 0]);
    for stream in idle {
        assert_eq!(answer(stream), "");
    }
}

#[test]
fn stop_finishes_the_running_request() {
    let mut terminal = Terminal::start("[image_url]\nallow = [\"127.0.0.1:*\"]");
    // On a slow disk the first change of a new gallery takes longer than a stop waits.
    enroll(&terminal, "early");
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let (url, arrivals) = slow_pictures::serve_when(&portrait("obama"), move || {
        let _ = released.lock().unwrap().recv();
    });
    let mut command = terminal.command();
    command.args(["enroll", &url, "--subject-id", "late"]);
    let asker = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    arrivals.recv_timeout(PATIENCE).unwrap();
    terminal.signal("TERM");
    let started = Instant::now();
    while !terminal.log().contains("stopping") {
        assert!(started.elapsed() < PATIENCE, "{}", terminal.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    // The daemon is stopping while its request is still being processed.
    release.send(()).unwrap();
    assert!(terminal.stop());
    let output = asker.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(subjects(&terminal), ["early", "late"]);
}

#[test]
fn stop_does_not_wait_for_a_url_that_never_answers() {
    let mut terminal = Terminal::start("[image_url]\nallow = [\"127.0.0.1:*\"]");
    let (url, arrivals) = slow_pictures::serve(&portrait("obama"), Duration::from_secs(60));
    let mut command = terminal.command();
    let asker = command.args(["search", &url]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let asker = asker.spawn().unwrap();
    arrivals.recv_timeout(PATIENCE).unwrap();
    let started = Instant::now();
    assert!(terminal.stop());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let output = asker.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("hung up without an answer"), "{}", stderr(&output));
}

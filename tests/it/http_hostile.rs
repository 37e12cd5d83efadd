//! Hostile and broken clients of the HTTP interface, against the real daemon. Failures: a slow,
//! silent or large client costs another its answer, memory grows, a message is read in two ways, a
//! web page of another name is served, keys can be guessed quickly.

mod http2;
mod silent;

use crate::support::http::{Connection, address};
use crate::support::pictures;
use crate::support::terminal::Terminal;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

const JSON: &str = "application/json";

fn start(more: &str) -> (Terminal, SocketAddr) {
    let terminal = Terminal::start(more);
    let address = address(&terminal);
    (terminal, address)
}

fn app(terminal: &Terminal) -> [(String, String); 2] {
    let made = terminal.json(&["app", "create", "kiosk"]);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    [("App-ID".into(), text("app_id")), ("API-Key".into(), text("api_key"))]
}

fn alive(address: SocketAddr) -> Duration {
    let started = Instant::now();
    let reply = Connection::open(address).ask("GET", "/healthz", &[], (b"", ""));
    assert_eq!(reply.status, 200);
    started.elapsed()
}

/// Returns the status of the answer to these bytes; 0 when the connection ended without one.
fn raw(address: SocketAddr, bytes: &[u8]) -> u16 {
    let mut connection = Connection::open(address);
    let _ = connection.send(bytes);
    connection.reply().map_or(0, |reply| reply.status)
}

#[test]
fn only_names_of_this_terminal_are_served() {
    let (_terminal, address) = start("[http]\nhosts = [\"front.example\"]");
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("front.example", 200),
        ("evil.example", 421),
        ("192.0.2.1", 421),
        ("localhost.evil.example", 421),
        ("localhost@evil.example", 421),
        ("", 421),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(raw(address, request.as_bytes()), status, "{host}");
    }
    for bad in [
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    ] {
        assert_eq!(raw(address, bad.as_bytes()), 400, "{bad}");
    }
    let absolute = "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(raw(address, absolute.as_bytes()), 421);
}

#[test]
fn messages_with_two_readings_are_refused_and_nothing_hides_behind_one() {
    let (_terminal, address) = start("");
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for head in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: 4, 4\r\n",
        "X: a\r\n b\r\n",
        "X: a\0b\r\n",
        ": empty\r\n",
    ] {
        let mut connection = Connection::open(address);
        let body = format!("0\r\n\r\n{smuggled}");
        let message =
            format!("POST /v1/face/search HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{body}");
        let _ = connection.send(message.as_bytes());
        let mut statuses = Vec::new();
        while let Some(reply) = connection.reply() {
            statuses.push(reply.status);
        }
        // At most the first message is answered, and the connection ends.
        assert!(statuses.len() <= 1 && !statuses.contains(&200), "{head:?}: {statuses:?}");
    }
}

#[test]
fn no_header_of_a_client_reaches_an_answer_and_no_path_leaves_the_table() {
    let (_terminal, address) = start("");
    for path in [
        "/../../etc/passwd",
        "/v1/../healthz",
        "/v1/subjects/..%2f..%2fetc",
        "/%2e%2e/",
        "//healthz",
        "/v1/face/search/",
        "/healthz%00",
        "/v1/subjects/%0d%0aX-Evil:%201",
    ] {
        let mut connection = Connection::open(address);
        let reply = connection.ask("GET", path, &[], (b"", ""));
        assert!([400, 401, 404].contains(&reply.status), "{path}: {}", reply.status);
        assert_eq!(reply.header("x-evil"), None);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(20_000));
    assert!([0, 400, 414, 431].contains(&raw(address, long.as_bytes())));
    let many = "X: y\r\n".repeat(5000);
    let many = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    assert!([0, 400, 431].contains(&raw(address, many.as_bytes())));
    alive(address);
}

#[test]
fn bodies_beyond_the_limit_are_refused_and_cost_no_memory() {
    let (terminal, address) = start("");
    let headers = app(&terminal);
    alive(address);
    let before = terminal.memory_kib("VmRSS");
    let [(_, id), (_, key)] = &headers;
    let head = format!(
        "POST /v1/face/search HTTP/1.1\r\nHost: localhost\r\nApp-ID: {id}\r\nAPI-Key: {key}\r\n"
    );
    let announced = format!("{head}Content-Length: 104857600\r\n\r\n");
    assert_eq!(raw(address, announced.as_bytes()), 413);
    // Chunked without an end.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = [b"100000\r\n", &vec![b'a'; 1 << 20][..], b"\r\n"].concat();
    let sent = (0..100).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(sent < 60, "{sent} MiB were taken");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    alive(address);
    let grown = terminal.memory_kib("VmRSS").saturating_sub(before);
    println!("bodies of 100 MB: {grown} KiB more");
    assert!(grown < 40 * 1024, "{grown} KiB");
}

#[test]
fn ten_thousand_idle_and_slow_clients_lock_no_client_out() {
    let (terminal, address) = start("");
    let headers = app(&terminal);
    alive(address);
    let before = terminal.memory_kib("VmRSS");
    let mut slow = Vec::new();
    for number in 0..10_000 {
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        if number % 2 == 0 {
            let _ = stream.write_all(b"POST /v1/face/search HTTP/1.1\r\nHost: loc");
        }
        slow.push(stream);
        // The test may have fewer descriptors than that; the daemon has seen each.
        if slow.len() >= 500 {
            slow.remove(0);
        }
    }
    // Bodies that never come, with the client's own words to begin with.
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address).unwrap();
        let head =
            "POST /v1/face/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n";
        stream.write_all(format!("{head}\r\n{{").as_bytes()).unwrap();
        slow.push(stream);
    }
    let grown = terminal.memory_kib("VmRSS").saturating_sub(before);
    println!("10,000 connections: {grown} KiB more");
    assert!(grown < 16 * 1024, "{grown} KiB");
    let body = json!({"image": pictures::face("obama")}).to_string();
    let headers = headers.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let started = Instant::now();
    let mut connection = Connection::open(address);
    let reply = connection.ask("POST", "/v1/face/search", &headers, (body.as_bytes(), JSON));
    assert_eq!(reply.status, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_silent_client_is_disconnected() {
    let (_terminal, address) = start("");
    let mut silent = Connection::open(address);
    let mut half = Connection::open(address);
    half.send(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    let mut kept = Connection::open(address);
    for _ in 0..3 {
        assert_eq!(kept.ask("GET", "/healthz", &[], (b"", "")).status, 200);
    }
    for connection in [&mut silent, &mut half, &mut kept] {
        assert!(connection.ends_within(Duration::from_secs(20)));
    }
}

#[test]
fn guessing_is_slowed_and_a_known_key_is_not() {
    let (terminal, address) = start("");
    let headers = app(&terminal);
    let headers = headers.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let right = || {
        let started = Instant::now();
        let mut connection = Connection::open(address);
        assert_eq!(connection.ask("GET", "/v1/health", &headers, (b"", "")).status, 200);
        started.elapsed()
    };
    right();
    let started = Instant::now();
    let mut guesses = 0;
    while started.elapsed() < Duration::from_secs(6) {
        let key = guesses.to_string();
        let wrong = [headers[0], ("API-Key", key.as_str())];
        let mut connection = Connection::open(address);
        assert_eq!(connection.ask("GET", "/v1/health", &wrong, (b"", "")).status, 401);
        guesses += 1;
    }
    println!("{guesses} guesses in 6 s");
    assert!(guesses < 25, "{guesses}");
    assert!(right() < Duration::from_millis(500));
    let lines = terminal.log().matches("a wrong App-ID or API-Key").count();
    assert_eq!(lines, 1, "{}", terminal.log());
}

#[test]
fn origins_are_answered_only_as_configured() {
    let (_terminal, address) = start("[http]\ncors_origins = [\"https://panel.example\"]");
    let ask = |method, headers: &[(&str, &str)]| {
        Connection::open(address).ask(method, "/healthz", headers, (b"", ""))
    };
    let reply = ask("GET", &[("Origin", "https://panel.example")]);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://panel.example"));
    for other in ["https://evil.example", "null", "https://panel.example.evil.example"] {
        let reply = ask("GET", &[("Origin", other)]);
        assert_eq!(reply.header("access-control-allow-origin"), None, "{other}");
    }
    let asked = ("Access-Control-Request-Method", "POST");
    let reply = ask("OPTIONS", &[("Origin", "https://panel.example"), asked]);
    assert_eq!(reply.status, 204);
    assert_eq!(ask("OPTIONS", &[("Origin", "https://evil.example"), asked]).status, 405);
}

#[test]
fn a_taken_port_leaves_the_daemon_running_and_is_explained() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut terminal = Terminal::prepare("");
    terminal.run_with(&[("DOORWARD__HTTP__PORT", &port)]);
    assert!(terminal.log().contains("or set http.port"), "{}", terminal.log());
    assert_eq!(terminal.json(&["gallery", "list"])["subjects"], json!([]));
    let mut terminal = Terminal::prepare("[http]\nenabled = false");
    terminal.run();
    assert!(!terminal.log().contains("HTTP"), "{}", terminal.log());
}

#[test]
fn elsewhere_than_loopback_there_is_only_tls() {
    let terminal = Terminal::prepare("[http]\nlisten = \"0.0.0.0\"");
    let refused = terminal.cli(&["config", "check"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("doorward http listen 0.0.0.0"), "{why}");
    // The same command repairs it.
    let mut terminal = Terminal::prepare("");
    let made = terminal.json(&["http", "listen", "0.0.0.0"]);
    assert!(made["sha256"].as_str().unwrap().len() == 95, "{made}");
    assert!(terminal.cli(&["config", "check"]).status.success());
    terminal.run();
    let headers = app(&terminal);
    let address = address(&terminal);
    let url = |path: &str| format!("https://localhost:{}{path}", address.port());
    let cert = terminal.data_dir().join("http.pem");
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--cacert",
            cert.to_str().unwrap(),
            "-w",
            "\n%{http_code} %{http_version}",
        ]);
        let output = command.args(arguments).output().expect("this test needs curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().unwrap_or_default().to_owned();
        (last, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(curl(&[&url("/healthz")]).0, "200 2");
    assert_eq!(curl(&["--http1.1", &url("/healthz")]).0, "200 1.1");
    // Numbers are for those with a key here.
    assert_eq!(curl(&[&url("/metrics")]).0, "401 2");
    let [id, key] = headers.map(|(name, value)| format!("{name}: {value}"));
    assert_eq!(curl(&["-H", &id, "-H", &key, &url("/metrics")]).0, "200 2");
    // Unencrypted there is no answer.
    assert_ne!(
        raw(
            SocketAddr::from(([127, 0, 0, 1], address.port())),
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ),
        200
    );
}

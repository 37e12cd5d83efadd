//! Clients that send nothing, wait, or read nothing. Failures: they hold connections, places or
//! memory, and a client with a right key gets no answer.

use super::http2::Http2;
use super::{JSON, alive, app, start};
use crate::support::http::{Connection, Reply};
use crate::support::pictures;
use crate::support::terminal::Terminal;
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

const SILENT_BODY: &str =
    "POST /v1/face/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n";
const STREAM: (&str, &str) = ("Accept", "text/event-stream");

type Key = [(String, String); 2];

fn headers(key: &Key) -> [(&str, &str); 2] {
    key.each_ref().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    Connection::open(address).ask("GET", path, headers, (b"", ""))
}

/// Makes an application that may read the audit log, whose key the terminal has seen.
fn admin(terminal: &Terminal, address: SocketAddr) -> Key {
    let made = terminal.json(&["app", "create", "boss", "--allow", "admin,search"]);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let key = [("App-ID".into(), text("app_id")), ("API-Key".into(), text("api_key"))];
    assert_eq!(get(address, "/v1/health", &headers(&key)).status, 200);
    key
}

/// Sends wrong keys, until this address has to wait.
fn guess(address: SocketAddr) {
    for _ in 0..8 {
        let wrong = [("App-ID", "x"), ("API-Key", "y")];
        assert_eq!(get(address, "/v1/health", &wrong).status, 401);
    }
}

/// Sends the head of a live stream of the audit log from its beginning.
fn open_stream(address: SocketAddr, key: &[(&str, &str)]) -> Connection {
    let mut head = "GET /v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for (name, value) in key.iter().chain(&[STREAM]) {
        head += &format!("{name}: {value}\r\n");
    }
    let mut connection = Connection::open(address);
    connection.send(format!("{head}\r\n").as_bytes()).unwrap();
    connection
}

fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from(source), 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    })
}

/// Opens 64 connections from each source, each with a request whose body never comes.
fn silent_bodies(address: SocketAddr, sources: &[u8]) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for source in sources {
        for _ in 0..64 {
            let mut stream = connect_from(Ipv4Addr::new(127, 0, 0, *source), address);
            stream.write_all(format!("{SILENT_BODY}\r\n").as_bytes()).unwrap();
            silent.push(stream);
        }
    }
    // Until the terminal has read each.
    sleep(Duration::from_millis(500));
    silent
}

#[test]
fn bodies_that_never_come_lock_no_client_out() {
    for sources in [&[1][..], &[2, 3, 4, 5]] {
        let (terminal, address) = start("");
        let key = app(&terminal);
        let silent = silent_bodies(address, sources);
        let took = alive(address);
        assert_eq!(get(address, "/v1/health", &headers(&key)).status, 200);
        println!("{} silent bodies: an answer after {took:?}", silent.len());
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn the_slow_body_of_a_right_key_ends_for_no_silent_client() {
    let (terminal, address) = start("");
    let key = app(&terminal);
    let [(_, id), (_, secret)] = &key;
    let mut slow = Connection::open(address);
    slow.send(format!("{SILENT_BODY}App-ID: {id}\r\nAPI-Key: {secret}\r\n\r\n").as_bytes())
        .unwrap();
    sleep(Duration::from_millis(300));
    let silent = silent_bodies(address, &[1, 1]);
    slow.send(b"{       }").unwrap();
    assert_eq!(slow.reply().map(|reply| reply.status), Some(400));
    drop(silent);
}

#[test]
fn clients_that_wait_for_their_guess_lock_no_client_out() {
    let (terminal, address) = start("");
    let key = app(&terminal);
    let right = || get(address, "/v1/health", &headers(&key)).status;
    assert_eq!(right(), 200);
    guess(address);
    let mut waiting: Vec<_> = (0..64).map(|_| Connection::open(address)).collect();
    for connection in &mut waiting {
        connection.send(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    sleep(Duration::from_millis(300));
    assert_eq!(right(), 200);
    // 16 wait; the others, whichever they are, are told at once that the terminal is busy. One or
    // two have ended for the connections of the client.
    let replies = waiting.iter_mut().filter_map(Connection::reply);
    let busy = replies.filter(|reply| reply.status == 503).count();
    assert!(busy >= 46, "{busy} of 64");
}

#[test]
fn answers_that_are_not_read_end_the_connection() {
    let (_terminal, address) = start("");
    // Nothing of a body is taken, or one byte.
    std::thread::scope(|scope| {
        for window in [0, 1] {
            scope.spawn(move || unread_answers_end_the_connection(address, window));
        }
    });
}

fn unread_answers_end_the_connection(address: SocketAddr, window: u32) {
    let mut unread = Http2::open(address, window);
    let mut reading = Http2::open(address, 1 << 20);
    for _ in 0..15 {
        unread.ask("GET", "/openapi.json", &[]).unwrap();
        let stream = reading.ask("GET", "/healthz", &[]).unwrap();
        assert!(reading.is_ok(stream));
    }
    let started = Instant::now();
    while unread.ask("HEAD", "/healthz", &[]).is_ok()
        && !unread.ends_within(Duration::from_secs(5))
        && started.elapsed() < Duration::from_secs(50)
    {
        let stream = reading.ask("HEAD", "/healthz", &[]).unwrap();
        assert!(reading.is_ok(stream));
    }
    let took = started.elapsed();
    println!("15 answers unread, window {window}: the connection ended after {took:?}");
    assert!((25..45).contains(&took.as_secs()), "{took:?}");
    // One that reads goes on.
    let stream = reading.ask("GET", "/healthz", &[]).unwrap();
    assert!(reading.body(stream).ends_with('}'));
}

#[test]
fn clients_that_may_not_read_the_log_take_no_place_of_a_live_stream() {
    let (terminal, address) = start("");
    let key = admin(&terminal, address);
    guess(address);
    let strangers: Vec<_> = (0..20).map(|_| open_stream(address, &[])).collect();
    sleep(Duration::from_millis(300));
    let mut streams = vec![open_stream(address, &headers(&key))];
    assert_eq!(streams[0].reply().unwrap().status, 200);
    drop(strangers);
    // With every place taken a client without a key gets its 401, also then.
    streams.extend((1..16).map(|_| open_stream(address, &headers(&key))));
    for stream in &mut streams[1..] {
        assert_eq!(stream.reply().unwrap().status, 200);
    }
    assert_eq!(open_stream(address, &headers(&key)).reply().unwrap().status, 503);
    assert_eq!(open_stream(address, &[]).reply().unwrap().status, 401);
}

#[test]
fn live_streams_that_read_nothing_give_their_places_back() {
    let (terminal, address) = start("");
    let key = admin(&terminal, address);
    for number in 0..10 {
        terminal.json(&["app", "create", &format!("app{number}")]);
    }
    let mut stalled = [Http2::open(address, 0), Http2::open(address, 0)];
    for client in &mut stalled {
        for _ in 0..8 {
            let asked = [&headers(&key)[..], &[STREAM]].concat();
            let stream = client.ask("GET", "/v1/events?after=0", &asked).unwrap();
            assert!(client.is_ok(stream));
        }
    }
    let status = || open_stream(address, &headers(&key)).reply().unwrap().status;
    assert_eq!(status(), 503);
    let started = Instant::now();
    while status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(45));
        sleep(Duration::from_secs(1));
    }
    println!("16 stalled streams: a place after {:?}", started.elapsed());
}

#[test]
fn a_revoked_key_is_not_sent_the_rest_of_a_portion() {
    let (terminal, address) = start("");
    let key = admin(&terminal, address);
    for number in 0..20 {
        terminal.json(&["app", "create", &format!("app{number}")]);
    }
    let mut client = Http2::open(address, 0);
    let asked = [&headers(&key)[..], &[STREAM]].concat();
    let stream = client.ask("GET", "/v1/events?after=0", &asked).unwrap();
    assert!(client.is_ok(stream));
    sleep(Duration::from_millis(500));
    assert_eq!(terminal.json(&["app", "revoke", "boss"])["status"], 200);
    client.set_window(1 << 20);
    let events = client.body(stream).matches("event: ").count();
    println!("{events} of 20 lines were on their way when the key was revoked");
    assert!((1..=8).contains(&events), "{events}");
}

#[test]
fn open_live_streams_take_no_place_of_a_search() {
    let (terminal, address) = start("");
    let key = admin(&terminal, address);
    let mut streams: Vec<_> = (0..16).map(|_| open_stream(address, &headers(&key))).collect();
    for stream in &mut streams {
        assert_eq!(stream.reply().unwrap().status, 200);
    }
    let body = json!({"image": pictures::face("obama")}).to_string();
    let search = || {
        let mut connection = Connection::open(address);
        let body = (body.as_bytes(), JSON);
        connection.ask("POST", "/v1/face/search", &headers(&key), body).status
    };
    let statuses = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (0..10).map(|_| search()).collect::<Vec<_>>())).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(statuses.iter().all(|&status| status == 200), "{statuses:?}");
}

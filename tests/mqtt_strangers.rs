//! Tests what clients can cost the daemon at its embedded broker, before and after a login: memory,
//! processor time, connections, log lines. This is a separate program because it reads the memory
//! and the processor time of its process, so its tests run one after another.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use doorward::contract::{Answer, Body, Credentials, Request};
use doorward::mqtt::{BrokerCounts, Call, Embedded, Session, Settings, call};
use serde_json::{Map, json};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::sleep;

const MIB: usize = 1024 * 1024;
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Reads the resident memory of this process, in MiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

/// Reads the processor time of this process, in hundredths of a second, without a new descriptor.
fn processor(stat: &mut File) -> u64 {
    stat.rewind().unwrap();
    let mut text = String::new();
    stat.read_to_string(&mut text).unwrap();
    let stat = text;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

async fn answer(request: Request) -> Option<Answer> {
    let mut fields = Map::new();
    fields.insert("operation".into(), request.operation.into());
    Some(Answer { status: 200, fields })
}

struct Terminal {
    broker: Embedded,
    session: Session,
    settings: Settings,
    _dir: tempfile::TempDir,
}

impl Terminal {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any_port = Settings { port: Some(0), ..Settings::default() };
        let broker = Embedded::start(&any_port, dir.path(), None).await.unwrap();
        let own = Settings::default().aimed_at_embedded(broker.port(), broker.terminal());
        let settings = Settings::default().aimed_at_embedded(broker.port(), broker.login());
        let health = Arc::new(|| json!({ "status": "up" }));
        let session = Session::start(own, answer, health).await.unwrap();
        let publisher = session.publisher();
        while !publisher.is_connected() {
            sleep(Duration::from_millis(5)).await;
        }
        Self { broker, session, settings, _dir: dir }
    }

    fn counts(&self) -> BrokerCounts {
        self.broker.counts()()
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.broker.port())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// Logs in as the operator, with a wanted session expiry.
    fn login(&self, client_id: &str, expiry: u32) -> TcpStream {
        let mut socket = self.socket();
        let login = self.broker.login();
        let connect = connect(client_id, &login.username, login.password.reveal(), expiry);
        socket.write_all(&connect).unwrap();
        assert_eq!(packet(&mut socket).1[1], 0, "the login is accepted");
        socket
    }

    async fn is_answered(&self) -> bool {
        let request = Call {
            operation: "health".into(),
            body: Body::Json(b"{}".to_vec()),
            credentials: Credentials::default(),
            timeout: Duration::from_secs(20),
        };
        let answer = call(&self.settings, request).await;
        let is_done = answer.as_ref().is_ok_and(|answer| answer["status"] == 200);
        if !is_done {
            eprintln!("{answer:?}");
        }
        is_done
    }

    async fn stop(self) {
        self.session.stop().await;
        self.broker.stop().await;
    }
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut left) = (vec![first], body.len());
    loop {
        let more = if left >= 128 { 0x80 } else { 0 };
        packet.push((left % 128) as u8 | more);
        left /= 128;
        if left == 0 {
            break;
        }
    }
    [packet, body.to_vec()].concat()
}

fn connect(client_id: &str, name: &str, password: &str, expiry: u32) -> Vec<u8> {
    let mut body = text(b"MQTT");
    body.extend([5, 0xc2, 0, 60, 5, 0x11]);
    body.extend(expiry.to_be_bytes());
    for field in [client_id, name, password] {
        body.extend(text(field.as_bytes()));
    }
    framed(0x10, &body)
}

fn publish(topic: &str, first: u8, size: usize) -> Vec<u8> {
    let mut body = text(topic.as_bytes());
    body.extend([0, 1, 0]);
    body.resize(body.len() + size, b'x');
    framed(first, &body)
}

/// Reads one packet: its first byte and its body.
fn packet(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut byte = || {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        byte[0]
    };
    let first = byte();
    let (mut length, mut at) = (0, 0);
    loop {
        let byte = byte();
        length |= usize::from(byte & 0x7f) << at;
        at += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).unwrap();
    (first, body)
}

/// Waits until the other side has closed.
fn is_closed(socket: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_connects_cost_no_memory_and_no_place() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    let before = memory();
    // Fifty CONNECTs of 9 MiB, all but the last byte.
    let connect = Arc::new(framed(0x10, &vec![0; 9 * MIB - 16]));
    let large: Vec<_> = (0..50)
        .map(|_| {
            let (mut socket, connect) = (terminal.socket(), connect.clone());
            std::thread::spawn(move || {
                let _ = socket.write_all(&connect[..connect.len() - 1]);
                socket
            })
        })
        .collect();
    for socket in large {
        socket.join().unwrap();
    }
    drop(connect);
    // Two hundred that begin small and never end.
    let silent: Vec<_> = (0..200)
        .map(|_| {
            let mut socket = terminal.socket();
            let _ = socket.write_all(&[0x10, 0x40, 0x00]);
            socket
        })
        .collect();
    assert!(terminal.is_answered().await, "a client gets in while others hold connections");
    let after = memory();
    println!("250 unfinished connections: {before} MiB before, {after} MiB after");
    assert!(after < before + 40, "{before} MiB before, {after} MiB after");
    let started = Instant::now();
    for mut socket in silent {
        assert!(is_closed(&mut socket));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(terminal.counts().unfinished >= 200, "{:?}", terminal.counts());
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connects_take_no_place_of_a_client() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    // Each announces 9 MiB and sends nothing of it, more of them than there are connections.
    let refused: Vec<_> = (0..200)
        .map(|_| {
            let mut socket = terminal.socket();
            let _ = socket.write_all(&framed(0x10, &vec![0; 9 * MIB - 16])[..6]);
            socket
        })
        .collect();
    assert!(terminal.is_answered().await, "a client gets in while others are refused");
    drop(refused);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lack_of_descriptors_costs_no_processor_and_passes() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    let limit = |soft: &str| {
        let pid = std::process::id().to_string();
        let limit = format!("--nofile={soft}:");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    let mut stat = File::open("/proc/self/stat").unwrap();
    limit("200");
    let mut files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.pop();
    // It takes the last descriptor, and the broker has none to accept it.
    let mut socket = terminal.socket();
    let (before, lines) = (processor(&mut stat), terminal.counts());
    sleep(Duration::from_secs(2)).await;
    let used = processor(&mut stat) - before;
    drop(files);
    limit("1024");
    println!("two seconds without descriptors: {used} hundredths of a second of processor time");
    assert!(used < 40, "{used} hundredths of a second in two seconds");
    assert_eq!(terminal.counts().unfinished, lines.unfinished);
    socket.write_all(&connect("x", "nobody", "wrong", 0)).unwrap();
    assert_eq!(packet(&mut socket).0, 0x20, "accepted once there are descriptors");
    assert!(terminal.is_answered().await);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_commands_and_absent_sessions_hold_no_memory() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    let before = memory();
    let mut client = terminal.login("hoarder", 0);
    for at in 0..40 {
        // QoS 1, retained.
        client.write_all(&publish(&format!("doorward/door/cmd/x{at}"), 0x33, 8 * MIB)).unwrap();
        assert_eq!(packet(&mut client).0, 0x40);
    }
    // Absent clients that want their answers kept for a day.
    for at in 0..20 {
        let client_id = format!("absent{at}");
        let mut absent = terminal.login(&client_id, 86_400);
        let mut body = vec![0, 1, 0];
        body.extend(text(format!("doorward/door/client/{client_id}").as_bytes()));
        body.push(1);
        absent.write_all(&framed(0x82, &body)).unwrap();
        assert_eq!(packet(&mut absent).0, 0x90);
        drop(absent);
        let mut again = terminal.socket();
        let login = terminal.broker.login();
        let mut connect = connect(&client_id, &login.username, login.password.reveal(), 86_400);
        // Without clean start: the CONNACK says whether a session was kept.
        connect[9] = 0xc0;
        again.write_all(&connect).unwrap();
        let (_, connack) = packet(&mut again);
        assert_eq!(connack[..2], [0, 0], "no session is kept");
    }
    assert!(terminal.is_answered().await);
    let after = memory();
    println!("40 retained commands of 8 MiB: {before} MiB before, {after} MiB after");
    assert!(after < before + 100, "{before} MiB before, {after} MiB after");
    // The states of the terminal are still retained.
    let mut body = vec![0, 1, 0];
    body.extend(text(b"doorward/door/availability"));
    body.push(0);
    client.write_all(&framed(0x82, &body)).unwrap();
    assert_eq!(packet(&mut client).0, 0x90);
    assert!(packet(&mut client).1.ends_with(b"online"));
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_logins_are_counted_and_refused() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    for _ in 0..100 {
        let mut socket = terminal.socket();
        socket.write_all(&connect("guess", "doorward", "wrong", 0)).unwrap();
        assert_eq!(packet(&mut socket).1[1], 0x86);
    }
    assert_eq!(terminal.counts().wrong_logins, 100);
    // The right login with the terminal's own client identifier.
    let login = terminal.broker.login();
    let mut socket = terminal.socket();
    let taken = connect("doorward-door", &login.username, login.password.reveal(), 0);
    socket.write_all(&taken).unwrap();
    assert_eq!(packet(&mut socket).1[1], 0x85);
    assert_eq!(terminal.counts().refused_clients, 1);
    assert!(terminal.is_answered().await);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_beyond_the_limit_are_refused_and_the_terminal_is_not() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    let connected = terminal.counts().clients;
    let mut clients: Vec<_> =
        (connected..64).map(|at| terminal.login(&format!("c{at}"), 0)).collect();
    let login = terminal.broker.login();
    let mut one_more = terminal.socket();
    let packet_of_it = connect("more", &login.username, login.password.reveal(), 0);
    one_more.write_all(&packet_of_it).unwrap();
    assert_eq!(packet(&mut one_more).1[1], 0x89);
    let own = terminal.broker.terminal();
    let mut again = terminal.socket();
    again
        .write_all(&connect("doorward-door-events", &own.username, own.password.reveal(), 0))
        .unwrap();
    assert_eq!(packet(&mut again).1[1], 0, "the terminal gets in");
    clients.clear();
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_packet_is_answered_with_its_reason() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    for _ in 0..3 {
        let mut client = terminal.login("loud", 0);
        let mut reader = client.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            let _ = client.write_all(&publish("doorward/door/cmd/search", 0x32, 10 * MIB));
        });
        assert_eq!(packet(&mut reader), (0xe0, vec![0x95, 0x00]), "DISCONNECT, packet too large");
        writing.join().unwrap();
        assert!(is_closed(&mut reader));
    }
    assert_eq!(terminal.counts().too_large, 3);
    // Before a login a CONNACK says it.
    let mut socket = terminal.socket();
    socket.write_all(&framed(0x10, &vec![0; 20 * 1024])).unwrap();
    assert_eq!(packet(&mut socket), (0x20, vec![0x00, 0x95, 0x00]));
    assert!(terminal.is_answered().await);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_is_back_within_seconds_after_its_own_login_takes_its_place() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let terminal = Terminal::start().await;
    let own = terminal.broker.terminal().clone();
    for _ in 0..3 {
        let mut taker = terminal.socket();
        let taken = connect("doorward-door", &own.username, own.password.reveal(), 0);
        taker.write_all(&taken).unwrap();
        assert_eq!(packet(&mut taker).1[1], 0);
        while terminal.session.publisher().is_connected() {
            sleep(Duration::from_millis(5)).await;
        }
        let started = Instant::now();
        while !terminal.session.publisher().is_connected() {
            assert!(started.elapsed() < Duration::from_secs(8));
            sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(terminal.is_answered().await);
    terminal.stop().await;
}

//! Tests the webhook with the real daemon and a real HTTP server. Failures: an event is lost, out
//! of order or not signed; a dead or slow server delays MQTT or a decision; events go where the
//! operator did not send them; the secret is in the log.

use crate::support::listener::Listener;
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::ports::Port;
use crate::support::python;
use crate::support::receiver::{Receiver, SECRET, answer, ok, webhook};
use crate::support::terminal::{Terminal, portrait};
use serde_json::{Value, json};
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes an event: each enrolment is one.
fn enroll(terminal: &Terminal, id: &str) {
    let image = portrait("obama");
    let answer = terminal.json(&["enroll", image.to_str().unwrap(), "--subject-id", id]);
    assert_eq!(answer["status"], 200, "{answer}");
}

/// Waits until the block of health is as expected.
fn wait_for_health(terminal: &Terminal, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let health = terminal.call("health", &json!({}));
        if is_so(&health["webhook"]) {
            return health;
        }
        assert!(started.elapsed() < PATIENCE, "no {what}: {health}\n{}", terminal.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_log(terminal: &Terminal, text: &str) {
    let started = Instant::now();
    while !terminal.log().contains(text) {
        assert!(started.elapsed() < PATIENCE, "no {text:?} in {}", terminal.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn subjects(receiver: &Receiver) -> Vec<String> {
    let received = receiver.received();
    received.iter().map(|it| it.event()["subject_id"].as_str().unwrap().to_owned()).collect()
}

/// Starts a terminal whose events go to a broker, which is heard, and to a webhook.
async fn beside_mqtt(url: &str) -> (Mosquitto, Listener, Terminal) {
    let broker = Mosquitto::start(Wanted::default());
    let listener = Listener::start(broker.port(), "l", "doorward/front/event/#").await;
    let terminal = Terminal::start(&format!(
        "host = \"localhost\"\nport = {}\nallow_insecure = true\n{}",
        broker.port(),
        webhook(url)
    ));
    (broker, listener, terminal)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_in_order_signed_and_as_over_mqtt() {
    let receiver = Receiver::start(|_, stream| ok(stream));
    let (_broker, listener, terminal) = beside_mqtt(&receiver.url()).await;
    for id in ["a", "b", "c"] {
        enroll(&terminal, id);
    }
    let received = receiver.wait_for(3);
    listener.hears("the events", |it| it.heard().len() == 3).await;
    for (one, other) in received.iter().zip(listener.heard()) {
        assert_eq!(one.body, other.payload);
        assert_eq!(one.headers["webhook-id"], one.event()["id"].as_str().unwrap());
        assert_eq!(one.headers["content-type"], "application/json");
    }
    assert_eq!(subjects(&receiver), ["a", "b", "c"]);
    let health = wait_for_health(&terminal, "delivered events", |it| it["delivered"] == 3);
    let block = &health["webhook"];
    assert_eq!((&block["depth"], &block["fault"]), (&json!(0), &Value::Null), "{block}");
    assert!(block["last_success"].is_f64() && block["last_error"].is_null(), "{block}");
    assert_eq!((&block["host"], &health["health"]), (&json!("127.0.0.1"), &json!("up")));
    check_with_the_specifications_own_library(&received);

    assert!(!terminal.log().contains(&SECRET[6..]) && !terminal.log().contains("/events"));
    let shown = terminal.cli(&["config", "print"]).stdout;
    assert!(!String::from_utf8(shown).unwrap().contains(&SECRET[6..]));
}

/// Verifies signatures with the Python package of Standard Webhooks, and that it refuses others.
fn check_with_the_specifications_own_library(received: &[crate::support::receiver::Received]) {
    let test = "the verification by standardwebhooks";
    let Some(packages) = python::packages(test, "webhook-requirements.txt") else { return };
    let program = "import sys, json, base64\n\
        from standardwebhooks import Webhook\n\
        secret, requests = json.load(sys.stdin)\n\
        for request in requests:\n    \
            body = base64.b64decode(request['body'])\n    \
            print(json.dumps(Webhook(secret).verify(body, request['headers'])['subject_id']))\n    \
            for wrong in (body + b' ', body[:-1]):\n        \
                try:\n            \
                    Webhook(secret).verify(wrong, request['headers'])\n            \
                    sys.exit('a changed body was accepted')\n        \
                except ValueError: raise\n        \
                except Exception: pass\n";
    let requests: Vec<Value> = received
        .iter()
        .map(
            |it| json!({"headers": it.headers, "body": crate::support::pictures::base64(&it.body)}),
        )
        .collect();
    let mut python = Command::new("python3")
        .args(["-c", program])
        .env("PYTHONPATH", packages.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = json!([SECRET, requests]).to_string();
    python.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "\"a\"\n\"b\"\n\"c\"\n");
}

/// The server is away: MQTT gets every event, and the webhook all of them later, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_webhook_delays_no_mqtt_and_loses_nothing() {
    let port = Port::reserve(Ipv4Addr::LOCALHOST.into()).unwrap();
    let address = format!("127.0.0.1:{}", port.number());
    let (_broker, listener, terminal) = beside_mqtt(&format!("http://{address}/events")).await;
    for id in ["a", "b", "c", "d"] {
        enroll(&terminal, id);
    }
    listener.hears("the events", |it| it.heard().len() == 4).await;
    let health = wait_for_health(&terminal, "an error", |it| {
        it["depth"] == 4 && it["last_error"].is_object()
    });
    assert_eq!(health["outbox"]["depth"], 0, "the broker has all: {health}");
    assert_eq!(health["health"], "up", "a server may be away for a moment");
    drop(port);
    let receiver = Receiver::on(&address, |_, stream| ok(stream));
    receiver.wait_for(4);
    assert_eq!(subjects(&receiver), ["a", "b", "c", "d"]);
    wait_for_health(&terminal, "an empty backlog", |it| it["depth"] == 0);
    assert!(terminal.log().contains("events for the webhook wait"), "{}", terminal.log());
    assert!(terminal.log().contains("delivered to the webhook again"));
}

/// A server that takes seconds, and sends a body without end, delays its own events alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_delays_neither_mqtt_nor_requests() {
    let receiver = Receiver::start(|number, stream| {
        std::thread::sleep(Duration::from_secs(2));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        if number == 0 {
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
        }
    });
    let (_broker, listener, terminal) = beside_mqtt(&receiver.url()).await;
    let began = Instant::now();
    for id in ["a", "b", "c"] {
        enroll(&terminal, id);
    }
    listener.hears("the events", |it| it.heard().len() == 3).await;
    let took = began.elapsed();
    // The webhook alone needs 6 s for them.
    assert!(receiver.received().len() < 3, "{took:?}");
    let received = receiver.wait_for(3);
    assert_eq!(subjects(&receiver), ["a", "b", "c"]);
    let gaps: Vec<_> = received.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_secs(2)), "one at a time: {gaps:?}");
    wait_for_health(&terminal, "an empty backlog", |it| it["depth"] == 0);
}

#[test]
fn an_event_is_sent_again_when_the_server_wants_it() {
    let receiver = Receiver::start(|number, stream| match number {
        0 => answer(stream, "503 Service Unavailable", "Retry-After: 3\r\n"),
        1 => answer(stream, "429 Too Many Requests", "Retry-After: 1\r\n"),
        // The connection breaks.
        2 => {}
        _ => ok(stream),
    });
    let terminal = Terminal::start(&webhook(&receiver.url()));
    enroll(&terminal, "a");
    enroll(&terminal, "b");
    let received = receiver.wait_for(5);
    let gap = |from: usize| received[from + 1].at - received[from].at;
    assert!((3.0..8.0).contains(&gap(0).as_secs_f64()), "{:?}", gap(0));
    assert!((1.0..6.0).contains(&gap(1).as_secs_f64()), "{:?}", gap(1));
    let ids: Vec<_> = received.iter().map(|it| it.headers["webhook-id"].as_str()).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    assert_eq!(subjects(&receiver), ["a", "a", "a", "a", "b"]);
}

/// The daemon dies while the server has an event and has not answered.
#[test]
fn a_killed_daemon_sends_again_and_loses_nothing() {
    let holds = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&holds);
    let receiver = Receiver::start(move |_, stream| {
        while held.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        ok(stream);
    });
    let mut terminal = Terminal::start(&webhook(&receiver.url()));
    for id in ["a", "b", "c"] {
        enroll(&terminal, id);
    }
    receiver.wait_for(1);
    terminal.kill();
    holds.store(false, Ordering::Relaxed);
    terminal.run();
    enroll(&terminal, "d");
    let received = receiver.wait_for(5);
    assert_eq!(subjects(&receiver), ["a", "a", "b", "c", "d"]);
    assert_eq!(received[0].headers["webhook-id"], received[1].headers["webhook-id"]);
    assert_eq!(received[0].body, received[1].body);

    // Killed at moments that nothing chooses.
    for round in 0..5_u64 {
        for number in 0..3 {
            enroll(&terminal, &format!("r{round}-{number}"));
        }
        std::thread::sleep(Duration::from_millis(round * 7));
        terminal.kill();
        terminal.run();
    }
    enroll(&terminal, "last");
    let started = Instant::now();
    while subjects(&receiver).last().map(String::as_str) != Some("last") {
        assert!(started.elapsed() < PATIENCE, "{:?}", subjects(&receiver));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut first_times = subjects(&receiver);
    let mut seen = std::collections::BTreeSet::new();
    first_times.retain(|id| seen.insert(id.clone()));
    let mut expected: Vec<String> = ["a", "b", "c", "d"].map(String::from).into();
    expected
        .extend((0..5).flat_map(|round| (0..3).map(move |number| format!("r{round}-{number}"))));
    expected.push("last".into());
    assert_eq!(first_times, expected, "each came, in order");
}

#[test]
fn gone_ends_the_webhook_until_a_reload() {
    let receiver = Receiver::start(|number, stream| match number {
        0 => answer(stream, "410 Gone", ""),
        _ => ok(stream),
    });
    let terminal = Terminal::start(&webhook(&receiver.url()));
    enroll(&terminal, "a");
    enroll(&terminal, "b");
    wait_for_log(&terminal, "off until the next reload");
    let health = wait_for_health(&terminal, "a fault", |it| it["fault"].is_string());
    assert_eq!((&health["health"], &health["webhook"]["depth"]), (&json!("degraded"), &json!(2)));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(receiver.received().len(), 1, "nothing more is sent");
    terminal.signal("HUP");
    receiver.wait_for(3);
    assert_eq!(subjects(&receiver), ["a", "a", "b"]);
    let health = wait_for_health(&terminal, "an empty backlog", |it| it["depth"] == 0);
    assert_eq!(health["health"], "up");
}

#[test]
fn a_redirect_is_not_followed() {
    let inside = Receiver::on("127.0.0.2:0", |_, stream| ok(stream));
    let location = inside.url().replace("127.0.0.1", "127.0.0.2");
    let receiver = Receiver::start(move |_, stream| {
        answer(stream, "307 Temporary Redirect", &format!("Location: {location}\r\n"));
    });
    let terminal = Terminal::start(&webhook(&receiver.url()));
    enroll(&terminal, "a");
    let health = wait_for_health(&terminal, "a fault", |it| it["fault"].is_string());
    let fault = health["webhook"]["fault"].as_str().unwrap();
    assert!(fault.contains("307") && fault.contains("redirect"), "{fault}");
    assert_eq!(health["health"], "degraded");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((receiver.received().len(), inside.received().len()), (1, 0));
    assert_eq!(health["webhook"]["depth"], 1, "the event waits");
}

/// A webhook begins with the events from when it is configured, and holds none after its end.
#[test]
fn a_webhook_gets_only_the_events_and_kinds_of_its_configuration() {
    let receiver = Receiver::start(|_, stream| ok(stream));
    let mut terminal = Terminal::start("");
    enroll(&terminal, "before");
    assert!(terminal.call("health", &json!({})).get("webhook").is_none());
    assert!(terminal.stop());
    let file = terminal.file("doorward.toml");
    let without = std::fs::read_to_string(&file).unwrap();
    let with = |more: &str| {
        let text = format!("{without}{}{more}", webhook(&receiver.url()));
        std::fs::write(&file, text).unwrap();
    };
    with("");
    terminal.run();
    enroll(&terminal, "during");
    receiver.wait_for(1);
    wait_for_health(&terminal, "an empty backlog", |it| it["depth"] == 0);
    assert!(terminal.stop());
    with("kinds = [\"door\"]\n");
    terminal.run();
    enroll(&terminal, "another-kind");
    assert_eq!(terminal.call("health", &json!({}))["webhook"]["depth"], 0);
    assert!(terminal.stop());
    assert_eq!(subjects(&receiver), ["during"]);
}

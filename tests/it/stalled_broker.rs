//! Tests brokers that neither work nor fail: one that accepts connections and says nothing, and one
//! that stops reading. Failures: the door waits for the broker, the connection is never given up,
//! events are lost.

use super::terminal_door::{LIVENESS_OFF, outcome, prepared_on, record, recorded};
use crate::support::asker::Asker;
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::outage::Network;
use crate::support::terminal::Terminal;
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The shortest keep-alive, 5 s, and the time beyond it in which a packet may be written, 15 s,
/// with a margin for a loaded machine.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(40);

/// Returns a terminal that grants obama every second, and its broker is at `port`.
fn granting(port: u16) -> Terminal {
    let broker =
        format!("host = \"127.0.0.1\"\nport = {port}\nallow_insecure = true\nkeep_alive_s = 5\n");
    prepared_on(&broker, "obama", "family", LIVENESS_OFF)
}

fn grants(terminal: &Terminal) -> Vec<Value> {
    record(terminal).into_iter().filter(outcome_of_granted).collect()
}

fn outcome_of_granted(line: &Value) -> bool {
    outcome("access", "granted")(line)
}

/// Waits until `happened` returns true.
fn wait(patience: Duration, what: &str, terminal: &Terminal, happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < patience, "{what}:\n{}", terminal.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn silent_broker_is_given_up_and_asked_again_and_the_door_works() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let held: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let (count, hold) = (Arc::clone(&asked), Arc::clone(&held));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Neither read nor closed.
            hold.lock().unwrap().push(stream.unwrap());
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut terminal = granting(port);
    terminal.run();
    recorded(&terminal, outcome_of_granted);
    recorded(&terminal, outcome("door", "unlocked"));
    wait(GIVEN_UP_AFTER, "not given up", &terminal, || {
        terminal.log().contains("did not answer within 10 s")
    });
    let before = (asked.load(Ordering::SeqCst), grants(&terminal).len());
    wait(GIVEN_UP_AFTER, "not asked again", &terminal, || {
        asked.load(Ordering::SeqCst) > before.0 && grants(&terminal).len() > before.1
    });
    assert!(terminal.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_that_stops_reading_is_left_and_the_events_arrive_later() {
    let broker = Mosquitto::start(Wanted::default());
    let network = Network::to(broker.port());
    let mut terminal = granting(network.port());
    terminal.run();
    let log = |terminal: &Terminal| terminal.log();
    wait(GIVEN_UP_AFTER, "not connected", &terminal, || log(&terminal).contains("connected to"));

    network.stall(true);
    let before = grants(&terminal).len();
    wait(GIVEN_UP_AFTER, "not given up", &terminal, || log(&terminal).contains("next attempt in"));
    // The door did not wait.
    wait(GIVEN_UP_AFTER, "no grants", &terminal, || grants(&terminal).len() > before + 1);
    let during = grants(&terminal).pop().unwrap();

    let mut house = Asker::connect(broker.port(), "house", &["doorward/front/event/access"]).await;
    network.resume();
    // Every event of the outage arrives, in its order.
    let started = Instant::now();
    loop {
        let event: Value = serde_json::from_slice(&house.next().await.payload).unwrap();
        if event["id"] == during["id"] {
            break;
        }
        assert!(started.elapsed() < GIVEN_UP_AFTER, "{during} did not arrive:\n{}", terminal.log());
    }
    assert!(terminal.stop());
}

//! Tests that no event is lost between the disk and the broker, and that duplicates can be
//! recognised.
//!
//! Causes of loss, each tested with a real mosquitto: a crash of the broker, a network that fails
//! with packets in transit, a process killed between recording and acknowledgement, an access list
//! that refuses, an event too large for the broker.

use crate::support::listener::{Listener, until};
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::outage::Network;
use crate::support::terminal::{Terminal, portrait};
use doorward::mqtt::{Delivery, HomeAssistant, Settings};
use doorward::outbox::{Event, Kind, Outbox, OutboxError, Recorded};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(60);

const EVENTS: &str = "doorward/front/event/#";

/// Opens the outbox. Retries while a previous one still writes to a slow disk before it closes.
fn outbox_in(folder: &TempDir) -> Arc<Outbox> {
    let settings = doorward::outbox::Settings { device_id: "front".into(), ..Default::default() };
    let started = Instant::now();
    loop {
        match Outbox::open(&folder.path().join("events.redb"), settings.clone()) {
            Err(OutboxError::InUse { .. }) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return Arc::new(opened.unwrap()),
        }
    }
}

fn settings(port: u16) -> Settings {
    Settings {
        device_id: "front".into(),
        host: Some("127.0.0.1".into()),
        port: Some(port),
        homeassistant: HomeAssistant { discovery: false, ..HomeAssistant::default() },
        ..Settings::default()
    }
}

fn granted() -> Event {
    let mut event = Event::new(Kind::Access, "granted", "recognised");
    event.subject_id = Some("anna".into());
    event
}

fn record(outbox: &Outbox, count: usize) -> Vec<Recorded> {
    (0..count).map(|_| outbox.record(granted()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn event_arrives_as_recorded_and_leaves_the_outbox() {
    let broker = Mosquitto::start(Wanted::default());
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox_in(&folder);
    let listener = Listener::start(broker.port(), "l", EVENTS).await;
    let delivery = Delivery::start(&settings(broker.port()), outbox.clone()).unwrap();
    let access = outbox.record(granted()).unwrap();
    outbox.record(Event::new(Kind::Door, "forced", "opened without a grant")).unwrap();
    listener.hears("both events", |it| it.heard().len() == 2).await;
    let heard = listener.heard();
    assert_eq!(heard[0].topic, "doorward/front/event/access");
    assert_eq!(heard[1].topic, "doorward/front/event/door");
    assert!(heard.iter().all(|event| !event.retain && !event.dup));
    let event = &listener.events()[0];
    assert_eq!(event["id"], json!(access.id));
    assert_eq!((&event["seq"], &event["time"]), (&json!(access.seq), &json!(access.time)));
    assert_eq!((&event["device_id"], &event["kind"]), (&json!("front"), &json!("access")));
    assert_eq!((&event["outcome"], &event["subject_id"]), (&json!("granted"), &json!("anna")));
    until("an empty outbox", || outbox.stats().depth == 0).await;
    assert_eq!(outbox.stats().delivered, 2);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_overtake_the_throttled_ordered_backlog() {
    let broker = Mosquitto::start(Wanted::default());
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox_in(&folder);
    record(&outbox, 60);
    let listener = Listener::start(broker.port(), "l", EVENTS).await;
    let started = Instant::now();
    let delivery = Delivery::start(&settings(broker.port()), outbox.clone()).unwrap();
    listener.hears("the backlog's beginning", |it| it.heard().len() >= 5).await;
    // All at once: a slow disk takes as long for ten events as for one.
    (0..10).for_each(|_| outbox.slot().post(granted()).unwrap());
    listener.hears("all events", |it| it.heard().len() == 70).await;
    let took = started.elapsed();
    let seqs = listener.seqs();
    let (old, live): (Vec<u64>, Vec<u64>) = seqs.iter().partition(|seq| **seq <= 60);
    assert_eq!(old, (1..=60).collect::<Vec<_>>());
    assert_eq!(live, (61..=70).collect::<Vec<_>>());
    let place = |seq| seqs.iter().position(|other| *other == seq).unwrap();
    assert!(place(70) < place(60), "{seqs:?}");
    // Sixty events at twenty per second.
    assert!(took > Duration::from_millis(2900), "the backlog came in {took:?}");
    delivery.stop().await;
}

/// Counts of events that were recorded during repeated failures of the broker.
#[derive(Debug, PartialEq)]
struct Outcome {
    recorded: usize,
    lost: usize,
    duplicated: usize,
    foreign: usize,
}

/// Records one event each `every` during `outages` of network and broker, in each of `rounds`.
/// Every round opens the outbox again.
async fn through_outages(rounds: usize, outages: usize, every: Duration) -> Outcome {
    let mut broker = Mosquitto::start(Wanted::default());
    let network = Network::to(broker.port());
    let listener = Listener::start(broker.port(), "l", EVENTS).await;
    let folder = tempfile::tempdir().unwrap();
    let mut recorded = BTreeMap::new();
    for round in 0..rounds {
        let outbox = outbox_in(&folder);
        let delivery = Delivery::start(&settings(network.port()), outbox.clone()).unwrap();
        let going_on = Arc::new(AtomicBool::new(true));
        let recorder = {
            let (outbox, going_on) = (outbox.clone(), going_on.clone());
            std::thread::spawn(move || {
                let mut recorded = Vec::new();
                while going_on.load(Ordering::SeqCst) {
                    recorded.extend(record(&outbox, 1));
                    std::thread::sleep(every);
                }
                recorded
            })
        };
        for outage in 0..outages {
            let before = outbox.stats().delivered;
            until("a delivery", || outbox.stats().delivered > before + 2).await;
            // First the broker's acknowledgements are lost. Then the network fails alone or, in
            // every other outage, the broker as well.
            let heard = listener.heard().len();
            network.lose_answers();
            listener.hears("an event without its answer", |it| it.heard().len() > heard + 1).await;
            network.fail();
            if (round + outage) % 2 == 0 {
                broker.kill();
                listener.is_cut_off().await;
                broker.revive();
                listener.listens().await;
            }
            network.heal();
            eprintln!("round {round}, outage {outage}: {} wait", outbox.stats().depth);
        }
        going_on.store(false, Ordering::SeqCst);
        let of_round = recorder.join().unwrap();
        recorded.extend(of_round.into_iter().map(|it| (it.id, it.seq)));
        until("an empty outbox", || outbox.stats().depth == 0).await;
        delivery.stop().await;
    }
    // The broker delivers in the order of arrival: no event follows this one.
    let outbox = outbox_in(&folder);
    let delivery = Delivery::start(&settings(broker.port()), outbox.clone()).unwrap();
    let last = record(&outbox, 1).remove(0);
    listener.hears("the last event", |it| it.seqs().last() == Some(&last.seq)).await;
    recorded.insert(last.id, last.seq);
    delivery.stop().await;
    let events = listener.events();
    let heard: BTreeMap<String, u64> = events
        .iter()
        .map(|event| (event["id"].as_str().unwrap().into(), event["seq"].as_u64().unwrap()))
        .collect();
    let lost = recorded.keys().filter(|id| !heard.contains_key(*id)).count();
    let foreign = heard.iter().filter(|(id, seq)| recorded.get(*id) != Some(seq)).count();
    let numbers: BTreeSet<u64> = recorded.values().copied().collect();
    assert_eq!(numbers.len(), recorded.len(), "a number was given twice");
    assert_eq!(numbers.last().copied(), Some(recorded.len() as u64), "a number was left out");
    Outcome { recorded: recorded.len(), lost, duplicated: events.len() - heard.len(), foreign }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_when_broker_and_network_fail() {
    let outcome = through_outages(1, 3, Duration::from_millis(20)).await;
    eprintln!("{outcome:?}");
    assert_eq!((outcome.lost, outcome.foreign), (0, 0), "{outcome:?}");
    // Only unacknowledged events arrive twice: at most the number in flight.
    assert!((3..=3 * 4).contains(&outcome.duplicated), "{outcome:?}");
}

/// The measurement of docs/events.md; takes about six minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo test --release --test it events_delivery -- --ignored --nocapture"]
async fn no_event_is_lost_in_fifty_outages() {
    let outcome = through_outages(10, 5, Duration::from_millis(50)).await;
    println!("{outcome:?}");
    assert_eq!((outcome.lost, outcome.foreign), (0, 0), "{outcome:?}");
    assert!((50..=50 * 4).contains(&outcome.duplicated), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_access_list_forbids_wait_without_spinning() {
    let broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox_in(&folder);
    record(&outbox, 20);
    let as_login = |(name, password): (&str, &str)| Settings {
        username: Some(name.into()),
        password: Some(password.to_owned().into()),
        ..settings(broker.port())
    };
    let [terminal, desk, _] = Mosquitto::LOGINS;
    // `desk` may not write to event/#.
    let delivery = Delivery::start(&as_login(desk), outbox.clone()).unwrap();
    let log = || std::fs::read_to_string(broker.file("mosquitto.log")).unwrap();
    let denied = || log().lines().filter(|line| line.contains("Denied PUBLISH")).count();
    until("a refusal", || denied() > 0).await;
    let (first, started) = (denied(), Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    delivery.stop().await;
    let seconds = started.elapsed().as_secs() as usize + 1;
    assert!(denied() - first <= seconds, "{} attempts in {seconds} s:\n{}", denied(), log());
    let stats = outbox.stats();
    assert_eq!((stats.depth, stats.delivered), (20, 0));

    let delivery = Delivery::start(&as_login(terminal), outbox.clone()).unwrap();
    until("an empty outbox", || outbox.stats().depth == 0).await;
    assert_eq!(outbox.stats().delivered, 20);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_event_is_counted_and_blocks_no_others() {
    let broker = Mosquitto::start(Wanted { largest_packet: Some(2000), ..Wanted::default() });
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox_in(&folder);
    let listener = Listener::start(broker.port(), "l", EVENTS).await;
    let mut large = granted();
    for number in 0..5 {
        large.extra.insert(format!("note{number}"), json!("x".repeat(500)));
    }
    outbox.record(large).unwrap();
    record(&outbox, 1);
    let delivery = Delivery::start(&settings(broker.port()), outbox.clone()).unwrap();
    listener.hears("the small one", |it| it.seqs() == [2]).await;
    until("an empty outbox", || outbox.stats().depth == 0).await;
    assert_eq!(outbox.stats().dropped.too_large, 1);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn next_daemon_delivers_the_events_of_a_killed_one() {
    let broker = Mosquitto::start(Wanted::default());
    let network = Network::to(broker.port());
    network.fail();
    let listener = Listener::start(broker.port(), "l", EVENTS).await;
    let port = network.port();
    let mut terminal = Terminal::prepare(&format!("host = \"127.0.0.1\"\nport = {port}\n"));
    terminal.run();
    let image = portrait("obama").display().to_string();
    let enrolled = terminal.json(&["enroll", &image, "--subject-id", "obama"]);
    assert_eq!(enrolled["status"], 200, "{enrolled}");
    terminal.kill();
    // Without a daemon the command line records events as well.
    let updated = terminal.json(&["enroll", &image, "--subject-id", "obama"]);
    assert_eq!(updated["status"], 200, "{updated}");
    assert!(listener.heard().is_empty());
    let state = Listener::start(broker.port(), "s", "doorward/front/state/gallery").await;

    network.heal();
    terminal.run();
    listener.hears("both events", |it| it.heard().len() == 2).await;
    let events = listener.events();
    assert_eq!(listener.seqs(), [1, 2]);
    assert_eq!(listener.heard()[0].topic, "doorward/front/event/enroll");
    for (event, outcome) in events.iter().zip(["enrolled", "updated"]) {
        assert_eq!((&event["outcome"], &event["by"]), (&json!(outcome), &json!("local")));
        assert_eq!((&event["subject_id"], &event["templates"]), (&json!("obama"), &json!(1)));
        assert!(event["timings_ms"]["total"].as_f64().unwrap() > 0.0, "{event}");
        assert!(event.to_string().len() < 1000, "{event}");
    }
    // Besides the events, the number of enrolled subjects.
    let subjects = |it: &Listener, count: u64| {
        it.events().last().is_some_and(|state| state["subjects"] == count)
    };
    state.hears("the state of the gallery", |it| subjects(it, 1)).await;
    assert_eq!(terminal.json(&["gallery", "delete", "obama"])["status"], 200);
    state.hears("the change of it", |it| subjects(it, 0)).await;
    assert!(terminal.stop());
}

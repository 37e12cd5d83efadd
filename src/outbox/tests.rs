//! Tests the outbox: events are kept in order, bounded, and removed when acknowledged.

use super::retention::{CLOCK_IS_SET, DAY, YOUNG};
use super::*;
use crate::time::unix_time;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;
use tempfile::TempDir;

mod consumers;

struct Store {
    folder: TempDir,
}

impl Store {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("events.redb")
    }

    fn open(&self, settings: Settings) -> Outbox {
        Outbox::open(&self.path(), settings).unwrap()
    }

    /// Returns the file that a crash at this moment would leave.
    fn crashed(&self) -> Store {
        let copy = Store::new();
        std::fs::copy(self.path(), copy.path()).unwrap();
        copy
    }
}

fn opened(outcome: &str) -> Event {
    Event::new(Kind::Door, outcome, "the contact says so")
}

fn all(outbox: &Outbox) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some((seq, _)) =
        outbox.pending(Consumer::Broker, seqs.last().map_or(0, |last| last + 1).., |_, _| false)
    {
        seqs.push(seq);
    }
    seqs
}

fn payload(outbox: &Outbox, seq: u64) -> Value {
    serde_json::from_slice(&outbox.payload(Consumer::Broker, seq).unwrap().unwrap()).unwrap()
}

fn is_whole(outbox: &Outbox) -> bool {
    matches!(outbox.verify().unwrap(), Verdict::Whole(chain) if chain == outbox.stats().audit)
}

fn wait_until(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_event_and_its_line_survive_a_crash() {
    let store = Store::new();
    let outbox = store.open(Settings { device_id: "front".into(), ..Settings::default() });
    let first = outbox.record(opened("opened")).unwrap();
    let second = outbox.record(opened("closed")).unwrap();
    assert_eq!((first.seq, second.seq), (1, 2));
    assert_ne!(first.id, second.id);

    let store = store.crashed();
    let outbox = store.open(Settings::default());
    assert_eq!(all(&outbox), [1, 2]);
    let event = payload(&outbox, 2);
    assert_eq!(event["id"], json!(second.id));
    assert_eq!((&event["device_id"], &event["outcome"]), (&json!("front"), &json!("closed")));
    assert!(event["time"].as_f64().unwrap() > CLOCK_IS_SET);
    let (lines, more) = outbox.lines(0, 0.0, 10).unwrap();
    assert_eq!((lines.len(), more), (2, None));
    assert_eq!(lines[1]["id"], json!(second.id));
    assert!(is_whole(&outbox));
    assert_eq!(outbox.record(opened("opened")).unwrap().seq, 3);
}

#[test]
fn acknowledged_events_are_removed_within_seconds_and_never_return() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    for _ in 0..3 {
        outbox.record(opened("opened")).unwrap();
    }
    outbox.acknowledge(Consumer::Broker, 2);
    outbox.acknowledge(Consumer::Broker, 2);
    outbox.acknowledge(Consumer::Broker, 9);
    assert_eq!(all(&outbox), [1, 3]);
    let stats = outbox.stats();
    assert_eq!((stats.depth, stats.delivered, stats.last_seq), (2, 1, 3));
    // A copy taken during a commit holds parts of both states, which no crash leaves; opening it
    // may fail.
    wait_until(|| {
        let copy = store.crashed();
        Outbox::open(&copy.path(), Settings::default()).is_ok_and(|outbox| all(&outbox) == [1, 3])
    });
    drop(outbox);
    let outbox = store.open(Settings::default());
    assert_eq!(all(&outbox), [1, 3]);
    // The log keeps delivered events.
    assert_eq!(outbox.stats().audit.lines(), 3);
}

#[test]
fn a_decision_is_one_commit_and_its_acknowledgements_go_with_the_next() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    // The first commit of a start looks for lines to retire.
    wait_until(|| outbox.stats().commits > 0);
    let before = outbox.stats().commits;
    let slot = outbox.slot();
    slot.post(Event::new(Kind::Access, "granted", "recognised")).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    slot.post(Event::new(Kind::Door, "unlocked", "face")).unwrap();
    wait_until(|| outbox.stats().unwritten == 0);
    assert_eq!((outbox.stats().commits - before, all(&outbox).len()), (1, 2));
    outbox.acknowledge(Consumer::Broker, 1);
    outbox.acknowledge(Consumer::Broker, 2);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(outbox.stats().commits - before, 1);
    slot.post(Event::new(Kind::Door, "locked", "")).unwrap();
    wait_until(|| outbox.stats().unwritten == 0);
    assert_eq!(outbox.stats().commits - before, 2);
    outbox.audit(Entry::new("test", "local")).unwrap();
    assert_eq!(store.crashed().open(Settings::default()).stats().depth, 1);
}

#[test]
fn last_acknowledgements_are_written_at_shutdown() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    for _ in 0..50 {
        outbox.record(opened("opened")).unwrap();
    }
    (1..=50).for_each(|seq| outbox.acknowledge(Consumer::Broker, seq));
    drop(outbox);
    assert_eq!(store.open(Settings::default()).stats().depth, 0);
}

#[test]
fn a_full_outbox_drops_the_oldest_and_counts_for_ever() {
    let store = Store::new();
    let settings = Settings { max_events: 3, ..Settings::default() };
    let outbox = store.open(settings.clone());
    for _ in 0..5 {
        outbox.record(opened("opened")).unwrap();
    }
    assert_eq!(all(&outbox), [3, 4, 5]);
    assert_eq!(outbox.stats().dropped.overflow, 2);
    outbox.discard_too_large(4);
    assert_eq!(outbox.stats().dropped.too_large, 1);
    drop(outbox);
    let outbox = store.open(settings);
    let dropped = outbox.stats().dropped;
    assert_eq!(dropped, Dropped { overflow: 2, expired: 0, too_large: 1 });
    assert_eq!(all(&outbox), [3, 5]);
    // A smaller limit applies from the next event on.
    drop(outbox);
    let outbox = store.open(Settings { max_events: 1, ..Settings::default() });
    outbox.record(opened("opened")).unwrap();
    assert_eq!((all(&outbox), outbox.stats().dropped.overflow), (vec![6], 4));
}

/// A clock that tests set; `None` while it is not believed.
#[derive(Clone, Default)]
struct TestClock(Arc<Mutex<Option<f64>>>);

impl TestClock {
    fn set(&self, time: Option<f64>) {
        *self.0.lock().unwrap() = time;
    }

    fn outbox(&self, store: &Store, settings: Settings) -> Outbox {
        let clock = self.clone();
        Outbox::open_with(&store.path(), settings, move || *clock.0.lock().unwrap()).unwrap()
    }
}

/// Waits until the recorder has committed several times.
fn after_some_commits(outbox: &Outbox) {
    for _ in 0..3 {
        outbox.audit(Entry::new("test", "local")).unwrap();
    }
}

#[test]
fn a_clock_that_is_ahead_for_seconds_erases_nothing() {
    let store = Store::new();
    let clock = TestClock::default();
    let start = unix_time();
    clock.set(Some(start));
    let outbox = clock.outbox(&store, Settings::default());
    for _ in 0..400 {
        outbox.record(opened("opened")).unwrap();
    }
    outbox.audit(Entry::new("test", "local")).unwrap();
    let before = outbox.stats();
    assert_eq!(before.depth, 400);
    clock.set(Some(start + 400.0 * DAY));
    after_some_commits(&outbox);
    std::thread::sleep(Duration::from_secs(2));
    clock.set(Some(start));
    let stats = outbox.stats();
    assert_eq!((stats.depth, stats.audit.first), (400, 1), "{stats:?}");
    assert_eq!(stats.dropped, Dropped::default());
    // Nor does a restart meanwhile: the first portion is due an hour after the start.
    drop(outbox);
    clock.set(Some(start + 400.0 * DAY));
    let outbox = clock.outbox(&store, Settings::default());
    after_some_commits(&outbox);
    assert_eq!((outbox.stats().depth, outbox.stats().audit.first), (400, 1));
}

#[test]
fn old_records_leave_in_portions_by_a_believed_clock_and_young_ones_stay() {
    let store = Store::new();
    let clock = TestClock::default();
    let settings = Settings { retire_every: Duration::from_millis(50), ..Settings::default() };
    let outbox = clock.outbox(&store, settings);
    let young = YOUNG;
    let time = unix_time();
    for at in 0..young + 10 {
        // The first were recorded before the clock was set, and some while it was ahead.
        let time = match at {
            0..3 => 1000.0,
            3..5 => time + 400.0 * DAY,
            _ => time,
        };
        outbox.record(Event { time, ..opened("opened") }).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(outbox.stats().audit.first, 1, "the clock is not believed");
    clock.set(Some(time + 29.0 * DAY));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(outbox.stats().dropped.expired, 0);
    clock.set(Some(time + 31.0 * DAY));
    wait_until(|| outbox.stats().dropped.expired == 10);
    assert_eq!(outbox.stats().audit.first, 1);
    clock.set(Some(time + 10_000.0 * DAY));
    wait_until(|| outbox.stats().audit.first == 11);
    std::thread::sleep(Duration::from_millis(200));
    let stats = outbox.stats();
    assert_eq!((stats.depth as u64, stats.audit.lines()), (young, young));
    assert!(is_whole(&outbox));
}

#[test]
fn the_log_is_bounded_and_stays_verifiable() {
    let store = Store::new();
    let settings = Settings { max_lines: 4, ..Settings::default() };
    let outbox = store.open(settings.clone());
    for number in 1..=10 {
        outbox.audit(Entry::new("test", "local").with("number", number)).unwrap();
        assert!(is_whole(&outbox));
    }
    let chain = outbox.stats().audit;
    assert_eq!((chain.first, chain.last, chain.lines()), (7, 10, 4));
    drop(outbox);
    let outbox = store.open(Settings { max_lines: 1, ..settings });
    outbox.audit(Entry::new("test", "local")).unwrap();
    let chain = outbox.stats().audit;
    assert_eq!((chain.first, chain.last), (11, 11));
    assert!(is_whole(&outbox));
}

#[test]
fn a_flood_of_one_class_pushes_out_no_line_of_another() {
    let store = Store::new();
    let settings = Settings { max_lines: 80, ..Settings::default() };
    let outbox = store.open(settings.clone());
    for number in 0..5 {
        outbox.audit(Entry::new("application/create", "local").with("number", number)).unwrap();
    }
    let mut granted = Event::new(Kind::Access, "granted", "");
    granted.subject_id = Some("anna".into());
    outbox.record(granted).unwrap();
    let first = outbox.lines(0, 0.0, 1).unwrap().0.remove(0);
    for number in 0..300 {
        outbox.slot().post(opened(&format!("flood-{number}"))).unwrap();
        if number % 50 == 0 {
            outbox.record(opened("flood")).unwrap();
        }
    }
    drop(outbox);
    let outbox = store.open(settings.clone());
    wait_until(|| outbox.stats().audit.lines() <= 80);
    let lines = outbox.lines(0, 0.0, 1000).unwrap().0;
    let created: Vec<&Value> =
        lines.iter().filter(|line| line["action"] == "application/create").collect();
    let numbers: Vec<u64> = created.iter().filter_map(|line| line["number"].as_u64()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert!(lines.iter().any(|line| line["subject_id"] == "anna"));
    // A carried line says when and as which line it was first written.
    assert_eq!((&created[0]["time"], &created[0]["carried_from"]), (&first["time"], &json!(1)));
    assert!(created[0]["line"].as_u64().unwrap() > 6);
    assert!(is_whole(&outbox));
    // Beyond its share the flood pushes out its own oldest lines.
    let floods = lines.iter().filter(|line| line["action"] == "door").count();
    assert_eq!((lines.len(), floods), (80, 74));
    // The counts of a file that an older program has written are made when it is opened.
    drop(outbox);
    let database = redb::Database::open(store.path()).unwrap();
    let write = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).unwrap().remove("lines_door").unwrap();
    write.commit().unwrap();
    drop(database);
    let outbox = store.open(settings);
    for number in 0..100 {
        outbox.record(opened(&format!("flood-{number}"))).unwrap();
    }
    let lines = outbox.lines(0, 0.0, 1000).unwrap().0;
    assert_eq!(lines.iter().filter(|line| line["action"] == "application/create").count(), 5);
    assert!(is_whole(&outbox));
}

#[test]
fn lines_are_listed_by_page_and_time() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    for number in 1..=5 {
        outbox.audit(Entry::new("test", "local").with("number", number)).unwrap();
    }
    let (page, next) = outbox.lines(0, 0.0, 2).unwrap();
    assert_eq!((page.len(), next), (2, Some(3)));
    assert_eq!(page[1]["number"], 2);
    let (rest, next) = outbox.lines(3, 0.0, 3).unwrap();
    assert_eq!((rest.len(), next), (3, None));
    assert_eq!(rest[2]["hash"], outbox.stats().audit.head.to_string());
    let (none, _) = outbox.lines(0, unix_time() + 60.0, 10).unwrap();
    assert!(none.is_empty());
}

#[test]
fn kinds_and_numbers_can_be_skipped() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    outbox.record(Event::new(Kind::Access, "granted", "")).unwrap();
    outbox.record(opened("opened")).unwrap();
    let of = |range: std::ops::RangeFrom<u64>, skipped| {
        outbox.pending(Consumer::Broker, range, |_, kind| kind == skipped)
    };
    assert_eq!(of(0.., Kind::Access), Some((2, Kind::Door)));
    assert_eq!(of(0.., Kind::Door), Some((1, Kind::Access)));
    assert_eq!(of(2.., Kind::Door), None);
    assert_eq!(outbox.pending(Consumer::Broker, ..2, |seq, _| seq == 1), None);
}

#[test]
fn the_last_seq_changes_with_every_event() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    let mut last = outbox.last_seq();
    assert_eq!(*last.borrow_and_update(), 0);
    outbox.record(opened("opened")).unwrap();
    assert!(last.has_changed().unwrap());
    assert_eq!(*last.borrow_and_update(), 1);
    outbox.audit(Entry::new("test", "local")).unwrap();
    assert!(!last.has_changed().unwrap());
}

#[test]
fn many_threads_record_at_once() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let recorded = outbox.record(opened("opened")).unwrap();
                    outbox.acknowledge(Consumer::Broker, recorded.seq);
                }
            });
        }
    });
    let stats = outbox.stats();
    assert_eq!((stats.last_seq, stats.delivered, stats.depth), (40, 40, 0));
    assert_eq!(stats.audit.last, 40);
    assert!(is_whole(&outbox));
}

#[test]
fn long_texts_are_shortened_and_recorded() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    let long = "x".repeat(10 * MAX_BYTES);
    let mut event = opened(&long);
    event.subject_id = Some(long.clone());
    event.extra.insert("note".into(), json!(long));
    let recorded = outbox.record(event).unwrap();
    outbox.audit(Entry::new("test", long.as_str()).with("note", long.as_str())).unwrap();
    let bytes = outbox.payload(Consumer::Broker, recorded.seq).unwrap().unwrap();
    assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
    let kept = format!("{}…", "x".repeat(499));
    assert_eq!(payload(&outbox, recorded.seq)["note"], kept.as_str());
    let (lines, _) = outbox.lines(0, 0.0, 10).unwrap();
    assert_eq!((&lines[0]["subject_id"], &lines[1]["by"]), (&json!(kept), &json!(kept)));
    assert!(outbox.stats().not_recorded.is_empty() && is_whole(&outbox));
}

#[test]
fn posted_events_are_recorded_in_order_and_returned_by_a_closed_outbox() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    let slot = outbox.slot();
    for number in 0..200 {
        slot.post(opened(&number.to_string())).unwrap();
    }
    // Recorded after all of them.
    outbox.audit(Entry::new("stop", "daemon")).unwrap();
    drop(outbox);
    assert!(slot.post(opened("late")).is_err());
    let outbox = store.open(Settings::default());
    let (lines, _) = outbox.lines(0, 0.0, 300).unwrap();
    let outcomes: Vec<&str> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!((lines.len(), outbox.stats().unwritten), (201, 0));
    // All events of a batch are in the outbox.
    assert_eq!(all(&outbox).len(), 200);
}

#[test]
fn an_invalid_file_is_refused_and_unchanged() {
    let store = Store::new();
    std::fs::write(store.path(), b"not a file of events").unwrap();
    let error = Outbox::open(&store.path(), Settings::default()).err().unwrap();
    assert!(matches!(error, OutboxError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(store.path()).unwrap(), b"not a file of events");
    let store = Store::new();
    let _held = store.open(Settings::default());
    let error = Outbox::open(&store.path(), Settings::default()).err().unwrap();
    assert!(matches!(error, OutboxError::InUse { .. }), "{error}");
}

#[test]
fn records_after_a_replacement_go_to_the_new_file() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    outbox.audit(Entry::new("before", "local")).unwrap();
    std::fs::rename(store.path(), store.folder.path().join("away")).unwrap();
    let error = outbox.audit(Entry::new("after", "local")).unwrap_err();
    assert!(error.to_string().contains("another file"), "{error}");
    assert!(outbox.stats().fault.is_some());
    let started = Instant::now();
    while outbox.stats().unwritten > 0 {
        assert!(started.elapsed() < 4 * REST, "it is not opened again");
        std::thread::sleep(REST / 50);
    }
    drop(outbox);
    let lines = store.open(Settings::default()).lines(0, 0.0, 10).unwrap().0;
    assert_eq!((lines.len(), &lines[0]["action"]), (1, &json!("after")), "{lines:?}");
}

//! Tests that each consumer has a backlog of its own.

use super::*;

/// An event for every consumer; each has a backlog and bounds of its own.
#[test]
fn a_dead_consumer_costs_the_other_nothing() {
    let store = Store::new();
    let webhook = vec![Kind::Door, Kind::Access];
    let settings = Settings { max_events: 3, webhook, ..Settings::default() };
    let outbox = store.open(settings.clone());
    let waiting = |outbox: &Outbox, consumer| outbox.backlog(consumer).depth;
    for _ in 0..5 {
        let recorded = outbox.record(opened("opened")).unwrap();
        outbox.acknowledge(Consumer::Broker, recorded.seq);
    }
    // A kind that the webhook does not get.
    outbox.record(Event::new(Kind::Camera, "lost", "")).unwrap();
    assert_eq!(waiting(&outbox, Consumer::Broker), 1);
    assert_eq!(waiting(&outbox, Consumer::Webhook), 3);
    let first = |outbox: &Outbox| outbox.pending(Consumer::Webhook, .., |_, _| false);
    assert_eq!(first(&outbox), Some((3, Kind::Door)), "the oldest were dropped for it alone");
    assert_eq!(outbox.backlog(Consumer::Webhook).dropped.overflow, 2);
    assert_eq!(outbox.stats().dropped.overflow, 0);

    // Its acknowledgement alone does not take the broker's event, and survives a crash.
    let store = store.crashed();
    let outbox = store.open(settings.clone());
    assert_eq!((waiting(&outbox, Consumer::Broker), first(&outbox)), (1, Some((3, Kind::Door))));
    let payload = outbox.payload(Consumer::Webhook, 3).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["seq"], 3);
    (3..=5).for_each(|seq| outbox.acknowledge(Consumer::Webhook, seq));
    drop(outbox);
    let outbox = store.open(settings);
    assert_eq!(waiting(&outbox, Consumer::Broker), 1);
    assert_eq!(waiting(&outbox, Consumer::Webhook), 0);
    assert_eq!(outbox.backlog(Consumer::Webhook).dropped.overflow, 2);
}

/// A consumer begins with the events from when it is configured; one that is not configured any
/// more holds none.
#[test]
fn a_webhook_gets_events_from_its_configuration_to_its_end() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    outbox.record(opened("opened")).unwrap();
    drop(outbox);
    let with = |webhook: Vec<Kind>| Settings { webhook, ..Settings::default() };
    let outbox = store.open(with(vec![Kind::Door, Kind::Spoof]));
    assert_eq!(outbox.backlog(Consumer::Webhook).depth, 0);
    outbox.record(opened("closed")).unwrap();
    outbox.record(Event::new(Kind::Spoof, "refused", "")).unwrap();
    assert_eq!(outbox.forget_unwanted(), 0);
    drop(outbox);
    // Another choice of kinds takes effect for what waits, too.
    let outbox = store.open(with(vec![Kind::Spoof]));
    assert_eq!((outbox.backlog(Consumer::Webhook).depth, outbox.forget_unwanted()), (2, 1));
    drop(outbox);
    // Opening alone removes nothing: a command line may lack the daemon's configuration.
    let outbox = store.open(Settings::default());
    assert_eq!((outbox.backlog(Consumer::Webhook).depth, outbox.forget_unwanted()), (1, 1));
    drop(outbox);
    let outbox = store.open(with(vec![Kind::Spoof]));
    assert_eq!(outbox.backlog(Consumer::Webhook).depth, 0);
    assert_eq!(outbox.stats().depth, 3, "the broker's events are all there");
}

/// A file of a program that knows no webhook, and has waiting events.
#[test]
fn a_file_without_a_webhook_opens_and_gets_one() {
    let store = Store::new();
    let outbox = store.open(Settings::default());
    outbox.record(opened("opened")).unwrap();
    drop(outbox);
    let path = store.path();
    {
        let database = redb::Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        let table = redb::TableDefinition::<&str, u64>::new("meta");
        for name in ["webhook_overflow", "webhook_expired", "webhook_too_large"] {
            assert!(write.open_table(table).unwrap().remove(name).unwrap().is_some());
        }
        let tables = write.list_tables().unwrap().map(|it| redb::TableHandle::name(&it).to_owned());
        assert!(!tables.collect::<Vec<_>>().contains(&"webhook".to_owned()));
        write.commit().unwrap();
    }
    let outbox = store.open(Settings { webhook: vec![Kind::Door], ..Settings::default() });
    assert_eq!(outbox.backlog(Consumer::Webhook).depth, 0);
    outbox.record(opened("closed")).unwrap();
    let depths = Consumer::ALL.map(|consumer| outbox.backlog(consumer).depth);
    assert_eq!(depths, [2, 1]);
    assert!(matches!(outbox.verify().unwrap(), Verdict::Whole(_)));
}

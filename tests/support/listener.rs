//! Receives every message of a broker on some topics, across its restarts.
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that reconnects within milliseconds. It uses QoS 0: a broker that crashes has already
/// sent every message it accepted, because this client leaves none unread.
pub struct Listener {
    heard: Arc<Mutex<Vec<Publish>>>,
    listens: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Subscribes; returns when the broker has confirmed.
    pub async fn start(port: u16, name: &str, filter: &str) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listens = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(listen(
            MqttOptions::new(name, "127.0.0.1", port),
            filter.to_owned(),
            heard.clone(),
            listens.clone(),
        ));
        let listener = Self { heard, listens, task };
        listener.listens().await;
        listener
    }

    /// Waits until it is subscribed.
    pub async fn listens(&self) {
        until("a subscription", || self.listens.load(Ordering::SeqCst)).await;
    }

    /// Waits until it has noticed that the broker is gone.
    pub async fn is_cut_off(&self) {
        until("the connection's end", || !self.listens.load(Ordering::SeqCst)).await;
    }

    /// Returns the messages received so far.
    pub fn heard(&self) -> Vec<Publish> {
        self.heard.lock().unwrap().clone()
    }

    /// Returns the payloads received so far, as JSON.
    pub fn events(&self) -> Vec<Value> {
        self.heard().iter().map(|it| serde_json::from_slice(&it.payload).unwrap()).collect()
    }

    /// Returns the `seq` numbers received so far, in order of arrival.
    pub fn seqs(&self) -> Vec<u64> {
        self.events().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    }

    /// Waits until `what` is true for the received messages.
    pub async fn hears(&self, about: &str, what: impl Fn(&Self) -> bool) {
        until(about, || what(self)).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until `what` is true.
pub async fn until(about: &str, what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < PATIENCE, "{about} never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn listen(
    options: MqttOptions,
    filter: String,
    heard: Arc<Mutex<Vec<Publish>>>,
    listens: Arc<AtomicBool>,
) {
    loop {
        let (client, mut events) = AsyncClient::new(options.clone(), 8);
        client.try_subscribe_many([Filter::new(filter.clone(), QoS::AtMostOnce)]).unwrap();
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => listens.store(true, Ordering::SeqCst),
                Event::Incoming(Packet::Publish(publish)) => heard.lock().unwrap().push(publish),
                _ => {}
            }
        }
        listens.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

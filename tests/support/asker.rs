//! A client that sends requests to a device over a real broker and keeps every message it receives.
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, Packet, Publish, PublishProperties, RetainForwardRule,
};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than any expected operation takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Asker {
    pub client: AsyncClient,
    inbox: mpsc::UnboundedReceiver<Publish>,
    pump: tokio::task::JoinHandle<()>,
}

impl Asker {
    /// Connects to 127.0.0.1 and subscribes to `filters`; returns when the broker has confirmed.
    pub async fn connect(port: u16, name: &str, filters: &[&str]) -> Self {
        Self::connect_with(MqttOptions::new(name, "127.0.0.1", port), filters).await
    }

    /// Connects with other options, such as a login.
    pub async fn connect_with(mut options: MqttOptions, filters: &[&str]) -> Self {
        options.set_connect_properties(ConnectProperties {
            max_packet_size: Some(9 * 1024 * 1024),
            ..ConnectProperties::new()
        });
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, mut events) = AsyncClient::new(options, 100);
        let (sender, inbox) = mpsc::unbounded_channel();
        let filters: Vec<Filter> = filters
            .iter()
            .map(|path| Filter {
                path: path.to_string(),
                qos: QoS::AtLeastOnce,
                nolocal: false,
                preserve_retain: true,
                retain_forward_rule: RetainForwardRule::OnEverySubscribe,
            })
            .collect();
        client.try_subscribe_many(filters).unwrap();
        loop {
            if let Event::Incoming(Packet::SubAck(_)) = events.poll().await.unwrap() {
                break;
            }
        }
        let pump = tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event {
                    let _ = sender.send(publish);
                }
            }
        });
        Self { client, inbox, pump }
    }

    /// Publishes a command to the device `front`.
    pub async fn send(&self, operation: &str, payload: &[u8], properties: PublishProperties) {
        self.client
            .publish_with_properties(
                format!("doorward/front/cmd/{operation}"),
                QoS::AtLeastOnce,
                false,
                payload.to_vec(),
                properties,
            )
            .await
            .unwrap();
    }

    /// Returns the next message.
    pub async fn next(&mut self) -> Publish {
        timeout(PATIENCE, self.inbox.recv()).await.expect("no message in time").unwrap()
    }

    /// Returns the next message as JSON.
    pub async fn next_json(&mut self) -> Value {
        serde_json::from_slice(&self.next().await.payload).unwrap()
    }

    /// Waits for a message with this content whose topic ends with `topic`.
    pub async fn wait_for(&mut self, topic: &str, payload: &str) -> Publish {
        loop {
            let message = self.next().await;
            if message.topic.ends_with(topic.as_bytes()) && message.payload == payload.as_bytes() {
                return message;
            }
        }
    }

    /// Returns true if no message arrives within 700 ms.
    pub async fn hears_nothing(&mut self) -> bool {
        timeout(Duration::from_millis(700), self.inbox.recv()).await.is_err()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Properties with a Response Topic and Correlation Data.
pub fn reply_to(topic: &str, correlation: &str) -> PublishProperties {
    PublishProperties {
        response_topic: Some(topic.into()),
        correlation_data: Some(correlation.as_bytes().to_vec().into()),
        ..Default::default()
    }
}

//! The client side: sends one request through the broker and waits for its answer, for `doorward
//! call`.

use super::connect::{self, ConnectError};
use super::topics::Topics;
use super::{MAX_PACKET, Settings};
use crate::contract::{API_KEY, APP_ID, Body, Credentials};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, PubAckReason, Publish, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// One request to a device.
#[derive(Clone, Debug)]
pub struct Call {
    /// `search`, `subject/list`, …
    pub operation: String,
    /// JSON, or a picture with its fields.
    pub body: Body,
    /// Sent where the device's service requires them.
    pub credentials: Credentials,
    /// How long to wait for the answer; the device drops the request after this time.
    pub timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A setting or a file cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker cannot be reached, or refused the connection.
    #[error("{0}")]
    Broker(String),
    /// The broker's access list refused.
    #[error("the broker does not let this login {0}: change its access list")]
    Forbidden(String),
    /// No client subscribes to the command. Not every broker reports this; the embedded one does
    /// not.
    #[error("no daemon listens on {0}: is the daemon running, and device_id the same?")]
    NobodyListens(String),
    /// The request is larger than a packet may be.
    #[error("the request has {0} bytes, more than the {MAX_PACKET} that a packet may have")]
    TooLarge(usize),
    /// No answer came in time.
    #[error("no answer within {0:?}: is the daemon running, and device_id the same?")]
    Timeout(Duration),
    /// The answer is not JSON.
    #[error("the answer is not JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    /// No random numbers for the name of the reply topic.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Sends one request to the device and the broker that `settings` name, and waits for the answer:
/// one JSON object, `status` first.
pub async fn call(settings: &Settings, call: Call) -> Result<Value, CallError> {
    let patience = call.timeout;
    match timeout(patience, exchange(settings, call)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CallError::Timeout(patience)),
    }
}

async fn exchange(settings: &Settings, call: Call) -> Result<Value, CallError> {
    let name = format!("doorward-call-{:016x}", getrandom::u64()?);
    let topics = Topics::new(&settings.device_id, &[]);
    let (client, mut events) = AsyncClient::new(connect::options(settings, &name)?, 8);
    let reply_topic = topics.client(&name);
    let command_topic = topics.command(&call.operation);
    let request = packet(call, &name, &reply_topic, &command_topic)?;
    let mut request = Some(request);
    loop {
        match next(&mut events, settings).await? {
            Packet::ConnAck(_) => {
                let filter = Filter::new(&reply_topic, QoS::AtLeastOnce);
                queued(client.try_subscribe_many([filter]))?;
            }
            Packet::SubAck(ack) => {
                if !matches!(ack.return_codes[..], [SubscribeReasonCode::Success(_)]) {
                    return Err(CallError::Forbidden(format!("read {reply_topic}")));
                }
                if let Some(Publish { topic: _, payload, properties: Some(properties), .. }) =
                    request.take()
                {
                    queued(client.try_publish_with_properties(
                        &command_topic,
                        QoS::AtLeastOnce,
                        false,
                        payload,
                        properties,
                    ))?;
                }
            }
            Packet::PubAck(ack) => match ack.reason {
                PubAckReason::Success => {}
                PubAckReason::NoMatchingSubscribers => {
                    return Err(CallError::NobodyListens(command_topic));
                }
                _ => return Err(CallError::Forbidden(format!("write to {command_topic}"))),
            },
            Packet::Publish(answer) => {
                let correlation = answer.properties.and_then(|p| p.correlation_data);
                if correlation.as_deref() == Some(name.as_bytes()) {
                    let value = serde_json::from_slice(&answer.payload)?;
                    // The answer is here; the disconnect is a courtesy.
                    if client.try_disconnect().is_ok() {
                        let _ = timeout(Duration::from_secs(1), events.poll()).await;
                    }
                    return Ok(value);
                }
            }
            _ => {}
        }
    }
}

/// Builds the command's packet. The random name also serves as Correlation Data.
fn packet(
    call: Call,
    name: &str,
    reply_topic: &str,
    command_topic: &str,
) -> Result<Publish, CallError> {
    let (payload, content_type, mut user_properties) = match call.body {
        Body::Json(bytes) => (bytes, Some("application/json"), Vec::new()),
        // The device detects the kind of picture by itself.
        Body::Image { bytes, fields } => {
            let content_type =
                if bytes.starts_with(b"\x89PNG") { "image/png" } else { "image/jpeg" };
            (bytes, Some(content_type), fields)
        }
    };
    let Credentials { app_id, api_key } = call.credentials;
    user_properties.extend(app_id.map(|id| (APP_ID.into(), id)));
    user_properties.extend(api_key.map(|key| (API_KEY.into(), key)));
    let fields: usize =
        user_properties.iter().map(|(n, v): &(String, String)| n.len() + v.len() + 5).sum();
    let size = payload.len() + fields + command_topic.len() + reply_topic.len() + name.len() + 64;
    if size > MAX_PACKET as usize {
        return Err(CallError::TooLarge(size));
    }
    let lifetime = call.timeout.as_secs().clamp(1, u64::from(u32::MAX)) as u32;
    let properties = PublishProperties {
        response_topic: Some(reply_topic.into()),
        correlation_data: Some(name.as_bytes().to_vec().into()),
        content_type: content_type.map(Into::into),
        message_expiry_interval: Some(lifetime),
        user_properties,
        ..Default::default()
    };
    Ok(Publish::new(command_topic, QoS::AtLeastOnce, payload, Some(properties)))
}

async fn next(events: &mut EventLoop, settings: &Settings) -> Result<Packet, CallError> {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(packet)) => return Ok(packet),
            Ok(Event::Outgoing(_)) => {}
            Err(error) => return Err(CallError::Broker(connect::explain(&error, settings))),
        }
    }
}

fn queued<E>(outcome: Result<(), E>) -> Result<(), CallError> {
    outcome.map_err(|_| CallError::Broker("the connection to the broker is gone".into()))
}

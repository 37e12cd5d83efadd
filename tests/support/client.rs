//! A client of a terminal's embedded broker: each request gets its own answer, and the common
//! fields of every answer are checked.
use super::asker::{Asker, reply_to};
use super::terminal::Terminal;
use doorward::mqtt::Login;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::Value;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A connection, and the answers that arrived before the test waited for them.
pub struct Client {
    asker: Asker,
    topic: String,
    sent: usize,
    early: HashMap<String, Value>,
}

impl Client {
    /// Logs in as the daemon's own client does.
    pub async fn connect(terminal: &Terminal) -> Self {
        let login = Login::read(&terminal.data_dir()).unwrap();
        let mut options = MqttOptions::new("tester", "127.0.0.1", terminal.port());
        options.set_credentials(login.username, login.password.reveal());
        Self::with(options).await
    }

    /// Connects through an anonymous broker.
    pub async fn through(port: u16) -> Self {
        Self::with(MqttOptions::new("tester", "127.0.0.1", port)).await
    }

    async fn with(options: MqttOptions) -> Self {
        let topic = "doorward/front/client/tester".to_owned();
        let asker = Asker::connect_with(options, &[&topic]).await;
        Self { asker, topic, sent: 0, early: HashMap::new() }
    }

    /// Sends a request as JSON and returns its answer.
    pub async fn ask(&mut self, operation: &str, body: &Value) -> Value {
        self.ask_bytes(operation, body.to_string().as_bytes(), Some("application/json"), &[]).await
    }

    /// Sends a request with any payload and returns its answer.
    pub async fn ask_bytes(
        &mut self,
        operation: &str,
        payload: &[u8],
        content_type: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Value {
        let id = self.send(operation, payload, content_type, fields).await;
        self.answer(&id).await
    }

    /// Sends a request without waiting; returns the id for [`Client::answer`].
    pub async fn send(
        &mut self,
        operation: &str,
        payload: &[u8],
        content_type: Option<&str>,
        fields: &[(&str, &str)],
    ) -> String {
        self.sent += 1;
        let id = format!("request-{}", self.sent);
        let fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let properties = PublishProperties {
            content_type: content_type.map(str::to_owned),
            user_properties: fields.collect(),
            ..reply_to(&self.topic, &id)
        };
        self.asker.send(operation, payload, properties).await;
        id
    }

    /// Returns the answer to a request that was sent.
    pub async fn answer(&mut self, id: &str) -> Value {
        loop {
            if let Some(answer) = self.early.remove(id) {
                return answer;
            }
            let message = self.asker.next().await;
            let properties = message.properties.unwrap_or_default();
            let correlation = properties.correlation_data.unwrap_or_default();
            let answer: Value = serde_json::from_slice(&message.payload).unwrap();
            check_common(&answer);
            self.early.insert(String::from_utf8_lossy(&correlation).into_owned(), answer);
        }
    }

    /// Returns the subjects and the number of templates, which no failure may change.
    pub async fn gallery(&mut self) -> (Value, Value) {
        let list = self.ask("subject/list", &serde_json::json!({"limit": 100})).await;
        let mut stats = self.ask("stats", &serde_json::json!({})).await;
        assert_eq!((list["status"].as_u64(), stats["status"].as_u64()), (Some(200), Some(200)));
        (list["subjects"].clone(), stats["gallery"].take())
    }
}

/// Checks the common fields of every answer and their order.
fn check_common(answer: &Value) {
    let fields = answer.as_object().unwrap();
    let names: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(names[..4], ["status", "message", "session_id", "timestamp"], "{answer}");
    assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    let session = uuid::Uuid::parse_str(answer["session_id"].as_str().unwrap()).unwrap();
    assert_eq!(session.get_version_num(), 4, "{answer}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - answer["timestamp"].as_f64().unwrap()).abs() < 60.0, "{answer}");
    let status = answer["status"].as_u64().unwrap();
    assert!([200, 400, 403, 500, 503].contains(&status), "{answer}");
    assert!(status == 200 || answer["error_code"].is_string(), "{answer}");
    if status == 200 && answer.get("error_code").is_none() {
        assert_eq!(answer["message"], "Request Success");
    }
    let failed = answer["error_code"]
        .as_str()
        .is_some_and(|code| code.starts_with("FAIL_ON_") || code == "SUBJECT_NOT_ACTIVE");
    assert_eq!(status == 200 && answer.get("error_code").is_some(), failed, "{answer}");
}

/// Returns status, `error_code` and `error_field` of an answer.
pub fn verdict(answer: &Value) -> (u64, &str, &str) {
    let text = |name: &str| answer[name].as_str().unwrap_or("");
    (answer["status"].as_u64().unwrap(), text("error_code"), text("error_field"))
}

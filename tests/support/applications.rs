//! A terminal whose applications have keys, on a real broker, and a client of it. Test programs
//! that include it also include `asker`, `mosquitto` and `terminal`.
use super::asker::{Asker, reply_to};
use super::mosquitto::{Mosquitto, Wanted};
use super::terminal::Terminal;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde_json::Value;
use std::time::{Duration, Instant};

pub const TOPIC: &str = "doorward/front/client/tester";
pub const JSON: Option<&str> = Some("application/json");
pub const JPEG: Option<&str> = Some("image/jpeg");
pub const APP_KEY: &str = "[service]\nauth = \"app-key\"";

/// A terminal on a broker, and a client of it.
pub struct Site {
    pub terminal: Terminal,
    pub asker: Asker,
    sent: usize,
    pub broker: Mosquitto,
}

/// User properties of a message.
pub type Properties<'a> = &'a [(&'a str, &'a str)];

impl Site {
    pub async fn start(more: &str) -> Self {
        let broker = Mosquitto::start(Wanted::default());
        // The broker is anonymous: only the keys restrict access.
        let port = broker.port();
        let keys = format!("host = \"localhost\"\nport = {port}\nallow_insecure = true\n{more}");
        let terminal = Terminal::start(&keys);
        let asker = Asker::connect(broker.port(), "tester", &[TOPIC]).await;
        let mut site = Self::of(terminal, asker, broker);
        site.wait_until_heard().await;
        site
    }

    pub fn of(terminal: Terminal, asker: Asker, broker: Mosquitto) -> Self {
        Self { terminal, asker, sent: 0, broker }
    }

    /// Waits until the daemon answers: after its start it may not be subscribed yet.
    pub async fn wait_until_heard(&mut self) {
        for _ in 0..100 {
            self.sent += 1;
            let properties = reply_to(TOPIC, &format!("heard-{}", self.sent));
            self.asker.send("health", b"{}", properties).await;
            if !self.asker.hears_nothing().await {
                // On a slow machine the earlier requests are answered as well.
                while !self.asker.hears_nothing().await {}
                return;
            }
        }
        panic!("no answer from the daemon: {}", self.terminal.log());
    }

    /// Waits until a file of the data directory has not changed for four seconds: by then the data
    /// that are written every second are on disk, also on a slow one.
    pub async fn wait_until_written(&self, name: &str) {
        let path = self.terminal.data_dir().join(name);
        let changed = || std::fs::metadata(&path).unwrap().modified().unwrap();
        let (started, mut last, mut since) = (Instant::now(), changed(), Instant::now());
        while since.elapsed() < Duration::from_secs(4) {
            assert!(started.elapsed() < Duration::from_secs(60), "{name} is written all the time");
            tokio::time::sleep(Duration::from_millis(50)).await;
            if changed() != last {
                (last, since) = (changed(), Instant::now());
            }
        }
    }

    pub async fn restart(&mut self) {
        self.terminal.run();
        self.wait_until_heard().await;
    }

    /// Sends with this Correlation Data and returns the message that answers it.
    pub async fn exchange(
        &mut self,
        operation: &str,
        (payload, content_type): (&[u8], Option<&str>),
        properties: Properties<'_>,
        correlation: &str,
    ) -> Publish {
        let text = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let properties = PublishProperties {
            content_type: content_type.map(str::to_owned),
            user_properties: properties.iter().map(text).collect(),
            ..reply_to(TOPIC, correlation)
        };
        self.asker.send(operation, payload, properties).await;
        loop {
            let message = self.asker.next().await;
            let data = message.properties.as_ref().unwrap().correlation_data.as_deref();
            if data == Some(correlation.as_bytes()) {
                return message;
            }
        }
    }

    pub async fn send(
        &mut self,
        operation: &str,
        body: (&[u8], Option<&str>),
        properties: Properties<'_>,
    ) -> Value {
        self.sent += 1;
        let correlation = format!("request-{}", self.sent);
        let message = self.exchange(operation, body, properties, &correlation).await;
        serde_json::from_slice(&message.payload).unwrap()
    }

    /// Sends a JSON request with an application's key as user properties.
    pub async fn ask(&mut self, app: &App, operation: &str, body: &Value) -> Value {
        self.send(operation, (body.to_string().as_bytes(), JSON), &app.headers()).await
    }

    pub async fn code(&mut self, app: &App, operation: &str, body: &Value) -> (u64, String) {
        verdict(&self.ask(app, operation, body).await)
    }

    pub fn app(&self, arguments: &[&str]) -> App {
        let made = self.terminal.json(&[&["app", "create"], arguments].concat());
        assert_eq!(made["status"], 200, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        App { id: text("app_id"), key: text("api_key") }
    }

    /// Returns the used quota of an application for enroll, verify, search and liveness.
    pub fn used(&self, name: &str) -> [u64; 4] {
        let list = self.terminal.json(&["app", "list"]);
        let apps = list["applications"].as_array().unwrap();
        let app = apps.iter().find(|app| app["name"] == name).unwrap();
        ["enroll", "verify", "search", "liveness"].map(|kind| {
            let kind = &app["quota"][kind];
            let number = |name: &str| kind[name].as_u64().unwrap();
            assert_eq!(number("left"), number("quota") - number("used"), "{app}");
            number("used")
        })
    }
}

pub struct App {
    pub id: String,
    pub key: String,
}

impl App {
    pub fn headers(&self) -> [(&str, &str); 2] {
        [("App-ID", &self.id), ("API-Key", &self.key)]
    }
}

pub fn verdict(answer: &Value) -> (u64, String) {
    let code = answer["error_code"].as_str().unwrap_or("").to_owned();
    (answer["status"].as_u64().unwrap(), code)
}

pub fn denied(status: u64, code: &str) -> (u64, String) {
    (status, code.to_owned())
}

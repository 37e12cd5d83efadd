//! Tests the embedded broker of a standalone terminal. It must require a login, restrict each
//! client to its own topics, carry whole pictures, report a taken port with a remedy, and keep its
//! login over restarts.
use doorward::contract::{Answer, Body, Credentials, Request, Sender};
use doorward::mqtt::{
    Call, CallError, Embedded, EmbeddedError, Exposure, Health, Login, Session, Settings, call,
};
use doorward::transport::{Answering, Handler};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, PubAckReason, Publish, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers with the size of the request.
async fn measure(request: Request) -> Option<Answer> {
    let size = match &request.body {
        Body::Json(bytes) => bytes.len(),
        Body::Image { bytes, .. } => bytes.len(),
    };
    let fields = match request.body {
        Body::Image { fields, .. } => fields.len(),
        Body::Json(_) => 0,
    };
    let mut answer = Map::new();
    answer.insert("operation".into(), request.operation.into());
    answer.insert("size".into(), size.into());
    answer.insert("fields".into(), fields.into());
    Some(Answer { status: 200, fields: answer })
}

fn health() -> Health {
    Arc::new(|| json!({ "status": "up" }))
}

fn request(operation: &str, body: Body) -> Call {
    Call {
        operation: operation.into(),
        body,
        credentials: Credentials::default(),
        timeout: Duration::from_secs(20),
    }
}

fn on_port(port: u16) -> Settings {
    Settings { port: Some(port), ..Settings::default() }
}

/// The applications of these tests, each with its key.
const KIOSK: (&str, &str) = ("0c34a1c5-6b33-4b0e-9d5f-0f7b1c0a2f11", "dwk_kiosk");
const OFFICE: (&str, &str) = ("7d1c9f60-33a4-4d0b-8f63-5b1f0a9c2e44", "dwk_office");

fn knows(id: &str, key: &str) -> bool {
    [KIOSK, OFFICE].contains(&(id, key))
}

struct Terminal {
    broker: Embedded,
    session: Session,
    settings: Settings,
}

impl Terminal {
    async fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, measure).await
    }

    async fn start_with(data_dir: &Path, handler: impl Handler) -> Self {
        let broker = Embedded::start(&on_port(0), data_dir, Some(Arc::new(knows))).await.unwrap();
        let own = Settings::default().aimed_at_embedded(broker.port(), broker.terminal());
        let settings = Settings::default().aimed_at_embedded(broker.port(), broker.login());
        let session = Session::start(own, handler, health()).await.unwrap();
        let publisher = session.publisher();
        while !publisher.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { broker, session, settings }
    }

    async fn stop(self) {
        self.session.stop().await;
        self.broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    assert_eq!(*terminal.session.exposure().borrow(), Exposure::Closed);
    let body = Body::Json(br#"{"image": "AAAA"}"#.to_vec());
    let answer = call(&terminal.settings, request("subject/list", body)).await.unwrap();
    assert_eq!(
        answer,
        json!({ "status": 200, "operation": "subject/list", "size": 17, "fields": 0 })
    );
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_mebibytes_pass() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let mut bytes = vec![0x55; 8 * 1024 * 1024];
    bytes[..3].copy_from_slice(b"\xff\xd8\xff");
    let fields = vec![("subject_id".into(), "ada".into()), ("is_quality".into(), "true".into())];
    let answer =
        call(&terminal.settings, request("enroll", Body::Image { bytes, fields })).await.unwrap();
    assert_eq!(answer["size"], 8 * 1024 * 1024);
    // The user property that this broker adds does not count as a field.
    assert_eq!(answer["fields"], 2);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_request_is_refused_before_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let body = Body::Json(vec![b' '; 10 * 1024 * 1024]);
    let error = call(&terminal.settings, request("search", body)).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge(_)), "{error}");
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_the_login_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let wrong = |username: Option<&str>, password: Option<&str>| Settings {
        username: username.map(Into::into),
        password: password.map(|text| text.to_string().into()),
        ..terminal.settings.clone()
    };
    for settings in [
        wrong(None, None),
        wrong(Some("doorward"), None),
        wrong(Some("doorward"), Some("wrong")),
        wrong(Some("other"), Some(terminal.broker.login().password.reveal())),
    ] {
        let error =
            call(&settings, request("health", Body::Json(b"{}".to_vec()))).await.unwrap_err();
        assert!(error.to_string().contains("mqtt.username"), "{error}");
    }
    // Failed logins do not lock out the client with the right login.
    let answer = call(&terminal.settings, request("health", Body::Json(b"{}".to_vec()))).await;
    assert_eq!(answer.unwrap()["status"], 200);
    terminal.stop().await;
}

/// A client of the broker, and the messages it received.
struct Client {
    client: AsyncClient,
    events: EventLoop,
    heard: Vec<Publish>,
}

impl Client {
    /// Logs in; the error is the broker's refusal.
    async fn login(
        terminal: &Terminal,
        client_id: &str,
        (name, password): (&str, &str),
    ) -> Result<Self, ConnectReturnCode> {
        let mut options = MqttOptions::new(client_id, "127.0.0.1", terminal.broker.port());
        options.set_credentials(name, password);
        let (client, events) = AsyncClient::new(options, 8);
        let mut client = Self { client, events, heard: Vec::new() };
        loop {
            match client.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(client),
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(code)) => return Err(code),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Returns the next packet that is not a message; keeps messages.
    async fn next(&mut self) -> Packet {
        loop {
            match self.events.poll().await.unwrap() {
                Event::Incoming(Packet::Publish(publish)) => self.heard.push(publish),
                Event::Incoming(packet) => return packet,
                Event::Outgoing(_) => {}
            }
        }
    }

    async fn may_read(&mut self, filter: &str) -> bool {
        let filter = Filter::new(filter, QoS::AtLeastOnce);
        self.client.try_subscribe_many([filter]).unwrap();
        loop {
            if let Packet::SubAck(ack) = self.next().await {
                return matches!(ack.return_codes[..], [SubscribeReasonCode::Success(_)]);
            }
        }
    }

    async fn may_write(&mut self, topic: &str, properties: PublishProperties) -> bool {
        let client = &self.client;
        let body = "{\"image\": \"AAAA\"}";
        client
            .publish_with_properties(topic, QoS::AtLeastOnce, false, body, properties)
            .await
            .unwrap();
        loop {
            if let Packet::PubAck(ack) = self.next().await {
                return ack.reason != PubAckReason::NotAuthorized;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn application_reads_only_its_own_answers_and_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let login = terminal.broker.login().clone();
    let operator = (login.username.as_str(), login.password.reveal());
    let own = |(id, _): (&str, &str)| format!("doorward/door/client/{id}");

    let mut kiosk = Client::login(&terminal, KIOSK.0, KIOSK).await.unwrap();
    let mut office = Client::login(&terminal, &format!("{}-2", OFFICE.0), OFFICE).await.unwrap();
    let mut shell = Client::login(&terminal, "shell", operator).await.unwrap();
    for spy in [&mut office, &mut shell] {
        for filter in ["#", "doorward/door/#", "doorward/door/cmd/#", "doorward/door/client/#"] {
            assert!(!spy.may_read(filter).await, "{filter}");
        }
        assert!(!spy.may_read(&own(KIOSK)).await);
        for topic in ["state/door", "event/access", "availability", "echo"] {
            let topic = format!("doorward/door/{topic}");
            assert!(!spy.may_write(&topic, PublishProperties::default()).await, "{topic}");
        }
    }
    assert!(office.may_read(&own(OFFICE)).await && office.may_read("doorward/door/state/#").await);
    assert!(kiosk.may_read(&own(KIOSK)).await);

    // A client identifier does not give access to another client's session.
    for (id, who) in [(KIOSK.0, OFFICE), (KIOSK.0, operator), ("doorward-door", operator)] {
        let refused = Client::login(&terminal, id, who).await.err();
        assert_eq!(refused, Some(ConnectReturnCode::ClientIdentifierNotValid), "{id}");
    }
    for wrong in [(KIOSK.0, OFFICE.1), ("terminal", OFFICE.1), ("terminal", operator.1)] {
        let refused = Client::login(&terminal, "x", wrong).await.err();
        assert_eq!(refused, Some(ConnectReturnCode::BadUserNamePassword), "{wrong:?}");
    }

    let asked = PublishProperties {
        response_topic: Some(own(KIOSK)),
        user_properties: vec![("API-Key".into(), KIOSK.1.into())],
        ..PublishProperties::default()
    };
    assert!(kiosk.may_write("doorward/door/cmd/search", asked).await);
    while kiosk.heard.is_empty() {
        let answer = kiosk.events.poll().await.unwrap();
        if let Event::Incoming(Packet::Publish(publish)) = answer {
            kiosk.heard.push(publish);
        }
    }
    let answer: Value = serde_json::from_slice(&kiosk.heard[0].payload).unwrap();
    assert_eq!(answer["operation"], "search");
    // The others received no command and no answer of the kiosk.
    for spy in [&mut office, &mut shell] {
        assert!(spy.may_read("doorward/door/availability").await);
        let state = |it: &Publish| it.topic.starts_with(b"doorward/door/state/");
        let others =
            spy.heard.iter().filter(|it| !state(it) && !it.topic.ends_with(b"availability"));
        assert_eq!(others.count(), 0);
    }
    terminal.stop().await;
}

/// Identifies the client only by its key.
struct ByKey;

impl Handler for ByKey {
    fn sender(&self, request: &Request) -> Result<Sender, Answer> {
        let key = request.credentials.api_key.as_deref();
        let known = [KIOSK, OFFICE].into_iter().find(|(_, its)| key == Some(its));
        let refused = || Answer { status: 401, fields: Map::new() };
        known.map(|(id, _)| Sender::Application(id.into())).ok_or_else(refused)
    }

    fn handle(&self, request: Request) -> Answering {
        Box::pin(measure(request))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn application_cannot_send_an_answer_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start_with(dir.path(), ByKey).await;
    let inbox = |below: &str| format!("doorward/door/client/{}{below}", OFFICE.0);
    let mut kiosk = Client::login(&terminal, KIOSK.0, KIOSK).await.unwrap();
    let mut office = Client::login(&terminal, OFFICE.0, OFFICE).await.unwrap();
    assert!(office.may_read(&inbox("/#")).await);
    let ask = |topic: String, key: &str, name: &'static str| PublishProperties {
        response_topic: Some(topic),
        correlation_data: Some(name.into()),
        user_properties: vec![("API-Key".into(), key.into())],
        ..PublishProperties::default()
    };
    let search = "doorward/door/cmd/search";
    // With its own key, and with an unknown key.
    for key in [KIOSK.1, "dwk_wrong"] {
        for below in ["", "/answers"] {
            assert!(kiosk.may_write(search, ask(inbox(below), key, "forged")).await);
        }
    }
    assert!(office.may_write(search, ask(inbox("/answers"), OFFICE.1, "own")).await);
    let named = |it: &Publish| it.properties.as_ref().unwrap().correlation_data.clone().unwrap();
    let forged_or_own = async {
        while !office.heard.iter().any(|it| named(it) == "own") {
            if let Event::Incoming(Packet::Publish(publish)) = office.events.poll().await.unwrap() {
                office.heard.push(publish);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), forged_or_own).await.unwrap();
    let heard: Vec<_> = office.heard.iter().map(named).collect();
    assert_eq!(heard, ["own"]);
    terminal.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_port_error_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Embedded::start(&on_port(port), dir.path(), None).await.err().unwrap();
    assert!(matches!(error, EmbeddedError::PortTaken(p) if p == port));
    assert!(error.to_string().contains("mqtt.port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_keeps_login_and_port() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    let (port, login) = (terminal.broker.port(), terminal.broker.login().clone());
    terminal.stop().await;
    assert_eq!(Login::read(dir.path()).unwrap(), login);
    let broker = Embedded::start(&on_port(port), dir.path(), None).await.unwrap();
    assert_eq!(broker.login(), &login);
    broker.stop().await;
}

/// Prints a figure for the documents (`--nocapture`); there is no limit to meet.
#[tokio::test(flavor = "multi_thread")]
async fn round_trip_figures() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(dir.path()).await;
    for (what, size, rounds) in [("200 bytes", 200, 50), ("200 KiB", 200 * 1024, 30)] {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..rounds {
            let body = Body::Image { bytes: vec![0x55; size], fields: Vec::new() };
            let start = Instant::now();
            let answer: Value = call(&terminal.settings, request("search", body)).await.unwrap();
            times.push(start.elapsed());
            assert_eq!(answer["size"], size);
        }
        times.sort();
        println!("{what}: connect, request and answer in {:?} (median)", times[rounds / 2]);
    }
    terminal.stop().await;
}

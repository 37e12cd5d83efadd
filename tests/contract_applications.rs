//! Who may ask and how much: keys, permissions and quotas, on the real daemon over a real
//! mosquitto. What can fail: a request without a key that learns anything or is done, a fault told
//! before the 401, quota lost or won, a revoked key that still works, a remembered answer for
//! somebody else, a client that borrows another one's permissions.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/asker.rs"]
mod asker;
#[path = "support/golden.rs"]
mod golden;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/pictures.rs"]
mod pictures;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/web.rs"]
mod web;

use asker::{Asker, reply_to};
use mosquitto::{Mosquitto, Wanted};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use terminal::Terminal;
use web::Web;

const TOPIC: &str = "doorward/front/client/tester";
const JSON: Option<&str> = Some("application/json");
const JPEG: Option<&str> = Some("image/jpeg");
const APP_KEY: &str = "[service]\nauth = \"app-key\"";

/// A terminal on a broker, and a client of it.
struct House {
    terminal: Terminal,
    asker: Asker,
    sent: usize,
    broker: Mosquitto,
}

/// What is sent as user properties.
type Properties<'a> = &'a [(&'a str, &'a str)];

impl House {
    async fn start(more: &str) -> Self {
        let broker = Mosquitto::start(Wanted::default());
        let keys = format!("host = \"localhost\"\nport = {}\n{more}", broker.port());
        let terminal = Terminal::start(&keys);
        let asker = Asker::connect(broker.port(), "tester", &[TOPIC]).await;
        let mut house = Self { terminal, asker, sent: 0, broker };
        house.wait_until_heard().await;
        house
    }

    /// A started daemon may not be subscribed yet.
    async fn wait_until_heard(&mut self) {
        for _ in 0..100 {
            self.sent += 1;
            let properties = reply_to(TOPIC, &format!("heard-{}", self.sent));
            self.asker.send("health", b"{}", properties).await;
            if !self.asker.hears_nothing().await {
                return;
            }
        }
        panic!("nobody listens: {}", self.terminal.log());
    }

    async fn restart(&mut self) {
        self.terminal.run();
        self.wait_until_heard().await;
    }

    /// Sends with this Correlation Data and returns the message that answers it.
    async fn exchange(
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

    async fn send(
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

    /// A JSON request with an application's key beside it.
    async fn ask(&mut self, app: &App, operation: &str, body: &Value) -> Value {
        self.send(operation, (body.to_string().as_bytes(), JSON), &app.headers()).await
    }

    async fn code(&mut self, app: &App, operation: &str, body: &Value) -> (u64, String) {
        verdict(&self.ask(app, operation, body).await)
    }

    fn app(&self, arguments: &[&str]) -> App {
        let made = self.terminal.json(&[&["app", "create"], arguments].concat());
        assert_eq!(made["status"], 200, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        App { id: text("app_id"), key: text("api_key") }
    }

    /// How often an application has asked for enroll, verify, search and liveness.
    fn used(&self, name: &str) -> [u64; 4] {
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

struct App {
    id: String,
    key: String,
}

impl App {
    fn headers(&self) -> [(&str, &str); 2] {
        [("App-ID", &self.id), ("API-Key", &self.key)]
    }
}

fn verdict(answer: &Value) -> (u64, String) {
    let code = answer["error_code"].as_str().unwrap_or("").to_owned();
    (answer["status"].as_u64().unwrap(), code)
}

fn denied(status: u64, code: &str) -> (u64, String) {
    (status, code.to_owned())
}

/// That an answer is the 401 of the contract and nothing besides.
fn check_unauthorized(answer: &Value, request_id: Option<&str>) {
    let names: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec!["status", "message", "session_id", "timestamp"];
    expected.extend(request_id.map(|_| "request_id"));
    assert_eq!(names, expected, "{answer}");
    assert_eq!(answer["status"], 401);
    assert_eq!(answer["message"], "Authorization failed");
    assert_eq!(answer.get("request_id").and_then(Value::as_str), request_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_key_there_is_a_401_and_nothing_else() {
    let mut house = House::start(APP_KEY).await;
    let (app, other) = (house.app(&["kiosk"]), house.app(&["office"]));
    let picture = pictures::jpeg(&pictures::flat());
    let (id, key) = (app.id.as_str(), app.key.as_str());
    let cut = &key[..key.len() - 1];
    let wrong: [&[(&str, &str)]; 9] = [
        &[],
        &[("App-ID", id)],
        &[("API-Key", key)],
        &[("App-ID", id), ("API-Key", "")],
        &[("App-ID", id), ("API-Key", cut)],
        &[("App-ID", id), ("API-Key", &other.key)],
        &[("App-ID", &other.id), ("API-Key", key)],
        &[("App-ID", "kiosk"), ("API-Key", key)],
        &[("App-ID", "no such application"), ("API-Key", "no such key")],
    ];
    let body = json!({"request_id": "r-1"}).to_string();
    for properties in wrong {
        for operation in ["search", "stats", "subject/list", "health", "open_sesame", "app/list"] {
            let answer = house.send(operation, (body.as_bytes(), JSON), properties).await;
            check_unauthorized(&answer, Some("r-1"));
            golden::check("authorization_failed", &answer);
        }
        let answer = house.send("search", (&picture, JPEG), properties).await;
        check_unauthorized(&answer, None);
        // A payload that is no request at all, or of no known type.
        for (payload, content_type) in [
            (&b"{"[..], JSON),
            (b"[1]", JSON),
            (b"\xff\xfe", JSON),
            (b"", JSON),
            (b"", None),
            (b"{}", Some("text/plain")),
            (b"GIF89a", Some("image/gif")),
        ] {
            let answer = house.send("search", (payload, content_type), properties).await;
            check_unauthorized(&answer, None);
        }
    }
    // In the body: wrong, of another type, or in a body that is no object.
    let inside = json!({"app_id": id, "api_key": key}).to_string();
    for text in [
        json!({"app_id": id, "api_key": cut}).to_string(),
        json!({"app_id": id}).to_string(),
        json!({"app_id": id, "api_key": [key]}).to_string(),
        json!([{"app_id": id, "api_key": key}]).to_string(),
        format!("{inside} trailing"),
        inside[..inside.len() - 1].to_owned(),
    ] {
        check_unauthorized(&house.send("health", (text.as_bytes(), JSON), &[]).await, None);
    }
    let properties = [("App-ID", id), ("API-Key", "wrong")];
    let answer = house.send("health", (inside.as_bytes(), JSON), &properties).await;
    check_unauthorized(&answer, None);

    // With it, in every way there is.
    for properties in [
        [("App-ID", id), ("API-Key", key)],
        [("app-id", id), ("api-key", key)],
        [("APP-ID", id), ("API-KEY", key)],
    ] {
        let answer = house.send("health", (b"{}", JSON), &properties).await;
        assert_eq!(verdict(&answer), denied(200, ""), "{properties:?}");
        let answer = house.send("search", (&picture, JPEG), &properties).await;
        assert_eq!(verdict(&answer), denied(400, "FACE_NOT_DETECTED"), "{properties:?}");
    }
    let answer = house.send("health", (inside.as_bytes(), JSON), &[]).await;
    assert_eq!(verdict(&answer), denied(200, ""));
    let fields = [("app_id", id), ("api_key", key), ("limit", "2")];
    let answer = house.send("search", (&picture, JPEG), &fields).await;
    assert_eq!(verdict(&answer), denied(400, "FACE_NOT_DETECTED"));
    // Who may ask is told what is wrong with the body.
    let answer = house.send("search", (b"{}", Some("text/plain")), &app.headers()).await;
    assert_eq!(verdict(&answer), denied(400, "INVALID_PAYLOAD"));

    // The command line needs none, and nobody was told a key.
    let list = house.terminal.json(&["gallery", "list"]);
    assert_eq!(list["subjects"], json!([]));
    let log = house.terminal.log();
    assert!(log.contains("UNAUTHORIZED"), "{log}");
    for secret in [&app.key[4..], &other.key[4..]] {
        assert!(!log.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_401_comes_before_what_the_envelope_refuses() {
    let mut house = House::start(APP_KEY).await;
    let app = house.app(&["kiosk"]);
    let default = "doorward/front/response/enroll";
    house.asker = Asker::connect(house.broker.port(), "tester", &[default]).await;
    let nobody = App { id: app.id.clone(), key: "dwk_wrong".into() };
    for topic in ["doorward/front/cmd/unlock", "elsewhere/x", "doorward/back/client/tester"] {
        for (asker, status) in [(&nobody, 401), (&app, 400)] {
            let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let properties = PublishProperties {
                user_properties: asker.headers().map(text).into(),
                ..reply_to(topic, topic)
            };
            house.asker.send("enroll", br#"{"request_id": "r-1"}"#, properties).await;
            let answer = house.asker.next_json().await;
            if status == 401 {
                check_unauthorized(&answer, Some("r-1"));
            } else {
                assert_eq!(verdict(&answer), denied(400, "INVALID_PAYLOAD"), "{topic}");
                let why = answer["data"]["message"].as_str().unwrap();
                assert!(why.starts_with("Response Topic"), "{why}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_401_comes_before_the_400_before_the_403_before_the_image() {
    let mut house = House::start(APP_KEY).await;
    let none = house.app(&["none", "--testing", "--quota", "enroll=1"]);
    let some = house.app(&["some", "--testing", "--quota", "search=1,liveness=1"]);
    // Faults of every step: the key, the payload, the image's form, a dependency, the limit, the
    // quota, the image's bytes.
    let garbage = pictures::base64(b"no picture");
    let steps = [
        (json!({"image": "?", "limt": 1, "limit": 0}), "INVALID_PAYLOAD"),
        (json!({"image": "?", "limit": 0}), "INVALID_PAYLOAD_IMAGE_MISSING"),
        (
            json!({"image": garbage, "is_quality": false, "validate_quality": true, "limit": 0}),
            "INVALID_PAYLOAD_QUALITY_VALIDATION_DEPENDENCY",
        ),
        (json!({"image": garbage, "limit": 0}), "INVALID_PAYLOAD_LIMIT"),
    ];
    let nobody = App { id: none.id.clone(), key: "dwk_wrong".into() };
    for (body, code) in &steps {
        check_unauthorized(&house.ask(&nobody, "search", body).await, None);
        for app in [&none, &some] {
            assert_eq!(house.code(app, "search", body).await, denied(400, code));
        }
    }
    for image in [garbage.as_str(), "camera:", "http://127.0.0.1:9/a.jpg"] {
        let body = json!({"image": image});
        check_unauthorized(&house.ask(&nobody, "search", &body).await, None);
        let answer = house.ask(&none, "search", &body).await;
        assert_eq!(verdict(&answer), denied(403, "INSUFFICIENT_QUOTA_SEARCH"));
        assert_eq!(answer["message"], "Insufficient search quota");
        golden::check("insufficient_quota_search", &answer);
        let expected = match image {
            "camera:" => denied(503, "CAMERA_UNAVAILABLE"),
            _ => denied(400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        };
        assert_eq!(house.code(&some, "search", &body).await, expected);
    }
    assert_eq!(house.used("some"), [0; 4], "what failed is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_is_spent_by_a_200_and_by_nothing_else() {
    let mut house = House::start(APP_KEY).await;
    let quota = "enroll=2,verify=5,search=3,liveness=2";
    let app = house.app(&["kiosk", "--testing", "--quota", quota]);
    let face = pictures::face("obama");
    let two = pictures::base64(&pictures::jpeg(&pictures::two_people()));
    let flat = pictures::base64(&pictures::jpeg(&pictures::flat()));
    let enroll = |image: &str| json!({"image": image, "subject_id": "anna"});
    let plain = |image: &str| json!({"image": image, "is_liveness": false});

    // Every operation, what it answers, and what it has cost in all since the start.
    let mut crowd = enroll(&two);
    crowd["validate_nface"] = json!(true);
    let mut high = json!({"image": pictures::face("biden"), "subject_id": "anna"});
    high["threshold"] = json!("high");
    let mut live = enroll(&face);
    live["is_liveness"] = json!(true);
    let steps = [
        ("enroll", enroll(&flat), 400, "FACE_NOT_DETECTED", [0, 0, 0, 0]),
        ("enroll", enroll(&face), 200, "", [1, 0, 0, 0]),
        ("enroll", crowd, 200, "FAIL_ON_8", [2, 0, 0, 0]),
        ("enroll", enroll(&face), 403, "INSUFFICIENT_QUOTA_ENROLL", [2, 0, 0, 0]),
        ("enroll", live.clone(), 403, "INSUFFICIENT_QUOTA_ENROLL", [2, 0, 0, 0]),
        ("verify", enroll(&face), 200, "", [2, 1, 0, 0]),
        ("verify", high, 200, "FAIL_ON_16", [2, 2, 0, 0]),
        (
            "verify",
            json!({"image": face, "subject_id": "x"}),
            400,
            "INVALID_PAYLOAD_SUBJECT_ID",
            [2, 2, 0, 0],
        ),
        ("compare", json!({"image_1": face, "image_2": face}), 200, "", [2, 3, 0, 0]),
        (
            "compare",
            json!({"image_1": face, "image_2": flat}),
            400,
            "FACE_NOT_DETECTED",
            [2, 3, 0, 0],
        ),
        ("search", plain(&face), 200, "", [2, 3, 1, 0]),
        // search computes liveness unless it is told not to.
        ("search", json!({"image": face}), 200, "", [2, 3, 2, 1]),
        ("search", json!({"image": flat}), 400, "FACE_NOT_DETECTED", [2, 3, 2, 1]),
        ("verify", live.clone(), 200, "", [2, 4, 2, 2]),
        // One kind is left, the other is not: neither is spent.
        ("search", json!({"image": face}), 403, "INSUFFICIENT_QUOTA_LIVENESS", [2, 4, 2, 2]),
        ("verify", live, 403, "INSUFFICIENT_QUOTA_LIVENESS", [2, 4, 2, 2]),
        ("search", plain(&face), 200, "", [2, 4, 3, 2]),
        ("search", json!({"image": face}), 403, "INSUFFICIENT_QUOTA_SEARCH", [2, 4, 3, 2]),
        ("compare", json!({"image_1": face, "image_2": face}), 200, "", [2, 5, 3, 2]),
        (
            "compare",
            json!({"image_1": face, "image_2": face}),
            403,
            "INSUFFICIENT_QUOTA_VERIFY",
            [2, 5, 3, 2],
        ),
        // What costs nothing goes on.
        ("subject/get", json!({"subject_id": "anna"}), 200, "", [2, 5, 3, 2]),
        ("stats", json!({}), 200, "", [2, 5, 3, 2]),
    ];
    for (number, (operation, body, status, code, used)) in steps.into_iter().enumerate() {
        let answer = house.ask(&app, operation, &body).await;
        assert_eq!(verdict(&answer), denied(status, code), "step {number}, {operation}");
        assert_eq!(house.used("kiosk"), used, "step {number}, {operation}");
        if code == "INSUFFICIENT_QUOTA_LIVENESS" {
            golden::check("insufficient_quota_liveness", &answer);
        }
    }
    // Live mode has no quota, and the command line neither.
    let live = house.app(&["office"]);
    for _ in 0..8 {
        assert_eq!(house.code(&live, "search", &plain(&face)).await, denied(200, ""));
    }
    assert_eq!(house.used("kiosk"), [2, 5, 3, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_find_no_place_cost_nothing() {
    let mut house = House::start(&format!("{APP_KEY}\nqueue = 1")).await;
    let app = house.app(&["kiosk", "--testing"]);
    let picture = pictures::jpeg(&pictures::scaled("obama"));
    for number in 0..30 {
        let headers = app.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut user_properties = headers.to_vec();
        user_properties.push(("is_liveness".into(), "false".into()));
        let properties = PublishProperties {
            content_type: JPEG.map(Into::into),
            user_properties,
            ..reply_to(TOPIC, &format!("flood-{number}"))
        };
        house.asker.send("search", &picture, properties).await;
    }
    let (mut done, mut busy) = (0, 0);
    for _ in 0..30 {
        match house.asker.next_json().await["status"].as_u64() {
            Some(200) => done += 1,
            Some(503) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(done >= 2 && busy >= 1, "{done} done, {busy} refused");
    assert_eq!(house.used("kiosk"), [0, 0, done, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_and_revoked_keys_end_at_once() {
    let mut house = House::start(APP_KEY).await;
    let old = house.app(&["kiosk", "--testing"]);
    let other = house.app(&["office"]);
    let health = json!({});
    assert_eq!(house.code(&old, "health", &health).await, denied(200, ""));

    let rotated = house.terminal.json(&["app", "rotate", "kiosk"]);
    assert_eq!(rotated["app_id"], old.id.as_str());
    let new = App { id: old.id.clone(), key: rotated["api_key"].as_str().unwrap().into() };
    assert_ne!(new.key, old.key);
    check_unauthorized(&house.ask(&old, "health", &health).await, None);
    assert_eq!(house.code(&new, "health", &health).await, denied(200, ""));

    let revoked = house.terminal.json(&["app", "revoke", &new.id]);
    assert_eq!((&revoked["status"], &revoked["name"]), (&json!(200), &json!("kiosk")));
    for app in [&old, &new] {
        check_unauthorized(&house.ask(app, "health", &health).await, None);
    }
    assert_eq!(house.code(&other, "health", &health).await, denied(200, ""));
    let again = house.terminal.json(&["app", "revoke", "kiosk"]);
    assert_eq!((&again["status"], &again["error_field"]), (&json!(400), &json!("app")));

    // Neither comes back with a restart.
    assert!(house.terminal.stop());
    house.restart().await;
    check_unauthorized(&house.ask(&new, "health", &health).await, None);
    assert_eq!(house.code(&other, "health", &health).await, denied(200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_up_stays_so_over_restarts_and_power_cuts() {
    let with_urls = format!("{APP_KEY}\n[image_url]\nallow = [\"127.0.0.1\"]");
    let mut house = House::start(&with_urls).await;
    let app = house.app(&["kiosk", "--testing", "--quota", "search=6"]);
    let body = json!({"image": pictures::face("obama"), "is_liveness": false});
    for _ in 0..2 {
        assert_eq!(house.code(&app, "search", &body).await, denied(200, ""));
    }
    assert!(house.terminal.stop());
    assert_eq!(house.used("kiosk"), [0, 0, 2, 0], "read by the command line itself");
    house.restart().await;
    assert_eq!(house.code(&app, "search", &body).await, denied(200, ""));
    // One waits for its picture, and holds its quota, while another one is done.
    let web = Web::serve(Vec::new());
    let stalling = json!({"image": web.url("stall"), "is_liveness": false}).to_string();
    let properties = PublishProperties {
        user_properties: app.headers().map(|(name, value)| (name.into(), value.into())).into(),
        ..reply_to(TOPIC, "open in the crash")
    };
    house.asker.send("search", stalling.as_bytes(), properties).await;
    for attempt in 0.. {
        if house.used("kiosk") == [0, 0, 4, 0] {
            break;
        }
        assert!(attempt < 100, "nothing is reserved: {}", house.terminal.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.code(&app, "search", &body).await, denied(200, ""));
    assert_eq!(house.used("kiosk"), [0, 0, 5, 0]);
    // Counts are written once a second; whatever is older than that has to be there, and what is
    // not done has not.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    house.terminal.kill();
    house.restart().await;
    assert_eq!(house.used("kiosk"), [0, 0, 4, 0]);
    for _ in 0..2 {
        assert_eq!(house.code(&app, "search", &body).await, denied(200, ""));
    }
    let code = house.code(&app, "search", &body).await;
    assert_eq!(code, denied(403, "INSUFFICIENT_QUOTA_SEARCH"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_does_what_it_was_allowed() {
    let mut house = House::start(APP_KEY).await;
    let reader = house.app(&["reader", "--allow", "search,verify"]);
    let default = house.app(&["default"]);
    let admin = house.app(&["admin", "--allow", "enroll,subject,admin"]);
    let none = house.app(&["none", "--allow", ""]);
    let face = pictures::face("obama");
    let enroll = json!({"image": face, "subject_id": "anna"});
    let groups = json!({"subject_id": "anna", "groups": ["staff"]});
    let forbidden = denied(403, "PERMISSION_DENIED");

    assert_eq!(house.code(&reader, "enroll", &enroll).await, forbidden);
    // Told before the payload's faults: who may not ask is not helped to ask better.
    assert_eq!(house.code(&reader, "enroll", &json!({"imag": 1})).await, forbidden);
    assert_eq!(house.code(&none, "search", &json!({"image": face})).await, forbidden);
    assert_eq!(house.code(&none, "health", &json!({})).await, denied(200, ""));
    assert_eq!(house.code(&default, "enroll", &enroll).await, denied(200, ""));
    assert_eq!(house.code(&reader, "search", &json!({"image": face})).await, denied(200, ""));
    assert_eq!(house.code(&default, "subject/update", &groups).await, forbidden);
    assert_eq!(house.code(&admin, "subject/update", &groups).await, denied(200, ""));
    // A subject with a group gets no new face but from an admin.
    assert_eq!(house.code(&default, "enroll", &enroll).await, forbidden);
    assert_eq!(house.code(&admin, "enroll", &enroll).await, denied(200, ""));
    assert_eq!(house.code(&admin, "search", &json!({"image": face})).await, forbidden);
    let gone = house.code(&default, "subject/delete", &json!({"subject_id": "anna"})).await;
    assert_eq!(gone, denied(200, ""), "deleting only takes access away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_answer_is_its_askers_alone() {
    let mut house = House::start(APP_KEY).await;
    let app = house.app(&["kiosk", "--testing", "--quota", "search=5"]);
    let other = house.app(&["office", "--testing", "--quota", "search=5"]);
    let text = json!({
        "image": pictures::face("obama"), "is_liveness": false, "request_id": "r-1"
    });
    let text = text.to_string();
    let body = (text.as_bytes(), JSON);
    let answer = |message: &Publish| -> Value { serde_json::from_slice(&message.payload).unwrap() };
    let repeated = |message: &Publish| {
        let properties = &message.properties.as_ref().unwrap().user_properties;
        properties.contains(&("x-repeated".into(), "true".into()))
    };
    let first = house.exchange("search", body, &app.headers(), "same").await;
    assert!(!repeated(&first));
    let again = house.exchange("search", body, &app.headers(), "same").await;
    assert!(repeated(&again));
    assert_eq!(again.payload, first.payload);
    assert_eq!(house.used("kiosk"), [0, 0, 1, 0], "a repeat is not done again and costs nothing");

    // Without the key, with a wrong one, with another application's: nothing of that answer.
    for headers in [&[][..], &[("App-ID", app.id.as_str()), ("API-Key", "dwk_wrong")]] {
        let stranger = house.exchange("search", body, headers, "same").await;
        assert!(!repeated(&stranger));
        check_unauthorized(&answer(&stranger), Some("r-1"));
    }
    let others = house.exchange("search", body, &other.headers(), "same").await;
    assert!(!repeated(&others));
    assert_ne!(answer(&others)["session_id"], answer(&first)["session_id"]);
    assert_eq!((house.used("kiosk"), house.used("office")), ([0, 0, 1, 0], [0, 0, 1, 0]));

    // A 401 is not remembered: the key in time, and the request is done.
    let late = house.exchange("health", (b"{}", JSON), &[], "late").await;
    check_unauthorized(&answer(&late), None);
    let in_time = house.exchange("health", (b"{}", JSON), &app.headers(), "late").await;
    assert_eq!(answer(&in_time)["status"], 200);
    // Nor does a key that has ended get what it once got.
    house.terminal.json(&["app", "revoke", "kiosk"]);
    let revoked = house.exchange("search", body, &app.headers(), "same").await;
    check_unauthorized(&answer(&revoked), Some("r-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_once_and_kept_nowhere() {
    let mut terminal = Terminal::prepare(APP_KEY);
    // Before the daemon ever ran: by the command line itself.
    let made = terminal.json(&["app", "create", "kiosk", "--testing"]);
    assert_eq!(made["mode"], "testing");
    assert_eq!(made["quota"]["verify"], json!({"quota": 100, "used": 0, "left": 100}));
    assert_eq!(
        made["allow"],
        json!(["enroll", "verify", "search", "liveness", "compare", "subject"])
    );
    terminal.run();
    let second = terminal.json(&["app", "create", "office", "--allow", "search,admin"]);
    assert_eq!((&second["mode"], &second["allow"]), (&json!("live"), &json!(["search", "admin"])));
    assert!(second.get("quota").is_none(), "{second}");
    let third = terminal.json(&["app", "rotate", "office"]);

    let call = |made: &Value| {
        let mut command = terminal.command();
        command.args(["call", "health"]);
        command.env("DOORWARD_APP_ID", made["app_id"].as_str().unwrap());
        command.env("DOORWARD_API_KEY", made["api_key"].as_str().unwrap());
        let output = command.output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        (answer["status"].as_u64().unwrap(), output.status.code())
    };
    assert_eq!(call(&made), (200, Some(0)));
    assert_eq!(call(&second), (401, Some(3)));
    assert_eq!(call(&third), (200, Some(0)));
    assert_eq!(terminal.call("health", &json!({}))["status"], 401);

    let list = terminal.json(&["app", "list"]);
    let apps = list["applications"].as_array().unwrap();
    assert_eq!(apps.len(), 2);
    assert!(apps.iter().all(|app| app.get("api_key").is_none() && app["last_used"].is_u64()));
    let twice = terminal.json(&["app", "create", "kiosk"]);
    assert_eq!((&twice["status"], &twice["error_field"]), (&json!(400), &json!("name")));
    assert!(terminal.stop());

    let mut files = 0;
    for entry in fs::read_dir(terminal.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        let bytes = fs::read(&path).unwrap();
        for made in [&made, &second, &third] {
            let key = made["api_key"].as_str().unwrap();
            assert!(key.starts_with("dwk_") && key.len() == 36, "{key}");
            for trace in [&key.as_bytes()[4..20], &key.as_bytes()[20..]] {
                assert!(!bytes.windows(16).any(|window| window == trace), "{path:?}");
            }
        }
        files += usize::from(path.ends_with("applications.redb"));
    }
    assert_eq!(files, 1);
}

/// A client by its login: answers arrive below its own name.
async fn login(broker: &Mosquitto, (name, password): (&str, &str)) -> Asker {
    let mut options = MqttOptions::new(format!("{name}-1"), "127.0.0.1", broker.port());
    options.set_credentials(name, password);
    Asker::connect_with(options, &[&format!("doorward/front/client/{name}/#")]).await
}

/// Publishes a command on any topic; the answer goes below the name of `client`.
async fn command(asker: &Asker, client: &str, topic: &str, body: &Value, id: &str) {
    let properties = PublishProperties {
        // What names somebody else here is not believed.
        user_properties: vec![
            ("x-mqtt-client-id".into(), "office-1".into()),
            ("x-mqtt-sender".into(), "office".into()),
        ],
        ..reply_to(&format!("doorward/front/client/{client}/answers"), id)
    };
    let topic = format!("doorward/front/{topic}");
    let body = body.to_string();
    asker
        .client
        .publish_with_properties(topic, QoS::AtLeastOnce, false, body, properties)
        .await
        .unwrap();
}

/// Two logins, an access list that gives each its own `from/` topic, and a table.
#[tokio::test(flavor = "multi_thread")]
async fn clients_have_the_permissions_of_their_own_topic() {
    let broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
    let [(name, password), desk, office] = Mosquitto::LOGINS;
    let keys = format!(
        "host = \"localhost\"\nport = {}\nusername = {name:?}\npassword = {password:?}\n\
         clients = [\"desk: search verify\", \"office: enroll subject admin\"]",
        broker.port()
    );
    let terminal = Terminal::start(&keys);
    let (mut desk, mut office) = (login(&broker, desk).await, login(&broker, office).await);
    for attempt in 0..100 {
        let id = format!("heard-{attempt}");
        command(&desk, "desk", "from/desk/cmd/health", &json!({}), &id).await;
        if !desk.hears_nothing().await {
            break;
        }
        assert!(attempt < 99, "nobody listens: {}", terminal.log());
    }
    let face = pictures::face("obama");
    let enroll = json!({"image": face, "subject_id": "anna"});
    let groups = json!({"subject_id": "anna", "groups": ["staff"]});
    let search = json!({"image": face});
    let forbidden = denied(403, "PERMISSION_DENIED");
    let done = denied(200, "");
    let steps: [(bool, &str, &Value, &(u64, String)); 12] = [
        (false, "from/office/cmd/enroll", &enroll, &done),
        (false, "from/office/cmd/subject/update", &groups, &done),
        (false, "from/office/cmd/search", &search, &forbidden),
        (true, "from/desk/cmd/search", &search, &done),
        (true, "from/desk/cmd/enroll", &enroll, &forbidden),
        (true, "from/desk/cmd/subject/update", &groups, &forbidden),
        (true, "from/desk/cmd/app/list", &json!({}), &denied(400, "INVALID_PAYLOAD")),
        (true, "from/desk/cmd/health", &json!({}), &done),
        // Without a name it is nobody, although `mqtt.permissions` gives everything but `admin` and
        // the broker lets it write there.
        (true, "cmd/search", &search, &forbidden),
        (true, "cmd/enroll", &enroll, &forbidden),
        (true, "cmd/subject/delete", &groups, &forbidden),
        (true, "cmd/health", &json!({}), &forbidden),
    ];
    for (number, (is_desk, topic, body, expected)) in steps.into_iter().enumerate() {
        let (asker, name) = if is_desk { (&mut desk, "desk") } else { (&mut office, "office") };
        command(asker, name, topic, body, &format!("step-{number}")).await;
        assert_eq!(verdict(&asker.next_json().await), *expected, "{topic}");
    }
    // In another one's name the broker lets nothing through, whoever the answer is for.
    let before = terminal.json(&["gallery", "list"]);
    let delete = json!({"subject_id": "anna"});
    command(&desk, "desk", "from/office/cmd/subject/delete", &delete, "forged-1").await;
    command(&desk, "office", "from/office/cmd/subject/delete", &delete, "forged-2").await;
    command(&office, "office", "from/desk/cmd/search", &search, "forged-3").await;
    command(&office, "office", "cmd/health", &json!({}), "forged-4").await;
    assert!(desk.hears_nothing().await && office.hears_nothing().await);
    // Nor does it get a genuine answer put before another one.
    command(&desk, "office", "from/desk/cmd/search", &search, "planted").await;
    assert!(desk.hears_nothing().await && office.hears_nothing().await);
    let own = "doorward/front/response/, doorward/front/client/desk/";
    assert!(terminal.log().contains(own), "{}", terminal.log());
    assert_eq!(terminal.json(&["gallery", "list"])["subjects"], before["subjects"]);
}

//! Who may ask: keys and permissions of applications, on the real daemon over a real mosquitto. What
//! can fail: a request without a key that learns anything or is done, a fault told before the 401, a
//! revoked key that still works, a remembered answer for somebody else, a key that is kept.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/applications.rs"]
mod applications;
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

use applications::{APP_KEY, App, House, JPEG, JSON, denied, verdict};
use asker::{Asker, reply_to};
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use terminal::Terminal;

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
    let app = house.app(&["kiosk", "--testing", "--quota", "enroll=5"]);
    let other = house.app(&["office", "--testing", "--quota", "enroll=5"]);
    let text = json!({
        "image": pictures::face("obama"), "subject_id": "anna", "request_id": "r-1"
    });
    let text = text.to_string();
    let body = (text.as_bytes(), JSON);
    let answer = |message: &Publish| -> Value { serde_json::from_slice(&message.payload).unwrap() };
    let repeated = |message: &Publish| {
        let properties = &message.properties.as_ref().unwrap().user_properties;
        properties.contains(&("x-repeated".into(), "true".into()))
    };
    let first = house.exchange("enroll", body, &app.headers(), "same").await;
    assert!(!repeated(&first));
    let again = house.exchange("enroll", body, &app.headers(), "same").await;
    assert!(repeated(&again));
    assert_eq!(again.payload, first.payload);
    assert_eq!(house.used("kiosk"), [1, 0, 0, 0], "a repeat is not done again and costs nothing");

    // Without the key, with a wrong one, with another application's: nothing of that answer.
    for headers in [&[][..], &[("App-ID", app.id.as_str()), ("API-Key", "dwk_wrong")]] {
        let stranger = house.exchange("enroll", body, headers, "same").await;
        assert!(!repeated(&stranger));
        check_unauthorized(&answer(&stranger), Some("r-1"));
    }
    let others = house.exchange("enroll", body, &other.headers(), "same").await;
    assert!(!repeated(&others));
    assert_ne!(answer(&others)["session_id"], answer(&first)["session_id"]);
    assert_eq!((house.used("kiosk"), house.used("office")), ([1, 0, 0, 0], [1, 0, 0, 0]));

    // A 401 is not remembered: the key in time, and the request is done.
    let late = house.exchange("health", (b"{}", JSON), &[], "late").await;
    check_unauthorized(&answer(&late), None);
    let in_time = house.exchange("health", (b"{}", JSON), &app.headers(), "late").await;
    assert_eq!(answer(&in_time)["status"], 200);
    // Nor does a key that has ended get what it once got.
    house.terminal.json(&["app", "revoke", "kiosk"]);
    let revoked = house.exchange("enroll", body, &app.headers(), "same").await;
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

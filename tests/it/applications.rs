//! Tests the management of applications by applications, with the real daemon on a real mosquitto.
//! Failures: an application without `admin` manages others, one gives more than it has, a key is
//! sent twice or where others read it, a key is in the log, the audit log does not name who did it.

use crate::support::applications::{APP_KEY, App, JSON, Site, TOPIC, denied, verdict};
use crate::support::asker::{Asker, reply_to};
use crate::support::golden;
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::terminal::Terminal;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde_json::{Value, json};

const DENIED: (u64, &str) = (403, "PERMISSION_DENIED");

fn made(answer: &Value) -> App {
    assert_eq!(answer["status"], 200, "{answer}");
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    App { id: text("app_id"), key: text("api_key") }
}

fn audit_lines(terminal: &Terminal) -> Vec<Value> {
    let listed = terminal.cli(&["audit", "list"]).stdout;
    let text = String::from_utf8(listed).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_manages_applications_and_each_change_names_it() {
    let mut site = Site::start(APP_KEY).await;
    let admin = site.app(&["office", "--allow", "admin,search,verify"]);
    let create = json!({
        "name": "kiosk", "testing": true, "quota": ["search=2", "liveness=2"], "allow": ["search"]
    });
    let answer = site.ask(&admin, "application/create", &create).await;
    golden::check("application_create", &answer);
    let kiosk = made(&answer);
    assert_eq!(site.code(&kiosk, "health", &json!({})).await, denied(200, ""));

    // What the application did is in its usage.
    let face = json!({"image": crate::support::pictures::face("obama")});
    assert_eq!(site.code(&kiosk, "search", &face).await, denied(200, ""));
    let get = json!({"app": "kiosk"});
    let answer = site.ask(&admin, "application/get", &get).await;
    golden::check("application_get", &answer);
    assert_eq!(answer["quota"]["search"], json!({"quota": 2, "used": 1, "left": 1}));
    assert_eq!(answer["usage"], json!({"enroll": 0, "verify": 0, "search": 1, "liveness": 1}));
    assert!(answer["last_used"].is_u64() && answer.get("api_key").is_none(), "{answer}");
    let live = json!({"app": "kiosk", "testing": false});
    assert_eq!(site.ask(&admin, "application/update", &live).await["mode"], "live");
    assert_eq!(site.code(&kiosk, "search", &face).await, denied(200, ""));
    let answer = site.ask(&admin, "application/list", &json!({})).await;
    golden::check("application_list", &answer);
    let listed = &answer["applications"];
    assert_eq!((&listed[0]["name"], &listed[0]["usage"]["search"]), (&json!("kiosk"), &json!(2)));

    // An overlap, and none.
    let rotate = json!({"app": "kiosk", "grace_seconds": 600});
    let answer = site.ask(&admin, "application/rotate", &rotate).await;
    golden::check("application_rotate", &answer);
    let second = made(&answer);
    for key in [&kiosk, &second] {
        assert_eq!(site.code(key, "health", &json!({})).await, denied(200, ""));
    }
    let third = made(&site.ask(&admin, "application/rotate", &get).await);
    for key in [&kiosk, &second] {
        assert_eq!(site.code(key, "health", &json!({})).await, denied(401, ""));
    }
    assert_eq!(site.code(&third, "health", &json!({})).await, denied(200, ""));
    let answer = site.ask(&admin, "application/revoke", &get).await;
    golden::check("application_revoke", &answer);
    assert_eq!(site.code(&third, "health", &json!({})).await, denied(401, ""));
    // The last key with `admin` may end itself; the command line makes another.
    let own = json!({"app": admin.id});
    assert_eq!(site.code(&admin, "application/revoke", &own).await, denied(200, ""));
    assert_eq!(site.code(&admin, "application/list", &json!({})).await, denied(401, ""));
    let again = site.app(&["office", "--allow", "admin"]);
    assert_eq!(site.code(&again, "application/list", &json!({})).await, denied(200, ""));

    let log = audit_lines(&site.terminal);
    let done: Vec<_> = log
        .iter()
        .filter(|line| line["action"].as_str().unwrap().starts_with("application/"))
        .map(|line| (line["action"].as_str().unwrap(), line["by"].as_str().unwrap()))
        .collect();
    let by = format!("app:{}", admin.id);
    let expected = ["create", "update", "rotate", "rotate", "revoke", "revoke"];
    let expected = expected.map(|name| format!("application/{name}"));
    let expected: Vec<_> = [("application/create", "local")]
        .into_iter()
        .chain(expected.iter().map(|name| (name.as_str(), by.as_str())))
        .chain([("application/create", "local")])
        .collect();
    assert_eq!(done, expected);
    let all = format!("{}{}", site.terminal.log(), json!(log));
    for app in [&admin, &kiosk, &second, &third, &again] {
        assert!(!all.contains(&app.key[4..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_application_raises_rights() {
    let mut site = Site::start(APP_KEY).await;
    let plain = site.app(&["plain"]);
    let admin = site.app(&["office", "--allow", "admin,search"]);
    let strong = site.app(&["strong", "--allow", "admin,search,unlock"]);
    for operation in ["create", "list", "get", "update", "rotate", "revoke"] {
        let body = json!({"name": "x", "app": "office"});
        let code = site.code(&plain, &format!("application/{operation}"), &body).await;
        assert_eq!(code, denied(DENIED.0, DENIED.1), "{operation}");
    }
    let steps: [(&App, &str, Value, (u64, &str)); 9] = [
        (&admin, "create", json!({"name": "more", "allow": ["unlock"]}), DENIED),
        // All but admin and unlock, which is more than it has.
        (&admin, "create", json!({"name": "more"}), DENIED),
        (&admin, "update", json!({"app": "plain", "allow": ["unlock"]}), DENIED),
        (&admin, "update", json!({"app": "office", "allow": ["admin", "search"]}), DENIED),
        (&admin, "update", json!({"app": admin.id, "testing": true}), DENIED),
        // The new key of an application that has more.
        (&admin, "rotate", json!({"app": "strong"}), DENIED),
        (&admin, "update", json!({"app": "plain", "allow": ["search"]}), (200, "")),
        (&admin, "rotate", json!({"app": "office"}), (200, "")),
        (&strong, "update", json!({"app": "office", "allow": ["unlock"]}), (200, "")),
    ];
    for (app, operation, body, (status, code)) in steps {
        let answer = site.ask(app, &format!("application/{operation}"), &body).await;
        assert_eq!(verdict(&answer), denied(status, code), "{operation} {body}");
    }
}

/// The answer with a key: once, to its sender, never from memory, never where many read.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_sent_once_and_only_to_a_topic_of_the_sender() {
    let mut site = Site::start(APP_KEY).await;
    let admin = site.app(&["office", "--allow", "admin,search"]);
    let answer = |message: &Publish| -> Value { serde_json::from_slice(&message.payload).unwrap() };
    let body = json!({"name": "kiosk", "allow": ["search"], "request_id": "r-1"}).to_string();
    let body = (body.as_bytes(), JSON);
    let first = site.exchange("application/create", body, &admin.headers(), "same").await;
    let kiosk = made(&answer(&first));
    let again = site.exchange("application/create", body, &admin.headers(), "same").await;
    let properties = &again.properties.as_ref().unwrap().user_properties;
    assert!(properties.contains(&("x-repeated".into(), "true".into())));
    let repeated = answer(&again);
    assert_eq!((&repeated["status"], &repeated["app_id"]), (&json!(200), &json!(kiosk.id)));
    assert!(repeated.get("api_key").is_none(), "{repeated}");
    // A rotation is done once too: the first key stays valid.
    let rotate = json!({"app": "kiosk", "request_id": "r-2"}).to_string();
    let rotate = (rotate.as_bytes(), JSON);
    let first = site.exchange("application/rotate", rotate, &admin.headers(), "two").await;
    let kiosk = made(&answer(&first));
    let again = site.exchange("application/rotate", rotate, &admin.headers(), "two").await;
    assert!(answer(&again).get("api_key").is_none());
    assert_eq!(site.code(&kiosk, "health", &json!({})).await, denied(200, ""));

    // Below `response/` many may read.
    let shared = "doorward/front/response/application/rotate";
    let asker = Asker::connect(site.broker.port(), "reader", &[shared]).await;
    site.asker = asker;
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let user_properties: Vec<_> = admin.headers().map(text).into();
    for properties in [
        PublishProperties { user_properties: user_properties.clone(), ..Default::default() },
        PublishProperties { user_properties, ..reply_to(shared, "three") },
    ] {
        site.asker.send("application/rotate", br#"{"app": "kiosk"}"#, properties).await;
        let refused = site.asker.next_json().await;
        assert_eq!(verdict(&refused), denied(400, "INVALID_PAYLOAD"), "{refused}");
        assert!(refused["data"]["message"].as_str().unwrap().contains("Response Topic"));
    }
    site.asker = Asker::connect(site.broker.port(), "tester", &[TOPIC]).await;
    assert_eq!(site.code(&kiosk, "health", &json!({})).await, denied(200, ""), "not rotated");
}

/// Nothing that changes who may ask is done, and no key travels, where strangers can listen.
#[tokio::test(flavor = "multi_thread")]
async fn an_insecure_broker_gets_no_key() {
    let broker = Mosquitto::start(Wanted::default());
    let port = broker.port();
    // Anonymous, and not accepted by `allow_insecure`.
    let terminal = Terminal::start(&format!("host = \"localhost\"\nport = {port}\n{APP_KEY}"));
    let asker = Asker::connect(port, "tester", &[TOPIC]).await;
    let mut site = Site::of(terminal, asker, broker);
    site.wait_until_heard().await;
    let admin = site.app(&["office", "--allow", "admin,search"]);
    for (operation, body) in [
        ("create", json!({"name": "kiosk", "allow": ["search"]})),
        ("update", json!({"app": "office", "testing": true})),
        ("rotate", json!({"app": "office"})),
        ("revoke", json!({"app": "office"})),
    ] {
        let code = site.code(&admin, &format!("application/{operation}"), &body).await;
        assert_eq!(code, denied(403, "INSECURE_BROKER"), "{operation}");
    }
    let list = site.ask(&admin, "application/list", &json!({})).await;
    assert_eq!(list["applications"].as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_one_and_overlaps_keys() {
    let mut site = Site::start(APP_KEY).await;
    let old = site.app(&["kiosk"]);
    let shown = site.terminal.json(&["app", "get", "kiosk"]);
    assert_eq!((&shown["app_id"], &shown["mode"]), (&json!(old.id), &json!("live")));
    let rotated = site.terminal.json(&["app", "rotate", "kiosk", "--grace", "24h"]);
    let new = made(&rotated);
    let until = rotated["old_key_until"].as_f64().unwrap() - rotated["timestamp"].as_f64().unwrap();
    assert!((86_300.0..=86_401.0).contains(&until), "{rotated}");
    for key in [&old, &new] {
        assert_eq!(site.code(key, "health", &json!({})).await, denied(200, ""));
    }
    let refused = site.terminal.json(&["app", "rotate", "kiosk", "--grace", "31d"]);
    assert_eq!(refused["error_field"], "grace_seconds");
    // The overlap survives a restart, a revocation ends both.
    assert!(site.terminal.stop());
    site.restart().await;
    assert_eq!(site.code(&old, "health", &json!({})).await, denied(200, ""));
    site.terminal.json(&["app", "revoke", "kiosk"]);
    for key in [&old, &new] {
        assert_eq!(site.code(key, "health", &json!({})).await, denied(401, ""));
    }
}

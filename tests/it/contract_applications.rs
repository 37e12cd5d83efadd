//! Tests keys and permissions of applications, with the real daemon on a real mosquitto. Failures:
//! a request without a key is done or learns anything, a fault is reported before the 401, a
//! revoked key still works, a remembered answer goes to another application, a key is stored.

use crate::support::applications::{APP_KEY, App, JPEG, JSON, Site, denied, verdict};
use crate::support::asker::{Asker, reply_to};
use crate::support::terminal::Terminal;
use crate::support::{golden, pictures};
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Checks that an answer is exactly the 401 of the contract.
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
async fn missing_or_wrong_key_is_a_401_and_nothing_else() {
    let mut site = Site::start(APP_KEY).await;
    let (app, other) = (site.app(&["kiosk"]), site.app(&["office"]));
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
        for operation in
            ["search", "stats", "subject/list", "health", "open_sesame", "application/list"]
        {
            let answer = site.send(operation, (body.as_bytes(), JSON), properties).await;
            check_unauthorized(&answer, Some("r-1"));
            golden::check("authorization_failed", &answer);
        }
        let answer = site.send("search", (&picture, JPEG), properties).await;
        check_unauthorized(&answer, None);
        // A payload that is not a request, or has an unknown content type.
        for (payload, content_type) in [
            (&b"{"[..], JSON),
            (b"[1]", JSON),
            (b"\xff\xfe", JSON),
            (b"", JSON),
            (b"", None),
            (b"{}", Some("text/plain")),
            (b"GIF89a", Some("image/gif")),
        ] {
            let answer = site.send("search", (payload, content_type), properties).await;
            check_unauthorized(&answer, None);
        }
    }
    // In the body: a wrong key, a key of another type, or a body that is not an object.
    let inside = json!({"app_id": id, "api_key": key}).to_string();
    for text in [
        json!({"app_id": id, "api_key": cut}).to_string(),
        json!({"app_id": id}).to_string(),
        json!({"app_id": id, "api_key": [key]}).to_string(),
        json!([{"app_id": id, "api_key": key}]).to_string(),
        format!("{inside} trailing"),
        inside[..inside.len() - 1].to_owned(),
    ] {
        check_unauthorized(&site.send("health", (text.as_bytes(), JSON), &[]).await, None);
    }
    let properties = [("App-ID", id), ("API-Key", "wrong")];
    let answer = site.send("health", (inside.as_bytes(), JSON), &properties).await;
    check_unauthorized(&answer, None);

    // With the right key, in each of the possible places.
    for properties in [
        [("App-ID", id), ("API-Key", key)],
        [("app-id", id), ("api-key", key)],
        [("APP-ID", id), ("API-KEY", key)],
    ] {
        let answer = site.send("health", (b"{}", JSON), &properties).await;
        assert_eq!(verdict(&answer), denied(200, ""), "{properties:?}");
        let answer = site.send("search", (&picture, JPEG), &properties).await;
        assert_eq!(verdict(&answer), denied(400, "FACE_NOT_DETECTED"), "{properties:?}");
    }
    let answer = site.send("health", (inside.as_bytes(), JSON), &[]).await;
    assert_eq!(verdict(&answer), denied(200, ""));
    let fields = [("app_id", id), ("api_key", key), ("limit", "2")];
    let answer = site.send("search", (&picture, JPEG), &fields).await;
    assert_eq!(verdict(&answer), denied(400, "FACE_NOT_DETECTED"));
    // A client with a valid key gets the reason why the body is wrong.
    let answer = site.send("search", (b"{}", Some("text/plain")), &app.headers()).await;
    assert_eq!(verdict(&answer), denied(400, "INVALID_PAYLOAD"));

    // The command line needs no key, and the log contains none.
    let list = site.terminal.json(&["gallery", "list"]);
    assert_eq!(list["subjects"], json!([]));
    let log = site.terminal.log();
    assert!(log.contains("UNAUTHORIZED"), "{log}");
    for secret in [&app.key[4..], &other.key[4..]] {
        assert!(!log.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_401_comes_before_envelope_faults() {
    let mut site = Site::start(APP_KEY).await;
    let app = site.app(&["kiosk"]);
    let default = "doorward/front/response/enroll";
    site.asker = Asker::connect(site.broker.port(), "tester", &[default]).await;
    let unknown = App { id: app.id.clone(), key: "dwk_wrong".into() };
    for topic in ["doorward/front/cmd/unlock", "elsewhere/x", "doorward/back/client/tester"] {
        for (asker, status) in [(&unknown, 401), (&app, 400)] {
            let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let properties = PublishProperties {
                user_properties: asker.headers().map(text).into(),
                ..reply_to(topic, topic)
            };
            site.asker.send("enroll", br#"{"request_id": "r-1"}"#, properties).await;
            let answer = site.asker.next_json().await;
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
async fn check_order_is_401_400_403_image() {
    let mut site = Site::start(APP_KEY).await;
    let none = site.app(&["none", "--testing", "--quota", "enroll=1"]);
    let some = site.app(&["some", "--testing", "--quota", "search=1,liveness=1"]);
    // One fault for each step: the key, the payload, the image's form, a dependency, the limit, the
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
    let unknown = App { id: none.id.clone(), key: "dwk_wrong".into() };
    for (body, code) in &steps {
        check_unauthorized(&site.ask(&unknown, "search", body).await, None);
        for app in [&none, &some] {
            assert_eq!(site.code(app, "search", body).await, denied(400, code));
        }
    }
    for image in [garbage.as_str(), "camera:", "http://127.0.0.1:9/a.jpg"] {
        let body = json!({"image": image});
        check_unauthorized(&site.ask(&unknown, "search", &body).await, None);
        let answer = site.ask(&none, "search", &body).await;
        assert_eq!(verdict(&answer), denied(403, "INSUFFICIENT_QUOTA_SEARCH"));
        assert_eq!(answer["message"], "Insufficient search quota");
        golden::check("insufficient_quota_search", &answer);
        let expected = match image {
            "camera:" => denied(503, "CAMERA_UNAVAILABLE"),
            _ => denied(400, "INVALID_PAYLOAD_IMAGE_FORMAT"),
        };
        assert_eq!(site.code(&some, "search", &body).await, expected);
    }
    assert_eq!(site.used("some"), [0; 4], "the quota of a failed request is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_and_revoked_keys_stop_working_at_once() {
    let mut site = Site::start(APP_KEY).await;
    let old = site.app(&["kiosk", "--testing"]);
    let other = site.app(&["office"]);
    let health = json!({});
    assert_eq!(site.code(&old, "health", &health).await, denied(200, ""));

    let rotated = site.terminal.json(&["app", "rotate", "kiosk"]);
    assert_eq!(rotated["app_id"], old.id.as_str());
    let new = App { id: old.id.clone(), key: rotated["api_key"].as_str().unwrap().into() };
    assert_ne!(new.key, old.key);
    check_unauthorized(&site.ask(&old, "health", &health).await, None);
    assert_eq!(site.code(&new, "health", &health).await, denied(200, ""));

    let revoked = site.terminal.json(&["app", "revoke", &new.id]);
    assert_eq!((&revoked["status"], &revoked["name"]), (&json!(200), &json!("kiosk")));
    for app in [&old, &new] {
        check_unauthorized(&site.ask(app, "health", &health).await, None);
    }
    assert_eq!(site.code(&other, "health", &health).await, denied(200, ""));
    let again = site.terminal.json(&["app", "revoke", "kiosk"]);
    assert_eq!((&again["status"], &again["error_field"]), (&json!(400), &json!("app")));

    // A restart does not bring either key back.
    assert!(site.terminal.stop());
    site.restart().await;
    check_unauthorized(&site.ask(&new, "health", &health).await, None);
    assert_eq!(site.code(&other, "health", &health).await, denied(200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn application_does_only_what_it_is_allowed() {
    let mut site = Site::start(APP_KEY).await;
    let reader = site.app(&["reader", "--allow", "search,verify"]);
    let default = site.app(&["default"]);
    let admin = site.app(&["admin", "--allow", "enroll,subject,admin"]);
    let none = site.app(&["none", "--allow", ""]);
    let face = pictures::face("obama");
    let enroll = json!({"image": face, "subject_id": "anna"});
    let groups = json!({"subject_id": "anna", "groups": ["staff"]});
    let forbidden = denied(403, "PERMISSION_DENIED");

    assert_eq!(site.code(&reader, "enroll", &enroll).await, forbidden);
    // The 403 comes before faults of the payload: these help only permitted clients.
    assert_eq!(site.code(&reader, "enroll", &json!({"imag": 1})).await, forbidden);
    assert_eq!(site.code(&none, "search", &json!({"image": face})).await, forbidden);
    assert_eq!(site.code(&none, "health", &json!({})).await, denied(200, ""));
    assert_eq!(site.code(&default, "enroll", &enroll).await, denied(200, ""));
    assert_eq!(site.code(&reader, "search", &json!({"image": face})).await, denied(200, ""));
    assert_eq!(site.code(&default, "subject/update", &groups).await, forbidden);
    assert_eq!(site.code(&admin, "subject/update", &groups).await, denied(200, ""));
    // Only an admin may give a subject with a group a new face.
    assert_eq!(site.code(&default, "enroll", &enroll).await, forbidden);
    assert_eq!(site.code(&admin, "enroll", &enroll).await, denied(200, ""));
    assert_eq!(site.code(&admin, "search", &json!({"image": face})).await, forbidden);
    let gone = site.code(&default, "subject/delete", &json!({"subject_id": "anna"})).await;
    assert_eq!(gone, denied(200, ""), "deleting only removes access");
}

#[tokio::test(flavor = "multi_thread")]
async fn remembered_answer_goes_only_to_its_own_application() {
    let mut site = Site::start(APP_KEY).await;
    let app = site.app(&["kiosk", "--testing", "--quota", "enroll=5"]);
    let other = site.app(&["office", "--testing", "--quota", "enroll=5"]);
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
    let first = site.exchange("enroll", body, &app.headers(), "same").await;
    assert!(!repeated(&first));
    let again = site.exchange("enroll", body, &app.headers(), "same").await;
    assert!(repeated(&again));
    assert_eq!(again.payload, first.payload);
    assert_eq!(site.used("kiosk"), [1, 0, 0, 0], "a repeat is not done again and costs no quota");

    // Without the key, with a wrong key or another application's key: nothing of that answer.
    for headers in [&[][..], &[("App-ID", app.id.as_str()), ("API-Key", "dwk_wrong")]] {
        let stranger = site.exchange("enroll", body, headers, "same").await;
        assert!(!repeated(&stranger));
        check_unauthorized(&answer(&stranger), Some("r-1"));
    }
    let others = site.exchange("enroll", body, &other.headers(), "same").await;
    assert!(!repeated(&others));
    assert_ne!(answer(&others)["session_id"], answer(&first)["session_id"]);
    assert_eq!((site.used("kiosk"), site.used("office")), ([1, 0, 0, 0], [1, 0, 0, 0]));

    // A 401 is not remembered: with the right key the request is done.
    let late = site.exchange("health", (b"{}", JSON), &[], "late").await;
    check_unauthorized(&answer(&late), None);
    let in_time = site.exchange("health", (b"{}", JSON), &app.headers(), "late").await;
    assert_eq!(answer(&in_time)["status"], 200);
    // A revoked key does not get the remembered answer either.
    site.terminal.json(&["app", "revoke", "kiosk"]);
    let revoked = site.exchange("enroll", body, &app.headers(), "same").await;
    check_unauthorized(&answer(&revoked), Some("r-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_once_and_stored_nowhere() {
    let mut terminal = Terminal::prepare(APP_KEY);
    // Before the daemon first runs: by the command line itself.
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

/// A quota is raised, a permission taken, testing becomes live: the key stays.
#[tokio::test(flavor = "multi_thread")]
async fn applications_change_without_another_key() {
    let mut site = Site::start(APP_KEY).await;
    let app = site.app(&["kiosk", "--testing", "--quota", "search=0", "--allow", "search"]);
    let search = json!({"image": "aGVsbG8="});
    let code = async |site: &mut Site| site.code(&app, "search", &search).await;
    assert_eq!(code(&mut site).await, denied(403, "INSUFFICIENT_QUOTA_SEARCH"));
    let format = denied(400, "INVALID_PAYLOAD_IMAGE_FORMAT");
    let update = |site: &Site, arguments: &[&str]| {
        site.terminal.json(&[&["app", "update", "kiosk"], arguments].concat())
    };
    let changed = update(&site, &["--quota", "search=1,liveness=1"]);
    assert_eq!(
        (&changed["mode"], &changed["quota"]["search"]["quota"]),
        (&json!("testing"), &json!(1))
    );
    assert!(changed.get("api_key").is_none(), "{changed}");
    assert_eq!(code(&mut site).await, format);
    let changed = update(&site, &["--live"]);
    assert_eq!(changed["mode"], "live");
    assert_eq!(changed["allow"], json!(["search"]));
    for _ in 0..3 {
        assert_eq!(code(&mut site).await, format);
    }
    assert_eq!(update(&site, &["--allow", "verify"])["mode"], "live");
    assert_eq!(code(&mut site).await, denied(403, "PERMISSION_DENIED"));
    assert_eq!(update(&site, &["--allow", "search"])["status"], 200);
    assert_eq!(code(&mut site).await, format);
    for (wrong, field) in [(vec![], None), (vec!["--allow", "fly"], Some("allow"))] {
        let refused = update(&site, &wrong);
        assert_eq!(
            (refused["status"].as_u64(), refused["error_field"].as_str()),
            (Some(400), field)
        );
    }
}

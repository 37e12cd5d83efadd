//! A client written from the contract alone, over HTTP against the real daemon. Failures: a client
//! of the original has to change more than its base URL; a request without a key is done or learns
//! anything; a change is made twice.

use crate::support::http::{Connection, Reply, address, form};
use crate::support::pictures;
use crate::support::terminal::Terminal;
use serde_json::{Value, json};
use std::net::SocketAddr;

const JSON: &str = "application/json";

/// A terminal, and the application of its client.
struct Site {
    terminal: Terminal,
    address: SocketAddr,
    headers: [(String, String); 2],
}

impl Site {
    fn start(more: &str) -> Self {
        let terminal = Terminal::start(more);
        let address = address(&terminal);
        let headers = app(&terminal, &["kiosk"]);
        Self { terminal, address, headers }
    }

    fn headers(&self) -> [(&str, &str); 2] {
        self.headers.each_ref().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Reply {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let content_type = if body.is_null() { "" } else { JSON };
        let body = (text.as_bytes(), content_type);
        Connection::open(self.address).ask(method, path, &self.headers(), body)
    }

    fn face(&self, operation: &str, body: &Value) -> Reply {
        self.ask("POST", &format!("/v1/face/{operation}"), body)
    }
}

fn app(terminal: &Terminal, arguments: &[&str]) -> [(String, String); 2] {
    let made = terminal.json(&[&["app", "create"], arguments].concat());
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    [("App-ID".into(), text("app_id")), ("API-Key".into(), text("api_key"))]
}

fn is(reply: &Reply, status: u16, code: &str, field: &str) {
    assert_eq!(reply.verdict(), (status, code.into(), field.into()), "{}", reply.json());
    let json = reply.json();
    assert!(json.get("status").is_none(), "{json}");
    for name in ["message", "session_id", "timestamp"] {
        assert!(json.get(name).is_some(), "{json}");
    }
}

#[test]
fn every_operation_of_the_original_answers_as_documented() {
    let site = Site::start("");
    let (obama, biden) = (pictures::face("obama"), pictures::face("biden"));
    let reply = site.face("enroll", &json!({"image": obama, "subject_id": "anna"}));
    is(&reply, 200, "", "");
    assert_eq!(reply.json()["status_code"], "FACE-101");
    assert_eq!(reply.json()["subject_id"], "anna");
    assert_eq!(reply.header("content-type"), Some(JSON));
    let made = site.face("enroll", &json!({"image": biden})).json();
    let made = made["subject_id"].as_str().unwrap().to_owned();

    let body = json!({"image": obama, "subject_id": "anna", "request_id": "r-1"});
    let reply = site.face("verify", &body);
    is(&reply, 200, "", "");
    let answer = reply.json();
    assert_eq!(answer["similarity_status"], true);
    assert_eq!(
        (&answer["status_code"], &answer["request_id"]),
        (&json!("FACE-301"), &json!("r-1"))
    );
    is(&site.face("verify", &json!({"image": biden, "subject_id": "anna"})), 200, "FAIL_ON_16", "");

    let reply = site.face("search", &json!({"image": obama, "limit": 2}));
    assert_eq!(reply.json()["matches"][0]["subject_id"], "anna");
    assert_eq!(reply.json()["status_code"], "FACE-201");
    let reply = site.face("liveness", &json!({"image": obama}));
    assert_eq!(reply.json()["status_code"], "FACE-401");
    let reply = site.face("compare", &json!({"image_1": obama, "image_2": biden}));
    is(&reply, 200, "FAIL_ON_16", "");
    assert_eq!(reply.json()["status_code"], "FACE-501");

    // Both ways to delete.
    is(&site.ask("DELETE", "/v1/face/enroll", &json!({"subject_id": "anna"})), 200, "", "");
    is(&site.ask("DELETE", &format!("/v1/subjects/{made}"), &Value::Null), 200, "", "");
    assert_eq!(site.ask("GET", "/v1/subjects", &Value::Null).json()["subjects"], json!([]));
    is(
        &site.ask("DELETE", "/v1/face/enroll", &json!({"subject_id": "anna"})),
        400,
        "INVALID_PAYLOAD_SUBJECT_ID",
        "subject_id",
    );
}

#[test]
fn every_step_of_validation_has_its_code() {
    let site = Site::start("");
    let flat = pictures::base64(&pictures::jpeg(&pictures::flat()));
    let face = pictures::face("obama");
    is(&site.face("enroll", &json!({"image": face, "subject_id": "anna"})), 200, "", "");
    for (operation, body, code, field) in [
        ("search", json!([1]), "INVALID_PAYLOAD", ""),
        ("search", json!({}), "INVALID_PAYLOAD", ""),
        ("search", json!({"image": flat, "limt": 1}), "INVALID_PAYLOAD", "limt"),
        ("search", json!({"image": flat, "threshold": "82"}), "INVALID_PAYLOAD", "threshold"),
        ("verify", json!({"image": flat, "threshold": 82}), "INVALID_PAYLOAD", "threshold"),
        ("enroll", json!({"image": flat, "mode": "x"}), "INVALID_PAYLOAD", "mode"),
        ("search", json!({"limit": 1}), "MISSING_PAYLOAD_IMAGE", "image"),
        ("search", json!({"image": "", "limit": 1}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("search", json!({"image": "%"}), "INVALID_PAYLOAD_IMAGE_MISSING", "image"),
        ("compare", json!({"image_1": flat}), "MISSING_PAYLOAD_IMAGE_2", "image_2"),
        ("verify", json!({"image": flat}), "MISSING_PAYLOAD_SUBJECT_ID", "subject_id"),
        (
            "verify",
            json!({"image": flat, "subject_id": null}),
            "INVALID_PAYLOAD_SUBJECT_ID_MISSING",
            "subject_id",
        ),
        (
            "verify",
            json!({"image": flat, "subject_id": "x"}),
            "INVALID_PAYLOAD_SUBJECT_ID",
            "subject_id",
        ),
        (
            "search",
            json!({"image": flat, "is_quality": false, "validate_quality": true}),
            "INVALID_PAYLOAD_QUALITY_VALIDATION_DEPENDENCY",
            "validate_quality",
        ),
        (
            "search",
            json!({"image": flat, "is_attribute": false, "validate_attribute": true}),
            "INVALID_PAYLOAD_ATTRIBUTE_VALIDATION_DEPENDENCY",
            "validate_attribute",
        ),
        (
            "search",
            json!({"image": flat, "is_liveness": false, "validate_liveness": true}),
            "INVALID_PAYLOAD_LIVENESS_VALIDATION_DEPENDENCY",
            "validate_liveness",
        ),
        (
            "verify",
            json!({"image": flat, "subject_id": "anna", "threshold": "x"}),
            "INVALID_PAYLOAD_THRESHOLD_MISSING",
            "threshold",
        ),
        (
            "search",
            json!({"image": flat, "threshold": 101}),
            "INVALID_PAYLOAD_THRESHOLD",
            "threshold",
        ),
        ("search", json!({"image": flat, "limit": 1.5}), "INVALID_PAYLOAD_LIMIT", "limit"),
        (
            "search",
            json!({"image": pictures::base64(b"no picture")}),
            "INVALID_PAYLOAD_IMAGE_FORMAT",
            "image",
        ),
        (
            "search",
            json!({"image": pictures::base64(&vec![0xFF; (5 << 20) + 1])}),
            "INVALID_PAYLOAD_IMAGE_SIZE",
            "image",
        ),
        ("search", json!({"image": flat}), "FACE_NOT_DETECTED", "image"),
    ] {
        is(&site.face(operation, &body), 400, code, field);
    }
    is(&site.face("search", &json!({"image": "camera:"})), 503, "CAMERA_UNAVAILABLE", "image");
    let two = pictures::base64(&pictures::jpeg(&pictures::two_people()));
    let reply = site.face("search", &json!({"image": two, "validate_nface": true}));
    is(&reply, 200, "FAIL_ON_8", "");
    assert_eq!(reply.json()["message"], "fail on number of face (nface)");
    // A field in the address beside a JSON body is not ignored.
    let reply = site.ask("POST", "/v1/face/search?validate_nface=true", &json!({"image": face}));
    is(&reply, 400, "INVALID_PAYLOAD", "validate_nface");
}

#[test]
fn quotas_and_permissions_are_those_of_the_application() {
    let site = Site::start("");
    let testing = app(&site.terminal, &["small", "--testing", "--quota", "search=1"]);
    let headers = testing.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let body = json!({"image": pictures::face("obama"), "is_liveness": false}).to_string();
    let ask =
        |path| Connection::open(site.address).ask("POST", path, &headers, (body.as_bytes(), JSON));
    is(&ask("/v1/face/search"), 200, "", "");
    is(&ask("/v1/face/search"), 403, "INSUFFICIENT_QUOTA_SEARCH", "");
    assert_eq!(ask("/v1/face/search").json()["message"], "Insufficient search quota");
    is(&site.ask("POST", "/v1/unlock", &json!({"reason": "x"})), 403, "PERMISSION_DENIED", "");
    is(&site.ask("GET", "/v1/events", &Value::Null), 403, "PERMISSION_DENIED", "");
}

#[test]
fn without_a_right_key_there_is_a_401_and_nothing_else() {
    let site = Site::start("");
    let [(_, id), (_, key)] = &site.headers;
    let body = json!({"request_id": "r-1"}).to_string();
    let paths = [
        ("POST", "/v1/face/search"),
        ("GET", "/v1/health"),
        ("GET", "/v1/stats"),
        ("GET", "/v1/events"),
        ("GET", "/v1/subjects/anna"),
        ("POST", "/v1/unlock"),
    ];
    let wrong: [&[(&str, &str)]; 3] =
        [&[], &[("App-ID", id)], &[("App-ID", id), ("API-Key", "wrong")]];
    // Few, because wrong keys are slowed.
    for ((method, path), headers) in paths.into_iter().zip(wrong.into_iter().cycle()) {
        let mut connection = Connection::open(site.address);
        let reply = connection.ask(method, path, headers, (body.as_bytes(), JSON));
        let answer = reply.json();
        let names: Vec<_> = answer.as_object().unwrap().keys().cloned().collect();
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(names, ["message", "session_id", "timestamp", "request_id"], "{path}");
        assert_eq!(answer["message"], "Authorization failed");
    }
    for (body, content_type) in [(&b"{"[..], JSON), (b"{}", "text/plain"), (b"GIF89a", "image/gif")]
    {
        let mut connection = Connection::open(site.address);
        let reply = connection.ask("POST", "/v1/face/search", wrong[1], (body, content_type));
        assert_eq!(reply.status, 401, "{content_type}");
    }
    // In the body, as the contract allows.
    let body = json!({"app_id": id, "api_key": key}).to_string();
    let reply =
        Connection::open(site.address).ask("GET", "/v1/health", &[], (body.as_bytes(), JSON));
    is(&reply, 200, "", "");
    let reply = Connection::open(site.address).ask(
        "POST",
        "/v1/face/search",
        &site.headers(),
        (b"{}", "text/plain"),
    );
    is(&reply, 400, "INVALID_PAYLOAD", "");
    assert!(!site.terminal.log().contains(&key[4..]));
}

#[test]
fn forms_and_raw_pictures_are_read_like_json() {
    let site = Site::start("");
    let (obama, biden) =
        (pictures::jpeg(&pictures::scaled("obama")), pictures::jpeg(&pictures::scaled("biden")));
    let send = |path: &str, parts: &[(&str, Option<&str>, &[u8])]| {
        let (body, content_type) = form(parts);
        Connection::open(site.address).ask("POST", path, &site.headers(), (&body, &content_type))
    };
    let reply =
        send("/v1/face/enroll", &[("image", Some("a.jpg"), &obama), ("subject_id", None, b"anna")]);
    is(&reply, 200, "", "");
    let reply = send("/v1/face/search", &[("image", Some("a.jpg"), &obama), ("limit", None, b"2")]);
    assert_eq!(reply.json()["matches"][0]["subject_id"], "anna");
    let reply = send(
        "/v1/face/compare",
        &[("image_1", Some("a.jpg"), &obama), ("image_2", Some("b.jpg"), &biden)],
    );
    is(&reply, 200, "FAIL_ON_16", "");
    let reply = send("/v1/face/search", &[("image", None, pictures::face("obama").as_bytes())]);
    is(&reply, 200, "", "");
    let reply = send("/v1/face/search", &[("image", Some("a.jpg"), b""), ("limit", None, b"2")]);
    is(&reply, 400, "INVALID_PAYLOAD_IMAGE_MISSING", "image");
    let reply = send("/v1/face/search", &[("limit", None, b"x"), ("image", Some("a"), &obama)]);
    is(&reply, 400, "INVALID_PAYLOAD", "limit");
    let broken = (&b"--b0undary\r\n"[..], "multipart/form-data; boundary=b0undary");
    let path = "/v1/face/search";
    let reply = Connection::open(site.address).ask("POST", path, &site.headers(), broken);
    is(&reply, 400, "INVALID_PAYLOAD", "");
    let raw = (&obama[..], "image/jpeg");
    let path = "/v1/face/search?limit=2&is_liveness=false";
    let reply = Connection::open(site.address).ask("POST", path, &site.headers(), raw);
    assert_eq!(reply.json()["matches"][0]["subject_id"], "anna");
    assert!(reply.json().get("liveness").is_none());
}

#[test]
fn subjects_are_listed_read_changed_and_deleted() {
    let site = Site::start("");
    for id in ["a", "b:1", "c@x"] {
        let body = json!({"image": pictures::face("obama"), "subject_id": id});
        is(&site.face("enroll", &body), 200, "", "");
    }
    let page = site.ask("GET", "/v1/subjects?limit=2", &Value::Null).json();
    assert_eq!(page["subjects"].as_array().unwrap().len(), 2);
    let path = format!("/v1/subjects?limit=2&cursor={}", page["cursor"].as_str().unwrap());
    let page = site.ask("GET", &path, &Value::Null).json();
    assert_eq!(page["subjects"][0]["subject_id"], "c@x");
    for path in ["/v1/subjects/b:1", "/v1/subjects/b%3A1"] {
        assert_eq!(site.ask("GET", path, &Value::Null).json()["subject_id"], "b:1");
    }
    let reply = site.ask("PATCH", "/v1/subjects/a", &json!({"name": "Anna"}));
    assert_eq!(reply.json()["name"], "Anna");
    let twice = json!({"name": "Anna", "subject_id": "b:1"});
    is(&site.ask("PATCH", "/v1/subjects/a", &twice), 400, "INVALID_PAYLOAD", "");
    let groups = json!({"groups": ["staff"]});
    is(&site.ask("PATCH", "/v1/subjects/a", &groups), 403, "PERMISSION_DENIED", "");
    is(
        &site.ask("GET", "/v1/subjects?limit=0", &Value::Null),
        400,
        "INVALID_PAYLOAD_LIMIT",
        "limit",
    );
    is(
        &site.ask("GET", "/v1/subjects/zoe", &Value::Null),
        400,
        "INVALID_PAYLOAD_SUBJECT_ID",
        "subject_id",
    );
    is(&site.ask("DELETE", "/v1/subjects/a", &Value::Null), 200, "", "");
    assert_eq!(site.terminal.json(&["gallery", "list"])["subjects"].as_array().unwrap().len(), 2);
}

/// Two requests with one id at the same time, and one later, store one face.
#[test]
fn a_repeated_change_is_made_once() {
    let site = Site::start("");
    let body = json!({"image": pictures::face("obama"), "request_id": "once"}).to_string();
    let send = || {
        let mut connection = Connection::open(site.address);
        connection.ask("POST", "/v1/face/enroll", &site.headers(), (body.as_bytes(), JSON)).json()
    };
    let first: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let again = send();
    assert!(first.iter().all(|answer| *answer == again), "{first:?}");
    // Another application is another sender.
    let other = app(&site.terminal, &["other"]);
    let headers = other.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut connection = Connection::open(site.address);
    let answer =
        connection.ask("POST", "/v1/face/enroll", &headers, (body.as_bytes(), JSON)).json();
    assert_ne!(answer["subject_id"], again["subject_id"]);
    assert_eq!(site.ask("GET", "/v1/stats", &Value::Null).json()["gallery"]["subjects"], 2);
}

#[test]
fn events_are_paged_and_streamed_and_a_revoked_key_ends_the_stream() {
    let mut site = Site::start("");
    site.headers = app(&site.terminal, &["boss", "--allow", "admin,enroll,subject"]);
    let enroll = |id: &str| {
        let body = json!({"image": pictures::face("obama"), "subject_id": id});
        is(&site.face("enroll", &body), 200, "", "");
    };
    enroll("anna");
    enroll("bob");
    let page = site.ask("GET", "/v1/events?limit=1", &Value::Null).json();
    assert_eq!((&page["lines"][0]["line"], &page["next"]), (&json!(1), &json!(2)));
    let page = site.ask("GET", "/v1/events?subject_id=anna&kind=enroll", &Value::Null).json();
    let lines = page["lines"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[0]["subject_id"]), (1, &json!("anna")), "{page}");
    let line = lines[0]["line"].as_u64().unwrap();
    is(&site.ask("GET", "/v1/events?after=x", &Value::Null), 400, "INVALID_PAYLOAD", "after");

    let [(_, id), (_, key)] = &site.headers;
    let mut stream = Connection::open(site.address);
    let head = format!(
        "GET /v1/events?kind=enroll HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         App-ID: {id}\r\nAPI-Key: {key}\r\nLast-Event-ID: {line}\r\n\r\n"
    );
    stream.send(head.as_bytes()).unwrap();
    let reply = stream.reply().unwrap();
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let next = |stream: &mut Connection| loop {
        let text = stream.event()?;
        if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
            return Some(serde_json::from_str::<Value>(data).unwrap());
        }
    };
    assert_eq!(next(&mut stream).unwrap()["subject_id"], "bob");
    enroll("carl");
    assert_eq!(next(&mut stream).unwrap()["subject_id"], "carl");
    assert_eq!(site.terminal.json(&["app", "revoke", "boss"])["status"], 200);
    assert!(next(&mut stream).is_none());
}

#[test]
fn monitoring_shows_no_secret_and_its_numbers_need_a_key() {
    let site = Site::start("");
    is(&site.face("search", &json!({"image": pictures::face("obama")})), 200, "", "");
    let get = |path| Connection::open(site.address).ask("GET", path, &[], (b"", ""));
    assert_eq!(get("/healthz").json(), json!({"status": "alive"}));
    assert_eq!(get("/readyz").json(), json!({"status": "ready"}));
    assert_eq!(get("/metrics").status, 401);
    let metrics = site.ask("GET", "/metrics", &Value::Null);
    let metrics = String::from_utf8(metrics.body).unwrap();
    for name in [
        "doorward_stage_seconds_bucket{le=\"0.001\",stage=\"decode\"}",
        "doorward_stage_seconds_count{stage=\"embed\"} 1",
        "doorward_requests_total{operation=\"search\",code=\"OK\"} 1",
        "doorward_outbox_depth",
        "doorward_gallery_templates 0",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "no {name}:\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    let described = get("/openapi.json").json();
    assert_eq!(described["openapi"], "3.1.0");
    assert!(described["paths"]["/v1/face/search"]["post"].is_object());
    is(&get("/"), 404, "NOT_FOUND", "");
    let reply = get("/v1/face/search");
    is(&reply, 405, "METHOD_NOT_ALLOWED", "");
    assert_eq!(reply.header("allow"), Some("POST"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

//! Tests the real binary with real pictures on a real mosquitto, as with a broker on another
//! machine: logins, certificates, access lists, crash and restart of the broker, stale and repeated
//! commands, large pictures.

use crate::support::asker::{Asker, reply_to};
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::slow_pictures;
use crate::support::terminal::{Terminal, portrait};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const LARGEST: usize = 5 << 20;

/// Returns the `[mqtt]` keys for this broker.
fn keys(broker: &Mosquitto, more: &str) -> String {
    format!("host = \"localhost\"\nport = {}\n{more}\n", broker.port())
}

fn login((name, password): (&str, &str)) -> String {
    format!("username = {name:?}\npassword = {password:?}\n")
}

fn tls(broker: &Mosquitto, client_certificate: bool) -> String {
    let mut keys = format!("tls = true\nca_file = {:?}\n", broker.file("ca.pem"));
    if client_certificate {
        keys += &format!("client_cert_file = {:?}\n", broker.file("client.pem"));
        keys += &format!("client_key_file = {:?}\n", broker.file("client.key"));
    }
    keys
}

/// Runs `doorward call` as another system would, with its own `[mqtt]` keys.
fn call_as(terminal: &Terminal, keys: &str, arguments: &[&str]) -> Output {
    let config = terminal.file("another.toml");
    let text =
        format!("[device]\nid = \"front\"\ndata_dir = \"/nonexistent/data\"\n[mqtt]\n{keys}");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.arg("--config").arg(config).arg("call").args(arguments).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until the daemon's log contains a text.
fn logged(terminal: &Terminal, text: &str) {
    let started = Instant::now();
    while !terminal.log().contains(text) {
        assert!(started.elapsed() < Duration::from_secs(30), "no {text:?}: {}", terminal.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a daemon on the broker and waits until it is connected. On an anonymous broker it is
/// configured to accept that.
fn online(broker: &Mosquitto, more: &str) -> Terminal {
    let login = ["username", "client_cert_file"].iter().any(|key| more.contains(key));
    let accepted = if login { "" } else { "allow_insecure = true\n" };
    let terminal = Terminal::start(&keys(broker, &format!("{accepted}{more}")));
    logged(&terminal, "connected to");
    terminal
}

fn subjects(terminal: &Terminal) -> Vec<String> {
    let list = terminal.json(&["gallery", "list"]);
    let of = |subject: &Value| subject["subject_id"].as_str().unwrap().to_owned();
    list["subjects"].as_array().unwrap().iter().map(of).collect()
}

/// Returns the properties of a picture with fields.
fn picture(reply: PublishProperties, fields: &[(&str, &str)]) -> PublishProperties {
    let fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    PublishProperties {
        content_type: Some("image/jpeg".into()),
        user_properties: fields.collect(),
        ..reply
    }
}

#[test]
fn people_are_recognised_over_tls_with_login_and_access_list() {
    let broker = Mosquitto::start(Wanted { logins: true, tls: true, ..Wanted::default() });
    let [own, desk, _] = Mosquitto::LOGINS;
    let tls = tls(&broker, false);
    let terminal = online(&broker, &(login(own) + &tls));
    let desk = keys(&broker, &(login(desk) + &tls));
    let ask = |operation: &str, body: Value, image: &str| {
        let image = portrait(image).display().to_string();
        call_as(&terminal, &desk, &[operation, &body.to_string(), "--image", &image])
    };

    let output = ask("enroll", json!({ "subject_id": "obama" }), "obama");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(json_of(&output)["status_code"], "FACE-101");

    let same = ask("verify", json!({ "subject_id": "obama" }), "obama2");
    assert_eq!(same.status.code(), Some(0));
    assert_eq!(json_of(&same)["similarity_status"], true);
    let other = ask("verify", json!({ "subject_id": "obama" }), "biden");
    assert_eq!(other.status.code(), Some(1));
    let other = json_of(&other);
    assert_eq!((&other["status"], &other["error_code"]), (&json!(200), &json!("FAIL_ON_16")));
    assert_eq!(other["similarity_status"], false);

    let found = json_of(&ask("search", json!({}), "obama3"));
    assert_eq!(found["matches"][0]["subject_id"], "obama", "{found}");
    let no_match = ask("search", json!({}), "biden");
    assert_eq!(no_match.status.code(), Some(1));
    assert_eq!(json_of(&no_match)["matches"], json!([]));

    // The access list lets the terminal's own login answer, but not send commands.
    let output = terminal.cli(&["call", "health"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("access list"), "{}", stderr(&output));
    assert!(!terminal.log().contains(Mosquitto::LOGINS[0].1), "the password is in the log");
}

#[test]
fn client_certificate_is_sent_to_the_broker() {
    let broker =
        Mosquitto::start(Wanted { tls: true, client_certificates: true, ..Wanted::default() });
    let terminal = online(&broker, &tls(&broker, true));
    assert_eq!(terminal.call("health", &json!({}))["status"], 200);
    drop(terminal);
    let terminal = Terminal::start(&keys(&broker, &tls(&broker, false)));
    logged(&terminal, "mqtt.client_cert_file");
    assert_eq!(terminal.json(&["gallery", "list"])["status"], 200);
}

#[test]
fn wrong_password_is_logged_and_the_terminal_works() {
    let mut broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
    let mut terminal = Terminal::start(&keys(&broker, &login(("terminal", "n3w"))));
    logged(&terminal, "set mqtt.username and mqtt.password");
    // The terminal itself works without the broker.
    assert_eq!(terminal.json(&["gallery", "list"])["status"], 200);

    // The broker's administrator sets the password that the terminal has.
    let passwords = broker.file("passwords");
    let status = Command::new("mosquitto_passwd")
        .arg("-b")
        .arg(&passwords)
        .args(["terminal", "n3w"])
        .status();
    assert!(status.unwrap().success());
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o644)).unwrap();
    broker.kill();
    broker.revive();
    logged(&terminal, "connected to");
    let desk = keys(&broker, &login(Mosquitto::LOGINS[1]));
    assert_eq!(json_of(&call_as(&terminal, &desk, &["health"]))["status"], 200);
    assert!(!terminal.log().contains("n3w"));
    assert!(terminal.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_and_health_survive_crashes_of_daemon_and_broker() {
    let mut broker = Mosquitto::start(Wanted::default());
    let mut watcher = Asker::connect(broker.port(), "w", &["doorward/front/#"]).await;
    let mut terminal = online(&broker, "");
    watcher.wait_for("availability", "online").await;
    let mut late = Asker::connect(broker.port(), "late", &["doorward/front/state/health"]).await;
    let health = late.next().await;
    assert!(health.retain);
    let health: Value = serde_json::from_slice(&health.payload).unwrap();
    assert_eq!((&health["health"], &health["device_id"]), (&json!("up"), &json!("front")));

    assert!(terminal.stop());
    watcher.wait_for("availability", "stopped").await;
    terminal.run();
    watcher.wait_for("availability", "online").await;
    terminal.kill();
    watcher.wait_for("availability", "offline").await;
    let mut late = Asker::connect(broker.port(), "later", &["doorward/front/availability"]).await;
    let last = late.next().await;
    assert!(last.retain && last.payload == "offline");

    // The broker crashes, forgets everything and returns while the daemon runs.
    terminal.run();
    watcher.wait_for("availability", "online").await;
    broker.kill();
    logged(&terminal, "next attempt in");
    std::thread::sleep(Duration::from_millis(1200));
    broker.revive();
    let filters = ["doorward/front/#"];
    let mut watcher = Asker::connect(broker.port(), "again", &filters).await;
    watcher.wait_for("availability", "online").await;
    let answer = terminal.call_with("search", &json!({}), &portrait("biden"));
    assert_eq!((&answer["status"], &answer["matches"]), (&json!(200), &json!([])));
    assert!(terminal.stop());
    watcher.wait_for("availability", "stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_request_is_answered_and_done_once() {
    const MINE: &str = "doorward/front/client/desk";
    let broker = Mosquitto::start(Wanted::default());
    let terminal = online(&broker, "");
    let mut asker = Asker::connect(broker.port(), "desk", &[MINE]).await;
    let photo = fs::read(portrait("obama")).unwrap();
    let fields = [("subject_id", "ada"), ("mode", "add")];
    let templates =
        || terminal.call("subject/get", &json!({ "subject_id": "ada" }))["templates"].clone();

    // The second arrives while the first is processed, the third after its answer.
    let same = || picture(reply_to(MINE, "one"), &fields);
    asker.send("enroll", &photo, same()).await;
    asker.send("enroll", &photo, same()).await;
    let (first, second) = (asker.next_json().await, asker.next_json().await);
    assert_eq!((&first["status"], &first["subject_id"]), (&json!(200), &json!("ada")));
    assert_eq!(first, second);
    asker.send("enroll", &photo, same()).await;
    let third = asker.next().await;
    assert_eq!(serde_json::from_slice::<Value>(&third.payload).unwrap(), first);
    let properties = third.properties.unwrap();
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"one"[..]));
    assert!(properties.user_properties.contains(&("x-repeated".into(), "true".into())));
    assert_eq!(templates(), 1);

    // Another request with the same content is another request.
    asker.send("enroll", &photo, picture(reply_to(MINE, "two"), &fields)).await;
    assert_ne!(asker.next_json().await["session_id"], first["session_id"]);
    assert_eq!(templates(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_requests_are_not_done() {
    const MINE: &str = "doorward/front/client/desk";
    let broker = Mosquitto::start(Wanted::default());
    let mut terminal = online(&broker, "[image_url]\nallow = [\"127.0.0.1:*\"]");
    let mut asker = Asker::connect(broker.port(), "desk", &[MINE]).await;
    let photo = fs::read(portrait("obama")).unwrap();
    let enroll = |id: &str| picture(reply_to(MINE, id), &[("subject_id", id)]);

    // Retained: sent while the daemon runs, and delivered again when it returns.
    asker
        .client
        .publish_with_properties(
            "doorward/front/cmd/enroll",
            QoS::AtLeastOnce,
            true,
            photo.clone(),
            enroll("retained"),
        )
        .await
        .unwrap();
    logged(&terminal, "dropped a retained command");

    // Expired: its picture arrives after the expiry.
    let (url, _) = slow_pictures::serve(&portrait("obama"), Duration::from_millis(1500));
    let body = json!({ "image": url, "subject_id": "expired" }).to_string();
    let short = PublishProperties { message_expiry_interval: Some(1), ..reply_to(MINE, "expired") };
    asker.send("enroll", body.as_bytes(), short).await;
    logged(&terminal, "request expired");
    assert!(asker.hears_nothing().await);

    // Sent while the daemon was away, after a clean stop and after a power cut.
    assert!(terminal.stop());
    asker.send("enroll", &photo, enroll("away")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    terminal.run();
    logged(&terminal, "connected to");
    terminal.kill();
    asker.send("enroll", &photo, enroll("dead")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    terminal.run();
    logged(&terminal, "connected to");
    assert!(asker.hears_nothing().await);
    assert_eq!(subjects(&terminal), [""; 0]);

    // A request to a running daemon is done.
    asker.send("enroll", &photo, enroll("fresh")).await;
    assert_eq!(asker.next_json().await["status"], 200);
    assert_eq!(subjects(&terminal), ["fresh"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_get_their_own_answers() {
    let broker = Mosquitto::start(Wanted::default());
    let terminal = online(&broker, "[service]\nqueue = 64");
    for name in ["obama", "biden"] {
        let image = portrait(name).display().to_string();
        assert_eq!(terminal.json(&["enroll", &image, "--subject-id", name])["status"], 200);
    }
    let client = |name: &'static str| {
        let port = broker.port();
        async move {
            let topic = format!("doorward/front/client/{name}");
            let mut asker = Asker::connect(port, name, &[&topic]).await;
            let photo = fs::read(portrait(name)).unwrap();
            for number in 0..5 {
                // Both count from 0, as real clients do.
                let reply = reply_to(&topic, &number.to_string());
                asker.send("search", &photo, picture(reply, &[])).await;
            }
            let mut numbers = Vec::new();
            for _ in 0..5 {
                let answer = asker.next().await;
                assert_eq!(answer.topic, topic);
                let correlation = answer.properties.unwrap().correlation_data.unwrap();
                numbers.push(String::from_utf8(correlation.to_vec()).unwrap());
                let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
                assert_eq!(answer["matches"][0]["subject_id"], name, "{answer}");
            }
            numbers.sort();
            assert_eq!(numbers, ["0", "1", "2", "3", "4"]);
            assert!(asker.hears_nothing().await);
        }
    };
    tokio::join!(client("obama"), client("biden"));
}

/// Pads a portrait with JPEG comments to `bytes` bytes; it stays a valid JPEG.
fn padded(bytes: usize) -> Vec<u8> {
    let photo = fs::read(portrait("obama")).unwrap();
    let mut large = photo[..2].to_vec();
    let mut missing = bytes - photo.len();
    while missing > 0 {
        // Marker and length take 4 bytes; the remainder is never less than that.
        let segment = if missing > 60_000 { 50_000 } else { missing };
        large.extend([0xff, 0xfe]);
        large.extend(u16::try_from(segment - 2).unwrap().to_be_bytes());
        large.extend(std::iter::repeat_n(b'x', segment - 4));
        missing -= segment;
    }
    large.extend(&photo[2..]);
    assert_eq!(large.len(), bytes);
    large
}

#[tokio::test(flavor = "multi_thread")]
async fn five_mebibytes_pass_and_more_do_not() {
    const MINE: &str = "doorward/front/client/desk";
    let broker = Mosquitto::start(Wanted::default());
    let terminal = online(&broker, "");
    let mut asker = Asker::connect(broker.port(), "desk", &[MINE]).await;
    for (bytes, status, code) in
        [(LARGEST, 200, Value::Null), (LARGEST + 1, 400, json!("INVALID_PAYLOAD_IMAGE_SIZE"))]
    {
        let photo = padded(bytes);
        let fields = [("subject_id", "large")];
        let binary = picture(reply_to(MINE, &format!("binary {bytes}")), &fields);
        asker.send("enroll", &photo, binary).await;
        let answer = asker.next_json().await;
        assert_eq!((&answer["status"], &answer["error_code"]), (&json!(status), &code), "{answer}");

        let body = json!({ "image": STANDARD.encode(&photo), "subject_id": "large" }).to_string();
        asker.send("enroll", body.as_bytes(), reply_to(MINE, &format!("json {bytes}"))).await;
        let answer = asker.next_json().await;
        assert_eq!((&answer["status"], &answer["error_code"]), (&json!(status), &code), "{answer}");

        // The same with the command line: through the broker, and over the local socket.
        let file = terminal.file("large.jpg");
        fs::write(&file, &photo).unwrap();
        assert_eq!(terminal.call_with("search", &json!({}), &file)["error_code"], code);
        assert_eq!(terminal.json(&["search", file.to_str().unwrap()])["error_code"], code);
    }
}

#[test]
fn enrolment_over_an_open_network_is_refused() {
    let Some(address) = own_address() else {
        eprintln!("SKIPPED enrolment_over_an_open_network_is_refused: no address besides loopback");
        return;
    };
    let Some(broker) = Mosquitto::start_on(address, Wanted::default()) else {
        eprintln!("SKIPPED enrolment_over_an_open_network_is_refused: cannot listen on {address}");
        return;
    };
    let keys = format!("host = \"{address}\"\nport = {}\n", broker.port());
    let terminal = Terminal::start(&keys);
    logged(&terminal, "connected to");
    assert!(terminal.log().contains("set mqtt.tls = true"), "{}", terminal.log());
    let photo = portrait("obama");
    let answer = terminal.call_with("enroll", &json!({ "subject_id": "eve" }), &photo);
    assert_eq!(
        (&answer["status"], &answer["error_code"]),
        (&json!(403), &json!("INSECURE_BROKER"))
    );
    let output = terminal.cli(&["call", "subject/delete", r#"{"subject_id": "x"}"#]);
    assert_eq!(output.status.code(), Some(3));
    // Local commands and queries work as usual.
    let image = photo.display().to_string();
    assert_eq!(terminal.json(&["enroll", &image, "--subject-id", "ada"])["status"], 200);
    let answer = terminal.call_with("search", &json!({}), &portrait("obama2"));
    assert_eq!(answer["matches"][0]["subject_id"], "ada");
    drop(terminal);

    let terminal = Terminal::start(&format!("{keys}allow_insecure = true\n"));
    logged(&terminal, "connected to");
    let answer = terminal.call_with("enroll", &json!({ "subject_id": "eve" }), &photo);
    assert_eq!(answer["status"], 200);
}

/// Returns the address this machine would send from; sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn client_that_takes_the_terminals_client_id_is_named_in_the_log() {
    let broker = Mosquitto::start(Wanted::default());
    let mut terminal = online(&broker, "");
    let taker =
        ["-p", &broker.port().to_string(), "-V", "5", "-i", "doorward-front", "-t", "x", "-W", "1"];
    let _ = Command::new("mosquitto_sub").args(taker).output().unwrap();
    logged(&terminal, "another client connected as \"doorward-front\"");
    assert!(!terminal.log().contains("does it want TLS"), "{}", terminal.log());
    assert!(terminal.stop());
}

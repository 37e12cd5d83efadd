//! Tests permissions by the topic that a broker's access list binds to a login, with the real
//! daemon on a real mosquitto. Failure: a client gets the permissions of another client.

use crate::support::applications::{denied, verdict};
use crate::support::asker::{Asker, reply_to};
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::pictures;
use crate::support::terminal::Terminal;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};

/// Connects a client with its login; answers arrive below its own name.
async fn login(broker: &Mosquitto, (name, password): (&str, &str)) -> Asker {
    let mut options = MqttOptions::new(format!("{name}-1"), "127.0.0.1", broker.port());
    options.set_credentials(name, password);
    Asker::connect_with(options, &[&format!("doorward/front/client/{name}/#")]).await
}

/// Publishes a command on any topic; the answer goes below the name of `client`.
async fn command(asker: &Asker, client: &str, topic: &str, body: &Value, id: &str) {
    let properties = PublishProperties {
        // Names of other clients in these fields are ignored.
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
        assert!(attempt < 99, "no answer from the daemon: {}", terminal.log());
    }
    let face = pictures::face("obama");
    let enroll = json!({"image": face, "subject_id": "anna"});
    let groups = json!({"subject_id": "anna", "groups": ["staff"]});
    let search = json!({"image": face});
    let forbidden = denied(403, "PERMISSION_DENIED");
    let done = denied(200, "");
    let steps: [(bool, &str, &Value, &(u64, String)); 13] = [
        (false, "from/office/cmd/enroll", &enroll, &done),
        (false, "from/office/cmd/subject/update", &groups, &done),
        (false, "from/office/cmd/search", &search, &forbidden),
        (true, "from/desk/cmd/search", &search, &done),
        (true, "from/desk/cmd/enroll", &enroll, &forbidden),
        (true, "from/desk/cmd/subject/update", &groups, &forbidden),
        (true, "from/desk/cmd/application/list", &json!({}), &forbidden),
        (false, "from/office/cmd/application/list", &json!({}), &done),
        (true, "from/desk/cmd/health", &json!({}), &done),
        // Without a name in the topic it has no permission, although `mqtt.permissions` gives all
        // but `admin` and the broker lets it write there.
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
    // The broker delivers nothing on another client's topic, for any answer topic.
    let before = terminal.json(&["gallery", "list"]);
    let delete = json!({"subject_id": "anna"});
    command(&desk, "desk", "from/office/cmd/subject/delete", &delete, "forged-1").await;
    command(&desk, "office", "from/office/cmd/subject/delete", &delete, "forged-2").await;
    command(&office, "office", "from/desk/cmd/search", &search, "forged-3").await;
    command(&office, "office", "cmd/health", &json!({}), "forged-4").await;
    assert!(desk.hears_nothing().await && office.hears_nothing().await);
    // Nor can it direct a genuine answer to another client.
    command(&desk, "office", "from/desk/cmd/search", &search, "planted").await;
    assert!(desk.hears_nothing().await && office.hears_nothing().await);
    let own = "doorward/front/response/, doorward/front/client/desk/";
    assert!(terminal.log().contains(own), "{}", terminal.log());
    assert_eq!(terminal.json(&["gallery", "list"])["subjects"], before["subjects"]);
}

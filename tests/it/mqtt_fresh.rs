//! Tests that an unlock delayed by the network does not move the strike. Uses the real binary, a
//! simulated board, a real mosquitto, and a network between them that stalls.

use crate::support::asker::{Asker, reply_to};
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::outage::Network;
use crate::support::terminal::Terminal;
use rumqttc::v5::MqttOptions;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

const CLIENT: &str = "doorward/front/client/desk";

struct Site {
    network: Network,
    terminal: Terminal,
    desk: Asker,
    sent: usize,
    _broker: Mosquitto,
}

impl Site {
    /// Starts a terminal behind a network, and a client directly at the broker.
    async fn start(more: &str) -> Self {
        let broker = Mosquitto::start(Wanted { logins: true, ..Wanted::default() });
        let network = Network::to(broker.port());
        let [(name, password), (desk, secret), _] = Mosquitto::LOGINS;
        let mut options = MqttOptions::new("desk", "127.0.0.1", broker.port());
        options.set_credentials(desk, secret);
        let topics = [CLIENT, "doorward/front/availability"];
        let mut desk = Asker::connect_with(options, &topics).await;
        let terminal = Terminal::start(&format!(
            "host = \"127.0.0.1\"\nport = {}\nusername = {name:?}\npassword = {password:?}\n\
             permissions = [\"unlock\"]\n\
             [door]\nboard = \"pc\"\npulse_ms = 300\nremote_unlock = true\n{more}",
            network.port()
        ));
        desk.wait_for("availability", "online").await;
        Self { network, terminal, desk, sent: 0, _broker: broker }
    }

    async fn send(&mut self, body: &Value) {
        self.sent += 1;
        let properties = reply_to(CLIENT, &self.sent.to_string());
        self.desk.send("unlock", body.to_string().as_bytes(), properties).await;
    }

    /// Returns status and code of the answer to an unlock.
    async fn answer(&mut self) -> (u64, String) {
        let answer = self.desk.next_json().await;
        let code = answer["error_code"].as_str().unwrap_or("").to_owned();
        (answer["status"].as_u64().unwrap(), code)
    }

    async fn unlock(&mut self, body: &Value) -> (u64, String) {
        self.send(body).await;
        self.answer().await
    }

    /// Counts the movements of the strike.
    fn pulses(&self) -> usize {
        let lines = String::from_utf8(self.terminal.cli(&["audit", "list"]).stdout).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|it| it["action"] == "door" && it["outcome"] == "unlocked").count()
    }
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn done() -> (u64, String) {
    (200, String::new())
}

fn not_fresh() -> (u64, String) {
    (403, "COMMAND_NOT_FRESH".into())
}

async fn check_stalled_unlocks(both: bool) {
    let mut site = Site::start("").await;
    let plain = json!({ "reason": "a parcel" });
    assert_eq!(site.unlock(&plain).await, done());
    sleep(Duration::from_millis(500)).await;

    site.network.stall(both);
    // One unlock long before the end of the stall, one so close to it that later echoes cover it.
    site.send(&plain).await;
    sleep(Duration::from_millis(3500)).await;
    site.send(&plain).await;
    sleep(Duration::from_millis(3500)).await;
    site.network.resume();
    assert_eq!(site.answer().await, not_fresh());
    assert_eq!(site.answer().await, not_fresh());
    assert_eq!(site.pulses(), 1);

    // A recovered link carries commands again.
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(site.unlock(&plain).await, done());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(site.pulses(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn unlock_delayed_by_a_one_way_stall_does_not_move_the_strike() {
    check_stalled_unlocks(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlock_delayed_by_a_two_way_stall_does_not_move_the_strike() {
    check_stalled_unlocks(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_time_decides_with_a_synchronised_clock() {
    let mut site = Site::start("[schedules]\ntrust_clock = true").await;
    let issued = |age: f64| json!({ "reason": "a parcel", "issued_at": unix_time() - age });
    for (age, answer) in [(0.0, done()), (9.0, done()), (11.0, not_fresh()), (-20.0, not_fresh())] {
        assert_eq!(site.unlock(&issued(age)).await, answer, "{age}");
        // Waits until the door has locked again.
        sleep(Duration::from_millis(600)).await;
    }
    let wrong = json!({ "reason": "a parcel", "issued_at": "now" });
    assert_eq!(site.unlock(&wrong).await, (400, "INVALID_PAYLOAD".into()));

    // Late but still fresh; late and expired.
    site.network.stall(false);
    site.send(&issued(0.0)).await;
    site.send(&issued(6.0)).await;
    sleep(Duration::from_millis(5000)).await;
    site.network.resume();
    let mut answers = [site.answer().await, site.answer().await];
    answers.sort();
    assert_eq!(answers, [done(), not_fresh()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_time_is_ignored_without_a_synchronised_clock() {
    let mut site = Site::start("").await;
    let issued = |age: f64| json!({ "reason": "a parcel", "issued_at": unix_time() - age });
    if site.terminal.log().contains("the clock is synchronised") {
        eprintln!("SKIPPED: this machine's clock is synchronised");
        return;
    }
    // Only the state of the link decides.
    assert_eq!(site.unlock(&issued(3600.0)).await, done());
    site.network.stall(false);
    site.send(&issued(0.0)).await;
    sleep(Duration::from_millis(5000)).await;
    site.network.resume();
    assert_eq!(site.answer().await, not_fresh());
}

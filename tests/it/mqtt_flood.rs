//! Tests unlocks during a flood of pictures: an unlock has its own place in the broker, on the
//! network and in the daemon, and every unlock is answered.

use crate::support::asker::{Asker, reply_to};
use crate::support::mosquitto::{Mosquitto, Wanted};
use crate::support::terminal::{Terminal, portrait};
use doorward::mqtt::Login;
use rumqttc::v5::MqttOptions;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const DOOR: &str = "permissions = [\"search\", \"unlock\"]\n\
                    [door]\nboard = \"pc\"\npulse_ms = 300\nremote_unlock = true";
const UNLOCKS: usize = 5;
/// Pictures in transit for each of three clients.
const AT_A_TIME: usize = 20;
const MOST_PICTURES: usize = 400;
const PICTURE: usize = 4 << 20;

/// Floods the terminal with pictures, and requests five unlocks meanwhile.
async fn check_unlocks_during_a_flood(port: u16, login: (&str, &str)) {
    let connect = async |name: &str, filters: &[&str]| {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_credentials(login.0, login.1);
        Asker::connect_with(options, filters).await
    };
    const MINE: &str = "doorward/front/client/house";
    let mut house = connect("house", &[MINE, "doorward/front/availability"]).await;
    house.wait_for("availability", "online").await;
    let goes_on = Arc::new(AtomicBool::new(true));
    // Bytes after the end of a JPEG are not part of it.
    let mut photo = fs::read(portrait("obama")).unwrap();
    photo.resize(PICTURE, 0);
    let mut floods = Vec::new();
    for name in ["flood1", "flood2", "flood3"] {
        let topic = format!("doorward/front/client/{name}");
        let mut flood = connect(name, &[&topic]).await;
        let (goes_on, photo) = (goes_on.clone(), photo.clone());
        floods.push(tokio::spawn(async move {
            let (mut asked, mut answered, mut busy) = (0, 0, 0);
            loop {
                // Keeps this many in transit: more than the terminal holds.
                let more = goes_on.load(Ordering::SeqCst) && asked < MOST_PICTURES;
                while more && asked - answered < AT_A_TIME {
                    let properties = reply_to(&topic, &asked.to_string());
                    flood.send("search", &photo, properties).await;
                    asked += 1;
                }
                if asked == answered {
                    break;
                }
                busy += usize::from(flood.next_json().await["status"] == 503);
                answered += 1;
            }
            (asked, busy)
        }));
    }
    sleep(Duration::from_millis(500)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..UNLOCKS {
        let began = Instant::now();
        let properties = reply_to(MINE, &number.to_string());
        house.send("unlock", b"{\"reason\": \"a parcel\"}", properties).await;
        let answer = house.next_json().await;
        assert_eq!(answer["status"], 200, "{answer}");
        slowest = slowest.max(began.elapsed());
        // Waits until the door has locked again.
        sleep(Duration::from_millis(600)).await;
    }
    goes_on.store(false, Ordering::SeqCst);
    let mut pictures = (0, 0);
    for flood in floods {
        let (asked, busy) = flood.await.unwrap();
        pictures = (pictures.0 + asked, pictures.1 + busy);
    }
    let (asked, busy) = pictures;
    println!("during {asked} pictures, {busy} of them BUSY, an unlock took at most {slowest:?}");
    assert!(busy > 0, "no flood");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unlock_during_a_picture_flood_is_done() {
    let broker = Mosquitto::start(Wanted::default());
    let port = broker.port();
    let keys = format!("host = \"127.0.0.1\"\nport = {port}\nallow_insecure = true\n{DOOR}");
    let _terminal = Terminal::start(&keys);
    check_unlocks_during_a_flood(port, ("any", "any")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unlock_during_a_flood_is_done_with_the_embedded_broker() {
    let terminal = Terminal::start(DOOR);
    let login = Login::read(&terminal.data_dir()).unwrap();
    check_unlocks_during_a_flood(terminal.port(), (&login.username, login.password.reveal())).await;
}

//! Tests that a flood of pictures does not grow the daemon: `queue_bytes` bounds accepted pictures,
//! and refused ones are released at once. This is a separate program because it reads the memory of
//! its process; the flood comes from other processes.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use doorward::contract::{Answer, Request};
use doorward::mqtt::{Session, Settings};
use serde_json::{Map, json};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::mosquitto::{Mosquitto, Wanted};

const MIB: usize = 1024 * 1024;

/// Reads a field of /proc/self/status, in MiB.
fn memory(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

/// Answers slower than the flood.
async fn slow(request: Request) -> Option<Answer> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(request);
    Some(Answer { status: 200, fields: Map::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_flood_keeps_memory_bounded() {
    let broker = Mosquitto::start(Wanted::default());
    let settings = Settings {
        device_id: "front".into(),
        host: Some("127.0.0.1".into()),
        port: Some(broker.port()),
        ..Settings::default()
    };
    let bound = settings.queue_bytes / MIB;
    let session =
        Session::start(settings, slow, Arc::new(|| json!({ "status": "up" }))).await.unwrap();
    while !session.publisher().is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = memory("VmRSS");
    std::fs::write(broker.file("picture"), vec![0xd8; 5 * MIB]).unwrap();
    let floods: Vec<_> = ["0", "0", "1", "1"]
        .iter()
        .map(|qos| {
            Command::new("mosquitto_pub")
                .args(["-V", "5", "-h", "127.0.0.1", "-p", &broker.port().to_string()])
                .args(["-q", qos, "-t", "doorward/front/cmd/search", "--repeat", "40", "-f"])
                .arg(broker.file("picture"))
                .spawn()
                .expect("this test needs mosquitto_pub: apt-get install mosquitto-clients")
        })
        .collect();
    let mut highest = 0;
    let start = Instant::now();
    for mut flood in floods {
        while flood.try_wait().unwrap().is_none() {
            highest = highest.max(memory("VmRSS"));
            assert!(start.elapsed() < Duration::from_secs(120));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let counts = session.counts();
    println!("before {before} MiB, highest {highest} MiB, peak {} MiB", memory("VmHWM"));
    println!("{counts:?} in {:?}", start.elapsed());
    assert!(counts.commands > 40, "{counts:?}");
    // The pictures being processed, each twice while it is copied out of its packet, and the read
    // buffer of the library (9 packets).
    let allowed = before + bound + 9 * 9 + 60;
    assert!(memory("VmHWM") < allowed, "{} MiB, more than {allowed}", memory("VmHWM"));
    assert!(session.publisher().is_connected());
    session.stop().await;
}

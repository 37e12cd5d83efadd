//! The tests of the real daemon, each file named by what can fail. One program,
//! which takes 97 s of CPU time to build; 44 programs took 11 s each. Tests that limit or measure
//! their own process are programs of their own, next to this folder.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

mod applications;
mod attributes;
mod audit;
mod calibrate;
mod camera_replay;
mod clock;
mod command_line;
mod contract_applications;
mod contract_checks;
mod contract_clients;
mod contract_codes;
mod contract_golden;
mod contract_operations;
mod contract_payload;
mod contract_pictures;
mod contract_quotas;
mod daemon_broker;
mod daemon_disk;
mod daemon_life;
mod door_attempts;
mod evaluate;
mod events_delivery;
mod gallery_crash;
mod gallery_damage;
mod gallery_deletion;
mod gallery_erasure;
mod gallery_reindex;
mod gallery_rescue;
mod gallery_restart;
mod gallery_room;
mod gallery_search;
mod gallery_threads;
mod homeassistant;
mod http_clients;
mod http_contract;
mod http_hostile;
mod hung_disk;
mod liveness;
mod models;
mod mqtt_connection;
mod mqtt_embedded;
mod mqtt_exposure;
mod mqtt_flood;
mod mqtt_fresh;
mod mqtt_repeats;
mod mqtt_requests;
mod parity;
mod pictures_decode;
mod prominent_face;
mod quality;
mod service_units;
mod stalled_broker;
mod terminal_door;
mod webhook_delivery;
mod webhook_keys;

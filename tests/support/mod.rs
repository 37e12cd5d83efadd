//! Real brokers, daemons, clients and pictures for the tests.

pub mod applications;
pub mod asker;
pub mod client;
pub mod costly_files;
pub mod disk;
pub mod gallery_people;
pub mod golden;
pub mod http;
pub mod listener;
pub mod mosquitto;
pub mod outage;
pub mod pictures;
pub mod ports;
pub mod python;
pub mod receiver;
pub mod slow_pictures;
pub mod terminal;
pub mod web;

//! doorward: a face-recognition daemon for a door.
//!
//! Data walks one way:
//!
//! ```text
//! camera ─► picture ─► face ─► access ─► doorward_board   (the door)
//!                                 └────► outbox ─► mqtt   (the house)
//! mqtt ─► contract ─► service ─► picture ─► face ─► gallery ─► answer
//! ```
//!
//! | module | what it is for | what it must never do |
//! |---|---|---|
//! | [`config`] | one table of keys: file, environment, defaults, help | act on a value |
//! | [`picture`] | untrusted bytes in, RGB pixels out | know faces |
//! | [`camera`] | frames from a V4L2 device or from files in its place | decode unasked, look for faces |
//! | [`nn`] | weights from GGUF, operators on candle tensors | know faces |
//! | [`face`] | detector, alignment, embedder, liveness, quality | know requests, files or topics |
//! | [`gallery`] | who is enrolled: redb file and in-memory index | look into pictures |
//! | [`contract`] | what is said: raw request → valid request; operations, codes, answers | do anything, know gallery, network or clock |
//! | [`applications`] | who may ask by key: keys, permissions, quotas and their file | keep or log a key |
//! | [`service`] | what is done: valid request → operation → answer | know the transport |
//! | [`access`] | the door's judgement on frames | move anything, read a clock |
//! | [`log`] | lines to standard error, for which nobody waits | block |
//! | [`outbox`] | events until a broker has them, and the audit log | keep a picture, a template or a key |
//! | [`mqtt`] | MQTT 5 session, topics, request and response, delivery of events, embedded broker | judge a request's content |
//! | [`evaluate`] | accuracy on labelled photographs | be part of a request |
//! | [`calibrate`] | what the thresholds mean for the user's own people and camera | change anything unasked |
//! | [`doctor`] | processor, models, versions, as JSON | change anything |
//! | [`daemon`] | starts the workers, the local control socket | anything of the above itself |

// What must be unsafe is in `nn`.
#![forbid(unsafe_code)]

pub mod access;
pub mod applications;
pub mod calibrate;
pub mod camera;
pub mod config;
pub mod contract;
pub mod daemon;
pub mod doctor;
pub mod evaluate;
pub mod face;
pub mod gallery;
pub mod import;
pub mod log;
pub mod mqtt;
pub mod outbox;
pub mod picture;
mod record_file;
pub mod service;
mod time;

pub use doorward_nn as nn;

//! doorward: a face-recognition daemon for a door.
//!
//! Data flows in one direction:
//!
//! ```text
//! camera ─► picture ─► face ─► access ─► doorward_board   (the door)
//!                                 └────► outbox ─► mqtt, webhook   (clients)
//! mqtt ─► contract ─► service ─► picture ─► face ─► gallery ─► answer
//! ```
//!
//! | module | purpose | must never |
//! |---|---|---|
//! | [`config`] | one table of keys: file, environment, defaults, help | act on a value |
//! | [`picture`], a package | untrusted bytes in, RGB pixels out | look for faces, ask network or disk |
//! | [`fetch`] | pictures by URL: the client and its address policy | connect to an address that is not allowed |
//! | [`camera`] | frames from a V4L2 device or from replay files | decode unasked, look for faces |
//! | [`nn`], a package | weights from GGUF, operators on candle tensors | know faces |
//! | [`face`], a package | pixels, detector, alignment, embedder and its similarity scale, liveness, quality | know requests, files, topics or the clock |
//! | [`gallery`] | enrolled subjects: redb file and in-memory index | look into pictures |
//! | [`contract`] | the wire contract: raw request → valid request; operations, codes, answers | do anything, know gallery, network or clock |
//! | [`applications`] | applications: keys, permissions, quotas and their file | keep or log a key |
//! | [`secret`] | passwords and keys in memory | print one |
//! | [`service`] | executes requests: valid request → operation → answer | know the transport |
//! | [`access`] | the access decision on frames | move anything, read a clock |
//! | [`log`] | log lines to standard error, without waiting | block |
//! | [`outbox`] | events until a broker has them, and the audit log | keep a picture, a template or a key |
//! | [`mqtt`] | MQTT 5 session, topics, request and response, delivery of events, embedded broker | judge a request's content |
//! | [`http`] | the same requests over HTTP, metrics, probes | judge a request's content |
//! | [`transport`] | what both transports need | know a protocol |
//! | [`webhook`] | delivery of events to an HTTP server | delay another consumer, log the secret |
//! | [`evaluate`] | accuracy on labelled photographs, by [`doorward_evaluate`], and of the access decision | be part of a request |
//! | [`doctor`] | processor, models, versions, as JSON | change anything |
//! | [`terminal`] | the running door: door thread, judge, door events, clock | wait for a disk or a network |
//! | [`daemon`] | assembles and watches the workers, the local control socket | do any of the above itself |

// All unsafe code is in `nn`.
#![forbid(unsafe_code)]
// A test may be long.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod access;
pub mod applications;
pub mod camera;
pub mod config;
pub mod contract;
pub mod daemon;
pub mod doctor;
pub mod evaluate;
pub mod fetch;
pub mod gallery;
pub mod http;
pub mod import;
pub mod log;
pub mod mqtt;
pub mod outbox;
mod record_file;
pub mod secret;
pub mod service;
pub mod terminal;
mod time;
pub mod transport;
pub mod webhook;

pub use doorward_face as face;
pub use doorward_nn as nn;
pub use doorward_picture as picture;

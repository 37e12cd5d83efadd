//! Processes requests: valid request → operation → answer. Independent of the transport.
//!
//! A transport makes a [`Request`] of a received message and sends the [`Answer`] that
//! [`Service::handle`] returns. [`crate::contract`] defines both.
//!
//! | step | where | runs on |
//! |---|---|---|
//! | read the request, authenticate and authorise the sender, validate, reserve quota (1 to 7) | `admission`, `access` | the caller's task |
//! | fetch a URL | `images` | a blocking thread, few at a time |
//! | wait for the camera's frames | `capture`, `poses` | a blocking thread, few at a time; each frame is processed on a worker thread |
//! | pixels, networks, queries of the gallery | `recognition`, `faces`, `subjects` | a worker thread, behind a bounded queue |
//! | changes of the gallery | `recognition`, `subjects` | the writer's thread, behind a bounded queue: a hung disk delays no other answer |
//! | the command line's access to gallery, keys and audit log | `subjects`, `administration`, `audit`, `reindex` | a blocking thread: a flood of requests does not lock out the person who wants to stop it |
//! | record the action | `audit_trail` | the same thread |
//!
//! The service must never log an image, an embedding or a key, and must never let a requested check
//! appear passed without having run it.

mod access;
mod administration;
mod admission;
mod advice;
mod audit;
mod audit_trail;
mod capture;
mod check_results;
mod door;
mod faces;
mod freshness;
mod geometry;
mod health;
mod images;
mod poses;
mod recognition;
mod refused;
mod reindex;
mod settings;
mod similarity;
mod statistics;
mod subjects;
mod work;
mod workers;

pub use door::Door;
pub use freshness::WallClock;
pub use settings::{Auth, BadClient, Settings, UnknownAuth, clients};

use crate::applications::Applications;
use crate::camera::Camera;
use crate::contract::{Answer, Operation, Raw, Refusal, Reply, Request, Sender};
use crate::face::Analyzer;
use crate::fetch::BadEntry;
use crate::gallery::Gallery;
use crate::outbox::Outbox;
use crate::time::stamp;
use access::Access;
use audit_trail::AuditTrail;
use images::Images;
use recognition::Recognizer;
use serde_json::Value;
use statistics::Statistics;
pub(crate) use statistics::{BOUNDS, Histogram, Times};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::{Semaphore, watch};
use workers::{NotDone, Workers, expired, guarded};

/// Maximum number of changes that wait for the disk. Together with the one being written, they do
/// not exceed the requests that a transport accepts beyond those waiting for a vision thread.
const MOST_WRITES: usize = 7;

/// Checks whether an App-ID and an API-Key belong together.
pub type KnowsApplication = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// The face service of one terminal. Shared by all transports.
///
/// The fields are dropped in this order: the workers, then the files of the applications and the
/// events, then the gallery, whose lock the next process waits for.
pub struct Service {
    workers: Workers,
    /// The thread that changes the gallery: while a disk hangs, queries are still answered.
    writers: Workers,
    images: Images,
    statistics: Statistics,
    applications: Arc<Applications>,
    audit_trail: Arc<AuditTrail>,
    recognizer: Arc<Recognizer>,
    door: Option<Arc<dyn Door>>,
    clock: WallClock,
    camera: OnceLock<Camera>,
    /// Returns the state of the webhook, if there is one.
    webhook: OnceLock<Box<dyn Fn() -> Value + Send + Sync>>,
    /// Permits for requests that use the camera.
    captures: Arc<Semaphore>,
}

/// Components of the service.
pub struct Parts {
    /// The networks.
    pub analyzer: Arc<Analyzer>,
    /// The enrolled subjects.
    pub gallery: Arc<Gallery>,
    /// The applications that authenticate by key.
    pub applications: Applications,
    /// The store of events and of the audit log.
    pub outbox: Arc<Outbox>,
    /// The door, if there is one.
    pub door: Option<Arc<dyn Door>>,
    /// The wall clock.
    pub clock: WallClock,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system cannot start a thread.
    #[error("no thread could be started: {0}; raise the limit on processes (`ulimit -u`)")]
    Thread(#[from] io::Error),
    /// An entry of the URL allow-list is invalid.
    #[error(transparent)]
    UrlAllow(#[from] BadEntry),
}

impl Service {
    /// Starts the worker threads; they end when the service is dropped.
    pub fn new(
        Parts { analyzer, gallery, applications, outbox, door, clock }: Parts,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let audit_trail = Arc::new(AuditTrail::new(outbox));
        Ok(Self {
            applications: Arc::new(applications),
            images: Images::new(&settings)?,
            statistics: Statistics::start(),
            workers: Workers::start("vision", settings.vision_threads, settings.queue)?,
            writers: Workers::start("writer", 1, MOST_WRITES)?,
            recognizer: Arc::new(Recognizer {
                analyzer,
                audit_trail: Arc::clone(&audit_trail),
                gallery,
                settings,
                clock: Arc::clone(&clock),
                changes: Mutex::default(),
            }),
            audit_trail,
            door,
            clock,
            camera: OnceLock::new(),
            webhook: OnceLock::new(),
            captures: Arc::new(Semaphore::new(capture::AT_A_TIME)),
        })
    }

    /// Attaches the camera that `camera:` refers to. The first one stays.
    pub fn attach(&self, camera: Camera) {
        // A second camera is ignored.
        let _ = self.camera.set(camera);
    }

    /// Attaches the state of the webhook, for health: a block with a `fault`. The first one stays.
    pub fn attach_webhook(&self, state: impl Fn() -> Value + Send + Sync + 'static) {
        let _ = self.webhook.set(Box::new(state));
    }

    /// Checks whether there is a camera, even one that delivers no frames.
    pub fn has_camera(&self) -> bool {
        self.camera.get().is_some()
    }

    /// Answers one request. Never panics and never waits without a limit.
    ///
    /// `None`: the request expired before its turn. It was not done, and no answer is sent.
    pub async fn handle(&self, request: Request) -> Option<Answer> {
        let mut times = Times::start();
        let (expires, vouched_until) = (request.expires, request.fresh_until);
        let name = name_of(&request);
        if expired(expires) {
            tracing::info!(operation = name, "request expired before it was read");
            return None;
        }

        // On this task, not on another thread: even 9 MiB of JSON take only milliseconds, and an
        // invalid request must get its own code even while the queue is full.
        let read = guarded(|| self.read(&request));
        drop(request);
        let (request_id, admitted) = match read {
            Ok((request_id, admitted)) => (request_id, admitted),
            Err(_) => (None, Err(Refusal::internal("a panic while reading the request"))),
        };
        // The quota is returned wherever this function exits, unless it is kept.
        let mut reservation = None;
        let result = match admitted {
            Ok((admitted, reserved)) => {
                reservation = reserved;
                match self.done(admitted, expires, vouched_until, &mut times).await {
                    Ok(result) => result,
                    Err(NotDone::Expired) => {
                        tracing::info!(
                            operation = name,
                            total_ms = times.total(),
                            "request expired in the queue"
                        );
                        return None;
                    }
                    Err(NotDone::Busy) => Err(Refusal::Busy),
                    Err(NotDone::Panicked) => {
                        Err(Refusal::internal("a panic while doing the request"))
                    }
                }
            }
            Err(refusal) => Err(refusal),
        };

        let reply = self.finish(name, result, &times);
        if let Some(reservation) = reservation
            && reply.status() == 200
        {
            reservation.keep();
        }
        Some(reply.seal(request_id, stamp()))
    }

    /// Turns a result into a reply; logs and counts it.
    fn finish(&self, name: &'static str, result: Result<Reply, Refusal>, times: &Times) -> Reply {
        if let Err(Refusal::Internal { why } | Refusal::Unwritten { why, .. }) = &result {
            tracing::error!(operation = name, why, "request failed");
        }
        let reply = result.unwrap_or_else(|refusal| Reply::from(&refusal));
        tracing::info!(
            operation = name,
            status = reply.status(),
            code = reply.code(),
            timings_ms = %times.block(),
            "request"
        );
        self.statistics.count(name, reply.code(), times);
        reply
    }

    /// Returns the function that checks App-ID and API-Key, if the service uses application keys.
    /// It does not keep the service alive.
    pub fn knows_applications(self: &Arc<Self>) -> Option<KnowsApplication> {
        if self.recognizer.settings.auth != Auth::AppKey {
            return None;
        }
        let service = Arc::downgrade(self);
        Some(Arc::new(move |id, key| {
            let service = service.upgrade();
            service.is_some_and(|service| service.applications.authenticate(id, key).is_some())
        }))
    }

    /// Returns a counter that changes with every change of the gallery.
    pub fn gallery_changes(&self) -> watch::Receiver<u64> {
        self.audit_trail.gallery_changes()
    }

    /// Returns the durations of each stage of requests since the start.
    pub(crate) fn stage_durations(&self) -> BTreeMap<&'static str, Histogram> {
        self.statistics.histograms()
    }

    /// Returns the number of requests by operation and result code.
    pub(crate) fn request_counts(&self) -> Value {
        self.statistics.requests()
    }

    /// Checks whether a subject is enrolled. Does not wait for the disk.
    pub fn is_enrolled(&self, subject_id: &str) -> bool {
        self.recognizer.gallery.contains(subject_id)
    }

    /// Returns the sender of a request. A transport keys requests by sender and `request_id`, so
    /// that an answer goes only to the client that sent the request. If the sender is not
    /// authorised, returns the answer instead; it takes precedence over every other error of the
    /// request, including the transport's own refusals.
    pub fn sender(&self, request: &Request) -> Result<Sender, Answer> {
        let times = Times::start();
        let settings = &self.recognizer.settings;
        let access = guarded(|| {
            let raw = match Access::reads_body(request, settings) {
                true => Raw::read(None, &request.body),
                false => Raw::empty(),
            };
            self.access(request, &raw)
        });
        let refusal = match access {
            Ok(Ok(access)) => return Ok(access.sender),
            Ok(Err(refusal)) => refusal,
            Err(_) => Refusal::internal("a panic while authenticating the sender"),
        };
        let request_id = guarded(|| request.request_id()).ok().flatten();
        Err(self.finish(name_of(request), Err(refusal), &times).seal(request_id, stamp()))
    }
}

/// Returns the name under which a request is logged and counted.
fn name_of(request: &Request) -> &'static str {
    request.asked_for().map_or("unknown", Operation::name)
}

#[cfg(test)]
mod tests;

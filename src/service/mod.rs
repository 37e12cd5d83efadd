//! The contract: raw request → valid request → operation → answer. Knows no transport.
//!
//! A transport makes a [`Request`] of what it received and sends the [`Answer`] that
//! [`Service::handle`] returns. In between:
//!
//! | step | where | runs on |
//! |---|---|---|
//! | read the fields as they were given | `raw` | the caller's task |
//! | find out who asks and what they may do | `access`, `applications` | the caller's task |
//! | judge them, in the contract's order | `payload`, `valid`, `change`, by the table in `fields` | the caller's task |
//! | fetch a URL | `images` | a blocking thread, few at a time |
//! | wait for the camera's frames | `capture`, `poses` | a blocking thread, few at a time; each frame is looked at on a worker thread |
//! | pixels, networks, the gallery's answers | `recognition`, `faces`, `subjects` | a worker thread, behind a bounded queue |
//! | changes of the gallery | `recognition`, `subjects` | the writer's thread, behind a bounded queue: a disk that hangs keeps nobody from being answered |
//! | the command line's look at gallery, keys and audit log | `subjects`, `administration`, `audit`, `reindex` | a blocking thread: no flood keeps out who would end it |
//! | leave on record what was done | `trail` | the same thread |
//! | name what went wrong | `failure`, `checks` | – |
//! | seal the answer | `reply` | the caller's task |
//!
//! It must never log an image, an embedding or a key, and never let a check that was asked for
//! look passed without having been made.

mod access;
mod administration;
mod advice;
mod applications;
mod audit;
mod capture;
mod change;
mod checks;
mod door;
mod faces;
mod failure;
mod fields;
mod freshness;
mod geometry;
mod images;
mod judged;
mod operation;
mod payload;
mod poses;
mod raw;
mod recognition;
mod reindex;
mod reply;
mod request;
mod settings;
mod similarity;
mod statistics;
mod subjects;
mod trail;
mod valid;
mod workers;

pub use applications::{Applications, ApplicationsError};
pub use door::Door;
pub use freshness::WallClock;
pub use operation::Operation;
pub use raw::MAX_REQUEST_ID;
pub use request::{Answer, Body, Caller, Credentials, Request, Sender};
pub use settings::{
    Auth, BadClient, Permission, Settings, UnknownAuth, UnknownPermission, clients,
};

use crate::camera::Camera;
use crate::face::Analyzer;
use crate::fetch::allow::BadEntry;
use crate::gallery::{self, Gallery};
use crate::outbox::{Chain, Outbox};
use access::Access;
use applications::{Kind, NotReserved, Reservation};
use capture::{NotTaken, Taker};
use change::decides_entry;
use failure::Failure;
use freshness::Evidence;
use images::{Given, Images};
use raw::Raw;
use recognition::{Author, Job, Outcome, Recognizer};
use reply::Reply;
use serde_json::{Map, Value, json};
use statistics::Statistics;
pub(crate) use statistics::Times;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use trail::Trail;
use valid::{FaceRequest, Valid, World};
use workers::{NotDone, Workers, expired, guarded};

/// Changes that may wait for the disk. With the one that is being written they are no more than the
/// requests that a transport takes on beyond those that wait for a vision thread.
const MOST_WRITES: usize = 7;

/// Whether an App-ID and an API-Key belong together.
pub type KnowsApplication = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// The face service of one terminal. Shared by all transports.
///
/// Its parts end in the order in which they stand here: the work, then the files of the applications
/// and the events, then the gallery, whose lock is what the next process waits for.
pub struct Service {
    workers: Workers,
    /// The thread that changes the gallery: while a disk hangs, questions are answered.
    writers: Workers,
    images: Images,
    statistics: Statistics,
    applications: Arc<Applications>,
    trail: Arc<Trail>,
    recognizer: Arc<Recognizer>,
    door: Option<Arc<dyn Door>>,
    clock: WallClock,
    camera: OnceLock<Camera>,
    /// Places before the camera.
    captures: Arc<Semaphore>,
}

/// What the service works with.
pub struct Parts {
    /// The networks.
    pub analyzer: Arc<Analyzer>,
    /// Who is enrolled.
    pub gallery: Arc<Gallery>,
    /// Who may ask by key.
    pub applications: Applications,
    /// Where events and the audit log go.
    pub outbox: Arc<Outbox>,
    /// The door, if there is one.
    pub door: Option<Arc<dyn Door>>,
    /// What time it is.
    pub clock: WallClock,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gives no thread.
    #[error("no thread could be started: {0}; raise the limit on processes (`ulimit -u`)")]
    Thread(#[from] io::Error),
    /// An entry of the URL allow-list is none.
    #[error(transparent)]
    UrlAllow(#[from] BadEntry),
}

/// A request that is to be done.
struct Admitted {
    operation: Operation,
    valid: Valid,
    by: Author,
}

/// A request that is to be done, and what it has taken of its application's quota.
type Reserved = (Admitted, Option<Reservation>);

impl Service {
    /// Starts the worker threads; they end when the service is dropped.
    pub fn new(
        Parts { analyzer, gallery, applications, outbox, door, clock }: Parts,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let trail = Arc::new(Trail::new(outbox));
        Ok(Self {
            applications: Arc::new(applications),
            images: Images::new(&settings)?,
            statistics: Statistics::start(),
            workers: Workers::start("vision", settings.vision_threads, settings.queue)?,
            writers: Workers::start("writer", 1, MOST_WRITES)?,
            recognizer: Arc::new(Recognizer {
                analyzer,
                trail: Arc::clone(&trail),
                gallery,
                settings,
                changes: Mutex::default(),
            }),
            trail,
            door,
            clock,
            camera: OnceLock::new(),
            captures: Arc::new(Semaphore::new(capture::AT_A_TIME)),
        })
    }

    /// Gives the service the camera that `camera:` stands for. The first one stays.
    pub fn attach(&self, camera: Camera) {
        // One that has a camera needs no other.
        let _ = self.camera.set(camera);
    }

    /// Whether there is a camera, with frames or without.
    pub fn has_camera(&self) -> bool {
        self.camera.get().is_some()
    }

    /// Answers one request. Never panics; waits for nothing unboundedly.
    ///
    /// `None`: the request expired before its turn came. It was not done, and nothing is to be
    /// sent.
    pub async fn handle(&self, request: Request) -> Option<Answer> {
        let mut times = Times::start();
        let (expires, vouched_until) = (request.expires, request.fresh_until);
        let name = name_of(&request);
        if expired(expires) {
            tracing::info!(operation = name, "request expired before it was read");
            return None;
        }

        // On this task and not on another thread: even 9 MiB of JSON take milliseconds, and a
        // faulty request must get its own code also while the queue is full.
        let read = guarded(|| self.read(&request));
        drop(request);
        let (request_id, admitted) = match read {
            Ok((request_id, admitted)) => (request_id, admitted),
            Err(_) => (None, Err(Failure::internal("a panic while reading the request"))),
        };
        // Given back wherever this function is left, unless it is kept.
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
                    Err(NotDone::Busy) => Err(Failure::Busy),
                    Err(NotDone::Panicked) => {
                        Err(Failure::internal("a panic while doing the request"))
                    }
                }
            }
            Err(failure) => Err(failure),
        };

        let reply = self.concluded(name, result, &times);
        if let Some(reservation) = reservation
            && reply.status() == 200
        {
            reservation.keep();
        }
        Some(reply.seal(request_id))
    }

    /// What a request comes to, logged and counted.
    fn concluded(
        &self,
        name: &'static str,
        result: Result<Reply, Failure>,
        times: &Times,
    ) -> Reply {
        if let Err(Failure::Internal { why } | Failure::Unwritten { why, .. }) = &result {
            tracing::error!(operation = name, why, "request failed");
        }
        let reply = result.unwrap_or_else(|failure| Reply::from(&failure));
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

    /// Versions and states: what `health` answers beside the common fields. Never waits.
    pub fn health(&self) -> Map<String, Value> {
        let (outbox, audit) = self.records();
        let gallery = self.recognizer.gallery.health();
        let (applications, revoked) = self.applications.health();
        let is_well = gallery.is_well() && applications.is_none() && revoked == 0;
        let fields = [
            ("health", json!(if is_well { "up" } else { "degraded" })),
            ("device_id", json!(self.recognizer.settings.device_id)),
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("model_id", json!(self.recognizer.analyzer.model_id())),
            ("uptime_s", json!(self.statistics.uptime())),
            (
                "queue",
                json!({
                    "waiting": self.workers.waiting(), "capacity": self.workers.capacity()
                }),
            ),
            ("outbox", outbox),
            ("audit", audit),
            ("gallery", json!(gallery)),
            ("applications", file_block(applications, revoked)),
            (
                "camera",
                self.camera.get().map_or(json!("not configured"), |camera| json!(camera.status())),
            ),
            ("door", self.door.as_ref().map_or(json!("not configured"), |door| door.state())),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What waits for the broker and what was lost; and the head of the audit log, to be kept by
    /// whoever wants to know later that nothing was rewritten.
    fn records(&self) -> (Value, Value) {
        let stats = self.trail.outbox().stats();
        let outbox = json!({
            "depth": stats.depth,
            "last_seq": stats.last_seq,
            "delivered": stats.delivered,
            "dropped": stats.dropped,
            "unwritten": stats.unwritten,
            "not_recorded": stats.not_recorded.values().sum::<u64>(),
            "not_recorded_by_kind": stats.not_recorded,
            "fault": stats.fault,
        });
        let Chain { first, last, head, .. } = stats.audit;
        (outbox, json!({ "first": first, "last": last, "head": head }))
    }

    /// What tells whether an App-ID and an API-Key belong together, where applications show them. It
    /// does not keep the service alive.
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

    /// Changes with every change of the gallery.
    pub fn gallery_changes(&self) -> watch::Receiver<u64> {
        self.trail.gallery_changes()
    }

    /// Who sent a request: what a transport knows it by beside the `request_id`, so that nobody
    /// gets an answer that was somebody else's. For nobody who may ask, the answer: it comes before
    /// whatever else is wrong with the request, the transport's own refusals included.
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
        let failure = match access {
            Ok(Ok(access)) => return Ok(access.sender),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::internal("a panic while reading who asks"),
        };
        let request_id = guarded(|| request.body.request_id()).ok().flatten();
        Err(self.concluded(name_of(request), Err(failure), &times).seal(request_id))
    }

    fn access(&self, request: &Request, raw: &Raw) -> Result<Access, Failure> {
        let Request { caller, credentials, .. } = request;
        Access::of(caller, credentials, raw, &self.recognizer.settings, &self.applications)
    }

    /// Steps 1 to 7, and the `request_id`, which is echoed whatever they say.
    fn read(&self, request: &Request) -> (Option<String>, Result<Reserved, Failure>) {
        let operation = asked_for(request);
        let raw = Raw::read(operation, &request.body);
        let admitted = self.access(request, &raw).and_then(|access| {
            let operation = operation.ok_or_else(|| unknown(&request.operation))?;
            self.admitted(operation, &raw, &access)
        });
        (raw.request_id().map(str::to_owned), admitted)
    }

    fn admitted(
        &self,
        operation: Operation,
        raw: &Raw,
        access: &Access,
    ) -> Result<Reserved, Failure> {
        let Recognizer { gallery, settings, .. } = &*self.recognizer;
        access.permits(operation)?;
        let world = World { enrolled: &|id| gallery.contains(id), limits: &settings.limits };
        let valid = valid::validate(operation, raw, &world)?;
        if let Valid::SubjectUpdate { change, .. } = &valid
            && let fields = decides_entry(change)
            && !fields.is_empty()
        {
            let what = format!("{} of {}", operation.name(), fields.join(", "));
            access.needs(Permission::Admin, &what)?;
        }
        let reservation = match (&valid, access.application()) {
            (Valid::Face(face), Some(id)) => self.reserve(id, face.spends(operation))?,
            (Valid::Poses(poses), Some(id)) => self.reserve(id, poses.spends())?,
            _ => None,
        };
        let admin = access.may(Permission::Admin);
        let may_search = admin || access.may(Permission::Search);
        let by = Author { sender: access.sender.clone(), admin, may_search };
        Ok((Admitted { operation, valid, by }, reservation))
    }

    /// Step 7.
    fn reserve(&self, id: &str, kinds: Vec<Kind>) -> Result<Option<Reservation>, Failure> {
        self.applications.reserve(id, kinds).map_err(|error| match error {
            NotReserved::Short(kind) => Failure::Quota(kind),
            NotReserved::Revoked => Failure::Unauthorized,
        })
    }

    /// Step 8 onwards.
    async fn done(
        &self,
        Admitted { operation, valid, by }: Admitted,
        expires: Option<Instant>,
        vouched_until: Option<Instant>,
        times: &mut Times,
    ) -> Result<Result<Reply, Failure>, NotDone> {
        let recognizer = Arc::clone(&self.recognizer);
        let trail = Arc::clone(&self.trail);
        let local = by.sender == Sender::Local;
        let taker = Taker {
            camera: self.camera.get(),
            places: &self.captures,
            workers: &self.workers,
            recognizer: &self.recognizer,
            expires,
        };
        match valid {
            Valid::Face(FaceRequest { reference, probe, checks, task }) => {
                let began = Instant::now();
                let images = match self.images.get(reference, probe, taker).await {
                    Ok(images) => images,
                    Err(NotTaken::Refused(failure)) => return Ok(Err(failure)),
                    Err(NotTaken::NotDone(not_done)) => return Err(not_done),
                };
                if images.iter().any(|image| matches!(image, Given::Sight(_))) {
                    times.took("capture", began);
                }
                let job = Job { operation, images, checks, task, by };
                let mut stages = times.clone();
                let work = move || (recognizer.answer(job, &mut stages), stages);
                let (result, stages) = self.workers.run(expires, work).await?;
                *times = stages;
                match result {
                    Ok(Outcome::Answered(reply)) => Ok(Ok(reply)),
                    Ok(Outcome::ToStore(to_store)) => {
                        let (recognizer, stages) = (Arc::clone(&self.recognizer), times.clone());
                        let work = move || recognizer.stored(*to_store, &stages);
                        self.writers.run(expires, work).await
                    }
                    Err(failure) => Ok(Err(failure)),
                }
            }
            Valid::Poses(request) => match request.done(taker, by, times).await {
                Ok(reply) => Ok(Ok(reply)),
                Err(NotTaken::Refused(failure)) => Ok(Err(failure)),
                Err(NotTaken::NotDone(not_done)) => Err(not_done),
            },
            Valid::SubjectList { limit, cursor } => {
                let work = move || subjects::list(&recognizer.gallery, limit, cursor.as_deref());
                turn(&self.workers, local, expires, work).await
            }
            Valid::SubjectGet { id } => {
                let work = move || subjects::get(&recognizer.gallery, &id);
                turn(&self.workers, local, expires, work).await
            }
            Valid::SubjectUpdate { id, change, accept_faces } => {
                let work = move || subjects::update(&recognizer, &by, &id, change, accept_faces);
                turn(&self.writers, local, expires, work).await
            }
            Valid::SubjectDelete { id } => {
                let work = move || subjects::delete(&recognizer, &by, &id);
                turn(&self.writers, local, expires, work).await
            }
            Valid::Unlock { reason, issued_at } => {
                let door = match self.unlockable(local) {
                    Ok(door) => door,
                    Err(failure) => return Ok(Err(failure)),
                };
                let evidence = Evidence { issued_at, vouched_until };
                let clock = Arc::clone(&self.clock);
                // Not behind a queue of pictures: somebody waits at the door.
                let work = move || {
                    // Again after the record, for it may have waited on the way.
                    let fresh =
                        || if local { Ok(()) } else { evidence.judge(clock(), Instant::now()) };
                    door::unlock(&*door, &trail, &by.sender, &reason, expires, fresh)
                };
                at_once(work).await?
            }
            Valid::Stats => {
                let work = move || recognizer.gallery.stats();
                let counts = turn(&self.workers, local, expires, work).await?;
                Ok(counts.map_err(Failure::internal).map(|counts| self.stats(&counts)))
            }
            Valid::Administration(administration) => {
                let applications = Arc::clone(&self.applications);
                let work =
                    move || administration::administer(&applications, &trail, administration);
                turn(&self.workers, local, expires, work).await
            }
            Valid::Audit(look) => {
                let work = move || audit::look(trail.outbox(), look);
                turn(&self.workers, local, expires, work).await
            }
            Valid::Reindex(portion) => {
                let work = move || reindex::reindex(&recognizer, &by.sender, &portion);
                turn(&self.workers, local, expires, work).await
            }
            Valid::Health => {
                let mut reply = Reply::success(operation);
                reply.extend(self.health());
                Ok(Ok(reply))
            }
        }
    }

    /// The door, if whoever asks may unlock it from afar.
    fn unlockable(&self, local: bool) -> Result<Arc<dyn Door>, Failure> {
        if !local && !self.recognizer.settings.remote_unlock {
            let why = "this door is not unlocked from afar: see door.remote_unlock".to_owned();
            return Err(Failure::Permission { why });
        }
        let none = || Failure::Door { why: "there is no door here: see door.board".to_owned() };
        self.door.clone().ok_or_else(none)
    }

    fn stats(&self, gallery: &gallery::Stats) -> Reply {
        let mut reply = Reply::success(Operation::Stats);
        let mut health = self.health();
        if let Some(Value::Object(file)) = health.get_mut("gallery") {
            for (name, count) in [
                ("subjects", gallery.subjects),
                ("templates", gallery.templates),
                ("templates_of_other_models", gallery.templates_of_other_models),
                ("remnants", gallery.remnants),
                ("file_bytes", gallery.file_bytes),
                ("schema", gallery.schema),
            ] {
                file.insert(name.to_owned(), count.into());
            }
        }
        reply.extend(health);
        reply.insert("requests", self.statistics.requests());
        reply.insert("median_ms", self.statistics.medians());
        reply
    }
}

/// Does `work` without pixels: the command line's at once, everybody else's when its turn with these
/// workers comes. The control socket bounds how much the command line asks at a time.
async fn turn<T: Send + 'static>(
    workers: &Workers,
    local: bool,
    expires: Option<Instant>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    match local {
        true => at_once(work).await,
        false => workers.run(expires, work).await,
    }
}

/// Does `work` on a blocking thread.
async fn at_once<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    tokio::task::spawn_blocking(work).await.map_err(|_| NotDone::Panicked)
}

/// How things are with the applications' file.
fn file_block(fault: Option<String>, not_on_disk: usize) -> Value {
    match fault {
        None => json!({ "file": "writable", "not_on_disk": not_on_disk }),
        Some(why) => json!({ "file": "failed", "why": why, "not_on_disk": not_on_disk }),
    }
}

/// The operation that a request names, if its caller has it.
fn asked_for(request: &Request) -> Option<Operation> {
    let here = |operation: &Operation| !operation.is_local() || request.caller == Caller::Local;
    Operation::named(&request.operation).filter(here)
}

/// What a request is logged and counted as.
fn name_of(request: &Request) -> &'static str {
    asked_for(request).map_or("unknown", Operation::name)
}

/// `INVALID_PAYLOAD` for an operation that is not there.
fn unknown(name: &str) -> Failure {
    let public = Operation::ALL.into_iter().filter(|operation| !operation.is_local());
    let names: Vec<_> = public.map(Operation::name).collect();
    let name = raw::shortened(name);
    Failure::payload(format!("this version has no operation `{name}`; it has {}", names.join(", ")))
}

#[cfg(test)]
mod tests;

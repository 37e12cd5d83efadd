//! Step 8 onwards: dispatches each valid request to its operation and to the right threads.

use super::admission::Admitted;
use super::capture::{CaptureContext, NotTaken};
use super::door::{self, Door};
use super::freshness::Evidence;
use super::images::Given;
use super::recognition::{Job, Outcome, Requester};
use super::statistics::Times;
use super::workers::{NotDone, Workers};
use super::{Service, administration, audit, poses, reindex, subjects};
use crate::contract::{FaceRequest, Operation, Refusal, Reply, Sender, Valid};
use std::sync::Arc;
use std::time::Instant;

impl Service {
    /// Performs a valid request: step 8 onwards.
    pub(super) async fn done(
        &self,
        Admitted { operation, valid, by }: Admitted,
        expires: Option<Instant>,
        vouched_until: Option<Instant>,
        times: &mut Times,
    ) -> Result<Result<Reply, Refusal>, NotDone> {
        let recognizer = Arc::clone(&self.recognizer);
        let audit_trail = Arc::clone(&self.audit_trail);
        let local = by.sender == Sender::Local;
        let context = CaptureContext {
            camera: self.camera.get(),
            places: &self.captures,
            workers: &self.workers,
            recognizer: &self.recognizer,
            expires,
        };
        match valid {
            Valid::Face(request) => self.face(operation, request, by, context, times).await,
            Valid::Poses(request) => taken(poses::enroll(request, context, by, times).await),
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
                let evidence = Evidence { issued_at, vouched_until };
                self.unlock(by.sender, reason, evidence, expires).await
            }
            Valid::Stats => {
                let work = move || recognizer.gallery.stats();
                let counts = turn(&self.workers, local, expires, work).await?;
                Ok(counts.map_err(Refusal::internal).map(|counts| self.stats(&counts)))
            }
            Valid::Administration(administration) => {
                let applications = Arc::clone(&self.applications);
                let workers = match administration.is_change() {
                    true => &self.writers,
                    false => &self.workers,
                };
                let work = move || {
                    administration::administer(&applications, &audit_trail, &by, administration)
                };
                turn(workers, local, expires, work).await
            }
            Valid::Audit(look) => {
                let work = move || audit::look(audit_trail.outbox(), look);
                turn(&self.workers, local, expires, work).await
            }
            Valid::Reindex(portion) => {
                let work = move || reindex::reindex(&recognizer, &by.sender, &portion);
                turn(&self.workers, local, expires, work).await
            }
            Valid::Scrub => {
                let work = move || subjects::scrub(&recognizer, &by.sender);
                turn(&self.workers, local, expires, work).await
            }
            Valid::Health => {
                let mut reply = Reply::success(operation);
                reply.extend(self.health());
                Ok(Ok(reply))
            }
        }
    }

    /// Performs the operations on images.
    async fn face(
        &self,
        operation: Operation,
        FaceRequest { reference, probe, checks, task }: FaceRequest,
        by: Requester,
        context: CaptureContext<'_>,
        times: &mut Times,
    ) -> Result<Result<Reply, Refusal>, NotDone> {
        let began = Instant::now();
        let images = match taken(self.images.get(reference, probe, context).await)? {
            Ok(images) => images,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if images.iter().any(|image| matches!(image, Given::DetectedPicture(_))) {
            times.took("capture", began);
        }
        let recognizer = Arc::clone(&self.recognizer);
        let job = Job { operation, images, checks, task, by };
        let mut stages = times.clone();
        let work = move || (recognizer.answer(job, &mut stages), stages);
        let (result, stages) = self.workers.run(context.expires, work).await?;
        *times = stages;
        match result {
            Ok(Outcome::Answered(reply)) => Ok(Ok(reply)),
            Ok(Outcome::ToStore(to_store)) => {
                let (recognizer, stages) = (Arc::clone(&self.recognizer), times.clone());
                let work = move || recognizer.stored(*to_store, &stages);
                self.writers.run(context.expires, work).await
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Unlocks the door.
    async fn unlock(
        &self,
        by: Sender,
        reason: String,
        evidence: Evidence,
        expires: Option<Instant>,
    ) -> Result<Result<Reply, Refusal>, NotDone> {
        let local = by == Sender::Local;
        let door = match self.unlockable(local) {
            Ok(door) => door,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let audit_trail = Arc::clone(&self.audit_trail);
        let clock = Arc::clone(&self.clock);
        // Not in the queue of pictures: a person waits at the door.
        let work = move || {
            // Checked again after the record is written: the command may have aged meanwhile.
            let fresh = || if local { Ok(()) } else { evidence.judge(clock(), Instant::now()) };
            door::unlock(&*door, &audit_trail, &by, &reason, expires, fresh)
        };
        at_once(work).await?
    }

    /// Returns the door if the sender may unlock it remotely.
    fn unlockable(&self, local: bool) -> Result<Arc<dyn Door>, Refusal> {
        if !local && !self.recognizer.settings.remote_unlock {
            let why = "this door is not unlocked from afar: see door.remote_unlock".to_owned();
            return Err(Refusal::Permission { why });
        }
        let none = || Refusal::Door { why: "there is no door here: see door.board".to_owned() };
        self.door.clone().ok_or_else(none)
    }
}

/// Separates refusals of a capture from requests that were not done.
fn taken<T>(outcome: Result<T, NotTaken>) -> Result<Result<T, Refusal>, NotDone> {
    match outcome {
        Ok(taken) => Ok(Ok(taken)),
        Err(NotTaken::Refused(refusal)) => Ok(Err(refusal)),
        Err(NotTaken::NotDone(not_done)) => Err(not_done),
    }
}

/// Runs `work` that needs no pixels: for the command line at once, for a client when its turn comes
/// on these workers. The control socket limits the number of concurrent requests of the command
/// line.
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

/// Runs `work` on a blocking thread.
async fn at_once<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    tokio::task::spawn_blocking(work).await.map_err(|_| NotDone::Panicked)
}

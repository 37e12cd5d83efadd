//! One request: authenticates its sender, asks the service, and makes no change twice.

use super::body::Memory as BodyMemory;
use super::connections::is_in_work;
use super::guesses::{Guesses, key_digest};
use super::incoming::{Message, credentials};
use super::outgoing::refusal;
use super::{Settings, Sources};
use crate::contract::{Answer, Body, Caller, Credentials, Operation, Refusal, Request, Sender};
use crate::transport::{Digest, Handler, Identity, Memories, Seen, begin, finish};
use axum::body::Body as HttpBody;
use axum::http::HeaderMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

/// A request that has no answer this long after its head gets `[503] BUSY`: longer than a URL
/// (15 s) or the camera (15 s) may take behind a full queue.
const DEADLINE: Duration = Duration::from_secs(60);

/// The reply address of every request over HTTP: an answer goes to the connection that asked.
const ADDRESS: &str = "http";

/// The interface, shared by all connections.
pub(super) struct Interface {
    pub handler: Arc<dyn Handler>,
    pub settings: Settings,
    pub sources: Sources,
    pub guesses: Guesses,
    pub bodies: BodyMemory,
    /// The audit log is read for one client at a time, so that open live streams take one place of
    /// the service's queue and not one each.
    audit_reads: Semaphore,
    memories: Memories<oneshot::Sender<Arc<Vec<u8>>>>,
    /// True when the server stops.
    pub stop: watch::Receiver<bool>,
}

/// What is known of a message before its body is read.
pub(super) struct Head {
    pub operation: Operation,
    pub peer: IpAddr,
    pub headers: HeaderMap,
    pub path: Vec<(String, String)>,
    pub query: Vec<(String, String)>,
}

impl Interface {
    pub fn new(
        handler: Arc<dyn Handler>,
        settings: Settings,
        sources: Sources,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            handler,
            settings,
            sources,
            guesses: Guesses::default(),
            bodies: BodyMemory::new(),
            audit_reads: Semaphore::new(1),
            memories: Memories::new(),
            stop,
        }
    }

    /// Checks whether the key in the headers is right.
    pub fn has_right_key(&self, head: &Head) -> bool {
        let request = Request {
            operation: head.operation.name().to_owned(),
            body: Body::Json(Vec::new()),
            beside_json: Vec::new(),
            credentials: credentials(&head.headers),
            caller: Caller::Http,
            expires: None,
            fresh_until: None,
        };
        self.handler.sender(&request).is_ok()
    }

    /// Checks the key in the headers before the body is read, and slows an address that guesses.
    /// `None`: there is no key in the headers.
    async fn check_header_key(&self, head: &Head) -> Result<Option<bool>, Refusal> {
        let key = match credentials(&head.headers) {
            Credentials { app_id: Some(id), api_key: Some(key) } => Some(key_digest(&id, &key)),
            _ => None,
        };
        self.guesses.wait(head.peer, key.as_ref()).await?;
        let Some(key) = key else { return Ok(None) };
        let is_right = self.has_right_key(head);
        match is_right {
            true => self.guesses.right(key),
            false => self.guesses.wrong(head.peer),
        }
        Ok(Some(is_right))
    }

    /// Answers one request.
    pub async fn answer(self: &Arc<Self>, head: Head, body: HttpBody) -> Answer {
        let deadline = Instant::now() + DEADLINE;
        match timeout_at(deadline.into(), self.accept(head, body, deadline)).await {
            Ok(Ok(accepted)) => self.execute(accepted, deadline).await,
            Ok(Err(answer)) => answer,
            Err(_) => refusal(&Refusal::Busy, None),
        }
    }

    /// Authenticates the sender and reads the body, or returns the refusal.
    async fn accept(
        &self,
        head: Head,
        body: HttpBody,
        deadline: Instant,
    ) -> Result<Accepted, Answer> {
        let header_key = self.check_header_key(&head).await;
        let header_key = header_key.map_err(|busy| refusal(&busy, None))?;
        if header_key == Some(true) {
            is_in_work();
        }
        let unauthorized = |request_id| Err(refusal(&Refusal::Unauthorized, request_id));
        let read = match self.bodies.read(body, head.peer, header_key == Some(true)).await {
            Ok(read) => read,
            Err(_) if header_key == Some(false) => return unauthorized(None),
            Err(fault) => return Err(refusal(&fault, None)),
        };
        is_in_work();
        let (operation, peer) = (head.operation, head.peer);
        let message = Message {
            operation: operation.name(),
            headers: head.headers,
            path: head.path,
            query: head.query,
            bytes: read.bytes,
            expires: deadline,
        };
        let remembered = self.memories.of(operation.name()).is_some();
        let content = remembered.then(|| message.digest());
        let (request, form) = message.request().await;
        let request_id = request.request_id();
        if header_key == Some(false) {
            return unauthorized(request_id);
        }
        let sender = self.handler.sender(&request).inspect_err(|answer| {
            if answer.status == 401 {
                self.guesses.wrong(peer);
            }
        })?;
        if let Err(why) = form {
            return Err(refusal(&Refusal::payload(why), request_id));
        }
        let authentic = Authentic { operation, sender, request, request_id };
        Ok(Accepted { authentic, content, memory: read.held })
    }

    /// Has the service answer.
    async fn execute(self: &Arc<Self>, accepted: Accepted, deadline: Instant) -> Answer {
        let Accepted { authentic, content, memory } = accepted;
        let request_id = authentic.request_id.clone();
        let busy = || refusal(&Refusal::Busy, request_id.clone());
        let answering = async {
            match content {
                Some(content) => self.change(authentic, content).await,
                None => {
                    let _turn = match authentic.operation {
                        Operation::AuditList => self.audit_reads.acquire().await.ok(),
                        _ => None,
                    };
                    // Aborted when its client is gone: an answer without a reader is not computed.
                    let mut task = JoinSet::new();
                    task.spawn(self.handler.handle(authentic.request));
                    match task.join_next().await? {
                        Ok(answer) => answer,
                        Err(failure) => {
                            Some(refusal(&Refusal::internal(failure), request_id.clone()))
                        }
                    }
                }
            }
        };
        let answer = timeout_at(deadline.into(), answering).await;
        drop(memory);
        answer.ok().flatten().unwrap_or_else(busy)
    }

    /// Makes a change, once; `None` if it expired or its answer is unknown.
    async fn change(self: &Arc<Self>, authentic: Authentic, content: Digest) -> Option<Answer> {
        let Authentic { operation, sender, request, request_id } = authentic;
        let memory = self.memories.of(operation.name())?;
        let identities =
            Identity::of(operation.name(), &sender, ADDRESS, None, request_id.clone(), content);
        let (sent, answered) = oneshot::channel();
        match begin(memory, &identities, || sent, &*self.handler) {
            Seen::Answered(payload) => Answer::from_payload(&payload),
            Seen::InWork => Answer::from_payload(&answered.await.ok()?),
            Seen::Never => {
                // Goes on when its client is gone: a change is made and remembered, or neither.
                let (interface, handling) = (self.clone(), self.handler.handle(request));
                let making = tokio::spawn(async move {
                    let answer = match tokio::spawn(handling).await {
                        Ok(answer) => answer,
                        Err(failure) => Some(refusal(&Refusal::internal(failure), request_id)),
                    };
                    let payload = answer.as_ref().map(|answer| Arc::new(answer.to_payload()));
                    let answered = answer.as_ref().zip(payload.as_ref());
                    let memory = interface.memories.of(operation.name())?;
                    let (kept, waiting) = finish(memory, identities, answered, &*interface.handler);
                    for repeat in waiting {
                        // Fails when that client is gone.
                        let _ = kept.clone().map(|kept| repeat.send(kept));
                    }
                    answer
                });
                making.await.ok().flatten()
            }
        }
    }
}

/// A request that the service may answer.
struct Accepted {
    authentic: Authentic,
    /// The digest of a request that is made once.
    content: Option<Digest>,
    /// The memory of its body, until it has an answer.
    memory: Vec<OwnedSemaphorePermit>,
}

/// A request and its sender.
struct Authentic {
    operation: Operation,
    sender: Sender,
    request: Request,
    request_id: Option<String>,
}

//! One request: authenticates its sender, asks the service, and makes no change twice.

use super::body::Memory as BodyMemory;
use super::connections::is_in_work;
use super::guesses::{Guesses, Shown, shown};
use super::incoming::{Message, credentials};
use super::outgoing::refusal;
use super::{Settings, Sources};
use crate::contract::{Answer, Body, Caller, Credentials, Operation, Refusal, Request, Sender};
use crate::transport::{Handler, Identity, Memories, Seen, kept, locked};
use axum::body::Body as HttpBody;
use axum::http::HeaderMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A request that has no answer by then gets `[503] BUSY`: longer than a URL (15 s) or the camera
/// (15 s) may take behind a full queue.
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
            memories: Memories::new(),
            stop,
        }
    }

    /// Checks a key before the body is read, and slows an address that guesses. Returns the digest
    /// of the key in the headers, and whether it is right.
    async fn greet(&self, head: &Head) -> (Option<Shown>, Option<bool>) {
        let given = credentials(&head.headers);
        let key = match &given {
            Credentials { app_id: Some(id), api_key: Some(key) } => Some(shown(id, key)),
            _ => None,
        };
        self.guesses.wait(head.peer, key.as_ref()).await;
        if key.is_none() {
            return (None, None);
        }
        let request = Request {
            operation: head.operation.name().to_owned(),
            body: Body::Json(Vec::new()),
            beside_json: Vec::new(),
            credentials: given,
            caller: Caller::Http,
            expires: None,
            fresh_until: None,
        };
        let is_right = self.handler.sender(&request).is_ok();
        (key, Some(is_right))
    }

    /// Notes whether a key was right.
    fn note(&self, peer: IpAddr, key: Option<Shown>, is_right: bool) {
        match (is_right, key) {
            (true, Some(key)) => self.guesses.right(key),
            (true, None) => {}
            (false, _) => self.guesses.wrong(peer),
        }
    }

    /// Answers one request.
    pub async fn answer(self: &Arc<Self>, head: Head, body: HttpBody) -> Answer {
        let started = Instant::now();
        let (key, early) = self.greet(&head).await;
        if early == Some(true) {
            is_in_work();
        }
        let read = match self.bodies.read(body, early == Some(true)).await {
            Ok(read) => read,
            Err(fault) => {
                if early == Some(false) {
                    self.note(head.peer, key, false);
                    return refusal(&Refusal::Unauthorized, None);
                }
                return refusal(&fault, None);
            }
        };
        is_in_work();
        let (operation, peer) = (head.operation, head.peer);
        let message = Message {
            operation: operation.name(),
            headers: head.headers,
            path: head.path,
            query: head.query,
            bytes: read.bytes,
            expires: started + DEADLINE,
        };
        let remembered = self.memories.of(operation.name()).is_some();
        let content = remembered.then(|| message.digest());
        let (request, form) = message.request().await;
        let request_id = request.request_id();
        if early == Some(false) {
            self.note(peer, key, false);
            return refusal(&Refusal::Unauthorized, request_id);
        }
        let sender = match self.handler.sender(&request) {
            Ok(sender) => sender,
            Err(answer) => {
                self.note(peer, key, answer.status != 401);
                return answer;
            }
        };
        self.note(peer, key, true);
        if let Err(why) = form {
            return refusal(&Refusal::payload(why), request_id);
        }
        let busy = || refusal(&Refusal::Busy, request_id.clone());
        let answer = match content {
            None => {
                // Ended with its client: what nobody waits for is not computed.
                let mut task = JoinSet::new();
                task.spawn(self.handler.handle(request));
                timeout(DEADLINE, task.join_next()).await.map(|done| match done {
                    Some(Ok(answer)) => answer,
                    Some(Err(failure)) => {
                        Some(refusal(&Refusal::internal(failure), request_id.clone()))
                    }
                    None => None,
                })
            }
            Some(content) => {
                let change = Change { operation, sender, request, request_id: request_id.clone() };
                timeout(DEADLINE, self.change(change, content)).await
            }
        };
        drop(read.held);
        answer.ok().flatten().unwrap_or_else(busy)
    }

    /// Makes a change, once; `None` if it expired or its answer is unknown.
    async fn change(self: &Arc<Self>, change: Change, content: [u8; 32]) -> Option<Answer> {
        let Change { operation, sender, request, request_id } = change;
        let memory = self.memories.of(operation.name())?;
        let identities =
            Identity::of(operation.name(), &sender, ADDRESS, None, request_id.clone(), content);
        locked(memory).forget_subjects(|id| self.handler.is_enrolled(id));
        let (sent, answered) = oneshot::channel();
        let seen = locked(memory).meet(&identities, || sent, Instant::now());
        match seen {
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
                    let kept = answered.map(|(answer, payload)| kept(answer, payload));
                    let remembered = answer.as_ref().zip(kept.as_ref());
                    let memory = interface.memories.of(operation.name())?;
                    let waiting = locked(memory).finish(identities, remembered, Instant::now());
                    locked(memory).forget_subjects(|id| interface.handler.is_enrolled(id));
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

/// A change that a client requests.
struct Change {
    operation: Operation,
    sender: Sender,
    request: Request,
    request_id: Option<String>,
}

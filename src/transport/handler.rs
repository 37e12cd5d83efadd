//! The service as a transport sees it.

use crate::contract::{Answer, Request, Sender};
use std::pin::Pin;

/// The service as a transport knows it. A plain function from a request to its answer is a
/// service that accepts every client.
pub trait Handler: Send + Sync + 'static {
    /// Returns the sender of a request, or the answer if the sender may not ask. This refusal comes
    /// before any other check of the request.
    fn sender(&self, request: &Request) -> Result<Sender, Answer>;

    /// Checks whether a subject is enrolled: what is remembered of one that is not is forgotten.
    fn is_enrolled(&self, subject_id: &str) -> bool {
        let _ = subject_id;
        true
    }

    /// Executes a request and returns its answer, or `None` when it had expired.
    fn handle(&self, request: Request) -> Answering;
}

/// The future of an answer.
pub type Answering = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

impl<F, A> Handler for F
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Option<Answer>> + Send + 'static,
{
    fn sender(&self, _: &Request) -> Result<Sender, Answer> {
        Ok(Sender::Anybody)
    }

    fn handle(&self, request: Request) -> Answering {
        Box::pin(self(request))
    }
}

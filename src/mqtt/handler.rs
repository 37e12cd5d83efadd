//! The service as this module knows it: it never sees more of it.

use crate::contract::{Answer, Request, Sender};
use std::pin::Pin;

/// The service, as the dispatcher knows it. A function from a request to its answer is one that lets
/// every client ask.
pub trait Handler: Send + Sync + 'static {
    /// Who sent a request; if the sender may not ask, the answer: it comes before anything else is
    /// said about the request.
    fn sender(&self, request: &Request) -> Result<Sender, Answer>;

    /// Does a request and returns its answer, or `None` when it had expired.
    fn handle(&self, request: Request) -> Answering;
}

/// An answer in the making.
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

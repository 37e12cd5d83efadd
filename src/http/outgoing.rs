//! Turns an answer into a message. The body is the answer's fields: its status is in the status
//! line.

use crate::contract::{Answer, Envelope, Refusal, Reply};
use crate::time::stamp;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

/// Returns the message of an answer.
pub(super) fn message(answer: &Answer) -> Response {
    let text = serde_json::Value::Object(answer.fields.clone()).to_string();
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_type("application/json", text);
    *response.status_mut() = status;
    if let Some(ms) = answer.retry_after_ms() {
        response.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1000).into());
    }
    response
}

/// Returns a 200 with a text of this type.
pub(super) fn with_type(content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns the answer to a request that the service does not see.
pub(super) fn refusal(refusal: &Refusal, request_id: Option<String>) -> Answer {
    Reply::refusal(refusal, request_id, stamp())
}

/// Returns the message for a faulty one.
pub(super) fn fault(fault: Envelope) -> Response {
    message(&refusal(&Refusal::Envelope(fault), None))
}

//! The addresses for monitoring: alive, ready, metrics, and the description of the interface.

use super::connections::Connection;
use super::exchange::{Head, Interface};
use super::outgoing::{message, with_type};
use crate::contract::{Operation, openapi as description};
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use std::sync::{Arc, OnceLock};

/// The process answers.
pub(super) async fn alive() -> Response {
    with_type("application/json", json!({"status": "alive"}).to_string())
}

/// The terminal does its work. The reason why it does not is for those with a key: `/v1/health`.
pub(super) async fn ready(State(interface): State<Arc<Interface>>) -> Response {
    if (interface.sources.not_ready)().is_none() {
        return with_type("application/json", json!({"status": "ready"}).to_string());
    }
    let mut response = with_type("application/json", json!({"status": "not ready"}).to_string());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Numbers for Prometheus, for those with the key of an application: they tell when the door opens.
pub(super) async fn metrics(
    State(interface): State<Arc<Interface>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let head = Head {
        operation: Operation::Health,
        peer: connection.peer,
        headers: parts.headers,
        path: Vec::new(),
        query: Vec::new(),
    };
    let answer = interface.answer(head, Body::empty()).await;
    if answer.status != 200 {
        return message(&answer);
    }
    let text = (interface.sources.metrics)();
    with_type("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}

/// The description of the interface, made once.
pub(super) async fn openapi() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| description().to_string().into());
    let mut response = with_type("application/json", String::new());
    *response.body_mut() = Body::from(text.clone());
    response
}

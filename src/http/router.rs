//! The addresses: those of the operations, made from their table, and the few beside them.

use super::checks::check;
use super::connections::Connection;
use super::events;
use super::exchange::{Head, Interface};
use super::outgoing::{fault, message};
use super::pages;
use crate::contract::{Envelope, Method, Operation, Refusal};
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Extension, Query, RawPathParams, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodFilter, get, on};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// Makes the router.
pub(super) fn router(interface: Arc<Interface>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(pages::alive))
        .route("/readyz", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/openapi.json", get(pages::openapi));
    for operation in Operation::ALL {
        for route in operation.routes() {
            let filter = match route.method {
                Method::Get => MethodFilter::GET,
                Method::Post => MethodFilter::POST,
                Method::Patch => MethodFilter::PATCH,
                Method::Delete => MethodFilter::DELETE,
            };
            let handle = move |State(interface): State<Arc<Interface>>,
                               Extension(connection): Extension<Arc<Connection>>,
                               params: Result<RawPathParams, RawPathParamsRejection>,
                               request: Request| async move {
                handle(operation, &interface, &connection, params, request).await
            };
            router = router.route(route.path, on(filter, handle));
        }
    }
    router
        .fallback(|| async { fault(Envelope::NotFound) })
        .method_not_allowed_fallback(|| async { fault(Envelope::Method) })
        .layer(from_fn_with_state(interface.clone(), check))
        .with_state(interface)
}

/// Answers a request of an operation.
async fn handle(
    operation: Operation,
    interface: &Arc<Interface>,
    connection: &Arc<Connection>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    // What is not UTF-8 could be read in two ways.
    let Ok(params) = params else {
        return fault(Envelope::Malformed { why: "its path is not UTF-8" });
    };
    let is_utf8 = |query: &str| percent_decode_str(query).decode_utf8().is_ok();
    if !parts.uri.query().is_none_or(is_utf8) {
        return fault(Envelope::Malformed { why: "its query is not UTF-8" });
    }
    let Ok(Query(query)) = Query::try_from_uri(&parts.uri) else {
        return fault(Envelope::Malformed { why: "its query cannot be read" });
    };
    let path = params.iter().map(owned).collect();
    let head = Head { operation, peer: connection.peer, headers: parts.headers, path, query };
    if operation == Operation::AuditList && events::is_wanted(&head.headers) {
        return events::stream(interface.clone(), connection.clone(), head).await;
    }
    let answer = interface.answer(head, body).await;
    let mut response = message(&answer);
    let is_unread = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT];
    if is_unread.contains(&response.status()) {
        // The rest of the body is not read.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Returns the answer to a stream that cannot begin because too many are open.
pub(super) fn busy() -> Response {
    message(&super::outgoing::refusal(&Refusal::Busy, None))
}

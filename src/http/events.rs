//! The live stream of the audit log: server-sent events, one per line of the log, whose id is the
//! line's number. Every portion is an `audit/list` of the client, so a revoked key ends the stream.

use super::connections::Connection;
use super::exchange::{Head, Interface};
use super::outgoing::{message, with_type};
use super::router::busy;
use axum::body::{Body, Bytes};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use http_body_util::channel::{Channel, Sender};
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Streams at a time.
const MOST: usize = 16;
/// How often the log is asked for its last line, which takes no disk.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A comment is sent after this silence, so that both sides notice a dead connection.
const COMMENT_AFTER: Duration = Duration::from_secs(15);
/// A stream whose client takes nothing for this long ends.
const STALLED: Duration = Duration::from_secs(30);
/// Lines read at a time.
const PORTION: &str = "100";
/// A busy terminal is asked again after this time.
const AGAIN: Duration = Duration::from_secs(1);

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Counts a stream while it is open.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let place = Place;
        (OPEN.fetch_add(1, Ordering::Relaxed) < MOST).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns true if the client asks for a stream.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| {
        let media_type = one.split(';').next().unwrap_or("").trim();
        media_type.eq_ignore_ascii_case("text/event-stream")
    })
}

/// Begins a stream: after `Last-Event-ID`, else after `after`, else with the next line.
pub(super) async fn stream(
    interface: Arc<Interface>,
    connection: Arc<Connection>,
    mut head: Head,
) -> Response {
    let last_id = head.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last_id = last_id.map(str::to_owned);
    let given = head.query.iter().position(|(name, _)| name == "after");
    let given = given.map(|index| head.query.remove(index).1);
    let mut after = match last_id.or(given) {
        Some(text) => text,
        None => (interface.sources.last_line)().to_string(),
    };
    head.query.retain(|(name, _)| name != "limit");
    // The first portion shows whether the client may have them.
    let first = portion(&interface, &head, &after).await;
    if first.status != 200 {
        return message(&first);
    }
    // Not before: clients that may not read the log take no place of those that may.
    let Some(place) = Place::take() else { return busy() };
    let (sender, body) = Channel::<Bytes, Infallible>::new(4);
    let working = connection.work();
    tokio::spawn(async move {
        let _held = (working, place);
        let mut sender = sender;
        // The service may be gone before the client is.
        let mut stop = interface.stop.clone();
        let sending = async {
            let mut page = first;
            let mut spoken = Instant::now();
            loop {
                match send(&mut sender, &interface, &head, &page.fields, &mut after).await {
                    Err(Ended) => return,
                    Ok(0) => {}
                    Ok(_) => spoken = Instant::now(),
                }
                let more = page.fields.get("next").is_some_and(Value::is_u64);
                if let (true, Some(next)) = (more, page.fields.get("next").and_then(Value::as_u64))
                {
                    after = next.saturating_sub(1).to_string();
                }
                while !more && (interface.sources.last_line)().to_string() == after {
                    if spoken.elapsed() >= COMMENT_AFTER {
                        if deliver(&mut sender, ":\n\n".to_owned()).await.is_err() {
                            return;
                        }
                        spoken = Instant::now();
                    }
                    sleep(LOOK_EVERY).await;
                }
                let last = (interface.sources.last_line)();
                page = loop {
                    let page = portion(&interface, &head, &after).await;
                    match page.status {
                        200 => break page,
                        503 => sleep(AGAIN).await,
                        _ => return,
                    }
                };
                let has_lines = page
                    .fields
                    .get("lines")
                    .and_then(Value::as_array)
                    .is_some_and(|l| !l.is_empty());
                if !has_lines && !page.fields.contains_key("next") {
                    // Nothing up to `last` passes the filter.
                    after = last.to_string();
                    sleep(LOOK_EVERY).await;
                }
            }
        };
        tokio::select! {
            () = sending => {}
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {}
        }
    });
    let mut response = with_type("text/event-stream", String::new());
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Body::new(body);
    response
}

/// Asks for lines after this one.
async fn portion(interface: &Arc<Interface>, head: &Head, after: &str) -> crate::contract::Answer {
    let mut query = head.query.clone();
    query.push(("after".into(), after.to_owned()));
    query.push(("limit".into(), PORTION.into()));
    let head = Head {
        operation: head.operation,
        peer: head.peer,
        headers: head.headers.clone(),
        path: Vec::new(),
        query,
    };
    interface.answer(head, Body::empty()).await
}

/// The client is gone, takes nothing, or its key is no longer right.
struct Ended;

/// Sends the lines of a page; returns their number.
async fn send(
    sender: &mut Sender<Bytes, Infallible>,
    interface: &Interface,
    head: &Head,
    page: &serde_json::Map<String, Value>,
    after: &mut String,
) -> Result<usize, Ended> {
    let lines = page.get("lines").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for line in lines {
        // The key may have been revoked while the client took its time.
        if !interface.has_right_key(head) {
            return Err(Ended);
        }
        let number = line.get("line").and_then(Value::as_u64).unwrap_or_default();
        let kind = line.get("action").and_then(Value::as_str).unwrap_or("line");
        // JSON text has no line breaks, and an action is a fixed word.
        deliver(sender, format!("id: {number}\nevent: {kind}\ndata: {line}\n\n")).await?;
        *after = number.to_string();
    }
    Ok(lines.len())
}

async fn deliver(sender: &mut Sender<Bytes, Infallible>, text: String) -> Result<(), Ended> {
    match timeout(STALLED, sender.send_data(text.into())).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Ended),
    }
}

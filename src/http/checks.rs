//! What every message passes before it is read, and what every answer carries.
//!
//! - **Host**: a web page that rebinds its name to this terminal's address sends its own name. Only
//!   addresses, `localhost` and `http.hosts` are accepted.
//! - **One reading**: a message that two programs could read differently is refused, and a connection
//!   ends after a chunked request, so that nothing can hide behind its end.
//! - **Origin**: no page of another origin may read an answer, unless it is configured.

use super::connections::Connection;
use super::exchange::Interface;
use super::outgoing::fault;
use crate::contract::Envelope;
use axum::extract::{Extension, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::Arc;

/// Headers of every answer: it is data, not a page, and is not kept.
const SECURITY: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];

pub(super) async fn check(
    State(interface): State<Arc<Interface>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| {
        let origins = &interface.settings.cors_origins;
        origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
    });
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let verdict = one_reading(&request)
        .and_then(|()| is_our_host(&request, connection.local, &interface.settings.hosts));
    let mut response = match verdict {
        Err(envelope) => fault(envelope),
        Ok(()) if is_preflight && allowed.is_some() => preflight(),
        Ok(()) => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, value);
    }
    if !interface.settings.cors_origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    if is_chunked {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "App-ID, API-Key, Content-Type, Last-Event-ID"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses a message with two lengths.
fn one_reading(request: &Request) -> Result<(), Envelope> {
    let headers = request.headers();
    let count = |name| headers.get_all(name).iter().count();
    let why = if count(header::CONTENT_LENGTH) > 1 {
        "it has more than one Content-Length"
    } else if count(header::CONTENT_LENGTH) > 0 && count(header::TRANSFER_ENCODING) > 0 {
        "it has both a Content-Length and a Transfer-Encoding"
    } else {
        return Ok(());
    };
    Err(Envelope::Malformed { why })
}

/// Refuses a message for another server.
fn is_our_host(request: &Request, local: IpAddr, hosts: &[String]) -> Result<(), Envelope> {
    let names = names(request.headers(), request.uri())?;
    if names.is_empty() && request.version() > Version::HTTP_10 {
        return Err(Envelope::Malformed { why: "it has no Host" });
    }
    for name in names {
        if !is_ours(name, local, hosts) {
            let shown: String = name.chars().take(64).collect();
            let why = format!(
                "`{}` is no name of this terminal: use its address, or add the name to http.hosts",
                shown.escape_debug()
            );
            return Err(Envelope::Host { why });
        }
    }
    Ok(())
}

/// Returns every name of the server in the message, without ports.
fn names<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Result<Vec<&'r str>, Envelope> {
    let mut given = headers.get_all(header::HOST).iter();
    let host = given.next();
    if given.next().is_some() {
        return Err(Envelope::Malformed { why: "it has more than one Host" });
    }
    let unreadable = || Envelope::Malformed { why: "its Host is not a name" };
    let host = host.map(|host| host.to_str().map_err(|_| unreadable())).transpose()?;
    let mut names = Vec::new();
    for authority in [host, uri.authority().map(|it| it.as_str())].into_iter().flatten() {
        names.push(without_port(authority).ok_or_else(unreadable)?);
    }
    Ok(names)
}

/// Returns a host without its port; `None` if it is not one.
fn without_port(authority: &str) -> Option<&str> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address);
    }
    match authority.split_once(':') {
        None => Some(authority),
        Some((host, port)) => is_port(port).then_some(host),
    }
}

fn is_ours(name: &str, local: IpAddr, hosts: &[String]) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    // Rebinding needs a name: a page whose server is an address was loaded from that address.
    let is_address = name.parse::<IpAddr>().is_ok_and(|address| {
        address.to_canonical() == local.to_canonical()
            || address.is_loopback() && local.is_loopback()
    });
    is_address
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn verdict(uri: &str, hosts: &[&str]) -> bool {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let request = request.body(Body::empty()).unwrap();
        let known = ["front.example".to_owned()];
        is_our_host(&request, "192.0.2.7".parse().unwrap(), &known).is_ok()
    }

    #[test]
    fn only_names_of_this_terminal_are_accepted() {
        for good in [
            "192.0.2.7",
            "192.0.2.7:8484",
            "localhost",
            "LOCALHOST:1",
            "front.example",
            "Front.Example.:443",
        ] {
            assert!(verdict("/", &[good]), "{good}");
        }
        for bad in [
            "evil.example",
            "192.0.2.8",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "front.example@evil.example",
            "front.example:80:80",
            "[::1",
            "front.example:x",
            "front.example/..",
        ] {
            assert!(!verdict("/", &[bad]), "{bad}");
        }
        assert!(!verdict("/", &[]));
        assert!(!verdict("/", &["localhost", "localhost"]));
        assert!(!verdict("http://evil.example/", &["localhost"]));
        assert!(!verdict("http://localhost/", &["evil.example"]));
        assert!(verdict("http://localhost/", &["localhost"]));
    }

    #[test]
    fn loopback_has_several_addresses() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(is_ours("127.0.0.2", local, &[]) && is_ours("::1", local, &[]));
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert!(is_ours("192.0.2.7", mapped, &[]) && !is_ours("127.0.0.1", mapped, &[]));
    }
}

//! One request to the webhook's server: its headers, which addresses it may go to, and what the
//! answer means.
//!
//! The URL is the operator's configuration, so private networks are allowed: a server of the house
//! is what most have. Link-local addresses are not: there, clouds serve the secrets of a machine
//! to every program on it. A redirect is not followed: it would carry events to where the operator
//! did not send them.

use super::retry::{self, FailureKind};
use super::settings::Settings;
use crate::time::unix_time;
use serde_json::{Value, json};
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use ureq::http::{Uri, header};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// One deadline for everything from name resolution to the answer's head.
const DEADLINE: Duration = Duration::from_secs(10);
/// The rest of an answer's body is not read.
const MOST_BODY: u64 = 4096;

/// Sends events.
pub struct Client {
    agent: ureq::Agent,
    settings: Settings,
}

/// What one attempt led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// The server acknowledged it.
    Acknowledged {
        /// A 2xx.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The server wants no more events: 410.
    Gone,
    /// The server did not acknowledge it.
    Failed {
        /// The status, if the server answered.
        status: Option<u16>,
        /// What happened, without the URL.
        why: String,
        /// When the server wants the next attempt.
        retry_after: Option<Duration>,
        /// The beginning of the body.
        body: String,
    },
}

impl Attempt {
    /// Returns what a failure means for the next attempt.
    pub(super) fn kind(&self) -> FailureKind {
        match self {
            Self::Failed { status: Some(408 | 429), .. } => FailureKind::Passes,
            Self::Failed { status: Some(300..=499), .. } | Self::Gone => FailureKind::Stays,
            _ => FailureKind::Passes,
        }
    }

    /// Returns the attempt as JSON, for a person.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Acknowledged { status, body } => {
                json!({"acknowledged": true, "status": status, "body": body})
            }
            Self::Gone => json!({"acknowledged": false, "status": 410, "why": GONE}),
            Self::Failed { status, why, body, .. } => {
                json!({"acknowledged": false, "status": status, "why": why, "body": body})
            }
        }
    }
}

/// Why no more events are sent after a 410.
pub(super) const GONE: &str = "the server answered 410 Gone: it wants no more events; they wait in \
                               the outbox. Correct webhook.url and reload, or remove it";

impl Client {
    /// Makes a client.
    pub fn new(settings: Settings) -> Self {
        let roots = match &settings.authorities {
            Some(authorities) => RootCerts::new_with_certs(authorities),
            None => RootCerts::WebPki,
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .timeout_global(Some(DEADLINE))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("doorward/", env!("CARGO_PKG_VERSION")))
            // The next event may come in hours.
            .max_idle_connections(0)
            .build();
        let gate =
            Gate { http_hosts: settings.http_hosts.clone(), dns: DefaultResolver::default() };
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), gate);
        Self { agent, settings }
    }

    /// Sends an event of no consequence.
    pub fn test(&self, device_id: &str) -> Attempt {
        let id = uuid::Uuid::new_v4().to_string();
        let event = json!({
            "id": id, "seq": 0, "time": unix_time(), "device_id": device_id, "kind": "test",
            "outcome": "test", "reason": "doorward webhook test", "timings_ms": {},
        });
        self.send(&id, event.to_string().as_bytes())
    }

    /// Sends the event with this id; blocks for [`DEADLINE`] at most.
    pub(super) fn send(&self, id: &str, body: &[u8]) -> Attempt {
        let began = Instant::now();
        let timestamp = unix_time() as u64;
        let request = self
            .agent
            .post(&self.settings.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.settings.key.signature(id, timestamp, body));
        let response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return failed(None, explained(&error, began), None, String::new()),
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|header| header.to_str().ok());
        let retry_after =
            retry_after.and_then(|header| retry::retry_after(header, SystemTime::now()));
        // The status alone decides; a body that breaks off changes nothing.
        let mut bytes = Vec::new();
        let _ = response.into_body().into_reader().take(MOST_BODY).read_to_end(&mut bytes);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        match status {
            200..=299 => Attempt::Acknowledged { status, body },
            410 => Attempt::Gone,
            300..=399 => {
                let why = format!("the server answered {status}: redirects are not followed");
                failed(Some(status), why, retry_after, body)
            }
            _ => failed(Some(status), format!("the server answered {status}"), retry_after, body),
        }
    }
}

fn failed(
    status: Option<u16>,
    why: String,
    retry_after: Option<Duration>,
    body: String,
) -> Attempt {
    Attempt::Failed { status, why, retry_after, body }
}

/// Describes an error without the URL, which may hold a token.
fn explained(error: &ureq::Error, began: Instant) -> String {
    match error {
        ureq::Error::Timeout(_) => {
            format!("the server did not answer within {} s", began.elapsed().as_secs())
        }
        ureq::Error::Io(error) => format!("the server cannot be reached: {error}"),
        ureq::Error::HostNotFound => "the host's name has no address".to_owned(),
        ureq::Error::Other(error) if error.is::<NotAllowed>() => error.to_string(),
        ureq::Error::BadUri(_) => "the URL cannot be used".to_owned(),
        error => format!("no answer: {error}"),
    }
}

/// The resolver: the only place that decides which addresses are connected to.
#[derive(Debug)]
struct Gate {
    http_hosts: Vec<String>,
    dns: DefaultResolver,
}

/// Why no address of the host may be used.
#[derive(Debug, thiserror::Error)]
enum NotAllowed {
    #[error("the host is at {0}, where no webhook may be: a link-local or unusable address")]
    Address(IpAddr),
    #[error(
        "the host is at {0} and not on this machine, and the URL is http: use https, or list it in \
         webhook.http_hosts"
    )]
    Unencrypted(IpAddr),
}

impl Resolver for Gate {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let encrypted = uri.scheme_str() == Some("https");
        let listed = self.http_hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host));
        let mut refusal = None;
        let mut allowed = self.empty();
        for address in self.dns.resolve(uri, config, timeout)?.iter() {
            let ip = address.ip().to_canonical();
            if !is_usable(ip) {
                refusal = Some(NotAllowed::Address(ip));
            } else if !(encrypted || listed || ip.is_loopback()) {
                refusal = Some(NotAllowed::Unencrypted(ip));
            } else {
                allowed.push(*address);
            }
        }
        match refusal {
            Some(reason) if allowed.is_empty() => Err(ureq::Error::Other(Box::new(reason))),
            None if allowed.is_empty() => Err(ureq::Error::HostNotFound),
            _ => Ok(allowed),
        }
    }
}

/// Checks that a server of the operator may have this address: not link-local, not a cloud's
/// address for the secrets of its machines, not many or none.
fn is_usable(address: IpAddr) -> bool {
    /// Amazon's and Alibaba's, which are not link-local.
    const METADATA: [IpAddr; 2] = [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200)),
    ];
    let bad = match address {
        IpAddr::V4(ip) => {
            ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast()
        }
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast(),
    };
    !bad && !METADATA.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn private_networks_are_allowed_and_metadata_services_are_not() {
        for good in ["127.0.0.1", "10.0.0.1", "192.168.1.5", "fd00::1", "::1", "1.1.1.1"] {
            assert!(is_usable(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(!is_usable(bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn nothing_is_sent_to_a_link_local_address() {
        for url in ["https://169.254.169.254/latest", "https://[::ffff:169.254.169.254]/"] {
            let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into();
            let keys =
                config::Webhook { url: url.to_owned(), secret, ..config::Webhook::default() };
            let client = Client::new(Settings::of(&keys).unwrap().unwrap());
            let attempt = client.test("front");
            let Attempt::Failed { why, status: None, .. } = attempt else { panic!("{attempt:?}") };
            assert!(why.contains("169.254.169.254") && why.contains("link-local"), "{why}");
        }
    }
}

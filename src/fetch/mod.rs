//! Fetches pictures from the http(s) URLs of requests.
//!
//! The HTTP client uses the resolver of this module, and every connection goes through it: for the
//! first URL and for each redirect. Only there the [`AllowList`] decides, and only addresses it
//! allows are passed on to connect to. Logins come from the configuration, never from a URL;
//! proxies of the environment, cookies and compression are not used. One deadline covers everything
//! from name resolution to the last byte.

pub mod allow;
mod logins;

use crate::secret::Secret;
use allow::{AllowList, Refusal, Target, default_port};
use logins::Logins;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{StatusCode, Uri, header};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Photo services redirect once or twice.
const MAX_REDIRECTS: u32 = 4;

/// Fetches pictures from the allowed hosts; blocking, and usable from many threads at once.
#[derive(Debug, Clone)]
pub struct Fetcher {
    agent: ureq::Agent,
    logins: Logins,
    deadline: Duration,
    max_bytes: usize,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// An entry that is not a host name, address or network.
    #[error(
        "image_url.allow: {0:?} is neither a host name (photos.example.org), an address (192.168.1.5, \
         fd00::5) nor a network (192.168.1.0/24), each with or without a port (photos.example.org:8080, \
         [fd00::5]:8080, or :* for every port); schemes and wildcards are not part of an entry"
    )]
    Allow(String),
    /// A login that cannot be read. It is not shown.
    #[error(
        "image_url.logins, entry {entry}: it must be of the form \"HOST USER:PASSWORD\", or \
         \"http://HOST:PORT USER:PASSWORD\" to send the password unencrypted"
    )]
    Login {
        /// Its number, from 1.
        entry: usize,
    },
}

/// Checks the settings of [`Fetcher::new`].
pub fn check(allow: &[String], logins: &[Secret]) -> Result<(), BadEntry> {
    AllowList::parse(allow)?;
    Logins::parse(logins).map(drop)
}

/// Why a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The fetch exceeded the deadline.
    #[error("the picture was not fetched within {} s: use a faster server or send the picture itself", .0.as_secs_f32())]
    Timeout(Duration),
    /// The picture exceeds the limit, by its header or by its bytes.
    #[error(
        "the picture behind the URL has more than {0} bytes: save it smaller or with a lower quality"
    )]
    TooLarge(usize),
    /// The URL, or one that it redirects to, is not allowed.
    #[error("the URL is not allowed: {0}")]
    NotAllowed(String),
    /// The server could not be reached or did not answer with a picture.
    #[error("the URL cannot be fetched: {0}")]
    Failed(String),
}

impl Fetcher {
    /// Makes a fetcher for the hosts and networks of `allow` (see [`AllowList::parse`]; empty
    /// disables fetching) and the `logins` of some of them. It gives up after `deadline` and beyond
    /// `max_bytes`. The contract's values are 15 s and 5 MiB.
    pub fn new<S: AsRef<str>>(
        allow: &[S],
        logins: &[Secret],
        deadline: Duration,
        max_bytes: usize,
    ) -> Result<Self, BadEntry> {
        let gate = Gate { allow: AllowList::parse(allow)?, dns: DefaultResolver::default() };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::WebPki)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .timeout_global(Some(deadline))
            .max_redirects(MAX_REDIRECTS)
            // A login is for the host of the URL, never for the one that it redirects to.
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .http_status_as_error(false)
            .accept("image/jpeg, image/png")
            .user_agent(concat!("doorward/", env!("CARGO_PKG_VERSION")))
            // An idle connection must not outlive the check that allowed its address.
            .max_idle_connections(0)
            .build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), gate);
        Ok(Self { agent, logins: Logins::parse(logins)?, deadline, max_bytes })
    }

    /// Fetches the body of `url`, an `http://` or `https://` address.
    pub fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let mut request = self.agent.get(url);
        let login = url.parse().ok().and_then(|url| self.logins.header(&url));
        if let Some(login) = login {
            request = request.header(header::AUTHORIZATION, login);
        }
        let response = request.call().map_err(|error| self.explain(error))?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(FetchError::Failed(format!(
                "the server answered {status}: image_url.logins in the configuration may hold a login \
                 for its host"
            )));
        }
        if status != StatusCode::OK {
            return Err(FetchError::Failed(format!("the server answered {status}")));
        }
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(FetchError::Failed("the server answered compressed, unasked".to_owned()));
        }
        let body = response.into_body();
        let limit = self.max_bytes as u64;
        if body.content_length().is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge(self.max_bytes));
        }
        let mut bytes = Vec::new();
        let mut reader = body.into_reader().take(limit + 1);
        reader.read_to_end(&mut bytes).map_err(|error| self.explain(error.into()))?;
        if bytes.len() > self.max_bytes {
            return Err(FetchError::TooLarge(self.max_bytes));
        }
        Ok(bytes)
    }

    fn explain(&self, error: ureq::Error) -> FetchError {
        match error {
            ureq::Error::Timeout(_) => FetchError::Timeout(self.deadline),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                FetchError::Timeout(self.deadline)
            }
            ureq::Error::Other(error) if error.is::<Refusal>() || error.is::<OutOfBounds>() => {
                FetchError::NotAllowed(error.to_string())
            }
            error => FetchError::Failed(error.to_string()),
        }
    }
}

/// The resolver: the only place that decides which addresses are connected to.
#[derive(Debug)]
struct Gate {
    allow: AllowList,
    dns: DefaultResolver,
}

/// A fault of a URL that does not depend on its host.
#[derive(Debug, thiserror::Error)]
enum OutOfBounds {
    #[error("only http:// and https:// are fetched")]
    Scheme,
    #[error("a URL must not carry a login")]
    Login,
}

impl Resolver for Gate {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refused(OutOfBounds::Scheme));
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(refused(OutOfBounds::Login));
        }
        let usual = default_port(uri.scheme_str().unwrap_or_default());
        let port = uri.port_u16().or(usual).unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        let target = Target { host, port, is_usual: Some(port) == usual };
        self.allow.check_name(target).map_err(refused)?;

        let mut refusal = None;
        let mut allowed = self.empty();
        for address in self.dns.resolve(uri, config, timeout)?.iter() {
            match self.allow.check_address(target, address.ip()) {
                Ok(()) => allowed.push(*address),
                Err(reason) => refusal = Some(reason),
            }
        }
        match refusal {
            Some(reason) if allowed.is_empty() => Err(refused(reason)),
            None if allowed.is_empty() => Err(ureq::Error::HostNotFound),
            _ => Ok(allowed),
        }
    }
}

fn refused(reason: impl std::error::Error + Send + Sync + 'static) -> ureq::Error {
    ureq::Error::Other(Box::new(reason))
}

#[cfg(test)]
mod tests;

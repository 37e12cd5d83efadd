//! Fetches pictures from the http(s) URLs of requests.
//!
//! The HTTP client uses the resolver of this module, and every connection goes through it: for the
//! first URL and for each redirect. Only there the [`AllowList`] decides, and only addresses it
//! allows are passed on to connect to. Logins come from the configuration, never from a URL; proxies
//! of the environment, cookies and compression are not used. One deadline covers everything from name resolution to the last byte.

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
    /// disables fetching) and the `logins` of some of them. It gives up after `deadline` and beyond `max_bytes`. The contract's
    /// values are 15 s and 5 MiB.
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
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Instant;

    const LIMIT: usize = 100_000;

    /// Starts a server on a loopback address that reads each request and passes the connection to
    /// `answer`.
    fn server_on(address: &str, answer: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = BufReader::new(stream.try_clone().unwrap());
                request
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .for_each(drop);
                answer(&mut stream);
            }
        });
        address
    }

    fn server(answer: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
        server_on("127.0.0.1", answer)
    }

    /// Starts a server that always sends the same bytes.
    fn sending(answer: impl Into<Vec<u8>>) -> SocketAddr {
        let answer = answer.into();
        server(move |stream| drop(stream.write_all(&answer)))
    }

    fn redirect(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
    }

    fn fetcher(allow: &[&str]) -> Fetcher {
        Fetcher::new(allow, &[], Duration::from_millis(1500), LIMIT).unwrap()
    }

    fn fetch(server: SocketAddr) -> Result<Vec<u8>, FetchError> {
        fetcher(&["127.0.0.1:*"]).fetch(&format!("http://{server}/a.jpg"))
    }

    #[test]
    fn a_body_is_returned() {
        let body = vec![7; LIMIT];
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LIMIT}\r\n\r\n");
        assert_eq!(fetch(sending([head.as_bytes(), &body].concat())), Ok(body.clone()));
        assert_eq!(fetch(sending([b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat())), Ok(body));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(fetch(sending(chunked)), Ok(b"abcde".to_vec()));
    }

    #[test]
    fn too_many_bytes_are_refused_with_or_without_content_length() {
        let stated = sending("HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n");
        assert_eq!(fetch(stated), Err(FetchError::TooLarge(LIMIT)));
        for head in ["", "Transfer-Encoding: chunked\r\n"] {
            let endless = server(move |stream| {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n");
                while write!(stream, "400\r\n{}\r\n", "x".repeat(0x400)).is_ok() {}
            });
            assert_eq!(fetch(endless), Err(FetchError::TooLarge(LIMIT)), "{head:?}");
        }
    }

    #[test]
    fn a_wrong_content_length_is_a_failure() {
        let answer = fetch(sending("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"));
        assert!(matches!(answer, Err(FetchError::Failed(_))), "{answer:?}");
    }

    #[test]
    fn one_deadline_covers_head_and_body() {
        for head in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"] {
            let slow = server(move |stream| {
                let _ = stream.write_all(head.as_bytes());
                while stream.write_all(b"H").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let start = Instant::now();
            let deadline = Duration::from_millis(300);
            let fetcher = Fetcher::new(&["127.0.0.1:*"], &[], deadline, LIMIT).unwrap();
            assert_eq!(
                fetcher.fetch(&format!("http://{slow}/")),
                Err(FetchError::Timeout(deadline))
            );
            assert!(start.elapsed() < Duration::from_millis(1000), "{:?}", start.elapsed());
        }
    }

    #[test]
    fn redirects_are_followed_and_checked() {
        let target = sending("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(fetch(sending(redirect(&format!("http://{target}/x")))), Ok(b"hi".to_vec()));

        let inside = server_on("127.0.0.2", |_| panic!("reached"));
        for to in
            [format!("http://{inside}/"), "http://169.254.169.254/".into(), "http://[::1]/".into()]
        {
            let answer = fetch(sending(redirect(&to)));
            assert!(matches!(answer, Err(FetchError::NotAllowed(_))), "{to}: {answer:?}");
        }
        for to in ["file:///etc/passwd", "ftp://127.0.0.1/"] {
            let answer = fetch(sending(redirect(to)));
            assert!(
                matches!(answer, Err(FetchError::NotAllowed(_) | FetchError::Failed(_))),
                "{to}: {answer:?}"
            );
        }
    }

    #[test]
    fn a_redirect_loop_is_a_failure() {
        let answer = fetch(sending(redirect("/again")));
        assert!(matches!(answer, Err(FetchError::Failed(_))), "{answer:?}");
    }

    #[test]
    fn unlisted_hosts_are_not_reached() {
        let server = server(|_| panic!("reached"));
        let url = format!("http://{server}/");
        let by_name = format!("http://localhost:{}/", server.port());
        let login = format!("http://someone:secret@{server}/");
        for (allow, url) in [
            (&[][..], &url),
            (&["192.0.2.0/24:*"], &url),
            (&["photos.example.org"], &url),
            // A listed name that resolves to an address inside.
            (&["localhost:*"], &by_name),
            (&["127.0.0.1:*"], &login),
            // Listed, but for the usual port.
            (&["127.0.0.1"], &url),
            // The resolver recognises other spellings of 127.0.0.1.
            (&["10.0.0.0/8:*"], &format!("http://2130706433:{}/", server.port())),
        ] {
            let answer = fetcher(allow).fetch(url);
            assert!(
                matches!(answer, Err(FetchError::NotAllowed(_))),
                "{allow:?} {url}: {answer:?}"
            );
        }
    }

    #[test]
    fn a_listed_name_in_a_listed_network_is_reached() {
        let server = sending("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        let url = format!("http://localhost:{}/", server.port());
        assert_eq!(fetcher(&["localhost:*", "127.0.0.0/8:*"]).fetch(&url), Ok(b"hi".to_vec()));
    }

    #[test]
    fn any_other_answer_is_a_failure() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
            "SSH-2.0-OpenSSH_9.6\r\n",
            "",
        ] {
            let failed = fetch(sending(answer));
            assert!(matches!(failed, Err(FetchError::Failed(_))), "{answer:?}: {failed:?}");
        }
        let unreachable = fetcher(&["127.0.0.1:*"]).fetch("http://127.0.0.1:1/");
        assert!(matches!(unreachable, Err(FetchError::Failed(_))), "{unreachable:?}");
        assert!(matches!(fetcher(&["127.0.0.1:*"]).fetch("http://"), Err(FetchError::Failed(_))));
    }

    /// Starts a server that requires a login, and reports the header of each request.
    fn with_login(next: Option<SocketAddr>) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
        let (seen, requests) = std::sync::mpsc::channel();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let lines = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
                let head = lines.collect::<Vec<_>>().join("\n").to_ascii_lowercase();
                let answer = match (head.contains("authorization:"), next) {
                    (true, Some(next)) => redirect(&format!("http://{next}/")),
                    (true, None) => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
                    (false, _) => {
                        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned()
                    }
                };
                seen.send(head).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (address, requests)
    }

    fn fetcher_with(logins: &[String]) -> Fetcher {
        let logins: Vec<Secret> = logins.iter().cloned().map(Secret::from).collect();
        Fetcher::new(&["127.0.0.1:*"], &logins, Duration::from_millis(1500), LIMIT).unwrap()
    }

    #[test]
    fn a_configured_login_is_sent_to_its_host_and_never_on_after_a_redirect() {
        let (target, seen) = with_login(None);
        let url = format!("http://{target}/");
        let login = format!("http://{target} cam:swordfish");
        assert_eq!(fetcher_with(std::slice::from_ref(&login)).fetch(&url), Ok(b"hi".to_vec()));
        let expected =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "cam:swordfish");
        assert!(seen.recv().unwrap().contains(&expected.to_ascii_lowercase()));
        // Without one, and with one that must not be sent unencrypted.
        for logins in [vec![], vec![format!("{target} cam:swordfish")]] {
            let error = fetcher_with(&logins).fetch(&url).unwrap_err();
            assert!(error.to_string().contains("image_url.logins"), "{error}");
            assert!(!seen.recv().unwrap().contains("authorization"));
        }
        // Another host redirects here: neither its login nor ours is sent.
        let (other, asked) = with_login(Some(target));
        let logins = [login, format!("http://{other} cam:other")];
        let error = fetcher_with(&logins).fetch(&format!("http://{other}/")).unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
        assert!(asked.recv().unwrap().contains("authorization"));
        assert!(!seen.recv().unwrap().contains("authorization"));
    }

    #[test]
    fn https_starts_a_tls_handshake() {
        // There is no certificate, but the handshake must start and fail as a handshake.
        let server = sending("HTTP/1.1 400 Bad Request\r\n\r\n");
        let answer = fetcher(&["127.0.0.1:*"]).fetch(&format!("https://{server}/"));
        assert!(matches!(answer, Err(FetchError::Failed(_))), "{answer:?}");
    }
}

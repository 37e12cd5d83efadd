//! The logins of hosts that pictures are fetched from. A login goes to its own host and port alone:
//! over https, or over http if its entry says so, and never on after a redirect. Must never print
//! one.

use super::BadEntry;
use super::allow::{default_port, is_host, normal_name};
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{HeaderValue, Uri};

/// The parsed logins.
#[derive(Debug, Clone, Default)]
pub(super) struct Logins(Vec<Login>);

/// A login, and where it may be sent.
#[derive(Debug, Clone)]
struct Login {
    scheme: &'static str,
    host: String,
    port: u16,
    /// The header's value; marked as sensitive, so that its `Debug` shows nothing.
    header: HeaderValue,
}

impl Logins {
    /// Reads entries such as `nas.example.org camera:password` or
    /// `http://192.168.1.5:8080 camera:password`.
    pub fn parse(entries: &[Secret]) -> Result<Self, BadEntry> {
        let logins = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| login(entry.reveal()).ok_or(BadEntry::Login { entry: at + 1 }));
        logins.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the header to send with a request for this URL, if there is a login for it.
    pub fn header(&self, url: &Uri) -> Option<HeaderValue> {
        let (scheme, host) = (url.scheme_str()?, normal_name(url.host()?));
        let port = url.port_u16().or_else(|| default_port(scheme))?;
        let login = self
            .0
            .iter()
            .find(|login| login.scheme == scheme && login.host == host && login.port == port)?;
        Some(login.header.clone())
    }
}

fn login(entry: &str) -> Option<Login> {
    let (place, login) = entry.trim().split_once(' ')?;
    let login = login.trim_start();
    let (user, _) = login.split_once(':')?;
    let (scheme, place) = match place.split_once("://") {
        None => ("https", place),
        Some(("https", place)) => ("https", place),
        Some(("http", place)) => ("http", place),
        Some(_) => return None,
    };
    let place: Uri = format!("{scheme}://{place}/").parse().ok()?;
    let host = normal_name(place.host()?);
    let authority = place.authority()?.as_str();
    if user.is_empty() || place.path() != "/" || authority.contains('@') || !is_host(&host) {
        return None;
    }
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(login))).ok()?;
    header.set_sensitive(true);
    Some(Login { scheme, port: place.port_u16().or_else(|| default_port(scheme))?, host, header })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(entries: &[&str]) -> Result<Logins, BadEntry> {
        Logins::parse(
            &entries.iter().map(|entry| Secret::from((*entry).to_owned())).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_login_goes_to_its_host_and_port_alone() {
        let logins =
            logins(&["nas.example.org cam:s:wordfish", "http://192.168.1.5:8080 cam:other"])
                .unwrap();
        let header = |url: &str| {
            let header = logins.header(&url.parse().unwrap())?;
            let value = header.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
            Some(String::from_utf8(STANDARD.decode(value).unwrap()).unwrap())
        };
        for (url, login) in [
            ("https://nas.example.org/a.jpg", Some("cam:s:wordfish")),
            ("https://NAS.example.org.:443/a.jpg", Some("cam:s:wordfish")),
            ("http://nas.example.org/a.jpg", None),
            ("https://nas.example.org:8443/a.jpg", None),
            ("https://a.nas.example.org/a.jpg", None),
            ("http://192.168.1.5:8080/a.jpg", Some("cam:other")),
            ("https://192.168.1.5:8080/a.jpg", None),
            ("http://192.168.1.5/a.jpg", None),
        ] {
            assert_eq!(header(url).as_deref(), login, "{url}");
        }
    }

    #[test]
    fn a_wrong_entry_is_named_by_its_number_and_no_login_is_printed() {
        for entry in [
            "nas.example.org",
            "nas.example.org swordfish",
            "nas.example.org :swordfish",
            "ftp://nas.example.org cam:swordfish",
            "nas.example.org/path cam:swordfish",
            "cam@nas.example.org cam:swordfish",
            "",
        ] {
            let error = logins(&["a.example b:c", entry]).unwrap_err();
            assert_eq!(error, BadEntry::Login { entry: 2 }, "{entry}");
            assert!(!error.to_string().contains("swordfish"), "{error}");
        }
        let shown = format!("{:?}", logins(&["nas.example.org cam:swordfish"]).unwrap());
        assert!(!shown.contains("swordfish") && !shown.contains(&STANDARD.encode("cam:swordfish")));
    }
}

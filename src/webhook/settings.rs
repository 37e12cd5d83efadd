//! The configuration of the webhook, checked.

use super::secret::SigningKey;
use crate::config;
use crate::outbox::Kind;
use std::path::{Path, PathBuf};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) url: Uri,
    pub(super) key: SigningKey,
    /// Hosts to which events may go unencrypted, besides this machine.
    pub(super) http_hosts: Vec<String>,
    /// Authorities to trust in place of the public ones.
    pub(super) authorities: Option<Vec<Certificate<'static>>>,
    pub(super) kinds: Vec<Kind>,
}

/// Why a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The URL is not one.
    #[error("webhook.url is not an address of the form https://HOST/PATH")]
    Url,
    /// Events would go unencrypted over a network.
    #[error(
        "webhook.url is http: events would be readable by the network; use https, or list {0} in \
         webhook.http_hosts"
    )]
    Unencrypted(String),
    /// The URL carries a login.
    #[error("webhook.url must not carry a login; the signature tells the server who sends")]
    Login,
    /// There is no secret.
    #[error(
        "webhook.url needs webhook.secret or webhook.secret_file: whsec_ and the base64 of 24 to 64 \
         random bytes, as `echo whsec_$(head -c 32 /dev/urandom | base64)` makes it"
    )]
    NoSecret,
    /// The secret is not of the form of Standard Webhooks.
    #[error("webhook.secret is not whsec_ and the base64 of 24 to 64 bytes")]
    Secret,
    /// No kind of event has this name.
    #[error("webhook.kinds: there is no kind `{0}`; there are {all}", all = all_kinds())]
    Kind(String),
    /// The file of authorities cannot be read.
    #[error("webhook.ca_file {path}: {why}", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There are other keys, and no URL.
    #[error("webhook.{0} needs webhook.url")]
    NoUrl(&'static str),
}

fn all_kinds() -> String {
    Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

impl Settings {
    /// Reads the configuration; `None`: there is no webhook.
    pub fn of(keys: &config::Webhook) -> Result<Option<Self>, SettingsError> {
        if keys.url.is_empty() {
            let secret = (!keys.secret.is_empty()).then_some("secret");
            let kinds = (!keys.kinds.is_empty()).then_some("kinds");
            return match secret.or(kinds) {
                Some(name) => Err(SettingsError::NoUrl(name)),
                None => Ok(None),
            };
        }
        let url: Uri = keys.url.parse().map_err(|_| SettingsError::Url)?;
        let host = url.host().filter(|host| !host.is_empty()).ok_or(SettingsError::Url)?;
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(SettingsError::Login);
        }
        let is_listed = keys.http_hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host));
        match url.scheme_str() {
            Some("https") => {}
            // That a name is of this machine is checked again with its address.
            Some("http") if is_listed || may_be_loopback(host) => {}
            Some("http") => return Err(SettingsError::Unencrypted(host.to_owned())),
            _ => return Err(SettingsError::Url),
        }
        if keys.secret.is_empty() {
            return Err(SettingsError::NoSecret);
        }
        let key = SigningKey::read(&keys.secret).ok_or(SettingsError::Secret)?;
        let kinds = kinds(&keys.kinds)?;
        let authorities = match keys.ca_file.as_os_str().is_empty() {
            true => None,
            false => Some(authorities(&keys.ca_file)?),
        };
        Ok(Some(Self { url, key, http_hosts: keys.http_hosts.clone(), authorities, kinds }))
    }

    /// Returns the kinds of events that it gets.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Returns the host, which may be logged; the rest of the URL may hold a token.
    pub(super) fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }
}

/// Checks whether a host is this machine by its name.
fn may_be_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Reads kinds by name; none means all.
fn kinds(names: &[String]) -> Result<Vec<Kind>, SettingsError> {
    if names.is_empty() {
        return Ok(Kind::ALL.to_vec());
    }
    let named = |name: &String| Kind::named(name).ok_or_else(|| SettingsError::Kind(name.clone()));
    names.iter().map(named).collect()
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, SettingsError> {
    let refused = |why: String| SettingsError::Authorities { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| refused(error.to_string()))?
        {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(refused("it holds no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn keys(url: &str) -> config::Webhook {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into();
        config::Webhook { url: url.to_owned(), secret, ..config::Webhook::default() }
    }

    fn refusal(keys: &config::Webhook) -> String {
        Settings::of(keys).unwrap_err().to_string()
    }

    #[test]
    fn events_are_not_sent_unencrypted_unless_the_host_is_listed() {
        for url in [
            "https://house.example/events?x=1",
            "https://192.168.1.5:8443/",
            "http://127.0.0.1:9/a",
            "http://localhost/a",
            "http://[::1]:80/a",
        ] {
            assert!(Settings::of(&keys(url)).unwrap().is_some(), "{url}");
        }
        for url in ["http://house.example/", "http://192.168.1.5/", "http://localhost.example/"] {
            assert!(refusal(&keys(url)).contains("webhook.http_hosts"), "{url}");
        }
        let listed = config::Webhook {
            http_hosts: vec!["house.example".to_owned()],
            ..keys("http://House.Example:8080/a")
        };
        assert!(Settings::of(&listed).unwrap().is_some());
        for url in ["ftp://house.example/", "house.example", "/events", "https://", "https:///a"] {
            assert!(refusal(&keys(url)).contains("https://HOST/PATH"), "{url}");
        }
        assert!(refusal(&keys("https://me:pw@house.example/")).contains("login"));
    }

    #[test]
    fn incomplete_and_wrong_keys_are_refused() {
        assert!(Settings::of(&config::Webhook::default()).unwrap().is_none());
        let url = "https://house.example/";
        let without = config::Webhook { secret: String::new().into(), ..keys(url) };
        assert!(refusal(&without).contains("whsec_"));
        let short = config::Webhook { secret: "whsec_aGk=".to_owned().into(), ..keys(url) };
        assert!(refusal(&short).contains("24 to 64"));
        assert!(refusal(&keys("")).contains("webhook.secret needs webhook.url"));
        let kind = config::Webhook { kinds: vec!["acess".into()], ..keys(url) };
        assert!(refusal(&kind).contains("`acess`; there are access, enroll"), "{}", refusal(&kind));
        let some = config::Webhook { kinds: vec!["door".into()], ..keys(url) };
        assert_eq!(Settings::of(&some).unwrap().unwrap().kinds(), [Kind::Door]);
        assert_eq!(Settings::of(&keys(url)).unwrap().unwrap().kinds(), Kind::ALL);
        let file = tempfile::NamedTempFile::new().unwrap();
        let authorities = config::Webhook { ca_file: file.path().to_owned(), ..keys(url) };
        assert!(refusal(&authorities).contains("no certificate"));
    }
}

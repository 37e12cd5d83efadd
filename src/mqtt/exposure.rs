//! Whether strangers could reach the broker, and what is refused if they could.
//!
//! A broker off-loopback that is anonymous or unencrypted lets whoever is on the network enrol
//! themselves and open the door; there the daemon answers questions but changes nothing.

use super::Settings;
use std::net::IpAddr;

/// Operations that change who may enter, or open the door.
const GUARDED: [&str; 5] = ["enroll", "enroll_mode", "subject/update", "subject/delete", "unlock"];

/// How far the broker's door is open. Decided once, from the settings and the addresses that the
/// host's name has at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Only this machine reaches the broker, or the connection is encrypted and has a login.
    Closed,
    /// Anybody may log in.
    Anonymous,
    /// Anybody on the way may read the login and the requests.
    Unencrypted,
    /// [`Exposure::Anonymous`] or [`Exposure::Unencrypted`], and `mqtt.allow_insecure` accepts it.
    Accepted,
}

impl Exposure {
    /// Resolves the broker's name and judges. A name that does not resolve is not loopback: what
    /// cannot be shown to be safe is not.
    pub async fn of(settings: &Settings) -> Self {
        let addresses: Vec<IpAddr> =
            match tokio::net::lookup_host((settings.host(), settings.port())).await {
                Ok(found) => found.map(|address| address.ip()).collect(),
                Err(_) => Vec::new(),
            };
        Self::judge(settings, &addresses)
    }

    /// The judgement itself. All addresses must be loopback for the broker to count as such, since
    /// any of them may be the one that is connected to.
    fn judge(settings: &Settings, addresses: &[IpAddr]) -> Self {
        let loopback = |ip: &IpAddr| ip.to_canonical().is_loopback();
        if !addresses.is_empty() && addresses.iter().all(loopback) {
            return Self::Closed;
        }
        let certificate = settings.tls.enabled && settings.tls.client_cert_file.is_some();
        let login = settings.username.is_some()
            && settings.password.as_ref().is_some_and(|password| !password.reveal().is_empty());
        let open = if !settings.tls.enabled {
            Self::Unencrypted
        } else if !login && !certificate {
            Self::Anonymous
        } else {
            return Self::Closed;
        };
        if settings.allow_insecure { Self::Accepted } else { open }
    }

    /// Whether the strike may be armed and the gallery changed over this broker.
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Closed | Self::Accepted)
    }

    /// What to do about it; `None` where nothing is refused.
    pub(crate) fn advice(self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::Accepted => None,
            Self::Anonymous => Some(
                "the broker is not on this machine and has no login: set mqtt.username and \
                 mqtt.password (or mqtt.client_cert_file), or accept it with \
                 mqtt.allow_insecure = true",
            ),
            Self::Unencrypted => Some(
                "the broker is not on this machine and the connection is not encrypted: set \
                 mqtt.tls = true, or accept it with mqtt.allow_insecure = true",
            ),
        }
    }

    /// Why this operation is refused over this broker; `None` if it is not.
    pub(crate) fn refuses(self, operation: &str) -> Option<&'static str> {
        if GUARDED.contains(&operation) { self.advice() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Tls;

    fn settings(tls: bool, login: bool, certificate: bool) -> Settings {
        Settings {
            username: login.then(|| "door".into()),
            password: login.then(|| "s3cret".to_string().into()),
            tls: Tls {
                enabled: tls,
                client_cert_file: certificate.then(|| "cert.pem".into()),
                client_key_file: certificate.then(|| "key.pem".into()),
                ca_file: None,
            },
            ..Settings::default()
        }
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn table() {
        use Exposure::{Anonymous, Closed, Unencrypted};
        for (addresses, tls, login, certificate, expected) in [
            (&["127.0.0.1"][..], false, false, false, Closed),
            (&["127.9.9.9", "::1"], false, false, false, Closed),
            (&["::ffff:127.0.0.1"], false, false, false, Closed),
            // One address outside is enough.
            (&["127.0.0.1", "192.168.1.2"], false, true, false, Unencrypted),
            (&["0.0.0.0"], false, true, false, Unencrypted),
            (&["192.168.1.2"], false, false, false, Unencrypted),
            (&["192.168.1.2"], false, true, false, Unencrypted),
            (&["192.168.1.2"], true, false, false, Anonymous),
            (&["192.168.1.2"], true, true, false, Closed),
            (&["192.168.1.2"], true, false, true, Closed),
            // A name that does not resolve.
            (&[], false, true, false, Unencrypted),
            (&[], true, true, false, Closed),
        ] {
            let settings = settings(tls, login, certificate);
            assert_eq!(
                Exposure::judge(&settings, &ips(addresses)),
                expected,
                "{addresses:?} tls={tls} login={login} certificate={certificate}"
            );
        }
    }

    #[test]
    fn a_name_without_a_password_is_no_login() {
        let mut settings = settings(true, true, false);
        settings.password = None;
        assert_eq!(Exposure::judge(&settings, &ips(&["192.168.1.2"])), Exposure::Anonymous);
    }

    #[test]
    fn it_can_be_accepted_in_words() {
        let settings = Settings { allow_insecure: true, ..settings(false, false, false) };
        let exposure = Exposure::judge(&settings, &ips(&["192.168.1.2"]));
        assert_eq!(exposure, Exposure::Accepted);
        assert_eq!(exposure.refuses("unlock"), None);
    }

    #[test]
    fn only_what_changes_something_is_refused() {
        for operation in ["enroll", "enroll_mode", "subject/update", "subject/delete", "unlock"] {
            assert!(Exposure::Unencrypted.refuses(operation).is_some(), "{operation}");
        }
        for operation in ["verify", "search", "compare", "liveness", "subject/list", "health"] {
            assert!(Exposure::Unencrypted.refuses(operation).is_none(), "{operation}");
        }
    }

    #[tokio::test]
    async fn localhost_is_judged_by_its_address() {
        let settings = Settings { host: Some("localhost".into()), ..Settings::default() };
        assert_eq!(Exposure::of(&settings).await, Exposure::Closed);
    }
}

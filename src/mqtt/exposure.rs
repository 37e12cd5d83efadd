//! Whether strangers could reach the broker, and what is refused if they could.
//!
//! A broker off-loopback that is anonymous or unencrypted lets whoever is on the network enrol
//! themselves and open the door; there the daemon answers questions but changes nothing.

use super::Settings;
use crate::service::Operation;
use std::net::IpAddr;

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
    /// The judgement. Loopback is what the configuration says in so many words, `localhost` or an
    /// address: what another name resolves to may change between this look and the connection.
    pub fn of(settings: &Settings) -> Self {
        let host = settings.host();
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        if is_loopback {
            return Self::Closed;
        }
        let open = if !settings.tls.enabled {
            Self::Unencrypted
        } else if !settings.has_login() {
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
        Operation::named(operation).filter(|it| it.is_change()).and_then(|_| self.advice())
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

    fn at(host: &str, settings: Settings) -> Exposure {
        Exposure::of(&Settings { host: Some(host.into()), ..settings })
    }

    #[test]
    fn table() {
        use Exposure::{Anonymous, Closed, Unencrypted};
        for (host, tls, login, certificate, expected) in [
            ("127.0.0.1", false, false, false, Closed),
            ("127.9.9.9", false, false, false, Closed),
            ("[::1]", false, false, false, Closed),
            ("::ffff:127.0.0.1", false, false, false, Closed),
            ("localhost", false, false, false, Closed),
            ("0.0.0.0", false, true, false, Unencrypted),
            ("192.168.1.2", false, false, false, Unencrypted),
            ("192.168.1.2", false, true, false, Unencrypted),
            ("192.168.1.2", true, false, false, Anonymous),
            ("192.168.1.2", true, true, false, Closed),
            ("192.168.1.2", true, false, true, Closed),
            // A name means what it resolves to, today this and tomorrow that.
            ("localhost.example", false, true, false, Unencrypted),
            ("broker.lan", true, true, false, Closed),
        ] {
            assert_eq!(
                at(host, settings(tls, login, certificate)),
                expected,
                "{host} tls={tls} login={login} certificate={certificate}"
            );
        }
    }

    #[test]
    fn a_name_without_a_password_is_no_login() {
        let mut settings = settings(true, true, false);
        settings.password = None;
        assert_eq!(at("192.168.1.2", settings), Exposure::Anonymous);
    }

    #[test]
    fn it_can_be_accepted_in_words() {
        let settings = Settings { allow_insecure: true, ..settings(false, false, false) };
        let exposure = at("192.168.1.2", settings);
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
}

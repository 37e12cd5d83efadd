//! How far strangers can reach the broker, and what is refused because of it.
//!
//! A broker that accepts everyone, on any machine, and an unencrypted broker on another machine
//! both let anyone on the network enroll themselves and open the door. On these the daemon answers
//! queries but changes nothing.

use super::Settings;
use std::net::IpAddr;

/// How far the broker is open to strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// It refuses clients without a login, and its traffic stays on this machine or is encrypted.
    Closed,
    /// Not known yet: the daemon does not know how the broker treats a client without a login.
    Unknown,
    /// Anyone may log in.
    Anonymous,
    /// Anyone on the network path may read the login and the requests.
    Unencrypted,
    /// Accepted by `mqtt.allow_insecure`, whatever it is.
    Accepted,
}

impl Exposure {
    /// Judges the settings alone. Only `localhost` or a loopback address counts as loopback:
    /// another name may resolve to another address between this check and the connection.
    pub(crate) fn of(settings: &Settings) -> Self {
        let host = settings.host();
        let is_loopback = || {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        };
        if settings.own_broker {
            Self::Closed
        } else if settings.allow_insecure {
            Self::Accepted
        } else if is_loopback() {
            Self::Unknown
        } else if !settings.tls.enabled {
            Self::Unencrypted
        } else if !settings.has_login() {
            Self::Anonymous
        } else {
            Self::Unknown
        }
    }

    /// Returns true if the strike may be armed and the gallery changed over this broker.
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Closed | Self::Accepted)
    }

    /// Returns what to do about it where changes are refused; `None` where they are accepted.
    pub(crate) fn advice(self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::Accepted => None,
            Self::Unknown => Some(
                "it is not known yet whether the broker lets anybody in without a login: try again \
                 in a moment; the daemon's log says what is in the way",
            ),
            Self::Anonymous => Some(
                "the broker lets anybody in: give it logins (mosquitto: `allow_anonymous false` and \
                 `password_file FILE`, for every listener), set mqtt.username and mqtt.password (or \
                 mqtt.client_cert_file) and restart doorward, or accept it with \
                 mqtt.allow_insecure = true",
            ),
            Self::Unencrypted => Some(
                "the broker is not on this machine and the connection is not encrypted: set \
                 mqtt.tls = true, or accept it with mqtt.allow_insecure = true",
            ),
        }
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
    fn exposure_follows_host_tls_and_login() {
        use Exposure::{Anonymous, Unencrypted, Unknown};
        for (host, tls, login, certificate, expected) in [
            // A listener on loopback may have a second one elsewhere: the broker is probed.
            ("127.0.0.1", false, false, false, Unknown),
            ("127.0.0.1", false, true, false, Unknown),
            ("127.9.9.9", false, false, false, Unknown),
            ("[::1]", false, false, false, Unknown),
            ("::ffff:127.0.0.1", false, false, false, Unknown),
            ("localhost", false, false, false, Unknown),
            ("0.0.0.0", false, true, false, Unencrypted),
            ("192.168.1.2", false, false, false, Unencrypted),
            ("192.168.1.2", false, true, false, Unencrypted),
            ("192.168.1.2", true, false, false, Anonymous),
            ("192.168.1.2", true, true, false, Unknown),
            ("192.168.1.2", true, false, true, Unknown),
            // A name may resolve to another address tomorrow.
            ("localhost.example", false, true, false, Unencrypted),
            ("broker.lan", true, true, false, Unknown),
        ] {
            assert_eq!(
                at(host, settings(tls, login, certificate)),
                expected,
                "{host} tls={tls} login={login} certificate={certificate}"
            );
            assert!(!expected.is_safe());
        }
    }

    #[test]
    fn the_embedded_broker_is_closed_without_a_probe() {
        let own = Settings { own_broker: true, ..settings(false, true, false) };
        assert_eq!(at("127.0.0.1", own), Exposure::Closed);
    }

    #[test]
    fn a_username_without_a_password_is_not_a_login() {
        let mut settings = settings(true, true, false);
        settings.password = None;
        assert_eq!(at("192.168.1.2", settings), Exposure::Anonymous);
    }

    #[test]
    fn allow_insecure_accepts_any_exposure() {
        let settings = Settings { allow_insecure: true, ..settings(false, false, false) };
        let exposure = at("192.168.1.2", settings);
        assert_eq!(exposure, Exposure::Accepted);
        assert_eq!(exposure.advice(), None);
    }

    #[test]
    fn only_closed_and_accepted_are_safe() {
        for open in [Exposure::Unencrypted, Exposure::Anonymous, Exposure::Unknown] {
            assert!(!open.is_safe() && open.advice().is_some(), "{open:?}");
        }
        for accepted in [Exposure::Closed, Exposure::Accepted] {
            assert!(accepted.is_safe() && accepted.advice().is_none(), "{accepted:?}");
        }
    }
}

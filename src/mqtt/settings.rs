//! Settings of the session and the embedded broker. Plain values: the configuration fills them, and
//! [`Settings::validate`] checks them.

use super::topics::RESERVED_LEVELS;
use super::{HomeAssistant, MAX_PACKET};
use crate::secret::Secret;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The shortest keep-alive: below it the MQTT client library panics.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// TLS towards the broker.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Encrypt the connection. Always verifies the broker's certificate and name.
    pub enabled: bool,
    /// PEM file with the authorities that may have signed the broker's certificate; absent: the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate chain, for a broker that asks for one.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub client_key_file: Option<PathBuf>,
}

/// All settings of the MQTT side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names this terminal in topics: `doorward/<device_id>/…`.
    pub device_id: String,
    /// True for the embedded broker, which refuses clients without a login.
    pub own_broker: bool,
    /// Name or address of the broker; absent: the embedded broker.
    pub host: Option<String>,
    /// Port of the broker; absent: 1883, with TLS 8883.
    pub port: Option<u16>,
    /// Login name.
    pub username: Option<String>,
    /// Password for `username`.
    pub password: Option<Secret>,
    /// MQTT client identifier; absent: `doorward-<device_id>`. It stays the same over restarts, so
    /// that a new connection ends a dead one at once, and the dead one's last will does not
    /// overwrite `online` later.
    pub client_id: Option<String>,
    /// Encryption.
    pub tls: Tls,
    /// Execute enroll, update, delete and unlock even where strangers can reach the broker.
    pub allow_insecure: bool,
    /// How often an idle connection sends a ping; at least 5 s.
    pub keep_alive: Duration,
    /// Further topic prefixes below which a Response Topic is accepted.
    pub response_prefixes: Vec<String>,
    /// True if there are clients known by name, on topics of their own that the broker's access
    /// list grants only to them.
    pub named_clients: bool,
    /// Commands in work at a time; further ones are answered `[503] BUSY`.
    pub queue: usize,
    /// Payload bytes of the commands in work; more is answered `[503] BUSY`.
    pub queue_bytes: usize,
    /// How often `state/health` is published.
    pub health_every: Duration,
    /// Settings for Home Assistant.
    pub homeassistant: HomeAssistant,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device_id: "door".into(),
            own_broker: false,
            host: None,
            port: None,
            username: None,
            password: None,
            client_id: None,
            tls: Tls::default(),
            allow_insecure: false,
            keep_alive: Duration::from_secs(30),
            response_prefixes: Vec::new(),
            named_clients: false,
            queue: 16,
            // A terminal with 1 GB has room for this besides models and gallery.
            queue_bytes: 64 * 1024 * 1024,
            health_every: Duration::from_secs(60),
            homeassistant: HomeAssistant::default(),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// The device id cannot be a topic level.
    #[error(
        "device.id = {0:?} cannot stand in a topic: use 1 to 64 letters, digits, '.', '_' or '-', \
         and none of the words cmd, event, state, availability"
    )]
    DeviceId(String),
    /// The keep-alive is too short.
    #[error("mqtt.keep_alive_s must be at least 5 seconds")]
    KeepAlive,
    /// The keep-alive does not fit its field of the CONNECT packet.
    #[error("mqtt.keep_alive_s must be at most 65535 seconds")]
    KeepAliveTooLong,
    /// There is a password without a name.
    #[error("mqtt.password is set but mqtt.username is not: set both or none")]
    PasswordAlone,
    /// Certificate or key of the client certificate is missing.
    #[error("mqtt.client_cert_file and mqtt.client_key_file belong together: set both")]
    HalfClientCertificate,
    /// TLS files are set without TLS.
    #[error("mqtt.ca_file and mqtt.client_cert_file need encryption: set mqtt.tls = true")]
    TlsOff,
    /// The response prefix would let answers become commands.
    #[error(
        "mqtt.response_prefixes: {0:?} cannot be used: no wildcards, no '$', and none of the \
         levels cmd, event, state, availability"
    )]
    ResponsePrefix(String),
    /// The broker cannot tell named clients apart.
    #[error(
        "mqtt.clients needs a broker that tells clients apart: set mqtt.host, and a login \
         (mqtt.username with mqtt.password, or mqtt.client_cert_file); the embedded broker tells \
         applications apart, under service.auth = \"app-key\""
    )]
    NamedClients,
    /// The queue is too short or too long.
    #[error("service.queue must be 1 to 64")]
    Queue,
    /// The discovery topics would be invalid or reserved.
    #[error(
        "homeassistant.prefix and homeassistant.client cannot be used: levels without wildcards and \
         '$', none of them empty, cmd, event, state or availability"
    )]
    HomeAssistant,
    /// The health interval is too short.
    #[error("mqtt.health_every must be at least 1 second")]
    Health,
}

impl Settings {
    /// Checks the settings and returns the first error.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let id = &self.device_id;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty()
            || id.len() > 64
            || !id.chars().all(plain)
            || RESERVED_LEVELS.contains(&id.as_str())
        {
            return Err(SettingsError::DeviceId(id.clone()));
        }
        if self.keep_alive < SHORTEST_KEEP_ALIVE {
            return Err(SettingsError::KeepAlive);
        }
        if self.keep_alive.as_secs() > u64::from(u16::MAX) {
            return Err(SettingsError::KeepAliveTooLong);
        }
        if self.password.is_some() && self.username.is_none() {
            return Err(SettingsError::PasswordAlone);
        }
        let tls = &self.tls;
        if tls.client_cert_file.is_some() != tls.client_key_file.is_some() {
            return Err(SettingsError::HalfClientCertificate);
        }
        if !tls.enabled && (tls.ca_file.is_some() || tls.client_cert_file.is_some()) {
            return Err(SettingsError::TlsOff);
        }
        for prefix in &self.response_prefixes {
            if prefix.trim_matches('/').is_empty() || !super::topics::harmless(prefix) {
                return Err(SettingsError::ResponsePrefix(prefix.clone()));
            }
        }
        if self.named_clients && (self.host.is_none() || !self.has_login()) {
            return Err(SettingsError::NamedClients);
        }
        if !(1..=1024).contains(&self.queue) || self.queue_bytes < MAX_PACKET as usize {
            return Err(SettingsError::Queue);
        }
        if !self.homeassistant.is_valid() {
            return Err(SettingsError::HomeAssistant);
        }
        if self.health_every < Duration::from_secs(1) {
            return Err(SettingsError::Health);
        }
        Ok(())
    }

    /// Returns true if the daemon identifies itself to the broker: by a name with a password, or by
    /// a certificate. A name alone proves nothing.
    pub(crate) fn has_login(&self) -> bool {
        let password = self.password.as_ref().is_some_and(|password| !password.reveal().is_empty());
        let certificate = self.tls.enabled && self.tls.client_cert_file.is_some();
        (self.username.is_some() && password) || certificate
    }

    /// Returns the broker's host without the brackets of an IPv6 address, or the loopback address
    /// when none is configured.
    pub fn host(&self) -> &str {
        let host = self.host.as_deref().unwrap_or("127.0.0.1");
        host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
    }

    /// Returns the broker's port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls.enabled { 8883 } else { 1883 })
    }

    /// Returns the daemon's client identifier.
    pub fn client_id(&self) -> String {
        self.client_id.clone().unwrap_or_else(|| format!("doorward-{}", self.device_id))
    }

    /// Returns the client identifier of the connection that carries `unlock`.
    pub(crate) fn unlock_client_id(&self) -> String {
        format!("{}-unlock", self.client_id())
    }

    /// Returns the same settings for the embedded broker on `port`.
    pub fn aimed_at_embedded(&self, port: u16, login: &super::Login) -> Self {
        Self {
            own_broker: true,
            host: Some(IpAddr::from([127, 0, 0, 1]).to_string()),
            port: Some(port),
            username: Some(login.username.clone()),
            password: Some(login.password.clone()),
            tls: Tls::default(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Settings::default().validate(), Ok(()));
    }

    #[test]
    fn a_password_is_never_printed() {
        let settings = Settings {
            username: Some("door".into()),
            password: Some("s3cret".to_string().into()),
            ..Settings::default()
        };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn validate_names_the_wrong_setting() {
        let wrong = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        assert_eq!(wrong(|s| s.device_id = "a/b".into()), SettingsError::DeviceId("a/b".into()));
        assert_eq!(wrong(|s| s.device_id = "cmd".into()), SettingsError::DeviceId("cmd".into()));
        assert_eq!(wrong(|s| s.keep_alive = Duration::from_secs(4)), SettingsError::KeepAlive);
        assert_eq!(
            wrong(|s| s.password = Some(String::new().into())),
            SettingsError::PasswordAlone
        );
        assert_eq!(wrong(|s| s.tls.ca_file = Some("ca.pem".into())), SettingsError::TlsOff);
        assert_eq!(
            wrong(|s| s.tls.client_key_file = Some("key.pem".into())),
            SettingsError::HalfClientCertificate
        );
        for prefix in ["", "/", "house/cmd", "house/+", "$SYS", "a/#"] {
            let settings =
                Settings { response_prefixes: vec![prefix.into()], ..Settings::default() };
            assert_eq!(settings.validate(), Err(SettingsError::ResponsePrefix(prefix.into())));
        }
        assert_eq!(wrong(|s| s.queue = 0), SettingsError::Queue);
        assert_eq!(wrong(|s| s.named_clients = true), SettingsError::NamedClients);
        assert_eq!(wrong(|s| s.queue_bytes = 1000), SettingsError::Queue);
    }

    #[test]
    fn named_clients_need_a_broker_with_logins() {
        let named = |host: Option<&str>, login: Option<(&str, &str)>| Settings {
            named_clients: true,
            host: host.map(Into::into),
            username: login.map(|(name, _)| name.into()),
            password: login.map(|(_, password)| password.to_owned().into()),
            ..Settings::default()
        };
        let login = Some(("door", "s3cret"));
        assert_eq!(named(Some("a"), login).validate(), Ok(()));
        let empty = named(Some("a"), Some(("door", "")));
        let without_password = Settings { password: None, ..named(Some("a"), login) };
        for open in
            [named(None, None), named(None, login), named(Some("a"), None), empty, without_password]
        {
            assert_eq!(open.validate(), Err(SettingsError::NamedClients), "{open:?}");
        }
        let certificate = Tls {
            enabled: true,
            client_cert_file: Some("cert.pem".into()),
            client_key_file: Some("key.pem".into()),
            ca_file: None,
        };
        let shown = Settings { tls: certificate, ..named(Some("a"), None) };
        assert_eq!(shown.validate(), Ok(()));
    }

    #[test]
    fn brackets_of_an_ipv6_address_are_dropped() {
        let settings = Settings { host: Some("[::1]".into()), ..Settings::default() };
        assert_eq!(settings.host(), "::1");
    }
}

//! Settings of the HTTP interface, and which of them are refused.

use super::tls::{self, TlsError};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::rustls::ServerConfig;

/// The interface's part of the configuration.
#[derive(Clone)]
pub struct Settings {
    /// The address to listen on.
    pub listen: IpAddr,
    /// The port; 0: any free one.
    pub port: u16,
    /// Names under which clients may call this terminal, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Origins of web pages that may read answers.
    pub cors_origins: Vec<String>,
    /// `None`: not encrypted, on loopback only.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It is no address.
    #[error("http.listen: `{0}` is no IP address; use 127.0.0.1, or 0.0.0.0 for every network")]
    Listen(String),
    /// Keys and pictures would cross a network unencrypted.
    #[error(
        "http.listen: {0} is not loopback, and there HTTP needs TLS: run `doorward http listen {0}`, \
         or set http.tls_cert and http.tls_key"
    )]
    Unencrypted(IpAddr),
    /// Only one of the two files is given.
    #[error("http.tls_cert and http.tls_key belong together; set both or neither")]
    HalfTls,
    /// An entry of `http.cors_origins` is no origin.
    #[error("http.cors_origins: `{0}` is no origin such as https://panel.example:8443")]
    Origin(String),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Settings {
    /// Checks the values, and reads the certificate.
    pub fn new(
        listen: &str,
        port: u16,
        hosts: Vec<String>,
        cors_origins: Vec<String>,
        (cert, key): (PathBuf, PathBuf),
    ) -> Result<Self, SettingsError> {
        let address: IpAddr =
            listen.trim().parse().map_err(|_| SettingsError::Listen(listen.to_owned()))?;
        for origin in &cors_origins {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let is_origin = |rest: &str| {
                !rest.is_empty()
                    && rest.bytes().all(|b| b.is_ascii_graphic() && !b"/*,".contains(&b))
            };
            if !rest.is_some_and(is_origin) {
                return Err(SettingsError::Origin(origin.clone()));
            }
        }
        let tls = match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => None,
            (false, false) => Some(tls::server(&cert, &key)?),
            _ => return Err(SettingsError::HalfTls),
        };
        if tls.is_none() && !address.is_loopback() {
            return Err(SettingsError::Unencrypted(address));
        }
        Ok(Self { listen: address, port, hosts, cors_origins, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(listen: &str, origins: &[&str]) -> Result<Settings, SettingsError> {
        let origins = origins.iter().map(|origin| origin.to_string()).collect();
        Settings::new(listen, 0, Vec::new(), origins, Default::default())
    }

    #[test]
    fn without_tls_only_loopback_is_accepted() {
        for loopback in ["127.0.0.1", "127.0.0.2", "::1"] {
            assert!(with(loopback, &[]).is_ok(), "{loopback}");
        }
        for elsewhere in ["0.0.0.0", "::", "192.168.1.5", "::ffff:127.0.0.1"] {
            assert!(matches!(with(elsewhere, &[]), Err(SettingsError::Unencrypted(_))));
        }
        assert!(matches!(with("front.local", &[]), Err(SettingsError::Listen(_))));
        let half = Settings::new("::1", 0, vec![], vec![], ("c.pem".into(), PathBuf::new()));
        assert!(matches!(half, Err(SettingsError::HalfTls)));
    }

    #[test]
    fn origins_are_exact() {
        assert!(with("::1", &["https://a.example", "http://localhost:3000"]).is_ok());
        for bad in ["*", "null", "a.example", "https://*", "https://a/", "https://"] {
            assert!(matches!(with("::1", &[bad]), Err(SettingsError::Origin(_))), "{bad}");
        }
    }
}

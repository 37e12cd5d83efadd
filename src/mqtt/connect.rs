//! Builds CONNECT packets and TLS configurations from settings, and explains connection errors with
//! what the user can do about them.
//!
//! Files are read at every connection, so a renewed certificate is used without a restart.

use super::{MAX_PACKET, Settings, SettingsError};
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, MqttOptions, StateError, mqttbytes};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many unacknowledged commands the broker may send. The session acknowledges a command when it
/// has a place in the queue, or when its refusal has been sent. So this is also the number of
/// refusals in work at a time.
pub(crate) const RECEIVE_MAXIMUM: u16 = 8;

/// Answers sent to the broker that it has not acknowledged. The library reserves a slot for each
/// possible packet; its default of 65535 costs megabytes.
const SEND_MAXIMUM: u16 = 16;

/// Seconds for resolving, connecting and the handshake; then the attempt has failed.
const CONNECT_TIMEOUT: u64 = 10;

/// Where Linux distributions keep trusted certificate authorities.
const SYSTEM_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Why a connection could not be attempted.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A PEM file cannot be read.
    #[error("{key} = {path:?} cannot be used: {reason}")]
    File {
        /// The configuration key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// There is no list of authorities to verify the broker with.
    #[error("no list of trusted authorities found: set mqtt.ca_file")]
    NoAuthorities,
    /// TLS cannot be set up, for example because certificate and key do not match.
    #[error("mqtt.tls: {0}")]
    Tls(#[from] rustls::Error),
}

/// Checks the settings and the files they name, without connecting.
pub fn check(settings: &Settings) -> Result<(), ConnectError> {
    options(settings, &settings.client_id()).map(|_| ())
}

/// Returns the options for one connection of the client called `client_id`.
pub(crate) fn options(settings: &Settings, client_id: &str) -> Result<MqttOptions, ConnectError> {
    settings.validate()?;
    let mut options = MqttOptions::new(client_id, settings.host(), settings.port());
    options.set_keep_alive(settings.keep_alive);
    options.set_connection_timeout(CONNECT_TIMEOUT);
    options.set_outgoing_inflight_upper_limit(SEND_MAXIMUM);
    // A clean start: the broker keeps no commands while the daemon is away.
    options.set_clean_start(true);
    options.set_connect_properties(ConnectProperties {
        session_expiry_interval: Some(0),
        receive_maximum: Some(RECEIVE_MAXIMUM),
        max_packet_size: Some(MAX_PACKET),
        ..ConnectProperties::new()
    });
    let mut network = options.network_options();
    // An answer is small, and a client waits for it.
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(username) = &settings.username {
        let password = settings.password.as_ref().map(|p| p.reveal()).unwrap_or_default();
        options.set_credentials(username, password);
    }
    if settings.tls.enabled {
        let config = tls_config(settings)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    Ok(options)
}

fn tls_config(settings: &Settings) -> Result<Arc<ClientConfig>, ConnectError> {
    let tls = &settings.tls;
    let (key, path) = match &tls.ca_file {
        Some(path) => ("mqtt.ca_file", path.clone()),
        None => {
            let system = SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.exists());
            ("mqtt.ca_file", system.ok_or(ConnectError::NoAuthorities)?)
        }
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(key, &path)?);
    if added == 0 {
        return Err(unusable(key, &path, "no certificate of an authority in it"));
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
    let config = match (&tls.client_cert_file, &tls.client_key_file) {
        (Some(cert), Some(key_file)) => {
            let chain = certificates("mqtt.client_cert_file", cert)?;
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| unusable("mqtt.client_key_file", key_file, error))?;
            builder.with_client_auth_cert(chain, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| unusable(key, path, error))?;
    if found.is_empty() {
        return Err(unusable(key, path, "no PEM certificate in it"));
    }
    Ok(found)
}

fn unusable(key: &'static str, path: &Path, reason: impl ToString) -> ConnectError {
    ConnectError::File { key, path: path.into(), reason: reason.to_string() }
}

/// Why a connection ended.
pub(crate) struct Loss {
    pub why: String,
    /// Another client took the client identifier, as far as that can be known.
    pub is_taken_over: bool,
}

impl From<String> for Loss {
    fn from(why: String) -> Self {
        Self { why, is_taken_over: false }
    }
}

/// Explains the loss of a connection. `was_up`: the broker had accepted it.
///
/// A broker that gives a client identifier to another client sends a DISCONNECT, mosquitto and the
/// embedded broker in the short form without properties. The library drops that form unread, so the
/// connection seems to end without a word, as it does when the broker stops.
pub(crate) fn explain_loss(error: &ConnectionError, settings: &Settings, was_up: bool) -> Loss {
    let ended_silently =
        was_up && matches!(error, ConnectionError::MqttState(StateError::ConnectionAborted));
    if ended_silently {
        let why = format!(
            "{}:{} ended the connection: another client connected as {:?} (give every daemon its \
             own device_id or mqtt.client_id, and let no other client use this one), or the broker \
             is stopping",
            settings.host(),
            settings.port(),
            settings.client_id()
        );
        return Loss { why, is_taken_over: true };
    }
    let is_taken_over = matches!(
        error,
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        })
    );
    Loss { why: explain(error, settings), is_taken_over }
}

/// Explains a lost or refused connection, and what to do about it.
pub(crate) fn explain(error: &ConnectionError, settings: &Settings) -> String {
    use ConnectReturnCode as Code;
    let address = format!("{}:{}", settings.host(), settings.port());
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            Code::BadUserNamePassword | Code::NotAuthorized => format!(
                "{address} refused the login ({code:?}): set mqtt.username and mqtt.password to \
                 a login that the broker knows"
            ),
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
                format!("{address} does not speak MQTT 5: use mosquitto 1.6 or later, or the like")
            }
            Code::BadClientId | Code::ClientIdentifierNotValid => format!(
                "{address} refused the client identifier {:?}: set mqtt.client_id to one it \
                 accepts",
                settings.client_id()
            ),
            Code::Banned => format!("{address} has banned this client: ask its operator"),
            Code::RetainNotSupported | Code::QoSNotSupported => format!(
                "{address} lacks what doorward needs ({code:?}): retained messages and QoS 1"
            ),
            other => format!("{address} refused the connection: {other:?}"),
        },
        ConnectionError::NotConnAck(_) => {
            format!("{address} did not answer as an MQTT 5 broker does: check mqtt.port")
        }
        ConnectionError::Timeout(_) => {
            format!("{address} did not answer within {CONNECT_TIMEOUT} s: check mqtt.host")
        }
        ConnectionError::Io(error) => format!("cannot reach {address}: {error}"),
        ConnectionError::Tls(error) => format!(
            "no TLS with {address}: {error}; mqtt.ca_file must hold the authority that signed \
             the broker's certificate, and mqtt.host be a name in that certificate"
        ),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            match reason_code {
                DisconnectReasonCode::SessionTakenOver => format!(
                    "another client connected to {address} as {:?}: give every daemon its own \
                     device_id or mqtt.client_id",
                    settings.client_id()
                ),
                other => match reason_string {
                    Some(text) => format!("{address} ended the connection: {other:?}, {text}"),
                    None => format!("{address} ended the connection: {other:?}"),
                },
            }
        }
        ConnectionError::MqttState(
            StateError::ConnectionAborted
            | StateError::Io(_)
            | StateError::Deserialization(mqttbytes::Error::Io(_)),
        ) => format!(
            "{address} closed the connection: is it stopping, or does it want TLS \
             (mqtt.tls) or a client certificate (mqtt.client_cert_file)?"
        ),
        other => format!("connection to {address} lost: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::AsyncClient;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Connects to a broker that accepts and then sends these bytes and closes; returns the error.
    async fn ended_with(last: &'static [u8]) -> (ConnectionError, Settings) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut connect = [0; 256];
            let _ = stream.read(&mut connect).await.unwrap();
            stream.write_all(&[0x20, 0x03, 0x00, 0x00, 0x00]).await.unwrap();
            stream.write_all(last).await.unwrap();
        };
        let settings =
            Settings { host: Some("127.0.0.1".into()), port: Some(port), ..Settings::default() };
        let options = options(&settings, &settings.client_id()).unwrap();
        let (_client, mut events) = AsyncClient::new(options, 1);
        let polling = async {
            loop {
                if let Err(error) = events.poll().await {
                    return error;
                }
            }
        };
        let ((), error) = tokio::join!(broker, polling);
        (error, settings)
    }

    #[tokio::test]
    async fn a_taken_identifier_is_named_in_every_form_of_disconnect() {
        // With properties, and the short form of mosquitto and of the embedded broker, which the
        // library cannot read.
        for disconnect in [&[0xe0, 0x02, 0x8e, 0x00][..], &[0xe0, 0x01, 0x8e]] {
            let (error, settings) = ended_with(disconnect).await;
            let Loss { why, is_taken_over } = explain_loss(&error, &settings, true);
            assert!(is_taken_over, "{disconnect:x?}: {error:?}");
            assert!(why.contains("another client connected"), "{why}");
            assert!(why.contains("doorward-door") && !why.contains("TLS"), "{why}");
        }
        // The connection never came up: TLS, or a client certificate.
        let (error, settings) = ended_with(&[]).await;
        let Loss { why, is_taken_over } = explain_loss(&error, &settings, false);
        assert!(!is_taken_over && why.contains("TLS"), "{why}");
    }
}

//! Tests whether the broker accepts everyone. Trying is the only way to know.
//!
//! A broker on this machine may have a second listener that the whole network reaches, and a login
//! of the daemon does not show which other clients are accepted. So the daemon connects once
//! without any credentials, under a client identifier of its own, sends no request, and disconnects
//! cleanly.
//!
//! Only a broker that has refused it counts as closed. After a network error it tries again, and
//! until there is an answer nothing is changed and no strike is armed. Closing the connection
//! instead of answering counts as a refusal only if the broker answers the daemon's own login: a
//! full broker, or a proxy whose broker has not started, closes every connection, and may accept
//! everyone a moment later.

use super::backoff::Backoff;
use super::connect;
use super::{Exposure, Settings, Tls};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode as Code, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

/// Time for resolving, connecting, the handshake and the broker's answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time for the disconnect.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
/// A broker that closes the connection instead of answering does so each time; one that is stopping
/// does it once.
const HANGS_UP: u32 = 3;
const HANGS_UP_EVERY: Duration = Duration::from_millis(300);

/// The broker's reaction to a client without credentials.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    LetIn,
    Refused,
    /// It closed the connection instead of answering, which a broker may do to refuse a client.
    HungUp(String),
    /// There is no answer yet.
    Unknown(String),
}

/// Tries until it is known whether the broker accepts everyone, and reports the result.
pub(super) async fn settle(settings: Settings, exposure: watch::Sender<Exposure>) {
    let (mut backoff, mut hung_up, mut warned) = (Backoff::default(), 0, false);
    let certificate = settings.tls.client_cert_file.is_some();
    let stranger = Settings {
        username: None,
        password: None,
        tls: Tls { client_cert_file: None, client_key_file: None, ..settings.tls.clone() },
        named_clients: false,
        ..settings.clone()
    };
    let anonymous = loop {
        let why = match ask(&stranger, certificate).await {
            Verdict::LetIn => break true,
            Verdict::Refused => break false,
            Verdict::HungUp(why) => match answers_login(&settings).await {
                true if hung_up + 1 == HANGS_UP => break false,
                true => {
                    hung_up += 1;
                    sleep(HANGS_UP_EVERY).await;
                    continue;
                }
                false => why,
            },
            Verdict::Unknown(why) => why,
        };
        hung_up = 0;
        if !warned {
            warn!(
                "it is not known whether the broker accepts everyone; until then the strike is not \
                 armed and enroll, update, delete and unlock are refused: {why}"
            );
        }
        warned = true;
        sleep(backoff.next(Duration::ZERO)).await;
    };
    let settled = if anonymous { Exposure::Anonymous } else { Exposure::Closed };
    match settled.advice() {
        Some(advice) => error!(
            "the strike is not armed, and enroll, update, delete and unlock are refused: {advice}"
        ),
        None => debug!("the broker refuses clients without a login"),
    }
    exposure.send_replace(settled);
}

/// Returns true if the broker answers the daemon's own login, if there is one.
async fn answers_login(settings: &Settings) -> bool {
    settings.has_login() && matches!(ask(settings, false).await, Verdict::LetIn | Verdict::Refused)
}

/// Connects with these settings. `lacks_certificate`: a broker may end the handshake without one.
async fn ask(settings: &Settings, lacks_certificate: bool) -> Verdict {
    let name = format!("{}-probe", settings.client_id());
    let (client, mut events) = match connect::options(settings, &name) {
        Ok(options) => AsyncClient::new(options, 1),
        Err(error) => return Verdict::Unknown(error.to_string()),
    };
    let answer = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return None,
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
    };
    let error = match timeout(PATIENCE, answer).await {
        Ok(None) => {
            if client.try_disconnect().is_ok() {
                let goodbye = async {
                    while !matches!(
                        events.poll().await,
                        Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)
                    ) {}
                };
                let _ = timeout(FAREWELL_PATIENCE, goodbye).await;
            }
            return Verdict::LetIn;
        }
        Ok(Some(error)) => error,
        Err(_) => return Verdict::Unknown(format!("{} does not answer", settings.host())),
    };
    judge(&error, lacks_certificate, connect::explain(&error, settings))
}

fn judge(error: &ConnectionError, lacks_certificate: bool, why: String) -> Verdict {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            // At another time or place it may accept everyone.
            Code::ServiceUnavailable
            | Code::UnspecifiedError
            | Code::ImplementationSpecificError
            | Code::ServerUnavailable
            | Code::ServerBusy
            | Code::QuotaExceeded
            | Code::ConnectionRateExceeded
            | Code::UseAnotherServer
            | Code::ServerMoved => Verdict::Unknown(why),
            _ => Verdict::Refused,
        },
        ConnectionError::MqttState(_) => Verdict::HungUp(why),
        // A broker that asks for a certificate ends the handshake without one.
        ConnectionError::Tls(_) if lacks_certificate => Verdict::HungUp(why),
        ConnectionError::Io(error) => match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => Verdict::HungUp(why),
            ErrorKind::InvalidData if lacks_certificate => Verdict::HungUp(why),
            _ => Verdict::Unknown(why),
        },
        _ => Verdict::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn only_a_broker_that_refused_counts_as_closed() {
        let judged = |error: ConnectionError| judge(&error, false, String::new());
        let refused = |code| judged(ConnectionError::ConnectionRefused(code));
        assert_eq!(refused(Code::NotAuthorized), Verdict::Refused);
        assert_eq!(refused(Code::BadUserNamePassword), Verdict::Refused);
        assert_eq!(refused(Code::ServerBusy), Verdict::Unknown(String::new()));
        let io = |kind| judged(ConnectionError::Io(io::Error::from(kind)));
        assert_eq!(io(ErrorKind::ConnectionRefused), Verdict::Unknown(String::new()));
        assert_eq!(io(ErrorKind::TimedOut), Verdict::Unknown(String::new()));
        assert_eq!(io(ErrorKind::UnexpectedEof), Verdict::HungUp(String::new()));
    }
}

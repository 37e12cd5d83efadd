//! The listener of the embedded broker: all that a client does before it has logged in.
//!
//! The broker library accepts any number of connections before login, reads a CONNECT as large as a
//! picture into memory, and its accept loop spins when descriptors run out. So it gets a connection
//! only when the whole CONNECT has arrived and is small. Until then the packet stays in the kernel:
//! it is looked at (`MSG_PEEK`), not read. An unfinished connection costs a descriptor, there are
//! at most [`MOST_UNFINISHED`], and a new one takes the place of the oldest, even of one that is
//! being refused: clients that send their CONNECT at once get in while others hold connections.
//!
//! It must never wait for a client, and must write at most one line a minute about each kind of
//! refusal.

use super::MAX_PACKET;
use super::roles::Roles;
use super::tally::Tally;
use mqtt5::MqttError;
use mqtt5::broker::BrokerConfig;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::resource_monitor::ResourceMonitor;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::{DynamicStorage, StorageBackend};
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::{FixedHeader, MqttPacket};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{interval, sleep, timeout};
use tracing::warn;

/// Connections without a valid CONNECT: it has not arrived, or is being refused.
const MOST_UNFINISHED: usize = 32;
/// All connections: those, and more than the clients that may be logged in.
const MOST_CONNECTIONS: usize = 128;
/// Bytes of a CONNECT: identifiers, login, a small will. An eighth of what the kernel holds for a
/// socket.
const LARGEST_CONNECT: usize = 16 * 1024;
/// How long a CONNECT may take to arrive. A client sends it at once.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before the socket is looked at again, growing from the first to the last.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_millis(50);
/// Pause after a failed accept: the usual cause is a lack of descriptors, and the connection that
/// waits would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the rest of an oversized packet is thrown away, so that the client can read why.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);
/// How often sessions and messages that have expired are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// CONNACK and DISCONNECT with the reason 0x95, Packet too large.
const CONNACK_TOO_LARGE: [u8; 5] = [0x20, 0x03, 0x00, 0x95, 0x00];
const DISCONNECT_TOO_LARGE: [u8; 4] = [0xE0, 0x02, 0x95, 0x00];

/// What the connections share.
pub(super) struct Shared {
    pub config: Arc<BrokerConfig>,
    pub router: Arc<MessageRouter>,
    pub storage: Arc<DynamicStorage>,
    pub stats: Arc<BrokerStats>,
    pub resources: Arc<ResourceMonitor>,
    pub roles: Arc<Roles>,
    /// Tells the connections that the broker stops.
    pub shutdown: broadcast::Sender<()>,
    pub refusals: Refusals,
}

/// Connections that were closed, by cause.
#[derive(Default)]
pub(super) struct Refusals {
    /// Before a login: no CONNECT, a malformed or large one, or too many connections.
    pub unfinished: Tally,
    /// After a packet of more than [`MAX_PACKET`].
    pub too_large: Tally,
    not_accepted: Tally,
}

/// A connection that had no valid CONNECT.
struct Unfinished {
    arrived: Arc<AtomicBool>,
    connection: AbortHandle,
}

impl Unfinished {
    /// Checks whether it has a valid CONNECT, or has ended.
    fn is_over(&self) -> bool {
        self.arrived.load(Ordering::Relaxed) || self.connection.is_finished()
    }

    /// Ends it. It is not counted any more when this returns: a connection never blocks its thread.
    async fn end(self) {
        self.connection.abort();
        while !self.connection.is_finished() {
            yield_now().await;
        }
    }
}

/// Why a connection was closed before login.
#[derive(Debug, thiserror::Error)]
enum Rejection {
    #[error("no complete CONNECT within {CONNECT_PATIENCE:?}")]
    Late,
    #[error("more than {MOST_UNFINISHED} connections without a CONNECT at a time")]
    Crowd,
    #[error("more than {MOST_CONNECTIONS} connections at a time")]
    Full,
    #[error("a CONNECT of more than {LARGEST_CONNECT} bytes")]
    Large,
    #[error("the first packet is not a valid CONNECT")]
    Malformed,
    #[error("closed by the client before a CONNECT")]
    Gone,
}

impl Shared {
    /// Accepts connections until `stop`, then waits until they have ended.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let mut unfinished: VecDeque<Unfinished> = VecDeque::new();
        let mut sweep = interval(SWEEP_EVERY);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = sweep.tick() => {
                    self.router.sweep_sessions().await;
                    let _ = self.storage.cleanup_expired().await;
                    continue;
                }
                _ = stop.changed() => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(times) = self.refusals.not_accepted.count() {
                        warn!("the embedded broker cannot accept a connection ({times}×): {error}");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            unfinished.retain(|one| !one.is_over());
            if unfinished.len() >= MOST_UNFINISHED
                && let Some(oldest) = unfinished.pop_front()
            {
                oldest.end().await;
                self.reject(&Rejection::Crowd);
            }
            while connections.try_join_next().is_some() {}
            if connections.len() >= MOST_CONNECTIONS {
                self.reject(&Rejection::Full);
                continue;
            }
            let arrived = Arc::new(AtomicBool::new(false));
            let serving = self.clone().serve(stream, address, arrived.clone());
            unfinished.push_back(Unfinished { arrived, connection: connections.spawn(serving) });
        }
        drop(listener);
        for one in unfinished.into_iter().filter(|one| !one.is_over()) {
            one.connection.abort();
        }
        let _ = self.shutdown.send(());
        while connections.join_next().await.is_some() {}
    }

    /// Waits for the CONNECT, and hands the connection to the library until it ends.
    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        arrived: Arc<AtomicBool>,
    ) {
        let connect =
            timeout(CONNECT_PATIENCE, look(&stream)).await.unwrap_or(Err(Rejection::Late));
        let connect = match connect {
            Ok(connect) => connect,
            Err(Rejection::Gone) => return,
            Err(why) => {
                self.reject(&why);
                if let Rejection::Large = why {
                    refuse(stream, &CONNACK_TOO_LARGE).await;
                }
                return;
            }
        };
        arrived.store(true, Ordering::Relaxed);
        let Ok((stream, twin)) = twin(stream) else { return };
        let handler = ClientHandler::new(
            BrokerTransport::tcp(stream),
            address,
            self.config.clone(),
            self.router.clone(),
            self.roles.clone(),
            Some(self.storage.clone()),
            self.stats.clone(),
            self.resources.clone(),
            self.shutdown.subscribe(),
        );
        if let Err(MqttError::PacketTooLarge { size, .. }) = handler.run().await {
            if let Some(times) = self.refusals.too_large.count() {
                warn!(
                    client_id = shown(&connect.client_id),
                    "a client of the embedded broker sent a packet of {size} bytes ({times}×) and \
                     was disconnected: at most {MAX_PACKET} are accepted"
                );
            }
            // MQTT 3.1.1 has no DISCONNECT from a broker.
            if connect.protocol_version == 5
                && let Ok(stream) = TcpStream::from_std(twin)
            {
                refuse(stream, &DISCONNECT_TOO_LARGE).await;
            }
        }
    }

    fn reject(&self, why: &Rejection) {
        if let Some(times) = self.refusals.unfinished.count() {
            warn!("the embedded broker closed a connection before a login ({times}×): {why}");
        }
    }
}

/// Waits until the whole CONNECT has arrived, and decodes it without taking it from the socket.
async fn look(stream: &TcpStream) -> Result<ConnectPacket, Rejection> {
    let mut seen = vec![0; 5];
    let mut pause = LOOK_FIRST;
    loop {
        let length = stream.peek(&mut seen).await.map_err(|_| Rejection::Gone)?;
        if length == 0 {
            return Err(Rejection::Gone);
        }
        if let Some(whole) = connect_length(&seen[..length.min(5)])? {
            if whole <= length {
                return decode(&seen[..whole]).ok_or(Rejection::Malformed);
            }
            if whole > seen.len() {
                seen.resize(whole, 0);
                continue;
            }
        }
        // A part of a packet is readable all the time.
        sleep(pause).await;
        pause = (pause * 2).min(LOOK_LAST);
    }
}

/// Returns the bytes of the CONNECT that starts with `start`, `None` while its length is unknown.
fn connect_length(start: &[u8]) -> Result<Option<usize>, Rejection> {
    const CONNECT: u8 = 0x10;
    let Some((&CONNECT, length)) = start.split_first() else { return Err(Rejection::Malformed) };
    let mut remaining = 0;
    for (at, byte) in length.iter().take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let whole = 2 + at + remaining;
            return if whole > LARGEST_CONNECT { Err(Rejection::Large) } else { Ok(Some(whole)) };
        }
    }
    if length.len() >= 4 { Err(Rejection::Malformed) } else { Ok(None) }
}

fn decode(mut packet: &[u8]) -> Option<ConnectPacket> {
    let header = FixedHeader::decode(&mut packet).ok()?;
    ConnectPacket::decode_body(&mut packet, &header).ok()
}

/// Returns the stream and a second handle of it, which outlives the library's: the library closes a
/// connection without a reason.
fn twin(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    // An answer is small, and a client waits for it.
    let _ = stream.set_nodelay(true);
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, twin))
}

/// Says why, and throws away what still comes: a socket that is closed with unread data is reset,
/// and the client never reads the reason.
async fn refuse(mut stream: TcpStream, reason: &[u8]) {
    let _ = timeout(DISCARD_PATIENCE, async {
        stream.write_all(reason).await?;
        stream.shutdown().await?;
        let mut discarded = [0; 16 * 1024];
        while stream.read(&mut discarded).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

/// Returns what a stranger sent, short enough for a line.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_small_connect_may_begin_a_connection() {
        let length = |start: &[u8]| connect_length(start);
        assert!(matches!(length(&[0x10]), Ok(None)));
        assert!(matches!(length(&[0x10, 0x80]), Ok(None)));
        assert!(matches!(length(&[0x10, 0x0c]), Ok(Some(14))));
        assert!(matches!(length(&[0x10, 0x80, 0x01]), Ok(Some(131))));
        assert!(matches!(length(&[0x10, 0xff, 0xff, 0xff, 0x7f]), Err(Rejection::Large)));
        assert!(matches!(length(&[0x10, 0x80, 0x80, 0x80, 0x80]), Err(Rejection::Malformed)));
        for other in [0x00, 0x11, 0x30, 0x16, b'G'] {
            assert!(matches!(length(&[other, 0x01]), Err(Rejection::Malformed)), "{other:#x}");
        }
    }

    #[test]
    fn text_of_strangers_is_short_and_on_one_line() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert_eq!(shown(&"x".repeat(70_000)).len(), 66);
    }
}

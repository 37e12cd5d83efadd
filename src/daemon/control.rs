//! The local control socket, over which the command line talks to the running daemon.
//!
//! One request per connection: a line of JSON `{"operation": …, "body": {…}}`, answered by a line
//! of JSON, the answer of the contract with its `status`. The socket is in the data folder with
//! mode 0600, so only the daemon's own user (and root) can connect, and may do everything.
//!
//! Bounds: a silent connection costs a file descriptor and no memory, and [`MAX_CONNECTIONS`] are
//! held; [`MAX_REQUESTS`] at a time may send a line and be answered. `unlock` and `health` have
//! places of their own, because they are needed while other requests wait for a disk. Each step has
//! a time limit, so no idle connection keeps a place.

use crate::contract::{Body, Caller, Credentials, Request};
use crate::service::Service;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest request line: two of the largest pictures that the command line sends
/// ([`crate::import::MAX_FILE`]) in base64, and the fields.
const MAX_LINE: u64 = 17 << 20;
/// Connections held at a time, silent ones included; the next one waits.
const MAX_CONNECTIONS: usize = 64;
/// Requests read, executed or answered at a time; the next one waits.
const MAX_REQUESTS: usize = 8;
/// The same for [`AHEAD`].
const MAX_AHEAD: usize = 4;
/// Operations that never wait for a disk, if their line arrives at once.
const AHEAD: [&str; 2] = ["unlock", "health"];
/// A caller that has not sent its line, or not read its answer, within this time is disconnected.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stop waits for requests in work.
const DRAIN_PATIENCE: Duration = Duration::from_secs(4);
/// When the command line gives up: longer than a full queue of URLs that time out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    operation: String,
    body: Value,
}

/// Returns the path of the socket of a data folder.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// The socket of a running daemon.
pub struct Control {
    /// `None` after its removal.
    path: Option<PathBuf>,
    places: Arc<Places>,
    accepting: JoinHandle<()>,
}

impl Control {
    /// Listens in `data_dir` and answers, until [`Control::stop`].
    pub fn start(data_dir: &Path, service: Arc<Service>) -> io::Result<Self> {
        let path = socket_path(data_dir);
        let listener = listen(&path)?;
        let owner = std::fs::metadata(&path)?.uid();
        let places = Arc::new(Places {
            requests: Semaphore::new(MAX_REQUESTS),
            ahead: Semaphore::new(MAX_AHEAD),
        });
        let server = Server { owner, service, places: places.clone() };
        let accepting = tokio::spawn(accept(listener, Arc::new(server)));
        Ok(Self { path: Some(path), places, accepting })
    }

    /// Accepts no more requests, and waits for those in work.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // If it stayed, it would look like the socket of a daemon that died.
        let path = self.path.take();
        let removed = tokio::task::spawn_blocking(move || path.map(std::fs::remove_file));
        let all = self.places.requests.acquire_many(MAX_REQUESTS as u32);
        let ahead = self.places.ahead.acquire_many(MAX_AHEAD as u32);
        let _ = timeout(DRAIN_PATIENCE, async { tokio::join!(all, ahead, removed) }).await;
    }
}

impl Drop for Control {
    /// Accepts no more requests and does not wait: releases the socket when a start fails.
    fn drop(&mut self) {
        self.accepting.abort();
        if let Some(path) = self.path.take() {
            // A disk that hangs holds this thread, not the one that stops the other workers.
            let _ = std::thread::Builder::new().spawn(move || std::fs::remove_file(path));
        }
    }
}

/// A request with a place may send its line and is answered.
struct Places {
    requests: Semaphore,
    ahead: Semaphore,
}

impl Places {
    /// Returns the places for a request that begins with these bytes.
    fn of(&self, begun: &[u8]) -> &Semaphore {
        let line = begun.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
        match line {
            Some(Line { operation, .. }) if AHEAD.contains(&operation.as_str()) => &self.ahead,
            _ => &self.requests,
        }
    }
}

struct Server {
    /// The daemon's user.
    owner: u32,
    service: Arc<Service>,
    places: Arc<Places>,
}

/// Listens. The caller holds the gallery's lock, so an existing socket was left by a daemon that
/// died.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, server: Arc<Server>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(held) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    if let Err(error) = server.answer(stream).await {
                        tracing::warn!(%error, "hung up on a control connection");
                    }
                    drop(held);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Server {
    async fn answer(&self, stream: UnixStream) -> io::Result<()> {
        // Between bind and chmod the socket had the rights that the umask left it.
        let caller = stream.peer_cred()?.uid();
        if caller != 0 && caller != self.owner {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("user {caller} may not use it"),
            ));
        }
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read.take(MAX_LINE));
        if timeout(LINE_TIMEOUT, read.fill_buf()).await??.is_empty() {
            // The command line checks in this way if a daemon runs.
            return Ok(());
        }
        let _place = self.places.of(read.buffer()).acquire().await.map_err(io::Error::other)?;
        let mut line = Vec::new();
        timeout(LINE_TIMEOUT, read.read_until(b'\n', &mut line)).await??;
        if line.last() != Some(&b'\n') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no line of at most {MAX_LINE} bytes"),
            ));
        }
        let request = {
            let parsed: Line = serde_json::from_slice(&line)?;
            drop(line);
            request(&parsed.operation, &parsed.body)
        };
        let Some(answer) = self.service.handle(request).await else { return Ok(()) };
        let mut answer = serde_json::to_vec(&answer.with_status())?;
        answer.push(b'\n');
        timeout(LINE_TIMEOUT, write.write_all(&answer)).await??;
        write.shutdown().await
    }
}

/// Builds a request of the command line: no credentials, no expiry, may do everything.
pub fn request(operation: &str, body: &Value) -> Request {
    Request {
        operation: operation.to_owned(),
        body: Body::Json(body.to_string().into_bytes()),
        beside_json: Vec::new(),
        credentials: Credentials::default(),
        caller: Caller::Local,
        expires: None,
        fresh_until: None,
    }
}

/// Connects to the daemon that serves this data folder. `None` when none runs there; any other
/// failure is an error, because a daemon may be running.
pub async fn connect(data_dir: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(socket_path(data_dir)).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        },
    }
}

/// Checks whether a daemon serves this data folder.
pub async fn is_running(data_dir: &Path) -> io::Result<bool> {
    Ok(connect(data_dir).await?.is_some())
}

/// Sends a request to the daemon that serves this data folder. `None` when none runs there.
pub async fn ask(data_dir: &Path, operation: &str, body: &Value) -> io::Result<Option<Value>> {
    let Some(stream) = connect(data_dir).await? else { return Ok(None) };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(&Line { operation: operation.into(), body: body.clone() })?;
    line.push(b'\n');
    let mut answer = Vec::new();
    let exchange = async {
        write.write_all(&line).await?;
        BufReader::new(read).read_until(b'\n', &mut answer).await
    };
    timeout(ANSWER_TIMEOUT, exchange).await??;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the daemon hung up without an answer; its log says why",
        ));
    }
    Ok(Some(serde_json::from_slice(&answer)?))
}

//! The local control socket: the command line asks the running daemon here.
//!
//! One request a connection: a line of JSON `{"operation": …, "body": {…}}`, answered by a line of
//! JSON, the answer of the contract with its `status`. The socket lies in the data folder with mode
//! 0600, so only the daemon's own user (and root) gets in, and may do everything.

use crate::service::{Body, Caller, Credentials, Request, Service};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Longest request line: two pictures of the contract's joint limit in base64, and the fields.
const MAX_LINE: u64 = 16 << 20;
/// Connections served at a time; the next one waits.
const MAX_CONNECTIONS: usize = 8;
/// A caller that has not sent its line by then is hung up on.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    operation: String,
    body: Value,
}

/// Where the socket of a data folder lies.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Listens on the data folder's socket. The caller holds the gallery's lock, so a socket that is
/// there already was left by a daemon that died.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = socket_path(data_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers for as long as it is polled.
pub async fn serve(listener: UnixListener, service: Arc<Service>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &service).await {
                        tracing::debug!(%error, "control connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, service: &Service) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(MAX_LINE));
    tokio::time::timeout(LINE_TIMEOUT, read.read_until(b'\n', &mut line)).await??;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no complete line"));
    }
    let line: Line = serde_json::from_slice(&line)?;
    let Some(answer) = service.handle(request(&line.operation, &line.body)).await else {
        return Ok(());
    };
    let mut answer = serde_json::to_vec(&answer.with_status())?;
    answer.push(b'\n');
    write.write_all(&answer).await?;
    write.shutdown().await
}

/// A request of the command line: no credentials, no expiry, may do everything.
pub fn request(operation: &str, body: &Value) -> Request {
    Request {
        operation: operation.to_owned(),
        body: Body::Json(body.to_string().into_bytes()),
        credentials: Credentials::default(),
        caller: Caller::Local,
        expires: None,
    }
}

/// Asks the daemon that serves this data folder. `None` when none runs there.
pub async fn ask(data_dir: &Path, operation: &str, body: &Value) -> io::Result<Option<Value>> {
    let stream = match UnixStream::connect(socket_path(data_dir)).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(&Line { operation: operation.into(), body: body.clone() })?;
    line.push(b'\n');
    write.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(read).read_until(b'\n', &mut answer).await?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the daemon hung up without an answer; its log says why",
        ));
    }
    Ok(Some(serde_json::from_slice(&answer)?))
}

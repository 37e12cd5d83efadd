//! Accepts connections, and serves each within its limits. A connection that fails costs only itself.

use super::connections::{Connections, Held, IDLE};
use super::exchange::Interface;
use super::router::router;
use super::{Settings, Sources};
use crate::transport::Handler;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

/// Longest head of a message in bytes: request line and headers.
const MOST_HEAD: usize = 16 * 1024;
/// Requests in work on one HTTP/2 connection.
const MOST_STREAMS: u32 = 16;
/// Streams that a client opens and resets at once.
const MOST_RESETS: usize = 32;
/// Bytes of a body that a client may send ahead.
const WINDOW: u32 = 256 * 1024;
/// How long a stop waits for requests in work.
const DRAIN: Duration = Duration::from_secs(2);

/// A running server.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens and serves until [`Server::stop`].
    ///
    /// # Errors
    /// The address or the port cannot be used.
    pub async fn start(
        settings: Settings,
        handler: Arc<dyn Handler>,
        sources: Sources,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((settings.listen, settings.port)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let tls = settings.tls.clone().map(TlsAcceptor::from);
        let interface = Interface::new(handler, settings, sources, stopped.clone());
        let router = router(Arc::new(interface));
        let accepting = tokio::spawn(accept(listener, router, tls, stopped));
        Ok(Self { address, stop, accepting })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, and waits for requests in work.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.accepting.await;
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Connections::default());
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(local) = stream.local_addr() else { continue };
                // All are at work: this one ends at once.
                let Some(held) = connections.admit(peer.ip(), local.ip()) else { continue };
                let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                tasks.spawn(serve(stream, held, router, tls, stop));
            }
            Err(error) => {
                // No file descriptors, for example.
                tracing::warn!(%error, "an HTTP connection was not accepted");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
}

/// Waits until the server stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves a connection until it ends, is idle for too long, or has to end for another.
async fn serve(
    stream: TcpStream,
    held: Held,
    router: Router,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    // Small answers are not delayed; without it they only come later.
    let _ = stream.set_nodelay(true);
    let connection = held.connection.clone();
    let idle = async {
        loop {
            let rest = match connection.idle() {
                Some(idle) if idle >= IDLE => return,
                Some(idle) => IDLE - idle,
                None => IDLE,
            };
            sleep(rest).await;
        }
    };
    let service = OnConnection { router, held: Arc::new(held) };
    let serving = async {
        match tls {
            None => drive(stream, service, stop).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    drive(stream, service, stop).await;
                }
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = idle => {}
        () = connection.end.notified() => {}
    }
}

async fn drive(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: OnConnection,
    mut stop: watch::Receiver<bool>,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MOST_HEAD)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(MOST_RESETS)
        .max_header_list_size(MOST_HEAD as u32)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(WINDOW as usize);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = pin!(serving);
    // Errors are of the client: it hung up, or does not speak HTTP.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// The router, with the connection that a request came on.
#[derive(Clone)]
struct OnConnection {
    router: Router,
    held: Arc<Held>,
}

impl<Body> Service<Request<Body>> for OnConnection
where
    Router: Service<Request<Body>, Response = Response, Error = Infallible>,
    <Router as Service<Request<Body>>>::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = self.held.connection.clone();
        request.extensions_mut().insert(connection.clone());
        let working = connection.work();
        let answering = self.router.call(request);
        Box::pin(async move {
            let answer = answering.await;
            drop(working);
            answer
        })
    }
}

//! Accepts connections, and serves each within its limits. A connection that fails costs only
//! itself.

use super::connections::{self, Connection, Connections, Held, IDLE, Unread};
use super::exchange::Interface;
use super::router::router;
use super::{Settings, Sources};
use crate::transport::Handler;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::Version;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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

/// Serves a connection until it ends, is idle or unread for too long, or has to end for another.
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
    let overdue = async {
        loop {
            match connection.rest() {
                Duration::ZERO => return,
                rest => sleep(rest).await,
            }
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
        () = overdue => {}
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

impl<B> Service<Request<B>> for OnConnection
where
    Router: Service<Request<B>, Response = Response, Error = Infallible>,
    <Router as Service<Request<B>>>::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let connection = self.held.connection.clone();
        request.extensions_mut().insert(connection.clone());
        let is_http2 = request.version() == Version::HTTP_2;
        let answering = connections::answer(connection.clone(), self.router.call(request));
        Box::pin(async move {
            let answer = answering.await?;
            Ok(answer.map(|body| {
                let (last_byte, unread) = (None, None);
                Body::new(AnswerBody { body, connection, is_http2, last_byte, unread })
            }))
        })
    }
}

/// The body of an answer, which notes the frame that its client has not read.
struct AnswerBody {
    body: Body,
    connection: Arc<Connection>,
    is_http2: bool,
    /// The end of the last frame.
    last_byte: Option<Bytes>,
    unread: Option<Unread>,
}

impl AnswerBody {
    /// Keeps back the last byte of a frame of HTTP/2. hyper takes a whole frame as soon as the
    /// client takes a byte of it, and one after it only when the client takes the whole.
    fn without_last_byte(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) if self.is_http2 && data.len() > 1 => {
                self.last_byte = Some(data.split_off(data.len() - 1));
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // hyper asks for the next frame once it could send the last one.
        self.unread = None;
        let frame = match self.last_byte.take() {
            Some(byte) => Some(Ok(Frame::data(byte))),
            None => {
                let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
                frame.map(|frame| frame.map(|frame| self.without_last_byte(frame)))
            }
        };
        if let Some(Ok(_)) = frame {
            self.unread = Some(self.connection.unread());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.last_byte.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match (self.body.size_hint().exact(), &self.last_byte) {
            (Some(exact), Some(_)) => SizeHint::with_exact(exact + 1),
            (_, Some(_)) => SizeHint::default(),
            (_, None) => self.body.size_hint(),
        }
    }
}

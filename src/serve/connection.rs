//! Sockets: accept, speak TLS, speak HTTP, and end without cutting off an answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::reply::Reply;
use super::tls::Tls;

/// The most connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may go without the whole head of a request, which is also how long it may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest head of a request.
const MAX_HEAD_LEN: usize = 16 * 1024;
/// How long requests under way may go on after the signal to end.
const GRACE: Duration = Duration::from_secs(10);
/// After a failed accept, most often for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers requests.
pub(super) trait Answers: Send + Sync + 'static {
    /// Answers any request.
    fn answer(
        self: Arc<Self>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Reply> + Send;
}

/// SIGTERM and SIGINT, which end the service, and SIGHUP, which renews its identity.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
enum Asked {
    Stop,
    Renew,
}

impl Signals {
    /// Listens for signals from now on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn received(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Renew,
        }
    }
}

/// Serves connections until a signal says to stop, then waits for the requests that are under way.
pub(super) async fn accept_until_stopped<A: Answers>(
    listener: TcpListener,
    mut tls: Option<Tls>,
    app: Arc<A>,
    mut signals: Signals,
) {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = accept(&listener, &connections);
        let (stream, peer, permit) = tokio::select! {
            accepted = next => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            asked = signals.received() => match asked {
                Asked::Stop => break,
                Asked::Renew => {
                    tls.iter_mut().for_each(Tls::renew);
                    continue;
                }
            },
        };
        let connection =
            Connection { peer, app: Arc::clone(&app), watcher: graceful.watcher(), _permit: permit };
        tokio::spawn(connection.run(stream, tls.as_ref().map(Tls::acceptor)));
    }
    drop(listener);
    tracing::info!("ending: no new connections");
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections that did not end in time are cut off");
    }
}

type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers are small and somebody waits for them.
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

struct Connection<A> {
    peer: SocketAddr,
    app: Arc<A>,
    watcher: Watcher,
    _permit: OwnedSemaphorePermit,
}

impl<A: Answers> Connection<A> {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        let peer = self.peer;
        let Some(acceptor) = acceptor else { return self.speak_http(stream).await };
        match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.speak_http(stream).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn speak_http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, app, watcher, _permit } = self;
        let handler = service_fn(move |request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, std::convert::Infallible>(app.answer(peer, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_LEN)
            .serve_connection(TokioIo::new(stream), handler);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "the connection ended");
        }
    }
}

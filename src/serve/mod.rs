//! The key management service over HTTP, for ordinary AWS clients.
//!
//! AWS JSON 1.1 at `POST /` (the shapes are in [`kms_core::wire`]), every request signed with Signature Version 4;
//! `GetCallerIdentity` of STS at the same place, because clients ask for it; `GET /healthz` and `GET /metrics`.
//!
//! The network is asynchronous; the service behind it is not, so each request is verified and carried out on a thread
//! of a bounded pool. What is beyond the bounds is refused at once with `ThrottlingException`, not queued.
//!
//! Answers with plaintexts are wiped after they were sent. The buffers of hyper and of TLS are theirs, and are not.

mod app;
mod connection;
mod metrics;
mod reply;
mod signature;
mod sts;
mod tls;
mod xks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kms_core::KmsError;
use kms_core::model::Region;
use kms_core::service::EmbeddedKms;
use tokio::net::TcpListener;
use tokio::runtime;

use app::App;
use connection::Answers;
use tls::Tls;
pub use tls::{TlsIdentity, TlsSource};
use xks::XksApp;
pub use xks::XksConfig;

/// Threads for the network. The work is done by those of the pool.
const NETWORK_THREADS: usize = 2;
/// Threads that wait for the store or compute.
const POOL_THREADS: usize = 16;
/// How often what is due on keys is carried out.
const DUE_INTERVAL: Duration = Duration::from_secs(60);

/// How to serve.
pub struct ServeConfig {
    /// Where to listen. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// For TLS. Without it only a loopback address is served.
    pub tls: Option<TlsSource>,
    /// The Regions to serve beside that of the keystore. A request says by its signature which one it means.
    pub regions: Vec<Region>,
    /// How many requests may be under way at once.
    pub max_concurrent: usize,
}

/// Why the service could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Plaintext keys would cross a network in the clear.
    #[error("{0} is not a loopback address, and there is no certificate for TLS")]
    InTheClear(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The certificate and the key do not make an identity.
    #[error("the certificate or its key cannot be used: {0}")]
    Identity(String),
    /// A Region cannot be served.
    #[error("a Region cannot be served: {0}")]
    Region(#[from] KmsError),
    /// The runtime could not be started.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
}

/// Serves `service` until SIGTERM or SIGINT, then finishes the requests that are under way. SIGHUP takes the identity for
/// TLS from its source again, for the connections from then on. `on_ready` is called with
/// the address once connections are accepted.
pub fn serve(
    config: ServeConfig,
    service: Arc<EmbeddedKms>,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let app = App::new(Arc::clone(&service), &config.regions, config.max_concurrent)?;
    serve_app(config.listen, config.tls, app, service, on_ready)
}

/// The same with the proxy API of AWS external key stores: keys of `service` are the external keys of another one.
pub fn serve_xks_proxy(
    listen: SocketAddr,
    tls: Option<TlsSource>,
    config: XksConfig,
    service: Arc<EmbeddedKms>,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let app = XksApp::new(Arc::clone(&service), config);
    serve_app(listen, tls, app, service, on_ready)
}

fn serve_app(
    address: SocketAddr,
    tls: Option<TlsSource>,
    app: impl Answers,
    service: Arc<EmbeddedKms>,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(ServeError::InTheClear(address));
    }
    // The last owner must not be a task: what the service waits for when it ends would be refused there.
    let _owner = Arc::clone(&service);
    let tls = tls.map(Tls::start).transpose()?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .max_blocking_threads(POOL_THREADS)
        .thread_name("kms-serve")
        .enable_io()
        .enable_time()
        .build()
        .map_err(ServeError::Start)?;
    runtime.block_on(async move {
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let signals = connection::Signals::listen().map_err(ServeError::Start)?;
        let local = listener.local_addr().map_err(listen)?;
        let due = tokio::spawn(carry_out_due(service));
        on_ready(local);
        connection::accept_until_stopped(listener, tls, Arc::new(app), signals).await;
        due.abort();
        Ok(())
    })
}

/// Carries out what is due on keys that nobody touches, now and then.
async fn carry_out_due(service: Arc<EmbeddedKms>) {
    let mut ticks = tokio::time::interval(DUE_INTERVAL);
    loop {
        ticks.tick().await;
        let service = Arc::clone(&service);
        match tokio::task::spawn_blocking(move || service.run_due()).await {
            Ok(Ok(report)) if report.settled > 0 || !report.failed.is_empty() => {
                tracing::info!(
                    settled = report.settled,
                    failed = report.failed.len(),
                    "carried out what was due"
                );
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what is due could not be carried out"),
            Err(error) => tracing::error!(%error, "carrying out what is due ended in a panic"),
        }
    }
}

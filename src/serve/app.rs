//! From a request to its answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use kms_core::KmsError;
use kms_core::model::{Caller, Clock, Region, RequestId, SystemClock};
use kms_core::service::EmbeddedKms;
use kms_core::wire::batch::{self, BatchOperation};
use kms_core::wire::{self, Operation, WireError};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::connection::Answers;
use super::metrics::{self, Metrics};
use super::reply::{self, AMZ_JSON, Refusal, Reply};
use super::signature::{self, Scope, SignatureError};
use super::sts;

/// The longest request. A policy of the largest size, in escapes, fits.
const MAX_BODY_LEN: usize = 512 * 1024;
/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// In front of the name of the operation.
const TARGET_PREFIX: &str = "TrentService.";
/// The service of a signature.
const SERVICE: &str = "kms";
/// The operation of a request that names none.
const NO_OPERATION: &str = "-";

/// What requests are answered with.
pub(super) struct App {
    pub(super) service: Arc<EmbeddedKms>,
    /// The service in each Region that is served, its own among them.
    regions: BTreeMap<String, EmbeddedKms>,
    metrics: Metrics,
    permits: Semaphore,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Kms(&'static Operation),
    Batch(BatchOperation),
    CallerIdentity,
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::Kms(operation) => operation.name(),
            Self::Batch(operation) => operation.name(),
            Self::CallerIdentity => sts::OPERATION,
        }
    }

    fn signed_service(self) -> &'static str {
        match self {
            Self::Kms(_) | Self::Batch(_) => SERVICE,
            Self::CallerIdentity => sts::SERVICE,
        }
    }
}

/// The result of a request that is believed.
enum Done {
    Json(Zeroizing<Vec<u8>>),
    Identity(Caller),
}

impl Answers for App {
    async fn answer(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/") => self.call(peer, request).await,
            (&Method::GET, "/healthz") => self.health().await,
            (&Method::GET, "/metrics") => {
                reply::text(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.text())
            }
            _ => reply::text(StatusCode::NOT_FOUND, "text/plain", "not found\n"),
        }
    }
}

impl App {
    pub(super) fn new(
        service: Arc<EmbeddedKms>,
        others: &[Region],
        max_concurrent: usize,
    ) -> Result<Self, KmsError> {
        let own = service.realm().region.clone();
        let all = std::iter::once(&own).chain(others);
        let regions = all.map(|region| service.in_region(region).map(|served| (region.to_string(), served)));
        Ok(Self {
            regions: regions.collect::<Result<_, KmsError>>()?,
            service,
            metrics: Metrics::new(),
            permits: Semaphore::new(max_concurrent),
        })
    }

    /// Whether the store answers.
    async fn health(self: Arc<Self>) -> Reply {
        let checked = tokio::task::spawn_blocking(move || self.service.check_health()).await;
        match checked {
            Ok(Ok(())) => reply::text(StatusCode::OK, "text/plain", "ok\n"),
            Ok(Err(_)) | Err(_) => {
                reply::text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "the store does not answer\n")
            }
        }
    }

    async fn call(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
        let (started, request_id) = (Instant::now(), Uuid::new_v4());
        let under_way = self.metrics.begin();
        let is_form = has_content_type(&request, "application/x-www-form-urlencoded");
        let (operation, outcome) = self.process(peer, request_id, request).await;
        let code = outcome.as_ref().map_or_else(|refusal| refusal.code, |_| "OK");
        drop(under_way);
        let took = started.elapsed();
        self.metrics.count(operation, code, took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(%request_id, operation, code, %peer, micros, "request");
        match outcome {
            Ok(Done::Json(body)) => reply::json(body, request_id),
            Ok(Done::Identity(caller)) => sts::answer(&caller, request_id),
            Err(refusal) if is_form => sts::refuse(&refusal, request_id),
            Err(refusal) => refusal.to_json(request_id),
        }
    }

    /// The name of the operation, and what came of it.
    async fn process(
        self: &Arc<Self>,
        peer: SocketAddr,
        request_id: Uuid,
        request: Request<Incoming>,
    ) -> (&'static str, Result<Done, Refusal>) {
        // Before the body is read: requests beyond the limit cost no memory.
        let Ok(_permit) = self.permits.try_acquire() else {
            return (NO_OPERATION, Err(Refusal::new("ThrottlingException", "Rate exceeded")));
        };
        let (head, body) = request.into_parts();
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(refusal) => return (NO_OPERATION, Err(refusal)),
        };
        let Some(asked) = asked_for(&head, &body) else {
            return (NO_OPERATION, Err(Refusal::new("UnknownOperationException", "")));
        };
        let app = Arc::clone(self);
        let work = move || {
            let outcome = app.carry_out(peer, request_id, &head, &body, asked);
            outcome.map_err(|error| refuse(request_id, asked, error))
        };
        let outcome = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(%request_id, operation = asked.name(), %error, "a request ended in a panic");
            Err(Refusal::internal())
        });
        (asked.name(), outcome)
    }

    /// Verifies the signature and calls the service. Takes as long as the store and the cryptography take.
    fn carry_out(
        &self,
        peer: SocketAddr,
        request_id: Uuid,
        head: &Parts,
        body: &[u8],
        asked: Asked,
    ) -> Result<Done, CallError> {
        let identities = self.service.identities();
        let regions: Vec<&str> = self.regions.keys().map(String::as_str).collect();
        let scope = Scope { regions: &regions, service: asked.signed_service() };
        let verified =
            signature::verify(head, body, &scope, SystemClock.now(), |id| identities.credential(id))?;
        let caller = Caller {
            source_ip: Some(peer.ip()),
            request_id: Some(RequestId::new(request_id)),
            ..verified.credential.caller.clone()
        };
        let service = self.regions.get(&verified.region).unwrap_or(&self.service);
        let record = |caller: &Caller, operation: &str, error: WireError| {
            let recorded = service.record_refusal(caller, operation, error.code(), error.message());
            // An answer is a refusal in any case; why the record is missing is what the client has to know.
            recorded.err().map_or(error, WireError::from)
        };
        let answer = match asked {
            Asked::CallerIdentity => return Ok(Done::Identity(caller)),
            Asked::Kms(operation) => operation.call(service, &caller, body),
            Asked::Batch(operation) => operation
                .call(service, &caller, body, |caller, error| record(caller, operation.item_name(), error)),
        };
        Ok(Done::Json(answer.map_err(|error| record(&caller, asked.name(), error))?))
    }
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What fails inside is told to the log, because the client is not told.
fn refuse(request_id: Uuid, asked: Asked, error: CallError) -> Refusal {
    let (operation, text) = (asked.name(), error.to_string());
    let refusal = match error {
        CallError::Signature(error) => Refusal::from(error),
        CallError::Wire(error) => Refusal::from(error),
    };
    if refusal.is_fault {
        tracing::error!(%request_id, operation, error = text, "the service failed");
    }
    refusal
}

pub(super) async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let refused = |message: &str| Err(Refusal::new("SerializationException", message));
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_LEN).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => refused("The body of the request is too large."),
        Ok(Err(_)) => refused("The body of the request could not be read."),
        Err(_) => refused("The body of the request did not arrive in time."),
    }
}

fn has_content_type<B>(request: &Request<B>, expected: &str) -> bool {
    let header = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    header.is_some_and(|value| is_media_type(value, expected))
}

/// Compares without the parameters behind the semicolon.
fn is_media_type(value: &str, expected: &str) -> bool {
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected)
}

/// The operation that the headers name, or else the one of STS.
fn asked_for(head: &Parts, body: &[u8]) -> Option<Asked> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if head.uri.query().is_some() {
        // No operation takes one, and the signature is checked without it.
        return None;
    }
    match (text("x-amz-target"), text("content-type").unwrap_or_default()) {
        (Some(target), content) if is_media_type(content, AMZ_JSON) => {
            match target.strip_prefix(batch::TARGET_PREFIX) {
                Some(name) => batch::find(name).map(Asked::Batch),
                None => wire::find(target.strip_prefix(TARGET_PREFIX)?).map(Asked::Kms),
            }
        }
        (None, _) if sts::is_asked_for(body) => Some(Asked::CallerIdentity),
        _ => None,
    }
}

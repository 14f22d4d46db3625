//! A service elsewhere: AWS itself, or whatever speaks its interface, such as `kmsfs kms serve` on another host.
//!
//! Behind [`KeyService`] stands `aws-sdk-kms` with the standard chain of credentials. The caller of a request is
//! whoever signs it; the [`Caller`] that is passed says nothing there. A runtime of its own hides that the library is
//! asynchronous.
//!
//! - Each call has a deadline, within which it is tried again, with growing pauses of random length.
//! - After a call that had no answer, calls fail at once for a while, so that nobody waits for a service that is away.
//!   One at a time asks whether it is back.
//! - Many requests go in one call where the service offers that.
//! - What a file system needs is offered: encryption, data keys, the description of a key and its end. Keys are made and
//!   managed with the tools of the service.

mod breaker;
mod convert;
mod failure;
mod operations;
mod together;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use breaker::{Breaker, Change};

use super::KeyService;
use crate::error::KmsError;

/// Requests of a batch that are under way at once.
const PARALLEL: usize = 32;
/// The first pause before another try; the later ones are longer, and all are random.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which service, and how patient to be with it.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// The Region that requests are signed for; from the environment or the profile if there is none.
    pub region: Option<String>,
    /// The URL; that of AWS for the Region if there is none.
    pub endpoint: Option<String>,
    /// The profile in the configuration files of AWS.
    pub profile: Option<String>,
    /// Certificates in PEM that servers are checked against, instead of those of the system.
    pub ca_bundle: Option<Vec<u8>>,
    /// How long one try may take.
    pub attempt_timeout: Duration,
    /// How long a call may take with all its tries.
    pub deadline: Duration,
    /// How often a call is tried.
    pub attempts: u32,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            profile: None,
            ca_bundle: None,
            attempt_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(5),
            attempts: 4,
        }
    }
}

/// A client of a service elsewhere.
pub struct RemoteKms {
    client: Client,
    /// What messages call the service.
    name: Arc<str>,
    region: String,
    breaker: Breaker,
    /// Whether the service is known not to take many requests in one.
    one_by_one: AtomicBool,
    permits: Arc<Semaphore>,
    /// Taken out when the client is dropped.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for RemoteKms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteKms").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RemoteKms {
    /// A client. Nothing is sent yet, except what finding credentials needs.
    ///
    /// # Errors
    /// [`KmsError::Validation`] if nothing says which Region, or the certificates cannot be read;
    /// [`KmsError::Internal`] if there are no threads.
    pub fn connect(config: &RemoteConfig) -> Result<Self, KmsError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kmsfs-remote-kms")
            .enable_all()
            .build()
            .map_err(|error| KmsError::Internal(format!("no thread for a remote service: {error}")))?;
        let http = http_client(config.ca_bundle.as_deref())?;
        let shared = runtime.block_on(load(config, http));
        let region = shared.region().map(ToString::to_string).ok_or_else(|| {
            KmsError::Validation("neither an option nor the environment nor a profile names a Region".into())
        })?;
        let mut client = aws_sdk_kms::config::Builder::from(&shared);
        if let Some(url) = &config.endpoint {
            client = client.endpoint_url(url);
        }
        let name = config.endpoint.clone().unwrap_or_else(|| format!("AWS KMS in {region}"));
        Ok(Self {
            client: Client::from_conf(client.build()),
            name: name.into(),
            region,
            breaker: Breaker::new(config.deadline),
            // AWS is not asked what it does not have.
            one_by_one: AtomicBool::new(config.endpoint.is_none()),
            permits: Arc::new(Semaphore::new(PARALLEL)),
            runtime: Some(runtime),
        })
    }

    /// The Region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime is taken out by drop only")
    }

    /// Waits for the answer to a request.
    fn call<T, E>(
        &self,
        answer: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, KmsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.breaker.admit(Instant::now())?;
        self.settle(self.runtime().block_on(answer))
    }

    /// Takes note of whether the service answered.
    fn settle<T, E>(&self, outcome: Result<T, SdkError<E, HttpResponse>>) -> Result<T, KmsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let outcome = outcome.map_err(|error| failure::of(&self.name, &error));
        let change = match &outcome {
            Err(error @ KmsError::DependencyTimeout(_)) => self.breaker.failed(error.clone(), Instant::now()),
            _ => self.breaker.answered(),
        };
        let service = &*self.name;
        match (change, outcome.as_ref().err()) {
            (Change::Began, Some(error)) => {
                tracing::warn!(service, %error, "the key management service is out of reach");
            }
            (Change::Ended, _) => tracing::info!(service, "the key management service answers again"),
            _ => {}
        }
        outcome
    }
}

impl Drop for RemoteKms {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Nothing of value is under way once nobody waits for it.
            runtime.shutdown_background();
        }
    }
}

fn http_client(ca_bundle: Option<&[u8]>) -> Result<SharedHttpClient, KmsError> {
    let refused = |error: String| KmsError::Validation(format!("the certificates cannot be used: {error}"));
    let mut context = tls::TlsContext::builder();
    if let Some(pem) = ca_bundle {
        context = context.with_trust_store(tls::TrustStore::empty().with_pem_certificate(pem));
    }
    let context = context.build().map_err(|error| refused(error.to_string()))?;
    let mode = tls::rustls_provider::CryptoMode::AwsLc;
    let builder = aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(mode));
    Ok(builder.tls_context(context).build_https())
}

async fn load(config: &RemoteConfig, http: SharedHttpClient) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.attempt_timeout)
        .operation_attempt_timeout(config.attempt_timeout)
        .operation_timeout(config.deadline);
    let retries = RetryConfig::standard()
        .with_max_attempts(config.attempts)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts.build())
        .retry_config(retries)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

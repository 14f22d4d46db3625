//! Keys of the keystore as the external keys of another service: AWS KMS, or another kmsfs.
//!
//! The public proxy API of AWS external key stores, version 1.0: health, metadata, encrypt and decrypt, each signed with
//! Signature Version 4 for the service `kms-xks-proxy`. An external key is a symmetric key of the keystore, named by its
//! id. Whoever signs calls as one user of the keystore, so that key policies and the user's own policies say which keys
//! may be used from outside.

mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::{
    Caller, Clock, DescribeKeyRequest, KeyRef, KeySpec, KeyState, KeyUsage, Origin, Plaintext,
    ProxyCredential, SecretAccessKey, SystemClock, UserName,
};
use kms_core::service::{Credential, EmbeddedKms, ExternalCiphertext};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use self::wire::{Base64, Refusal};
use super::app::read_body;
use super::connection::Answers;
use super::metrics::{self, Metrics};
use super::reply::{self, Reply};
use super::signature::{self, Scope, SignatureError};

/// The service of a signature.
const SERVICE: &str = "kms-xks-proxy";
/// The path of the API, behind the prefix.
const API_PATH: &str = "/kms/xks/v1";
const ALGORITHM: &str = "AES_GCM";
const INTEGRITY_ALGORITHM: &str = "SHA_256";
/// The longest additional authenticated data.
const MAX_AAD_LEN: usize = 8192;

/// How the proxy answers.
#[derive(Debug)]
pub struct XksConfig {
    /// In front of `/kms/xks/v1`: empty, or a path that begins with a slash and does not end with one.
    pub path_prefix: String,
    /// What requests may be signed with: the credential in use, and the one that is to follow it.
    pub credentials: Vec<ProxyCredential>,
    /// The user of the keystore as which requests use keys.
    pub user: UserName,
    /// How many requests may be under way at once.
    pub max_concurrent: usize,
}

/// What requests are answered with.
pub(super) struct XksApp {
    service: Arc<EmbeddedKms>,
    config: XksConfig,
    metrics: Metrics,
    permits: Semaphore,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Health,
    Key { id: String, operation: KeyOperation },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyOperation {
    Metadata,
    Encrypt,
    Decrypt,
}

impl Asked {
    /// What a path asks for.
    fn of(path: &str, prefix: &str) -> Option<Self> {
        let rest = path.strip_prefix(prefix)?.strip_prefix(API_PATH)?;
        if rest == "/health" {
            return Some(Self::Health);
        }
        let (id, operation) = rest.strip_prefix("/keys/")?.split_once('/')?;
        let operation = match operation {
            "metadata" => KeyOperation::Metadata,
            "encrypt" => KeyOperation::Encrypt,
            "decrypt" => KeyOperation::Decrypt,
            _ => return None,
        };
        Some(Self::Key { id: id.to_owned(), operation })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Health => "GetHealthStatus",
            Self::Key { operation: KeyOperation::Metadata, .. } => "GetKeyMetadata",
            Self::Key { operation: KeyOperation::Encrypt, .. } => "Encrypt",
            Self::Key { operation: KeyOperation::Decrypt, .. } => "Decrypt",
        }
    }
}

impl Answers for XksApp {
    async fn answer(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
        match (request.method(), request.uri().path()) {
            // What load balancers ask for.
            (&Method::GET, "/healthz" | "/ping") => reply::text(StatusCode::OK, "text/plain", "ok\n"),
            (&Method::GET, "/metrics") => {
                reply::text(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.text())
            }
            _ => self.call(peer, request).await,
        }
    }
}

impl XksApp {
    pub(super) fn new(service: Arc<EmbeddedKms>, config: XksConfig) -> Self {
        let permits = Semaphore::new(config.max_concurrent);
        Self { service, config, metrics: Metrics::new(), permits }
    }

    async fn call(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
        let started = Instant::now();
        let asked = Asked::of(request.uri().path(), &self.config.path_prefix);
        let operation = asked.as_ref().map_or("-", Asked::name);
        let under_way = self.metrics.begin();
        let outcome = match (asked, request.method() == Method::POST) {
            (None, _) => Err(Refusal::InvalidUriPath),
            (Some(_), false) => Err(Refusal::MethodNotAllowed),
            (Some(asked), true) => self.process(request, asked).await,
        };
        drop(under_way);
        let code = outcome.as_ref().map_or_else(|refusal| refusal.name(), |_| "OK");
        let took = started.elapsed();
        self.metrics.count(operation, code, took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(operation, code, %peer, micros, "request");
        outcome.unwrap_or_else(Refusal::reply)
    }

    async fn process(self: &Arc<Self>, request: Request<Incoming>, asked: Asked) -> Result<Reply, Refusal> {
        let _permit = self.permits.try_acquire().map_err(|_| Refusal::Throttling)?;
        let (head, body) = request.into_parts();
        let body = read_body(body).await.map_err(|_| Refusal::Validation)?;
        let app = Arc::clone(self);
        let work = move || app.carry_out(&head, &body, &asked);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request ended in a panic");
            Err(Refusal::Internal)
        })
    }

    /// Verifies the signature and uses the key. Takes as long as the store and the cryptography take.
    fn carry_out(&self, head: &Parts, body: &[u8], asked: &Asked) -> Result<Reply, Refusal> {
        let caller = self.verify(head, body)?;
        let metadata = parse::<wire::PlainRequest>(body)?.request_metadata;
        let (principal, via) = (metadata.aws_principal_arn.as_deref(), metadata.kms_via_service.as_deref());
        tracing::info!(
            operation = asked.name(),
            kms_request_id = metadata.kms_request_id,
            kms_operation = metadata.kms_operation,
            kms_key_arn = metadata.kms_key_arn,
            principal,
            via,
            "asked from outside"
        );
        let Asked::Key { id, operation } = asked else { return self.health() };
        let encrypts = *operation != KeyOperation::Metadata;
        if principal.is_none() || (encrypts && metadata.kms_key_arn.is_none()) {
            return Err(Refusal::Validation);
        }
        let key: KeyRef = id.parse().map_err(|_| Refusal::KeyNotFound)?;
        match operation {
            KeyOperation::Metadata => self.metadata(&caller, key),
            KeyOperation::Encrypt => self.encrypt(&caller, &key, body),
            KeyOperation::Decrypt => self.decrypt(&caller, &key, body),
        }
    }

    /// Who sent a request: one of the credentials, as the user of the configuration.
    fn verify(&self, head: &Parts, body: &[u8]) -> Result<Caller, Refusal> {
        let caller = self.service.identities().caller(&self.config.user).map_err(|error| {
            tracing::error!(%error, "the user of the proxy cannot be read");
            Refusal::Internal
        })?;
        let find = |access_key: &str| -> Result<Option<Arc<Credential>>, KmsError> {
            let found = self.config.credentials.iter().find(|one| one.access_key_id == access_key);
            Ok(found.map(|one| {
                let secret = Plaintext::copy_of(one.raw_secret_access_key.expose().as_bytes());
                Arc::new(Credential { secret: SecretAccessKey::new(secret), caller: caller.clone() })
            }))
        };
        // The Region is that of whoever calls; it is part of what is signed.
        let region = signature::signed_region(head).ok_or(Refusal::AuthenticationFailed)?;
        let scope = Scope { regions: &[region], service: SERVICE };
        match signature::verify(head, body, &scope, SystemClock.now(), find) {
            Ok(_) => Ok(caller),
            Err(SignatureError::Kms(error)) => Err(wire::refusal(&error)),
            Err(error) => {
                tracing::warn!(%error, "a request is not believed");
                Err(Refusal::AuthenticationFailed)
            }
        }
    }

    fn health(&self) -> Result<Reply, Refusal> {
        let status = if self.service.check_health().is_ok() { "ACTIVE" } else { "UNAVAILABLE" };
        let model = concat!("kmsfs ", env!("CARGO_PKG_VERSION"));
        let document = serde_json::json!({
            "xksProxyFleetSize": 1,
            "xksProxyVendor": "kmsfs",
            "xksProxyModel": model,
            "ekmVendor": "kmsfs",
            "ekmFleetDetails": [{ "id": "keystore", "model": model, "healthStatus": status }],
        });
        wire::answer(&document, 0)
    }

    fn metadata(&self, caller: &Caller, key: KeyRef) -> Result<Reply, Refusal> {
        let found = self.service.describe_key(caller, &DescribeKeyRequest::new(key)).map_err(refused)?;
        let key = found.key_metadata;
        let usable = key.key_spec == KeySpec::SymmetricDefault
            && key.key_usage == KeyUsage::EncryptDecrypt
            && matches!(key.origin, Origin::AwsKms | Origin::External);
        let spec = if usable { "AES_256" } else { key.key_spec.as_str() };
        let usage: &[&str] = if usable { &["ENCRYPT", "DECRYPT"] } else { &[] };
        let status = if key.key_state == KeyState::Enabled { "ENABLED" } else { "DISABLED" };
        wire::answer(&serde_json::json!({ "keySpec": spec, "keyUsage": usage, "keyStatus": status }), 0)
    }

    fn encrypt(&self, caller: &Caller, key: &KeyRef, body: &[u8]) -> Result<Reply, Refusal> {
        let request: wire::EncryptRequest = parse(body)?;
        check_algorithm(&request.encryption_algorithm)?;
        let wants_integrity = match request.ciphertext_data_integrity_value_algorithm.as_deref() {
            None => false,
            Some(INTEGRITY_ALGORITHM) => true,
            Some(_) => return Err(Refusal::Validation),
        };
        let aad = additional_data(request.additional_authenticated_data.as_ref())?;
        let sealed =
            self.service.encrypt_as_external_key(caller, key, aad, &request.plaintext.0).map_err(refused)?;
        // The value comes before the trial, so that bytes that flip between the two are noticed by whoever compares it.
        let integrity = wants_integrity.then(|| integrity_value(aad, &sealed));
        if wants_integrity {
            let opened = self.service.decrypt_as_external_key(caller, key, aad, &sealed);
            let opened = opened.map_err(|error| {
                tracing::error!(%error, "what was just encrypted does not decrypt");
                Refusal::Internal
            })?;
            if opened.expose() != request.plaintext.0.expose() {
                return Err(Refusal::Internal);
            }
        }
        let answer = wire::EncryptAnswer {
            ciphertext: Base64::of(&sealed.ciphertext),
            ciphertext_metadata: Base64::of(&sealed.metadata),
            initialization_vector: Base64::of(&sealed.iv),
            authentication_tag: Base64::of(&sealed.tag),
            ciphertext_data_integrity_value: integrity,
        };
        wire::answer(&answer, sealed.ciphertext.len())
    }

    fn decrypt(&self, caller: &Caller, key: &KeyRef, body: &[u8]) -> Result<Reply, Refusal> {
        let request: wire::DecryptRequest = parse(body)?;
        check_algorithm(&request.encryption_algorithm)?;
        let bytes = |part: &Base64| part.0.expose().to_vec();
        let sealed = ExternalCiphertext {
            metadata: request.ciphertext_metadata.as_ref().map(bytes).unwrap_or_default(),
            iv: bytes(&request.initialization_vector),
            tag: bytes(&request.authentication_tag),
            ciphertext: bytes(&request.ciphertext),
        };
        let aad = additional_data(request.additional_authenticated_data.as_ref())?;
        let plaintext = self.service.decrypt_as_external_key(caller, key, aad, &sealed).map_err(refused)?;
        let payload_len = plaintext.len();
        wire::answer(&wire::DecryptAnswer { plaintext: Base64(plaintext) }, payload_len)
    }
}

/// The hash over everything that a decryption will need.
fn integrity_value(aad: &[u8], sealed: &ExternalCiphertext) -> Base64 {
    let parts = [aad, &sealed.metadata, &sealed.iv, &sealed.ciphertext, &sealed.tag].concat();
    Base64::of(&Sha256::digest(&parts))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Validation)
}

fn check_algorithm(name: &str) -> Result<(), Refusal> {
    if name == ALGORITHM { Ok(()) } else { Err(Refusal::Validation) }
}

fn additional_data(given: Option<&Base64>) -> Result<&[u8], Refusal> {
    let aad = given.map(|aad| aad.0.expose()).unwrap_or_default();
    if aad.len() > MAX_AAD_LEN { Err(Refusal::Validation) } else { Ok(aad) }
}

/// What fails inside is told to the log, because whoever asks is not told.
fn refused(error: KmsError) -> Refusal {
    let refusal = wire::refusal(&error);
    tracing::warn!(%error, refusal = refusal.name(), "refused");
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_key_and_an_operation() {
        let key = |id: &str, operation| Some(Asked::Key { id: id.to_owned(), operation });
        for (path, prefix, expected) in [
            ("/kms/xks/v1/health", "", Some(Asked::Health)),
            ("/a/b/kms/xks/v1/keys/k-1/encrypt", "/a/b", key("k-1", KeyOperation::Encrypt)),
            ("/kms/xks/v1/keys/k/decrypt", "", key("k", KeyOperation::Decrypt)),
            ("/kms/xks/v1/keys/k/metadata", "", key("k", KeyOperation::Metadata)),
            ("/kms/xks/v1/keys/k/metadata", "/a", None),
            ("/kms/xks/v1/keys/k", "", None),
            ("/kms/xks/v1/keys/k/encrypt/x", "", None),
            ("/kms/xks/v2/health", "", None),
            ("/", "", None),
        ] {
            assert_eq!(Asked::of(path, prefix), expected, "{path}");
        }
    }
}

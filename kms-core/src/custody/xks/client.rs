//! Requests to an external key store proxy: signed, over TLS, within a budget of time and of memory.
//!
//! Source: AWS, "External Key Store Proxy API Specification", version 1.0.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::model::ProxyConfig;

/// How long a proxy may take to answer, in all, as in AWS. A store may be given another budget, within the range.
const BUDGET_MILLIS: u32 = 250;
const BUDGET_RANGE: std::ops::RangeInclusive<u32> = 50..=10_000;
/// The longest answer. The largest that the API has is a third of this.
const MAX_ANSWER_LEN: u64 = 32 * 1024;
/// The service of the signatures.
const SERVICE: &str = "kms-xks-proxy";

/// What a proxy refused, by the names of its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(super) enum Refusal {
    #[serde(rename = "ValidationException")]
    Validation,
    #[serde(rename = "InvalidStateException")]
    InvalidState,
    #[serde(rename = "InvalidCiphertextException")]
    InvalidCiphertext,
    #[serde(rename = "InvalidKeyUsageException")]
    InvalidKeyUsage,
    #[serde(rename = "AuthenticationFailedException")]
    AuthenticationFailed,
    #[serde(rename = "AccessDeniedException")]
    AccessDenied,
    #[serde(rename = "KeyNotFoundException")]
    KeyNotFound,
    #[serde(rename = "InvalidUriPathException")]
    InvalidUriPath,
    #[serde(rename = "ThrottlingException")]
    Throttling,
    #[serde(rename = "UnsupportedOperationException")]
    UnsupportedOperation,
    #[serde(rename = "DependencyTimeoutException")]
    DependencyTimeout,
    #[serde(rename = "InternalException")]
    Internal,
}

impl Refusal {
    /// The status that goes with it.
    fn status(self) -> u16 {
        match self {
            Self::Validation | Self::InvalidState | Self::InvalidCiphertext | Self::InvalidKeyUsage => 400,
            Self::AuthenticationFailed => 401,
            Self::AccessDenied => 403,
            Self::KeyNotFound | Self::InvalidUriPath => 404,
            Self::Throttling => 429,
            Self::Internal => 500,
            Self::UnsupportedOperation => 501,
            Self::DependencyTimeout => 503,
        }
    }
}

/// Why there is no answer. What the proxy says besides is not repeated to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    /// It says no.
    #[error("the proxy refused: {0:?}")]
    Refused(Refusal),
    /// Its answer cannot be understood, or contradicts itself.
    #[error("the proxy's answer cannot be understood: {0}")]
    Malformed(&'static str),
    /// The budget of time is used up.
    #[error("the proxy did not answer in time")]
    TimedOut,
    /// Nobody answers at its address.
    #[error("the proxy cannot be reached: {0}")]
    Unreachable(String),
    /// Its certificate is not one that is trusted for its name, or its TLS is not ours.
    #[error("no TLS connection with the proxy: {0}")]
    Tls(String),
    /// What the store is configured with cannot be used.
    #[error("the configuration cannot be used: {0}")]
    Configuration(&'static str),
}

/// What talks to one proxy.
pub(super) struct ProxyClient {
    agent: Agent,
    config: ProxyConfig,
    budget: Duration,
    host: String,
    region: String,
}

impl ProxyClient {
    pub(super) fn new(config: &ProxyConfig, region: &str) -> Result<Self, ProxyError> {
        let host = host_of(&config.uri_endpoint)?;
        let budget = config.budget_millis.unwrap_or(BUDGET_MILLIS);
        if !BUDGET_RANGE.contains(&budget) {
            return Err(ProxyError::Configuration("the time for an answer is not 50 to 10,000 milliseconds"));
        }
        let budget = Duration::from_millis(budget.into());
        let roots = match &config.trust_anchor_certificate {
            Some(pem) => RootCerts::Specific(Arc::new(certificates(pem)?)),
            None => RootCerts::PlatformVerifier,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
        let agent = Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            // The address of the store is where its requests go, whatever the environment says.
            .proxy(None)
            .tls_config(tls)
            .timeout_global(Some(budget))
            .build()
            .new_agent();
        Ok(Self { agent, config: config.clone(), budget, host, region: region.to_owned() })
    }

    /// Posts a request to `path` below the address of the API.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<T, ProxyError> {
        let deadline = Instant::now() + self.budget;
        let outcome = match self.post_once(path, body, deadline) {
            // A connection that was kept may have ended; whatever was asked may be asked again.
            Err(ProxyError::Unreachable(_)) => self.post_once(path, body, deadline),
            other => other,
        };
        let (status, answer) = outcome?;
        if status == 200 {
            return serde_json::from_slice(&answer).map_err(|_| ProxyError::Malformed("its shape"));
        }
        let refusal: ErrorBody =
            serde_json::from_slice(&answer).map_err(|_| ProxyError::Malformed("the shape of an error"))?;
        match refusal.error_name.status() == status {
            true => Err(ProxyError::Refused(refusal.error_name)),
            false => Err(ProxyError::Malformed("its status")),
        }
    }

    fn post_once(
        &self,
        path: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), ProxyError> {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(ProxyError::TimedOut);
        }
        let path = format!("{}{path}", self.config.uri_path);
        let url = format!("{}{path}", self.config.uri_endpoint);
        let (date, authorization) = self.sign(&url, body)?;
        let request = self.agent.post(&url).config().timeout_global(Some(remaining)).build();
        let mut response = request
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("x-amz-date", &date)
            .header("authorization", &authorization)
            .send(body)
            .map_err(sort)?;
        let status = response.status().as_u16();
        let is_json =
            response.headers().get("content-type").and_then(|value| value.to_str().ok()).is_some_and(
                |value| value.split(';').next().unwrap_or_default().trim() == "application/json",
            );
        let answer = response.body_mut().with_config().limit(MAX_ANSWER_LEN).read_to_vec().map_err(sort)?;
        let answer = Zeroizing::new(answer);
        if !is_json {
            return Err(ProxyError::Malformed("its content type"));
        }
        Ok((status, answer))
    }

    /// The date of a request and its signature.
    fn sign(&self, url: &str, body: &[u8]) -> Result<(String, String), ProxyError> {
        let failed = |_| ProxyError::Configuration("a request cannot be signed");
        let credential = &self.config.credential;
        let secret = credential.raw_secret_access_key.expose();
        let identity = Credentials::new(&credential.access_key_id, secret, None, None, "key store").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| ProxyError::Configuration("a request cannot be signed"))?
            .into();
        let headers = [("host", self.host.as_str())];
        let request = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(body))
            .map_err(failed)?;
        let (instructions, _) = sign(request, &params).map_err(failed)?.into_parts();
        let value = |name: &str| {
            let found = instructions.headers().find(|(own, _)| own.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        Ok((value("x-amz-date"), value("authorization")))
    }
}

#[derive(serde::Deserialize)]
struct ErrorBody {
    #[serde(rename = "errorName")]
    error_name: Refusal,
}

/// The host of an endpoint, with its port if it has one.
fn host_of(endpoint: &str) -> Result<String, ProxyError> {
    let refused = || ProxyError::Configuration("the endpoint is not https:// and the name of a host");
    let host = endpoint.strip_prefix("https://").ok_or_else(refused)?;
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let numbered = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if name.is_empty() || !name.bytes().all(legal) || !numbered {
        return Err(refused());
    }
    Ok(host.to_owned())
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, ProxyError> {
    let parsed: Result<Vec<_>, _> =
        rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let refused = "the trust anchor is not a PEM file of certificates";
    let parsed = parsed.map_err(|_| ProxyError::Configuration(refused))?;
    if parsed.is_empty() {
        return Err(ProxyError::Configuration(refused));
    }
    Ok(parsed.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

/// Sorts what the HTTP client says.
fn sort(error: ureq::Error) -> ProxyError {
    match error {
        ureq::Error::Timeout(_) => ProxyError::TimedOut,
        ureq::Error::Rustls(error) => ProxyError::Tls(error.to_string()),
        ureq::Error::Tls(reason) => ProxyError::Tls(reason.to_owned()),
        ureq::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            ProxyError::Tls(error.to_string())
        }
        ureq::Error::BodyExceedsLimit(_) => ProxyError::Malformed("its length"),
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => ProxyError::Malformed("its HTTP"),
        other => ProxyError::Unreachable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_over_tls() {
        for (endpoint, host) in [("https://a.b-c", "a.b-c"), ("https://localhost:8443", "localhost:8443")] {
            assert_eq!(host_of(endpoint).as_deref(), Ok(host));
        }
        for endpoint in
            ["http://a", "https://", "https://a/b", "https://a:b", "https://u@a", "https://a:99999"]
        {
            assert!(host_of(endpoint).is_err(), "{endpoint}");
        }
    }
}

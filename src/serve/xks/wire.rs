//! The documents of the proxy API (AWS, "External Key Store Proxy API Specification", version 1.0).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use kms_core::KmsError;
use kms_core::model::Plaintext;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::serve::reply::{self, Reply};

const JSON: &str = "application/json";

/// Bytes that travel as base64. Wiped when dropped, because some are plaintexts.
pub(super) struct Base64(pub(super) Plaintext);

impl Base64 {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Plaintext::copy_of(bytes))
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(self.0.expose())))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        STANDARD
            .decode(&*text)
            .map(|bytes| Self(Plaintext::new(bytes)))
            .map_err(|_| D::Error::custom("no base64"))
    }
}

/// Who asks the other service, and for what. Logged, not believed: only the signature says who sent it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestMetadata {
    pub(super) aws_principal_arn: Option<String>,
    pub(super) kms_key_arn: Option<String>,
    pub(super) kms_operation: String,
    pub(super) kms_request_id: String,
    pub(super) kms_via_service: Option<String>,
}

/// A request without parameters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlainRequest {
    pub(super) request_metadata: RequestMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptRequest {
    pub(super) additional_authenticated_data: Option<Base64>,
    pub(super) plaintext: Base64,
    pub(super) encryption_algorithm: String,
    pub(super) ciphertext_data_integrity_value_algorithm: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptAnswer {
    pub(super) ciphertext: Base64,
    pub(super) ciphertext_metadata: Base64,
    pub(super) initialization_vector: Base64,
    pub(super) authentication_tag: Base64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext_data_integrity_value: Option<Base64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecryptRequest {
    pub(super) additional_authenticated_data: Option<Base64>,
    pub(super) ciphertext: Base64,
    pub(super) ciphertext_metadata: Option<Base64>,
    pub(super) encryption_algorithm: String,
    pub(super) initialization_vector: Base64,
    pub(super) authentication_tag: Base64,
}

#[derive(Serialize)]
pub(super) struct DecryptAnswer {
    pub(super) plaintext: Base64,
}

/// What the API refuses, each with its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Validation,
    InvalidState,
    InvalidCiphertext,
    InvalidKeyUsage,
    AuthenticationFailed,
    AccessDenied,
    KeyNotFound,
    InvalidUriPath,
    MethodNotAllowed,
    Throttling,
    UnsupportedOperation,
    DependencyTimeout,
    Internal,
}

impl Refusal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Validation => "ValidationException",
            Self::InvalidState => "InvalidStateException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidKeyUsage => "InvalidKeyUsageException",
            Self::AuthenticationFailed => "AuthenticationFailedException",
            Self::AccessDenied => "AccessDeniedException",
            Self::KeyNotFound => "KeyNotFoundException",
            // The API has a status for this one, but no name.
            Self::InvalidUriPath | Self::MethodNotAllowed => "InvalidUriPathException",
            Self::Throttling => "ThrottlingException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
            Self::DependencyTimeout => "DependencyTimeoutException",
            Self::Internal => "InternalException",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Validation | Self::InvalidState | Self::InvalidCiphertext | Self::InvalidKeyUsage => {
                StatusCode::BAD_REQUEST
            }
            Self::AuthenticationFailed => StatusCode::UNAUTHORIZED,
            Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::KeyNotFound | Self::InvalidUriPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Throttling => StatusCode::TOO_MANY_REQUESTS,
            Self::UnsupportedOperation => StatusCode::NOT_IMPLEMENTED,
            Self::DependencyTimeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn reply(self) -> Reply {
        let document = serde_json::json!({ "errorName": self.name() });
        reply::text(self.status(), JSON, document.to_string())
    }
}

/// What a refusal by the keystore is in this API.
pub(super) fn refusal(error: &KmsError) -> Refusal {
    match error {
        KmsError::NotFound(_) | KmsError::InvalidArn(_) => Refusal::KeyNotFound,
        KmsError::Disabled(_) | KmsError::KmsInvalidState(_) => Refusal::InvalidState,
        KmsError::InvalidCiphertext(_) | KmsError::IncorrectKey(_) => Refusal::InvalidCiphertext,
        KmsError::InvalidKeyUsage(_) => Refusal::InvalidKeyUsage,
        KmsError::AccessDenied(_) | KmsError::NotAuthorized(_) => Refusal::AccessDenied,
        KmsError::Throttling(_) => Refusal::Throttling,
        KmsError::UnsupportedOperation(_) => Refusal::UnsupportedOperation,
        KmsError::DependencyTimeout(_) => Refusal::DependencyTimeout,
        KmsError::Validation(_) => Refusal::Validation,
        _ => Refusal::Internal,
    }
}

/// A document that may hold a plaintext, wiped when it was sent.
pub(super) fn answer(document: &impl Serialize, payload_len: usize) -> Result<Reply, Refusal> {
    let mut body = Zeroizing::new(Vec::with_capacity(1024 + 2 * payload_len));
    serde_json::to_writer(&mut *body, document).map_err(|_| Refusal::Internal)?;
    Ok(reply::text(StatusCode::OK, JSON, Bytes::from_owner(body)))
}

//! What the failures of a proxy become: one table for each kind of operation. Nothing that the proxy says is repeated.

use super::client::{ProxyError, Refusal};
use crate::custody::CustodyError;
use crate::error::KmsError;
use crate::model::ConnectionErrorCode;

/// In words that say what happened and where to look.
fn message(error: &ProxyError) -> &'static str {
    use Refusal as R;
    match error {
        ProxyError::Refused(refusal) => match refusal {
            R::InvalidState => "The external key is not enabled in its external key manager.",
            R::InvalidCiphertext => "The external key store proxy cannot open the ciphertext.",
            R::InvalidKeyUsage => "The external key does not support the operation.",
            R::AuthenticationFailed => {
                "The external key store proxy does not accept the credential of the store."
            }
            R::AccessDenied => "The external key store proxy denied access to the operation.",
            R::KeyNotFound => "The external key was not found in its external key manager.",
            R::InvalidUriPath => "The external key store proxy does not know the URI path of the store.",
            R::Throttling => "The external key store proxy is asked too often.",
            R::UnsupportedOperation => "The external key store proxy does not support the operation.",
            R::DependencyTimeout => "The external key manager did not respond to its proxy in time.",
            R::Internal => "The external key store proxy cannot communicate with its external key manager.",
            R::Validation => "The external key store proxy did not understand the request.",
        },
        ProxyError::Malformed(_) => "The response of the external key store proxy cannot be interpreted.",
        ProxyError::TimedOut => "The external key store proxy did not respond in time.",
        ProxyError::Unreachable(_) => "The external key store proxy cannot be reached.",
        ProxyError::Tls(_) => {
            "There is no TLS connection with the external key store proxy: its certificate is not trusted."
        }
        ProxyError::Configuration(reason) => reason,
    }
}

/// Of an operation with a key that exists. What may pass by itself is an outage; what somebody has to change in the
/// external key manager makes the key unusable.
pub(super) fn of_use(error: &ProxyError) -> CustodyError {
    use Refusal as R;
    let text = message(error).to_owned();
    match error {
        ProxyError::Refused(refusal) => match refusal {
            R::InvalidState
            | R::InvalidCiphertext
            | R::InvalidKeyUsage
            | R::AuthenticationFailed
            | R::AccessDenied
            | R::KeyNotFound
            | R::InvalidUriPath
            | R::UnsupportedOperation
            | R::Validation => CustodyError::Refused(text),
            R::DependencyTimeout => CustodyError::TimedOut(text),
            R::Throttling | R::Internal => CustodyError::Unavailable(text),
        },
        ProxyError::TimedOut => CustodyError::TimedOut(text),
        ProxyError::Malformed(_)
        | ProxyError::Unreachable(_)
        | ProxyError::Tls(_)
        | ProxyError::Configuration(_) => CustodyError::Unavailable(text),
    }
}

/// Of `CreateKey`.
pub(super) fn of_new_key(error: &ProxyError) -> KmsError {
    use Refusal as R;
    let text = message(error).to_owned();
    match error {
        ProxyError::Refused(R::KeyNotFound) => KmsError::XksKeyNotFound(text),
        ProxyError::Refused(R::InvalidState | R::InvalidKeyUsage | R::UnsupportedOperation) => {
            KmsError::XksKeyInvalidConfiguration(text)
        }
        ProxyError::Refused(R::AccessDenied) => KmsError::KmsInvalidState(text),
        ProxyError::Refused(
            R::Validation
            | R::InvalidCiphertext
            | R::AuthenticationFailed
            | R::InvalidUriPath
            | R::Throttling
            | R::DependencyTimeout
            | R::Internal,
        )
        | ProxyError::Malformed(_)
        | ProxyError::TimedOut
        | ProxyError::Unreachable(_)
        | ProxyError::Tls(_)
        | ProxyError::Configuration(_) => KmsError::CustomKeyStoreInvalidState(text),
    }
}

/// An external key that is switched off.
pub(super) fn disabled_key() -> KmsError {
    KmsError::XksKeyInvalidConfiguration(message(&ProxyError::Refused(Refusal::InvalidState)).to_owned())
}

/// An external key of another kind.
pub(super) fn unfit_key() -> KmsError {
    KmsError::XksKeyInvalidConfiguration(
        "The external key is not an AES-256 key that encrypts and decrypts.".into(),
    )
}

/// Of `CreateCustomKeyStore` and `UpdateCustomKeyStore`.
pub(super) fn of_store(error: &ProxyError) -> KmsError {
    use Refusal as R;
    let text = message(error).to_owned();
    match error {
        ProxyError::Refused(R::AuthenticationFailed) => {
            KmsError::XksProxyIncorrectAuthenticationCredential(text)
        }
        ProxyError::Refused(R::InvalidUriPath) => KmsError::XksProxyInvalidConfiguration(text),
        ProxyError::Configuration(_) => KmsError::XksProxyInvalidConfiguration(text),
        ProxyError::Refused(R::DependencyTimeout | R::Throttling)
        | ProxyError::TimedOut
        | ProxyError::Unreachable(_)
        | ProxyError::Tls(_) => KmsError::XksProxyUriUnreachable(text),
        ProxyError::Refused(
            R::Validation
            | R::InvalidState
            | R::InvalidCiphertext
            | R::InvalidKeyUsage
            | R::AccessDenied
            | R::KeyNotFound
            | R::UnsupportedOperation
            | R::Internal,
        )
        | ProxyError::Malformed(_) => KmsError::XksProxyInvalidResponse(text),
    }
}

/// Of `ConnectCustomKeyStore`.
pub(super) fn code(error: &ProxyError) -> ConnectionErrorCode {
    use Refusal as R;
    match error {
        ProxyError::Refused(R::AuthenticationFailed | R::AccessDenied) => {
            ConnectionErrorCode::XksProxyAccessDenied
        }
        ProxyError::Refused(R::InvalidUriPath) | ProxyError::Configuration(_) => {
            ConnectionErrorCode::XksProxyInvalidConfiguration
        }
        ProxyError::Refused(R::DependencyTimeout) | ProxyError::TimedOut => {
            ConnectionErrorCode::XksProxyTimedOut
        }
        ProxyError::Refused(R::Throttling) | ProxyError::Unreachable(_) => {
            ConnectionErrorCode::XksProxyNotReachable
        }
        ProxyError::Tls(_) => ConnectionErrorCode::XksProxyInvalidTlsConfiguration,
        ProxyError::Refused(
            R::Validation
            | R::InvalidState
            | R::InvalidCiphertext
            | R::InvalidKeyUsage
            | R::KeyNotFound
            | R::UnsupportedOperation
            | R::Internal,
        )
        | ProxyError::Malformed(_) => ConnectionErrorCode::XksProxyInvalidResponse,
    }
}

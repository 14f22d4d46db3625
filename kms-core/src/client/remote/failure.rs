//! What the client library reports, as a [`KmsError`].

use std::error::Error;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::error::KmsError;

/// Codes by which services refuse whoever signed, beside those of the operations.
const REFUSED: &[&str] = &[
    "AccessDenied",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationTokenException",
    "MissingAuthenticationToken",
    "ExpiredTokenException",
    "ExpiredToken",
    "OptInRequired",
];
/// Codes by which services ask for patience.
const BUSY: &[&str] = &["Throttling", "ThrottledException", "RequestThrottled", "TooManyRequestsException"];

/// What a failed call to `service` means.
pub(super) fn of<E>(service: &str, error: &SdkError<E, HttpResponse>) -> KmsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let away = |detail: String| KmsError::DependencyTimeout(format!("{service} does not answer: {detail}"));
    match error {
        SdkError::ServiceError(answer) => {
            let (code, message) = (answer.err().code().unwrap_or_default(), answer.err().message());
            let message = message.unwrap_or_default();
            match KmsError::from_code(code, message) {
                Some(refusal) => refusal,
                None if REFUSED.contains(&code) => {
                    KmsError::AccessDenied(format!("{service} refuses the credentials ({code}): {message}"))
                }
                None if BUSY.contains(&code) => KmsError::Throttling(message.to_owned()),
                None => away(format!("status {} {code} {message}", answer.raw().status())),
            }
        }
        SdkError::TimeoutError(_) => away("it took too long".to_owned()),
        other => away(causes(other)),
    }
}

/// An error with its causes, each once.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

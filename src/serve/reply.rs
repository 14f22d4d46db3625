//! What goes back: JSON or XML, with the id of the request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use kms_core::wire::WireError;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::signature::SignatureError;

/// The content type of requests and answers.
pub(super) const AMZ_JSON: &str = "application/x-amz-json-1.1";
const XML: &str = "text/xml";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An answer on its way to the client.
pub(super) type Reply = Response<Full<Bytes>>;

/// A refusal with the codes and messages of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Whether the service failed, and not the client.
    pub(super) is_fault: bool,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), is_fault: false }
    }

    /// What is said when the reason is nobody's business.
    pub(super) fn internal() -> Self {
        let message = "The request failed because of an internal error.".into();
        Self { code: "KMSInternalException", message, is_fault: true }
    }

    /// Every error of a client is 400.
    fn status(&self) -> StatusCode {
        if self.is_fault { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST }
    }

    /// The form of AWS JSON.
    pub(super) fn to_json(&self, request_id: Uuid) -> Reply {
        let document = serde_json::json!({ "__type": self.code, "message": self.message });
        reply(self.status(), AMZ_JSON, Bytes::from(document.to_string()), request_id)
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self { code: error.code(), message: error.message().to_owned(), is_fault: error.is_fault() }
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        let code = match error {
            SignatureError::Missing => "MissingAuthenticationTokenException",
            SignatureError::Incomplete(_) => "IncompleteSignatureException",
            SignatureError::UnknownAccessKey => "UnrecognizedClientException",
            SignatureError::Invalid(_) => "InvalidSignatureException",
            SignatureError::Kms(error) => return WireError::from(error).into(),
        };
        Self::new(code, error.to_string())
    }
}

/// A JSON answer. It may hold a plaintext, so it is wiped when it was sent.
pub(super) fn json(body: Zeroizing<Vec<u8>>, request_id: Uuid) -> Reply {
    reply(StatusCode::OK, AMZ_JSON, Bytes::from_owner(body), request_id)
}

/// An XML answer.
pub(super) fn xml(status: StatusCode, body: String, request_id: Uuid) -> Reply {
    reply(status, XML, Bytes::from(body), request_id)
}

/// A plain text, for whoever looks without an AWS client.
pub(super) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes, request_id: Uuid) -> Reply {
    let mut response = text(status, content_type, body);
    // A UUID is always a legal value.
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

//! `GetCallerIdentity`, the one operation of STS that clients of KMS ask for: query protocol in, XML out.

use hyper::StatusCode;
use kms_core::model::Caller;
use uuid::Uuid;

use super::reply::{self, Refusal, Reply};

/// The name of the operation.
pub(super) const OPERATION: &str = "GetCallerIdentity";
/// The service of its signature.
pub(super) const SERVICE: &str = "sts";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Whether a form asks for the operation. Its only other member is the version of the API.
pub(super) fn is_asked_for(form: &[u8]) -> bool {
    form.split(|byte| *byte == b'&').any(|pair| pair == b"Action=GetCallerIdentity")
}

/// Who the caller is.
pub(super) fn answer(caller: &Caller, request_id: Uuid) -> Reply {
    let (arn, account) = (escape(caller.principal.as_str()), escape(caller.account.as_str()));
    let user = escape(caller.principal.as_str().rsplit('/').next().unwrap_or_default());
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult><Arn>{arn}</Arn>\
         <UserId>{user}</UserId><Account>{account}</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
    reply::xml(StatusCode::OK, body, request_id)
}

/// A refusal in the words of STS, whose codes and statuses differ from those of KMS.
pub(super) fn refuse(refusal: &Refusal, request_id: Uuid) -> Reply {
    let (status, code) = match refusal.code {
        "MissingAuthenticationTokenException" => (StatusCode::FORBIDDEN, "MissingAuthenticationToken"),
        "IncompleteSignatureException" => (StatusCode::BAD_REQUEST, "IncompleteSignature"),
        "UnrecognizedClientException" => (StatusCode::FORBIDDEN, "InvalidClientTokenId"),
        "InvalidSignatureException" => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
        "ThrottlingException" => (StatusCode::BAD_REQUEST, "Throttling"),
        _ if refusal.is_fault => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        _ => (StatusCode::BAD_REQUEST, "InvalidAction"),
    };
    let kind = if refusal.is_fault { "Receiver" } else { "Sender" };
    let message = escape(&refusal.message);
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    );
    reply::xml(status, body, request_id)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_is_found_in_any_place_and_only_whole() {
        assert!(is_asked_for(b"Action=GetCallerIdentity&Version=2011-06-15"));
        assert!(is_asked_for(b"Version=2011-06-15&Action=GetCallerIdentity"));
        assert!(!is_asked_for(b"Action=GetCallerIdentity2"));
        assert!(!is_asked_for(b"Action=AssumeRole&X=Action=GetCallerIdentity"));
        assert!(!is_asked_for(b""));
    }

    #[test]
    fn text_in_xml_is_escaped() {
        assert_eq!(escape("a<b>&c"), "a&lt;b&gt;&amp;c");
    }
}

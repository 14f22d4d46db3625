//! Who sent a request: Signature Version 4, verified.
//!
//! The signature is computed again over what arrived, by the library that clients sign with, and compared in constant
//! time. What this module adds is what a verifier has to insist on: which headers must be signed, the scope, and the
//! age of the request.
//!
//! Source: AWS, "Signature Version 4 for API requests".

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use hyper::http::request::Parts;
use hyper::http::{HeaderMap, Method};
use kms_core::KmsError;
use kms_core::model::Timestamp;
use kms_core::service::Credential;
use subtle::ConstantTimeEq;

/// How far the clock of a client may be off.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);
/// The most headers that a signature covers.
const MAX_SIGNED_HEADERS: usize = 64;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE_HEADER: &str = "x-amz-date";

/// Why a request is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureError {
    /// There is no signature.
    #[error("Missing Authentication Token")]
    Missing,
    /// The signature cannot be checked: a part is missing or malformed.
    #[error("{0}")]
    Incomplete(String),
    /// Nobody has this access key.
    #[error("The security token included in the request is invalid.")]
    UnknownAccessKey,
    /// The signature is not that of this request, or of another time or place.
    #[error("{0}")]
    Invalid(String),
    /// The access key could not be looked up.
    #[error(transparent)]
    Kms(#[from] KmsError),
}

/// The place that a signature must be for.
pub(super) struct Scope<'a> {
    /// One of these Regions.
    pub(super) regions: &'a [&'a str],
    pub(super) service: &'a str,
}

/// A request that is believed.
pub(super) struct Verified {
    pub(super) credential: Arc<Credential>,
    /// The Region that the client signed for.
    pub(super) region: String,
}

/// Verifies a request that arrived at `now`. `credential` looks an access key up.
pub(super) fn verify(
    request: &Parts,
    body: &[u8],
    scope: &Scope<'_>,
    now: Timestamp,
    credential: impl FnOnce(&str) -> Result<Option<Arc<Credential>>, KmsError>,
) -> Result<Verified, SignatureError> {
    let header = request.headers.get("authorization").ok_or(SignatureError::Missing)?;
    let text = header.to_str().map_err(|_| incomplete("Authorization header is not ASCII"))?;
    let authorization = Authorization::parse(text)?;
    let date = request_date(&request.headers)?;
    let (access_key, region) = authorization.check_scope(scope, date.day())?;
    let signed = signed_headers(&request.headers, &authorization.signed_headers)?;
    date.check_age(now)?;
    if request.headers.contains_key("x-amz-security-token") {
        // Session tokens come from a service that is not here.
        return Err(SignatureError::UnknownAccessKey);
    }
    let found = credential(access_key)?.ok_or(SignatureError::UnknownAccessKey)?;
    let place = Place { region, service: scope.service, time: date.time };
    let expected = signature_of(request, &signed, body, &place, access_key, &found)?;
    if bool::from(expected.as_bytes().ct_eq(authorization.signature.as_bytes())) {
        return Ok(Verified { credential: found, region: region.to_owned() });
    }
    Err(SignatureError::Invalid(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
            .into(),
    ))
}

/// The Region that a request says it is signed for. Part of what [`verify`] checks.
pub(super) fn signed_region(request: &Parts) -> Option<&str> {
    let header = request.headers.get("authorization")?.to_str().ok()?;
    Authorization::parse(header).ok()?.credential.split('/').nth(2)
}

fn incomplete(message: impl Into<String>) -> SignatureError {
    SignatureError::Incomplete(message.into())
}

/// The parts of an `Authorization` header.
#[derive(Debug)]
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, SignatureError> {
        let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm'; it must be {ALGORITHM}.")));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for pair in rest.split(',') {
            match pair.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => return Err(incomplete("A key=value pair of the Authorization header is malformed.")),
            }
        }
        let required = |name: &str| incomplete(format!("Authorization header requires '{name}' parameter."));
        Ok(Self {
            credential: credential.ok_or_else(|| required("Credential"))?,
            signed_headers: signed_headers.ok_or_else(|| required("SignedHeaders"))?.split(';').collect(),
            signature: signature.ok_or_else(|| required("Signature"))?,
        })
    }

    /// Returns the access key id and the Region of a credential for this place and day.
    fn check_scope(&self, scope: &Scope<'_>, day: &str) -> Result<(&'a str, &'a str), SignatureError> {
        let parts: Vec<&str> = self.credential.splitn(6, '/').collect();
        let [access_key, date, region, service, end] = parts[..] else {
            return Err(incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            ));
        };
        let refused = |message: String| Err(SignatureError::Invalid(message));
        if service != scope.service {
            return refused(format!("Credential should be scoped to correct service: '{}'.", scope.service));
        }
        if !scope.regions.contains(&region) {
            return refused(format!(
                "Credential should be scoped to a valid region. This endpoint serves '{}'.",
                scope.regions.join("', '")
            ));
        }
        if end != "aws4_request" {
            return refused("Credential should be scoped with a valid terminator: 'aws4_request'.".into());
        }
        if date != day {
            return refused(
                "Date in Credential scope does not match YYYYMMDD from the date of the request.".into(),
            );
        }
        Ok((access_key, region))
    }
}

/// What a signature is for.
struct Place<'a> {
    region: &'a str,
    service: &'a str,
    time: Timestamp,
}

/// When a request says it was made.
struct RequestDate<'a> {
    text: &'a str,
    time: Timestamp,
}

impl RequestDate<'_> {
    fn day(&self) -> &str {
        &self.text[..8]
    }

    fn check_age(&self, now: Timestamp) -> Result<(), SignatureError> {
        let skew = i64::try_from(MAX_SKEW.as_millis()).unwrap_or(i64::MAX);
        let (problem, relation) = match self.time.as_millis().saturating_sub(now.as_millis()) {
            late if late < -skew => ("expired", "earlier"),
            early if early > skew => ("not yet current", "later"),
            _ => return Ok(()),
        };
        Err(SignatureError::Invalid(format!(
            "Signature {problem}: {} is {relation} than {} by more than 5 min.",
            self.text,
            now.to_iso8601()
        )))
    }
}

/// `x-amz-date`, as `YYYYMMDDTHHMMSSZ`.
fn request_date(headers: &HeaderMap) -> Result<RequestDate<'_>, SignatureError> {
    let header = headers
        .get(DATE_HEADER)
        .ok_or_else(|| incomplete("Authorization header requires existence of a 'X-Amz-Date' header."))?;
    let malformed = || incomplete("Date must be in ISO-8601 'basic format', e.g. 20150830T123600Z.");
    let text = header.to_str().map_err(|_| malformed())?;
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit()))
    };
    let extended = || {
        let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
        let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
        let whole = text.len() == 16 && text.get(8..9) == Some("T") && text.ends_with('Z');
        whole.then(|| format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
    };
    let time = extended().and_then(|text| Timestamp::parse_iso8601(&text)).ok_or_else(malformed)?;
    Ok(RequestDate { text, time })
}

/// The signed headers with their values, one entry for each value. Refuses a signature that leaves out what decides
/// over the meaning of the request: the host and every header of AWS.
fn signed_headers<'a>(
    headers: &'a HeaderMap,
    names: &[&'a str],
) -> Result<Vec<(&'a str, &'a str)>, SignatureError> {
    if names.len() > MAX_SIGNED_HEADERS {
        return Err(incomplete("Too many headers are signed."));
    }
    let must_be_signed = |name: &&str| name.starts_with("x-amz-");
    let present = headers.keys().map(|name| name.as_str());
    for name in present.filter(must_be_signed).chain(["host"]) {
        if !names.contains(&name) {
            return Err(SignatureError::Invalid(format!("'{name}' must be a signed header.")));
        }
    }
    let mut signed = Vec::new();
    for name in names {
        let values = headers.get_all(*name);
        if values.iter().next().is_none() {
            return Err(SignatureError::Invalid("A signed header is missing from the request.".into()));
        }
        for value in values {
            let value = value.to_str().map_err(|_| incomplete("A signed header is not ASCII."))?;
            signed.push((*name, value));
        }
    }
    Ok(signed)
}

/// The signature that the request ought to have.
fn signature_of(
    request: &Parts,
    signed_headers: &[(&str, &str)],
    body: &[u8],
    place: &Place<'_>,
    access_key: &str,
    credential: &Credential,
) -> Result<String, SignatureError> {
    let internal = |what: &str| SignatureError::Kms(KmsError::Internal(what.to_owned()));
    let identity = Credentials::new(access_key, credential.secret.expose(), None, None, "keystore").into();
    let mut settings = SigningSettings::default();
    // Everything that the client says it signed, and nothing else.
    settings.excluded_headers = None;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(place.region)
        .name(place.service)
        .time(system_time(place.time))
        .settings(settings)
        .build()
        .map_err(|_| internal("the parameters of a signature are incomplete"))?
        .into();
    let uri = request.uri.path();
    let signable =
        SignableRequest::new(method(request), uri, signed_headers.iter().copied(), SignableBody::Bytes(body))
            .map_err(|_| incomplete("The request cannot be signed."))?;
    let output = sign(signable, &params).map_err(|_| incomplete("The request cannot be signed."))?;
    Ok(output.signature().to_owned())
}

fn method(request: &Parts) -> &str {
    Method::as_str(&request.method)
}

fn system_time(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0))
}
